//! Events of the Kubernetes API: what people see with `kubectl describe`. Only for changes, never for each try, and no
//! more than the API server likes: an operator that starts with 10 000 destinations must not write 10 000 at once.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as KubeEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use landbridge_runtime::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::client::{CALL, within};
use super::metrics::OperatorMetrics;
use crate::conditions::{Event, Severity};

/// Events that may wait; more are dropped and counted, as clients of Kubernetes do.
const WAITING: usize = 1_000;

/// Pause between two events: 25 a second.
const PAUSE: Duration = Duration::from_millis(40);

/// Longest note of an event, in bytes (limit of the API: 1 kB).
const MAX_NOTE: usize = 1_000;

/// Who says it.
const CONTROLLER: &str = "connectivity.landbridge.dev/operator";

/// Takes events; cloning gives another handle.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<(ObjectReference, Event)>,
    metrics: OperatorMetrics,
    own: ObjectReference,
}

impl Recorder {
    /// Starts to write events until `shutdown`. `namespace` and `instance` are those of this replica's pod.
    pub fn start(
        client: Client,
        namespace: &str,
        instance: &str,
        metrics: OperatorMetrics,
        shutdown: &Shutdown,
    ) -> Self {
        let own = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(namespace.to_owned()),
            name: Some(instance.to_owned()),
            ..ObjectReference::default()
        };
        let instance = instance.to_owned();
        let (queue, waiting) = mpsc::channel(WAITING);
        let stop = shutdown.clone();
        shutdown.spawn(async move {
            tokio::select! {
                () = stop.started() => {}
                () = write_all(client, instance, waiting) => {}
            }
        });
        Self { queue, metrics, own }
    }

    /// Tells something about the operator itself.
    pub fn tell_of_self(&self, event: Event) {
        self.tell(self.own.clone(), event);
    }

    /// Tells something about an object.
    pub fn tell(&self, about: ObjectReference, event: Event) {
        if self.queue.try_send((about, event)).is_err() {
            self.metrics.event_dropped();
        }
    }
}

async fn write_all(client: Client, instance: String, mut waiting: mpsc::Receiver<(ObjectReference, Event)>) {
    let mut pace = interval(PAUSE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some((about, event)) = waiting.recv().await {
        pace.tick().await;
        // Events of cluster-scoped objects are kept in the namespace default.
        let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<KubeEvent> = Api::namespaced(client.clone(), &namespace);
        let event = kube_event(about, event, &instance, &namespace);
        if let Err(error) = within(CALL, api.create(&PostParams::default(), &event)).await {
            tracing::debug!("an event was not written: {error}");
        }
    }
}

fn kube_event(about: ObjectReference, event: Event, instance: &str, namespace: &str) -> KubeEvent {
    let severity = match event.severity {
        Severity::Normal => "Normal",
        Severity::Warning => "Warning",
    };
    KubeEvent {
        metadata: ObjectMeta {
            // As other clients name them; a generated name may not follow a dot.
            name: Some(format!(
                "{}.{:016x}",
                about.name.as_deref().unwrap_or("landbridge"),
                fastrand::u64(..)
            )),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        action: Some("Reconcile".to_owned()),
        event_time: Some(MicroTime(Timestamp::now())),
        note: Some(cut(event.message)),
        reason: Some(event.reason),
        regarding: Some(about),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        type_: Some(severity.to_owned()),
        ..KubeEvent::default()
    }
}

fn cut(mut note: String) -> String {
    if note.len() > MAX_NOTE {
        note.truncate(note.floor_char_boundary(MAX_NOTE - 3));
        note.push_str("...");
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_fits_the_limits_of_the_api() {
        let about = ObjectReference {
            kind: Some("Destination".into()),
            name: Some("erp".into()),
            namespace: Some("shop".into()),
            ..ObjectReference::default()
        };
        let event = Event {
            severity: Severity::Warning,
            reason: "ConfigurationFailed".into(),
            message: "ä".repeat(3_000),
        };
        let written = kube_event(about, event, "operator-0", "shop");
        let note = written.note.unwrap();
        assert!(note.len() <= MAX_NOTE && note.ends_with("..."), "{}", note.len());
        let name = written.metadata.name.unwrap();
        assert!(name.starts_with("erp.") && name.len() == 20, "{name}");
        assert_eq!(written.type_.as_deref(), Some("Warning"));
    }
}
