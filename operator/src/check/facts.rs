//! What was read. A part that could not be read holds why.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::Trouble;
use crate::cluster::stores::Instance;

/// Something that was read, or why not.
pub type Read<T> = Result<T, Trouble>;

/// What both phases look at.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Version: major, minor, and as it calls itself.
    pub version: Read<(u32, u32, String)>,
    /// The namespace of the installation.
    pub namespace: Read<Namespace>,
    /// For each of the definitions of this program, in its order: that of the cluster.
    pub definitions: Vec<(CustomResourceDefinition, Read<CustomResourceDefinition>)>,
}

/// Before an installation.
#[derive(Debug, Clone)]
pub struct Before {
    /// Of the cluster.
    pub cluster: Cluster,
    /// What may be done, as "create deployments.apps".
    pub rights: Vec<(String, Read<bool>)>,
    /// Pods of other products for the same resources, and of other installations: namespace and name.
    pub others: Read<Vec<String>>,
    /// Whether the API of cert-manager is there; none where nobody asked.
    pub cert_manager: Option<Read<()>>,
    /// The same of the vertical pod autoscaler.
    pub autoscaler: Option<Read<()>>,
    /// The same of the Prometheus operator.
    pub prometheus: Option<Read<()>>,
}

/// A pod of the installation, and what its admin endpoint says.
#[derive(Debug, Clone)]
pub struct PodFact {
    /// Name.
    pub name: String,
    /// Whether it passes its readiness probe.
    pub ready: bool,
    /// Why its container waits, if it does.
    pub waiting: Option<String>,
    /// Whether it ends.
    pub ending: bool,
    /// Whether connectors dial it.
    pub connectivity: bool,
    /// Version it tells of itself.
    pub version: Read<String>,
    /// What it waits for before it is ready.
    pub pending: Option<String>,
}

/// The Lease of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseFact {
    /// Who holds it; empty when it was given back.
    pub holder: String,
    /// Whether its holder has renewed it just now.
    pub fresh: bool,
}

/// How the API server answers a dry run of a Destination that the webhook has to refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// With this text.
    Refused(String),
    /// It would have been stored.
    Admitted,
    /// There is no namespace that the webhook looks at and this check may use.
    NoPlace,
    /// Something else came.
    Trouble(Trouble),
}

/// A Secret with a service key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFact {
    /// Its content is a service key.
    Usable,
    /// It is there, and no service key; the text says what is wrong, without any of the content.
    Malformed(String),
    /// It is in a file of the operator's pod.
    File,
}

/// Resources of a kind, as far as they matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// How many there are.
    pub total: usize,
    /// How many of them are not as they must be.
    pub bad: usize,
    /// The first of these, each with its reason.
    pub examples: Vec<String>,
}

/// What the leading operator says at `/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusFact {
    /// Parts with what is wrong with them; empty is nothing.
    pub components: Vec<(String, String)>,
    /// Proxies' pods that are ready.
    pub ready: u64,
    /// Proxies that report.
    pub reporting: u64,
}

/// What takes connections on their way.
#[derive(Debug, Clone)]
pub struct Interception {
    /// The DaemonSet of the proxies of nodes; missing where there are none.
    pub nodes: Read<DaemonSet>,
    /// The registration of the webhook that puts sidecars into pods; none where it is switched off.
    pub webhook: Option<Read<MutatingWebhookConfiguration>>,
    /// Namespaces that have opted in, bad are those whose Pod Security forbids sidecars; none where it is switched off.
    pub namespaces: Option<Read<Listing>>,
}

/// An installation.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Of the cluster.
    pub cluster: Cluster,
    /// Now, in seconds since 1970.
    pub now: i64,
    /// The Deployment of the operator.
    pub deployment: Read<Deployment>,
    /// Its pods.
    pub operators: Read<Vec<PodFact>>,
    /// Its Lease.
    pub lease: Read<LeaseFact>,
    /// What the leading one says.
    pub status: Read<StatusFact>,
    /// The ConfigMap with the authorities.
    pub authorities: Read<ConfigMap>,
    /// The registration of the webhook; none where it is switched off.
    pub webhook: Option<Read<ValidatingWebhookConfiguration>>,
    /// How the webhook answers; none where it is switched off.
    pub probe: Option<Probe>,
    /// The instances of the operator's configuration, and their service keys.
    pub keys: Vec<(Instance, Read<KeyFact>)>,
    /// What of that configuration cannot be read.
    pub misread: Vec<String>,
    /// Pods of the proxies.
    pub proxies: Read<Vec<PodFact>>,
    /// Connectors by the pod that they are connected to.
    pub connectors: Vec<(String, Read<usize>)>,
    /// Proxies of nodes, and sidecars.
    pub interception: Interception,
    /// Destinations.
    pub destinations: Read<Listing>,
    /// ServiceChannels.
    pub channels: Read<Listing>,
    /// ServiceMappings.
    pub mappings: Read<Listing>,
}

/// Before an installation is removed.
#[derive(Debug, Clone)]
pub struct Leftovers {
    /// Whether the API server answers at all.
    pub answers: Read<()>,
    /// ServiceChannels.
    pub channels: Read<Listing>,
    /// ServiceMappings.
    pub mappings: Read<Listing>,
    /// Destinations.
    pub destinations: Read<Listing>,
}

/// Facts of a pod, without what its admin endpoint says.
pub(super) fn of_pod(pod: &Pod) -> PodFact {
    let status = pod.status.as_ref();
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        });
    let label = |name: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(name));
    PodFact {
        name: pod.metadata.name.clone().unwrap_or_default(),
        ready,
        waiting: status.and_then(waits),
        ending: pod.metadata.deletion_timestamp.is_some(),
        connectivity: label("landbridge.dev/mode").is_some_and(|mode| mode == "connectivity"),
        version: Err(Trouble::NoAnswer("not asked".to_owned())),
        pending: None,
    }
}

/// Why a pod does not start, in the words of the kubelet or the scheduler.
fn waits(status: &k8s_openapi::api::core::v1::PodStatus) -> Option<String> {
    let containers = status.container_statuses.iter().flatten();
    let waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    let container = waiting
        .filter_map(|waiting| {
            let reason = waiting
                .reason
                .as_deref()
                .filter(|reason| *reason != "ContainerCreating")?;
            let message = waiting.message.as_deref().unwrap_or_default();
            Some(
                format!("{reason}: {message}")
                    .trim_end_matches([':', ' '])
                    .to_owned(),
            )
        })
        .next();
    container.or_else(|| {
        let conditions = status.conditions.iter().flatten();
        let mut unscheduled =
            conditions.filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
        let condition = unscheduled.next()?;
        Some(format!(
            "{}: {}",
            condition.reason.as_deref().unwrap_or("not scheduled"),
            condition.message.as_deref().unwrap_or_default()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_says_why_it_does_not_start() {
        let pod = |status| -> PodFact {
            let labels = json!({"landbridge.dev/mode": "connectivity"});
            let pod = json!({"metadata": {"name": "p", "labels": labels}, "status": status});
            of_pod(&serde_json::from_value(pod).unwrap())
        };
        let ready = pod(json!({"conditions": [{"type": "Ready", "status": "True"}]}));
        assert!(ready.ready && ready.connectivity && ready.waiting.is_none());
        let state =
            json!({"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"a\" not found"}});
        let container = json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        let waiting = pod(json!({"containerStatuses": [container]}));
        assert_eq!(
            waiting.waiting.as_deref(),
            Some("CreateContainerConfigError: secret \"a\" not found")
        );
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"});
        let unscheduled = pod(json!({"conditions": [condition]}));
        assert_eq!(unscheduled.waiting.as_deref(), Some("Unschedulable: no node"));
    }
}
