//! The watch that feeds the index.

use std::future::ready;
use std::sync::Arc;

use futures_util::StreamExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Config;
use kube::{Api, Client};
use landbridge_runtime::shutdown::Shutdown;

use super::Index;
use super::pod::SlimPod;
use crate::cluster::metrics::OperatorMetrics;
use crate::cluster::watch;

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

/// Feeds `index` until `shutdown` begins. Whatever fails is counted and tried again with pauses of 0.8 s to 30 s;
/// until then the index keeps what it has.
pub async fn follow(
    client: Client,
    scope: Scope,
    index: Arc<Index>,
    metrics: OperatorMetrics,
    shutdown: Shutdown,
) {
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
        .map(|(source, api)| one(source, api, &index, &metrics));
    tokio::select! {
        _ = futures_util::future::join_all(watches) => {}
        () = shutdown.started() => {}
    }
}

async fn one(source: usize, api: Api<DeserializeGuard<SlimPod>>, index: &Index, metrics: &OperatorMetrics) {
    let metrics = metrics.clone();
    let pods = watch::watch(api, Config::default().fields(NOT_ENDED), move |failure| {
        metrics.watch_failed(&failure.kind);
    });
    pods.for_each(|seen| {
        index.take(source, seen);
        ready(())
    })
    .await;
}
