//! What is there before the operator starts: the store with its destinations, the proxies, what people have declared.

use std::net::SocketAddr;

use futures_util::{StreamExt as _, stream};
use kube::api::PostParams;
use kube::{Api, Client};
use landbridge_crds::Destination;
use landbridge_crds::destination::DestinationSpec;
use landbridge_destination::StoreClient;
use landbridge_tests::control_plane::{ControlPlane, Namespace};
use landbridge_tests::operator::{Installation, OperatorProcess, Workspace};
use landbridge_tests::pods::Pods;
use landbridge_tests::target;
use serde_json::{Value, json};

use super::figures::Cpu;
use super::proxy::Proxy;
use super::service::Service;
use super::{Options, PER_NAMESPACE};

/// Calls at the same time while it is set up.
const CALLS: usize = 32;

/// Everything but the operator.
pub struct Landscape {
    pub installation: Installation,
    pub workspaces: Vec<Workspace>,
    pub proxies: Vec<Proxy>,
    /// Stands for the Service in front of the replicas.
    pub service: Service,
    pub store: StoreClient,
    pub kube: Client,
    pub count: usize,
    target: SocketAddr,
}

impl Landscape {
    pub async fn create(plane: &ControlPlane, options: &Options) -> Self {
        let count = usize::from(options.destinations);
        let installation = Installation::on(plane, "bench").await;
        let store = installation.store.client().await;
        let target = target::mirror().await;
        let kube = plane.client().await;
        let service = Service::start().await;
        let mut workspaces = Vec::new();
        for _ in 0..count.div_ceil(PER_NAMESPACE) {
            workspaces.push(installation.workspace("shop").await);
        }
        let mut this = Self {
            proxies: Vec::new(),
            installation,
            workspaces,
            service,
            store,
            kube,
            count,
            target,
        };
        this.fill_store(count + options.creations).await;
        declare(&this.kube, &this.namespaces(), count).await;
        this.caller(plane).await;
        for number in 0..options.proxies {
            let proxy = Proxy::start(&this.installation, number, this.service.address()).await;
            this.proxies.push(proxy);
        }
        this
    }

    /// Names of the namespaces with destinations.
    pub fn namespaces(&self) -> Vec<&str> {
        self.workspaces.iter().map(Workspace::name).collect()
    }

    async fn fill_store(&self, count: usize) {
        stream::iter(0..count)
            .for_each_concurrent(CALLS, |number| self.put(number, 0))
            .await;
    }

    /// Writes a destination of the store, which adds a header with `value` to each request.
    pub async fn put(&self, number: usize, value: usize) {
        let destination: Value = json!({
            "Name": name(number), "Type": "HTTP", "ProxyType": "Internet", "Authentication": "NoAuthentication",
            "URL": format!("http://{}", self.target), "URL.headers.x-bench": value.to_string(),
        });
        let destination = serde_json::from_value(destination).expect("a destination");
        self.store
            .put(&destination)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", name(number)));
    }

    /// Calls come from this machine: a workload of the first namespace.
    async fn caller(&self, plane: &ControlPlane) {
        let pods = Pods::of(plane, &self.workspaces[0].namespace).await;
        pods.create("caller", "default", false).await;
        pods.runs("caller", &["127.0.0.1"], true).await;
    }

    /// Begins to count the CPU time of everybody.
    pub fn cpu(&self, operator: &OperatorProcess) -> Cpu {
        let servers = self.installation.plane.processes();
        let servers = servers
            .into_iter()
            .map(|(name, pid)| (name.to_owned(), pid as i32));
        let proxies = self
            .proxies
            .iter()
            .map(|proxy| ("proxy".to_owned(), proxy.process.pid()));
        let own = [
            ("operator".to_owned(), operator.process.pid()),
            ("store".to_owned(), self.installation.store.process.pid()),
        ];
        Cpu::begin(own.into_iter().chain(proxies).chain(servers))
    }
}

/// Name of a destination, in the store as in the cluster.
pub fn name(number: usize) -> String {
    format!("dest-{number:05}")
}

/// Namespace and name of a declared destination.
pub fn place<'a>(namespaces: &[&'a str], number: usize) -> (&'a str, String) {
    (namespaces[number / PER_NAMESPACE], name(number))
}

/// Namespaces for so many destinations.
pub async fn namespaces(plane: &ControlPlane, count: usize) -> Vec<Namespace> {
    let mut namespaces = Vec::new();
    for _ in 0..count.div_ceil(PER_NAMESPACE) {
        namespaces.push(plane.namespace("shop").await);
    }
    namespaces
}

/// Declares one destination.
pub async fn declare_one(client: &Client, namespace: &str, name: &str) {
    let api: Api<Destination> = Api::namespaced(client.clone(), namespace);
    let destination = Destination::new(name, DestinationSpec::named(name));
    api.create(&PostParams::default(), &destination)
        .await
        .unwrap_or_else(|error| panic!("{namespace}/{name}: {error}"));
}

/// Declares them all.
pub async fn declare(client: &Client, namespaces: &[&str], count: usize) {
    stream::iter(0..count)
        .for_each_concurrent(CALLS, async |number| {
            let (namespace, name) = place(namespaces, number);
            declare_one(client, namespace, &name).await;
        })
        .await;
}
