//! Tells people what became of sidecars, and ends pods whose redirection failed, if that is wanted. By the replica that
//! leads alone.
//!
//! Events are few: one for each owner and reason in ten minutes, however many pods a Deployment has.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::api::PostParams;
use kube::core::Status;
use kube::{Api, Client};
use moka::sync::Cache;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::metrics::{Action, InjectionMetrics};
use super::sighting::{News, Sighting, UNPROVEN};
use crate::cluster::client::{CallError, within};
use crate::cluster::events::Recorder;
use crate::conditions::{Event, Severity};
use crate::serve::Leadership;

/// Age at which a pod is new. Older ones are seen again after a restart of the operator, and were told of before.
const NEW: i64 = 300;

/// How long a thing is not said again of the same owner.
const QUIET: Duration = Duration::from_secs(600);

/// How long a failed redirection is not said again of the same pod.
const QUIET_FAILURE: Duration = Duration::from_secs(3_600);

/// Pause between two evictions of pods with the same owner: what fails everywhere fails again in the next pod.
const OWNER_PAUSE: Duration = Duration::from_secs(300);

/// Pause between two evictions.
const PAUSE: Duration = Duration::from_secs(10);

/// Deadline of an eviction. Where a budget forbids it, the API server says to come again in 10 s, and the client does:
/// what is not done by then is left for the pod's next try.
const EVICTION: Duration = Duration::from_secs(5);

/// Things remembered for not saying them again: about 200 bytes each.
const REMEMBERED: u64 = 10_000;

/// Least number of restarts before a pod is ended: a second try may go well.
const RESTARTS: u32 = 1;

/// What is done about pods whose redirection failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnprovenPods {
    /// An Event, and nothing else.
    #[default]
    Report,
    /// Those that a controller makes anew are evicted too.
    Delete,
}

/// What is to be done about one sighting.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Tell(Box<ObjectReference>, Event),
    Evict,
}

/// Decides what is said and done; keeps what was said.
#[derive(Debug)]
struct Judge {
    policy: UnprovenPods,
    said: Cache<(String, String), ()>,
    failed: Cache<String, ()>,
    evicted: Cache<String, ()>,
    last: Option<Instant>,
}

impl Judge {
    fn new(policy: UnprovenPods) -> Self {
        Self {
            policy,
            said: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(QUIET)
                .build(),
            failed: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(QUIET_FAILURE)
                .build(),
            evicted: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(OWNER_PAUSE)
                .build(),
            last: None,
        }
    }

    fn judge(&mut self, sighting: &Sighting, now: i64) -> Vec<Step> {
        let event = match &sighting.news {
            News::Unproven { container, restarts } => return self.unproven(sighting, container, *restarts),
            _ if now.saturating_sub(sighting.created) > NEW => return Vec::new(),
            News::Injected(image) => Event {
                severity: Severity::Normal,
                reason: "Injected".to_owned(),
                message: format!("the pod {} has the sidecar {image}", sighting.name),
            },
            News::Skipped(reason) => Event {
                severity: Severity::Warning,
                reason: "InjectionSkipped".to_owned(),
                message: format!("the pod {} has no sidecar: {reason}", sighting.name),
            },
        };
        let of = sighting
            .controller
            .as_ref()
            .map_or(&sighting.uid, |owner| &owner.uid);
        let what = match &sighting.news {
            News::Skipped(reason) => reason.clone(),
            _ => String::new(),
        };
        if !first(&self.said, (of.clone(), what)) {
            return Vec::new();
        }
        vec![Step::Tell(Box::new(owner(sighting)), event)]
    }

    fn unproven(&mut self, sighting: &Sighting, container: &str, restarts: u32) -> Vec<Step> {
        let mut steps = Vec::new();
        if first(&self.failed, sighting.uid.clone()) {
            let message = format!(
                "the container {container} ended with exit code {UNPROVEN}: connections of this pod are not redirected. Its \
                 log says why (kubectl logs {} -c {container}). Delete the pod to try again, or set the label {}=false on \
                 its template and use the gateways",
                sighting.name,
                super::INJECT,
            );
            let event = Event {
                severity: Severity::Warning,
                reason: "RedirectionNotProven".to_owned(),
                message,
            };
            steps.push(Step::Tell(Box::new(itself(sighting)), event));
        }
        let Some(owner) = &sighting.controller else {
            return steps;
        };
        let paused = self.last.is_some_and(|last| last.elapsed() < PAUSE);
        if self.policy == UnprovenPods::Delete
            && restarts >= RESTARTS
            && !paused
            && first(&self.evicted, owner.uid.clone())
        {
            self.last = Some(Instant::now());
            steps.push(Step::Evict);
        }
        steps
    }
}

/// Whether this was not remembered; it is from now on.
fn first<K>(cache: &Cache<K, ()>, key: K) -> bool
where
    K: std::hash::Hash + Eq + Send + Sync + 'static,
{
    cache.entry(key).or_insert(()).is_fresh()
}

/// Who made the pod (a `ReplicaSet` rather than its Deployment, which the pod does not name), or else the pod.
fn owner(sighting: &Sighting) -> ObjectReference {
    let Some(owner) = &sighting.controller else {
        return itself(sighting);
    };
    ObjectReference {
        api_version: Some(owner.api_version.clone()),
        kind: Some(owner.kind.clone()),
        namespace: Some(sighting.namespace.clone()),
        name: Some(owner.name.clone()),
        uid: Some(owner.uid.clone()),
        ..ObjectReference::default()
    }
}

fn itself(sighting: &Sighting) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(sighting.namespace.clone()),
        name: Some(sighting.name.clone()),
        uid: Some(sighting.uid.clone()),
        ..ObjectReference::default()
    }
}

/// What it runs on.
pub struct Parts {
    /// Client of the API server, for evictions.
    pub client: Client,
    /// Where Events go.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: InjectionMetrics,
    /// Whether this replica leads.
    pub leadership: watch::Receiver<Leadership>,
    /// What the watch of pods sees.
    pub sightings: mpsc::Receiver<Sighting>,
}

/// Takes what is seen until there is no more.
pub async fn run(policy: UnprovenPods, mut parts: Parts) {
    let mut judge = Judge::new(policy);
    while let Some(sighting) = parts.sightings.recv().await {
        if *parts.leadership.borrow() != Leadership::Leading {
            continue;
        }
        for step in judge.judge(&sighting, jiff::Timestamp::now().as_second()) {
            match step {
                Step::Tell(about, event) => {
                    if matches!(sighting.news, News::Unproven { .. }) {
                        tracing::warn!(
                            namespace = sighting.namespace,
                            pod = sighting.name,
                            "{}",
                            event.message
                        );
                        parts.metrics.unproven(Action::Reported);
                    }
                    parts.recorder.tell(*about, event);
                }
                Step::Evict => {
                    let Some(action) = evict(&parts.client, &sighting).await else {
                        continue;
                    };
                    parts.metrics.unproven(action);
                    if action != Action::Evicted
                        && let Some(owner) = &sighting.controller
                    {
                        // With its next try, then.
                        judge.evicted.invalidate(&owner.uid);
                    }
                }
            }
        }
    }
}

/// Ends this very pod, as far as disruption budgets allow.
async fn evict(client: &Client, sighting: &Sighting) -> Option<Action> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &sighting.namespace);
    // Not Api::evict: it sends the options under a name that the API server does not know, and the uid would not count.
    let eviction = Eviction {
        metadata: ObjectMeta {
            name: Some(sighting.name.clone()),
            namespace: Some(sighting.namespace.clone()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(Preconditions {
                uid: Some(sighting.uid.clone()),
                ..Preconditions::default()
            }),
            ..DeleteOptions::default()
        }),
    };
    let (namespace, pod) = (&sighting.namespace, &sighting.name);
    let params = PostParams::default();
    let call = api.create_subresource::<_, Status>("eviction", pod, &params, &eviction);
    match within(EVICTION, call).await {
        Ok(_) => {
            tracing::info!(namespace, pod, "evicted, because its redirection failed");
            Some(Action::Evicted)
        }
        // Gone, or another of its name.
        Err(error) if error.is_not_found() || error.is_conflict() => None,
        Err(error) if error.code() == Some(429) || matches!(error, CallError::Deadline(_)) => {
            tracing::info!(
                namespace,
                pod,
                "not evicted yet, a disruption budget may forbid it: {error}"
            );
            Some(Action::Held)
        }
        Err(error) => {
            tracing::warn!(namespace, pod, "cannot be evicted: {}", remedy(&error));
            Some(Action::Failed)
        }
    }
}

fn remedy(error: &CallError) -> String {
    match error.code() {
        Some(403) => format!(
            "{error}: give the operator's service account the right to create pods/eviction, or run it with --unproven-pods report"
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
