//! The watch that feeds the index.

use std::sync::Arc;

use futures_util::{StreamExt as _, pin_mut};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use landbridge_runtime::shutdown::Shutdown;

use super::pod::SlimPod;
use super::{Index, Seen};

/// Pods of one page of a list. At 10 KB a pod, which real ones have, 5 MB are read before they are stripped.
const PAGE: u32 = 500;

/// Pods that have ended own no address. Left out by the API server, so that a cluster full of finished jobs costs
/// nothing here.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Whose pods are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of the cluster.
    Cluster,
    /// Those of these namespaces, with one watch each; for installations without rights on the whole cluster.
    Namespaces(Vec<String>),
}

impl Scope {
    /// How many watches it takes.
    pub fn watches(&self) -> usize {
        match self {
            Self::Cluster => 1,
            Self::Namespaces(names) => names.len(),
        }
    }
}

/// Feeds `index` until `shutdown` begins. Whatever fails is tried again with pauses of 0.8 s to 30 s; until then the
/// index keeps what it has.
pub async fn follow(client: Client, scope: Scope, index: Arc<Index>, shutdown: Shutdown) {
    let apis: Vec<Api<DeserializeGuard<SlimPod>>> = match scope {
        Scope::Cluster => vec![Api::all(client)],
        Scope::Namespaces(names) => names
            .iter()
            .map(|name| Api::namespaced(client.clone(), name))
            .collect(),
    };
    let watches = apis
        .into_iter()
        .enumerate()
        .map(|(source, api)| one(source, api, &index));
    tokio::select! {
        _ = futures_util::future::join_all(watches) => {}
        () = shutdown.started() => {}
    }
}

async fn one(source: usize, api: Api<DeserializeGuard<SlimPod>>, index: &Index) {
    let config = watcher::Config::default().page_size(PAGE).fields(NOT_ENDED);
    let events = watcher::watcher(api, config).default_backoff();
    pin_mut!(events);
    let mut failing = false;
    while let Some(event) = events.next().await {
        let seen = match event {
            Ok(Event::Init) => Some(Seen::Restarted),
            Ok(Event::InitDone) => Some(Seen::Listed),
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => present(pod),
            Ok(Event::Delete(pod)) => Some(gone(&pod)),
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "pods cannot be watched, trying again; check the right to list and watch pods");
                }
                continue;
            }
        };
        // The start of a list is told before it is asked for.
        failing &= matches!(seen, Some(Seen::Restarted));
        if let Some(seen) = seen {
            index.take(source, seen);
        }
    }
}

/// One that cannot be read owns no address: unknown callers are refused, which is the safe side.
fn present(pod: DeserializeGuard<SlimPod>) -> Option<Seen> {
    match pod.0 {
        Ok(pod) => Some(Seen::Present(Box::new(pod))),
        Err(error) => {
            let name = error.metadata.name.unwrap_or_default();
            let namespace = error.metadata.namespace.unwrap_or_default();
            tracing::warn!(namespace, name, error = error.error, "a pod cannot be read");
            Some(Seen::Gone { namespace, name })
        }
    }
}

fn gone(pod: &DeserializeGuard<SlimPod>) -> Seen {
    Seen::Gone {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
    }
}
