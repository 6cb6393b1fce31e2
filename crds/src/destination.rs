//! `Destination`: one destination of the store that workloads call by the name of the resource.
//!
//! Group, version, names, fields and printer columns are those of the published resource, so that existing manifests
//! and `kubectl get dst` work unchanged. The doc comments below are what `kubectl explain` shows.

#![allow(
    unreachable_pub,
    reason = "KubeSchema repeats each type inside a function, with its visibility"
)]
#![allow(
    clippy::duplicated_attributes,
    reason = "printer columns look alike on purpose"
)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::actions::Action;
pub use crate::condition::Condition;

/// `destinationRef.name` of a gateway: each request names its destination itself.
pub const GATEWAY_NAME: &str = "*";

/// Where the namespace of a resource without one is assumed to be, as kubectl does without a context.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A destination that workloads reach in plain HTTP or TCP under the name of this resource.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "destination.connectivity.api.sap",
    version = "v1",
    kind = "Destination",
    plural = "destinations",
    singular = "destination",
    shortname = "dst",
    namespaced,
    status = "DestinationStatus",
    derive = "PartialEq",
    doc = "A destination that workloads reach in plain HTTP or TCP under the name of this resource.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "DestinationRef",
        type_ = "string",
        json_path = ".spec.destinationRef.name"
    ),
    printcolumn(name = "FragmentRef", type_ = "string", json_path = ".spec.fragmentRef.name"),
    printcolumn(
        name = "DestinationServiceInstanceName",
        type_ = "string",
        json_path = ".spec.destinationServiceInstanceName"
    ),
    printcolumn(name = "ServicePort", type_ = "integer", json_path = ".spec.service.port"),
    printcolumn(
        name = "AccessControlScope",
        type_ = "string",
        json_path = ".spec.accessControl.scope"
    ),
    printcolumn(name = "ChainRef", type_ = "string", json_path = ".spec.chainRef.name"),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[-1:].reason"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct DestinationSpec {
    /// The destination in the store.
    pub destination_ref: DestinationRef,
    /// A fragment whose properties win over those of the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment_ref: Option<FragmentRef>,
    /// A destination chain that the store runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_ref: Option<ChainRef>,
    /// Name of the destination service instance to ask; the configured default instance when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub destination_service_instance_name: Option<String>,
    /// The Service that workloads call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceSpec>,
    /// Who may call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_control: Option<AccessControl>,
    /// Token flows that the proxy runs with credentials of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub actions: Option<Vec<Action>>,
}

/// Which destination of the store.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationRef {
    /// Name of the destination; "*" makes a gateway, where each request names its destination in X-Destination-Name.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Exact level, without the fallback from instance to subaccount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
}

/// Which fragment of the store.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.level) || has(self.name)")
    .message("level is the level of a named fragment: set name as well, or remove level"))]
pub struct FragmentRef {
    /// Name of the fragment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    pub name: Option<String>,
    /// Exact level; only together with name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Whether a missing fragment is tolerated.
    #[serde(default)]
    pub optional: bool,
}

/// Which chain of the store, and with what.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainRef {
    /// Name of the chain.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Variables of the chain; a request header X-Chain-Var-NAME of the same name wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub variables: Option<Vec<ChainVariable>>,
}

/// One variable of a chain.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainVariable {
    /// Name, without the X-Chain-Var- of the header form.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Value, passed on as it is.
    #[schemars(length(max = 8192))]
    pub value: String,
}

/// Where the store keeps something.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    missing_docs,
    reason = "a doc comment on a variant would take the schema from an enum to a oneOf"
)]
pub enum Level {
    Subaccount,
    Instance,
    ProviderSubaccount,
    ProviderInstance,
}

/// The Service that is made for a destination.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// Port of the Service; 80 for HTTP and the usual port of any other protocol when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

/// Who may call a destination.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessControl {
    /// Workloads of the same namespace, or of the whole cluster; the configured default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<AccessScope>,
}

/// How far a destination is visible.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "as for Level")]
pub enum AccessScope {
    ClusterWide,
    Namespaced,
}

/// What became of a destination; written by Landbridge alone.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationStatus {
    /// One condition per type. Available comes last, because the Status column shows the last reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Port of the proxies that stands for this destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub proxy_port: Option<i32>,
    /// Tenants that were on-boarded with their first request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10000))]
    pub tenants: Vec<Tenant>,
}

/// A tenant that uses the destination.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// Subdomain of the tenant.
    #[schemars(length(max = 253))]
    pub tenant_subdomain: String,
}

impl DestinationSpec {
    /// A destination by its name alone.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            destination_ref: DestinationRef {
                name: name.into(),
                level: None,
            },
            fragment_ref: None,
            chain_ref: None,
            destination_service_instance_name: None,
            service: None,
            access_control: None,
            actions: None,
        }
    }

    /// Whether each request names the destination itself.
    pub fn is_gateway(&self) -> bool {
        self.destination_ref.name == GATEWAY_NAME
    }

    /// The named fragment; a reference without a name refers to nothing.
    pub fn fragment(&self) -> Option<(&FragmentRef, &str)> {
        let fragment = self.fragment_ref.as_ref()?;
        Some((fragment, fragment.name.as_deref()?))
    }

    /// The wanted Service port.
    pub fn port(&self) -> Option<u16> {
        self.service
            .as_ref()?
            .port
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0)
    }

    /// The wanted scope.
    pub fn scope(&self) -> Option<AccessScope> {
        self.access_control.as_ref()?.scope
    }
}
