//! `ServiceMapping`: the published, cluster-scoped form of a service channel (seed L32647-32726).
//!
//! Group, version, names and fields are those of the published resource, so that existing manifests work unchanged.

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

use crate::channel_rules as rules;
use crate::service_channel::ChannelStatus;

/// A service of the cluster that on-premise clients reach through a connector, declared for the whole cluster.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "connectivityproxy.sap.com",
    version = "v1",
    kind = "ServiceMapping",
    plural = "servicemappings",
    singular = "servicemapping",
    status = "ChannelStatus",
    derive = "PartialEq",
    doc = "A service of the cluster that on-premise clients reach through a connector, declared for the whole cluster.",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "ServiceId", type_ = "string", json_path = ".spec.serviceId"),
    printcolumn(
        name = "InternalAddress",
        type_ = "string",
        json_path = ".spec.internalAddress"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reachable",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Reachable")].status"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(rules::ADDRESS).message(rules::ADDRESS_MESSAGE),
    validation = Rule::new(rules::SERVICE_ID).message(rules::SERVICE_ID_MESSAGE),
    validation = Rule::new(rules::LOCATIONS).message(rules::LOCATIONS_MESSAGE)
)]
pub struct ServiceMappingSpec {
    /// What runs through it.
    #[serde(rename = "type")]
    pub type_: MappingType,
    /// Subaccount on whose behalf it is exposed; the configured one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub subaccount_id: Option<String>,
    /// Virtual host that on-premise clients name. Unique together with type and subaccountId.
    #[schemars(length(min = 1, max = 253))]
    pub service_id: String,
    /// Tenant in the domain model of the consumer, where it differs from the subaccount.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub tenant_id: Option<String>,
    /// Host and port it leads to, usually the DNS name of a Service and its port.
    #[schemars(length(min = 3, max = 260))]
    pub internal_address: String,
    /// Locations whose connectors may hold it; "" is the default location, which is also the one of an absent list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    pub location_ids: Option<Vec<String>>,
}

/// What runs through a channel: the two kinds that the published resource knows (seed L32669).
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(
    missing_docs,
    reason = "a doc comment on a variant would take the schema from an enum to a oneOf"
)]
pub enum MappingType {
    Rfc,
    Tcp,
}
