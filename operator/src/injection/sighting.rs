//! What the watch of pods shows of sidecars: that one was put in, that one was not, and that a redirection failed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use tokio::sync::mpsc;

use super::metrics::InjectionMetrics;
use super::{INJECTED, PROXY_CONTAINER, REDIRECT_CONTAINER, SKIPPED};
use crate::workloads::pod::{SlimContainer, SlimPod};
use serde::Deserialize;

/// Exit code of a sidecar whose redirection could not be proven.
pub const UNPROVEN: i32 = 95;

/// Sightings that may wait. A pod that fails is seen again with its next try, at most five minutes later.
const WAITING: usize = 1_000;

/// A pod and what is seen of its sidecar.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Seconds since 1970 at which the pod was created.
    pub created: i64,
    /// Who made it, if somebody makes another in its place.
    pub controller: Option<OwnerReference>,
    /// What is seen.
    pub news: News,
}

/// What is seen of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It was put in; its image.
    Injected(String),
    /// It was not, for this reason.
    Skipped(String),
    /// The redirection was not proven.
    Unproven {
        /// Which container said so.
        container: &'static str,
        /// How often it was started again.
        restarts: u32,
    },
}

/// Takes what is seen. Cloning gives another handle.
#[derive(Debug, Clone)]
pub struct Sightings {
    installation: String,
    queue: mpsc::Sender<Sighting>,
    metrics: InjectionMetrics,
}

impl Sightings {
    /// A bounded queue for pods that this installation has dealt with, named by its namespace: every operator of a
    /// cluster may see all of the pods.
    pub fn new(
        installation: impl Into<String>,
        metrics: InjectionMetrics,
    ) -> (Self, mpsc::Receiver<Sighting>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        let installation = installation.into();
        let this = Self {
            installation,
            queue,
            metrics,
        };
        (this, waiting)
    }

    /// A pod was seen. Never waits: what finds the queue full is counted and dropped.
    pub fn see(&self, pod: &SlimPod) {
        for sighting in sightings(pod, &self.installation) {
            if self.queue.try_send(sighting).is_err() {
                self.metrics.missed();
            }
        }
    }
}

/// What injection has written into a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Note {
    installation: String,
    image: String,
    reason: String,
}

/// What one pod shows of what `installation` did with it. Nothing for nearly all pods of a cluster.
pub fn sightings(pod: &SlimPod, installation: &str) -> Vec<Sighting> {
    let Some(annotations) = &pod.metadata.annotations else {
        return Vec::new();
    };
    let note = |key| {
        let note: Note = serde_json::from_str(annotations.get(key)?).ok()?;
        (note.installation == installation).then_some(note)
    };
    if pod.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let (said, unproven) = match (note(INJECTED), note(SKIPPED)) {
        (Some(note), _) => {
            let mut containers = pod.status.init_container_statuses.iter();
            (News::Injected(note.image), containers.find_map(unproven))
        }
        (None, Some(note)) => (News::Skipped(note.reason), None),
        (None, None) => return Vec::new(),
    };
    let seen = |news| {
        let metadata = &pod.metadata;
        let created = metadata.creation_timestamp.as_ref();
        Sighting {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            created: created.map_or(0, |time| time.0.as_second()),
            controller: metadata
                .owner_references
                .iter()
                .flatten()
                .find(|owner| owner.controller == Some(true))
                .cloned(),
            news,
        }
    };
    [said].into_iter().chain(unproven).map(seen).collect()
}

/// A sidecar that has started since has proven what it could not before.
fn unproven(container: &SlimContainer) -> Option<News> {
    let name = [PROXY_CONTAINER, REDIRECT_CONTAINER]
        .into_iter()
        .find(|name| *name == container.name)?;
    let ended = |state: &crate::workloads::pod::SlimState| {
        state
            .terminated
            .as_ref()
            .is_some_and(|end| end.exit_code == UNPROVEN)
    };
    let before = ended(&container.last_state) && container.started != Some(true);
    // The one that ends of itself: what counts is how it ended last.
    let superseded = container.state.terminated.is_some() && !ended(&container.state);
    ((ended(&container.state) || before) && !superseded).then_some(News::Unproven {
        container: name,
        restarts: container.restart_count,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const INJECTED_NOTE: &str = r#"{"installation": "system", "image": "lb:1", "version": "0"}"#;

    fn seen(annotations: Value, containers: Value) -> Vec<News> {
        let pod = json!({
            "metadata": {"namespace": "shop", "name": "web-1", "uid": "u1", "annotations": annotations,
                "creationTimestamp": "2026-01-01T00:00:10Z",
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "o0"},
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "o1", "controller": true}]},
            "status": {"phase": "Pending", "initContainerStatuses": containers},
        });
        let pod: SlimPod = serde_json::from_value(pod).unwrap();
        let seen = sightings(&pod, "system");
        for sighting in &seen {
            assert_eq!(
                (sighting.namespace.as_str(), sighting.name.as_str()),
                ("shop", "web-1")
            );
            assert_eq!(sighting.created, 1_767_225_610);
            assert_eq!(sighting.controller.as_ref().unwrap().uid, "o1");
        }
        seen.into_iter().map(|sighting| sighting.news).collect()
    }

    fn ended(code: i32) -> Value {
        json!({"terminated": {"exitCode": code, "reason": "Error"}})
    }

    #[test]
    fn annotations_say_what_became_of_the_sidecar() {
        let skipped = json!({"installation": "system", "reason": "why"}).to_string();
        assert_eq!(seen(json!({}), json!([])), []);
        assert_eq!(seen(json!({"other": "x"}), json!([])), []);
        assert_eq!(
            seen(json!({SKIPPED: skipped}), json!([])),
            [News::Skipped("why".into())]
        );
        assert_eq!(
            seen(json!({SKIPPED: skipped, INJECTED: INJECTED_NOTE}), json!([])),
            [News::Injected("lb:1".into())]
        );
        // Of another installation, or of nobody.
        for note in [r#"{"installation": "other", "image": "lb:1"}"#, "{}", "why", "[]"] {
            let failed = json!([{"name": PROXY_CONTAINER, "state": ended(95)}]);
            assert_eq!(seen(json!({INJECTED: note}), failed), [], "{note}");
        }
    }

    #[test]
    fn a_redirection_has_failed_while_no_later_try_has_gone_well() {
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let proxy = PROXY_CONTAINER;
        let cases = [
            (json!({"name": proxy, "state": ended(95)}), true),
            (
                json!({"name": proxy, "state": waiting, "lastState": ended(95)}),
                true,
            ),
            (
                json!({"name": proxy, "state": running, "started": false, "lastState": ended(95)}),
                true,
            ),
            (
                json!({"name": proxy, "state": running, "started": true, "lastState": ended(95)}),
                false,
            ),
            (
                json!({"name": proxy, "state": waiting, "lastState": ended(1)}),
                false,
            ),
            (
                json!({"name": proxy, "state": ended(1), "lastState": ended(95)}),
                false,
            ),
            (json!({"name": REDIRECT_CONTAINER, "state": ended(95)}), true),
            (
                json!({"name": REDIRECT_CONTAINER, "state": ended(0), "lastState": ended(95)}),
                false,
            ),
            (json!({"name": "migrate", "state": ended(95)}), false),
        ];
        for (container, failed) in cases {
            let news = seen(
                json!({ INJECTED: INJECTED_NOTE }),
                json!([{"name": "first", "state": ended(0)}, container]),
            );
            assert_eq!(news.len() == 2, failed, "{container}");
        }
        let tried = json!([{"name": proxy, "restartCount": 4, "state": ended(95)}]);
        assert_eq!(
            seen(json!({INJECTED: INJECTED_NOTE}), tried)[1],
            News::Unproven {
                container: PROXY_CONTAINER,
                restarts: 4
            }
        );
    }

    #[test]
    fn a_pod_that_is_on_its_way_out_shows_nothing() {
        let pod = json!({"metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {INJECTED: INJECTED_NOTE}}});
        assert_eq!(sightings(&serde_json::from_value(pod).unwrap(), "system"), []);
    }

    #[test]
    fn what_finds_the_queue_full_is_dropped_and_counted() {
        let metrics = InjectionMetrics::default();
        let registered = landbridge_runtime::metrics::Metrics::new();
        metrics.register(&registered);
        let (sightings, mut waiting) = Sightings::new("system", metrics);
        let pod = json!({"metadata": {"name": "p", "annotations": {INJECTED: INJECTED_NOTE}}});
        let pod: SlimPod = serde_json::from_value(pod).unwrap();
        for _ in 0..=WAITING {
            sightings.see(&pod);
        }
        let mut taken = 0;
        while waiting.try_recv().is_ok() {
            taken += 1;
        }
        assert_eq!(taken, WAITING);
        let text = registered.encode().unwrap();
        assert!(text.contains("sightings_missed_total 1\n"), "{text}");
    }
}
