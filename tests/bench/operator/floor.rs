//! What the API server itself takes: the objects that the operator would write, and nothing decided.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use landbridge_crds::Destination;
use landbridge_destination::{RouteKey, RouteProtocol};
use landbridge_operator::cluster::children::{Family, ProxyEndpoint, Wanted};
use landbridge_tests::control_plane::ControlPlane;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::Instant;

use super::figures::Cpu;
use super::landscape::{declare, namespaces, place};

/// Calls at the same time: as many as the operator has.
const CALLS: usize = 32;

/// What was measured.
pub struct Floor {
    pub seconds: f64,
    /// How long single calls took, by what was written.
    pub calls: [(&'static str, Vec<Duration>); 3],
    pub cpu: Vec<(String, f64)>,
}

/// Writes a Service, an EndpointSlice and a status for each of `count` destinations.
pub async fn measure(count: usize) -> Floor {
    let plane = ControlPlane::start().await;
    plane.apply_crds().await;
    let client = plane.client().await;
    let namespaces = namespaces(&plane, count).await;
    let names: Vec<&str> = namespaces.iter().map(|namespace| namespace.name()).collect();
    declare(&client, &names, count).await;
    let pids = plane.processes();
    let own = ("client".to_owned(), std::process::id() as i32);
    let servers = pids.iter().map(|(name, pid)| ((*name).to_owned(), *pid as i32));
    let cpu = Cpu::begin(std::iter::once(own).chain(servers));
    let start = Instant::now();
    let times: Vec<[Duration; 3]> = stream::iter(0..count)
        .map(|number| {
            let (namespace, name) = place(&names, number);
            write(client.clone(), RouteKey::new(namespace, &*name), number)
        })
        .buffer_unordered(CALLS)
        .collect()
        .await;
    let of = |kind: usize| times.iter().map(|times| times[kind]).collect();
    Floor {
        seconds: start.elapsed().as_secs_f64(),
        cpu: cpu.used(),
        calls: [("Service", of(0)), ("EndpointSlice", of(1)), ("status", of(2))],
    }
}

async fn write(client: Client, key: RouteKey, number: usize) -> [Duration; 3] {
    let wanted = Wanted {
        key: key.clone(),
        uid: "00000000-0000-0000-0000-000000000000".to_owned(),
        protocol: RouteProtocol::Http,
        service_port: None,
        proxy_port: u16::try_from(10_000 + number).expect("a port"),
        installation: "bench".into(),
    };
    let proxy = ProxyEndpoint {
        address: [10, 90, 0, 1].into(),
        ready: true,
        terminating: false,
        node: None,
        namespace: "default".to_owned(),
        pod: "proxy".to_owned(),
        uid: "00000000-0000-0000-0000-000000000001".to_owned(),
    };
    let start = Instant::now();
    apply(client.clone(), &key, unowned(wanted.service())).await;
    let service = start.elapsed();
    apply(client.clone(), &key, unowned(wanted.slice(Family::V4, &[proxy]))).await;
    let slice = start.elapsed() - service;
    let destinations: Api<Destination> = Api::namespaced(client, &key.namespace);
    let status = json!({
        "apiVersion": Destination::api_version(&()), "kind": Destination::kind(&()),
        "status": {"conditions": conditions(), "proxyPort": wanted.proxy_port},
    });
    destinations
        .patch_status(&key.name, &params(), &Patch::Apply(&status))
        .await
        .unwrap_or_else(|error| panic!("{key}: {error}"));
    [service, slice, start.elapsed() - service - slice]
}

/// Nobody of the uid exists: the garbage collector would delete it.
fn unowned<K: Resource>(mut object: K) -> K {
    object.meta_mut().owner_references = None;
    object
}

async fn apply<K>(client: Client, key: &RouteKey, object: K)
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let api: Api<K> = Api::namespaced(client, &key.namespace);
    api.patch(&object.name_any(), &params(), &Patch::Apply(&object))
        .await
        .unwrap_or_else(|error| panic!("{key}: {error}"));
}

fn params() -> PatchParams {
    PatchParams::apply("bench").force()
}

/// About what the operator says of a destination that works.
fn conditions() -> serde_json::Value {
    let types = ["Accepted", "ResolvedRefs", "Programmed", "Ready", "Available"];
    let one = |type_: &&str| {
        json!({
            "type": type_, "status": "True", "reason": "ConfigurationSuccessful",
            "message": "Technical connectivity is configured. Kubernetes service is created.",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
            "lastUpdateTime": "2026-01-01T00:00:00Z",
        })
    };
    types.iter().map(one).collect()
}
