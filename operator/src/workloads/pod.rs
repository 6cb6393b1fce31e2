//! As much of a pod as says who calls from its address. Addresses and service accounts are in no metadata-only watch,
//! so this reads whole pods and drops the rest, above all the managed fields, while decoding.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};

use crate::injection::{INJECTED, SKIPPED};

/// A pod, stripped.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct SlimPod {
    /// Name, namespace, uid, version, the two times, the controller among the owners, and what injection says in
    /// annotations; nothing else.
    #[serde(deserialize_with = "slim_meta")]
    pub metadata: ObjectMeta,
    /// What was asked for.
    #[serde(default)]
    pub spec: SlimSpec,
    /// What became of it.
    #[serde(default)]
    pub status: SlimStatus,
}

/// Part of a pod's spec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlimSpec {
    /// Service account; the API server sets it on every pod.
    pub service_account_name: String,
    /// Node, once there is one.
    pub node_name: Option<String>,
    /// Whether its address is the node's.
    pub host_network: bool,
}

/// Part of a pod's status.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlimStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`.
    pub phase: String,
    /// Addresses, at most one of each family.
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<SlimPodIp>,
    /// Conditions; only `Ready` is looked at.
    pub conditions: Vec<SlimCondition>,
    /// Containers that run first; only the injected ones are looked at.
    pub init_container_statuses: Vec<SlimContainer>,
}

/// How one container stands.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlimContainer {
    /// Name.
    pub name: String,
    /// Whether its startup probe has passed.
    pub started: Option<bool>,
    /// How often it was started again.
    pub restart_count: u32,
    /// How it stands now.
    pub state: SlimState,
    /// How it ended before.
    pub last_state: SlimState,
}

/// State of a container; only its end is looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SlimState {
    /// That it has ended.
    pub terminated: Option<SlimEnd>,
}

/// End of a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SlimEnd {
    /// Its exit code.
    pub exit_code: i32,
}

/// One address.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SlimPodIp {
    /// As text.
    pub ip: String,
}

/// One condition.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SlimCondition {
    /// Name.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
}

impl SlimPod {
    /// Addresses that can be read, the first two.
    pub(super) fn addresses(&self) -> [Option<IpAddr>; 2] {
        let mut parsed = self.status.pod_ips.iter().filter_map(|ip| ip.ip.parse().ok());
        [parsed.next(), parsed.next()]
    }

    /// Whether it has ended, so that its address may be given to another.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Whether it passes its readiness probe.
    pub(super) fn is_ready(&self) -> bool {
        let mut conditions = self.status.conditions.iter();
        conditions.any(|condition| condition.kind == "Ready" && condition.status == "True")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    owner_references: Vec<OwnerReference>,
}

fn slim_meta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut slim = SlimMeta::deserialize(deserializer)?;
    slim.annotations
        .retain(|key, _| [INJECTED, SKIPPED].contains(&key.as_str()));
    slim.owner_references
        .retain(|owner| owner.controller == Some(true));
    Ok(ObjectMeta {
        name: slim.name,
        namespace: slim.namespace,
        uid: slim.uid,
        resource_version: slim.resource_version,
        creation_timestamp: slim.creation_timestamp,
        deletion_timestamp: slim.deletion_timestamp,
        annotations: Some(slim.annotations).filter(|all| !all.is_empty()),
        owner_references: Some(slim.owner_references).filter(|all| !all.is_empty()),
        ..ObjectMeta::default()
    })
}

impl Resource for SlimPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
