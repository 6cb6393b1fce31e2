//! Watches of the API server: a stream of what is seen, and one bounded queue that many of them feed.

use std::fmt::Debug;
use std::future::ready;

use futures_util::{Stream, StreamExt as _, pin_mut};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Resource, ResourceExt as _};
use landbridge_runtime::readiness::ReadyToken;
use landbridge_runtime::shutdown::Shutdown;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::events::Recorder;
use super::metrics::OperatorMetrics;
use crate::conditions::{Event as Notice, Severity};

/// Objects of one page of a list. At about 2 KB each, a page is about 1 MB; of pods, which have
/// 10 KB, 5 MB are read before they are stripped.
const PAGE: u32 = 500;

/// What a watch saw.
#[derive(Debug)]
pub enum Seen<K> {
    /// A new list begins; what it does not name is gone.
    Restarted,
    /// The object is there, as it is now.
    Present(Box<K>),
    /// It is there, but cannot be read.
    Unreadable(Box<kube::core::error_boundary::InvalidObject>),
    /// It is gone.
    Gone {
        /// Namespace; empty for a cluster-scoped object.
        namespace: String,
        /// Name.
        name: String,
    },
    /// The list is complete.
    Listed,
}

/// Where what a watch sees goes.
pub struct Sink<M> {
    /// The queue; full means that the watch waits.
    pub queue: mpsc::Sender<M>,
    /// Counts failures.
    pub metrics: OperatorMetrics,
    /// Reached with the first complete list.
    pub ready: ReadyToken,
    /// Told when the kind is not installed.
    pub recorder: Recorder,
}

/// A list or a watch failed. It is tried again, with pauses, for as long as it takes.
#[derive(Debug)]
pub struct Failure {
    /// Kind of the objects.
    pub kind: String,
    /// What failed, and what to do.
    pub message: String,
    /// Whether the cluster does not know the kind.
    pub missing: bool,
    /// Whether it worked before; false while an outage goes on.
    pub first: bool,
}

/// What is seen of one kind, without end. A kind that is not installed, or an API server that is away, is waited for;
/// `failed` is told each time. One object that cannot be read does not stop the others. The next page or event is
/// asked for only when what came before was taken.
pub fn watch<K>(
    api: Api<DeserializeGuard<K>>,
    selection: Config,
    mut failed: impl FnMut(Failure) + Send + 'static,
) -> impl Stream<Item = Seen<K>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let kind = K::kind(&()).into_owned();
    let mut failing = false;
    watcher::watcher(api, selection.page_size(PAGE))
        .default_backoff()
        .filter_map(move |event| {
            let seen = match event {
                Ok(event) => Some(seen(event)),
                Err(error) => {
                    let failure = Failure {
                        message: explained(&error, &kind),
                        missing: code(&error) == Some(404),
                        first: !std::mem::replace(&mut failing, true),
                        kind: kind.clone(),
                    };
                    // Once per outage: the back-off goes on for as long as it takes.
                    if failure.first {
                        tracing::warn!(kind, "cannot watch, trying again: {}", failure.message);
                    }
                    failed(failure);
                    None
                }
            };
            // The start of a list is told before it is asked for.
            if !matches!(seen, None | Some(Seen::Restarted)) && std::mem::take(&mut failing) {
                tracing::info!(kind, "watching again");
            }
            ready(seen)
        })
}

/// Sends what is seen of one kind to a queue until `shutdown`; see [`watch`].
pub async fn follow<K, M>(
    api: Api<DeserializeGuard<K>>,
    selection: Config,
    message: fn(Seen<K>) -> M,
    sink: Sink<M>,
    shutdown: Shutdown,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let Sink {
        queue,
        metrics,
        ready,
        recorder,
    } = sink;
    let mut ready = Some(ready);
    let events = watch(api, selection, move |failure| {
        metrics.watch_failed(&failure.kind);
        if failure.first && failure.missing {
            recorder.tell_of_self(Notice {
                severity: Severity::Warning,
                reason: "DefinitionMissing".to_owned(),
                message: failure.message,
            });
        }
    });
    pin_mut!(events);
    loop {
        let seen = tokio::select! {
            () = shutdown.started() => return,
            seen = events.next() => seen,
        };
        let Some(seen) = seen else { return };
        if matches!(seen, Seen::Listed)
            && let Some(ready) = ready.take()
        {
            ready.ready();
        }
        if queue.send(message(seen)).await.is_err() {
            return;
        }
    }
}

fn seen<K: Resource>(event: Event<DeserializeGuard<K>>) -> Seen<K> {
    match event {
        Event::Init => Seen::Restarted,
        Event::InitApply(DeserializeGuard(Ok(object))) | Event::Apply(DeserializeGuard(Ok(object))) => {
            Seen::Present(Box::new(object))
        }
        Event::InitApply(DeserializeGuard(Err(invalid))) | Event::Apply(DeserializeGuard(Err(invalid))) => {
            Seen::Unreadable(Box::new(invalid))
        }
        Event::Delete(object) => Seen::Gone {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        },
        Event::InitDone => Seen::Listed,
    }
}

/// The error with what to do about it.
fn explained(error: &watcher::Error, kind: &str) -> String {
    match code(error) {
        Some(404) => format!(
            "the cluster has no {kind}: install the CustomResourceDefinitions (`landbridge crds | kubectl apply --server-side -f -`)"
        ),
        Some(403) => {
            format!("{error}: give the operator's service account the right to list and watch {kind}")
        }
        _ => error.to_string(),
    }
}

fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}
