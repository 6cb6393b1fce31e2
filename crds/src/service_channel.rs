//! `ServiceChannel`: a service of the cluster that on-premise clients reach through a connector.
//!
//! The doc comments below are what `kubectl explain` shows.

#![allow(
    unreachable_pub,
    reason = "KubeSchema repeats each type inside a function, with its visibility"
)]
#![allow(
    clippy::duplicated_attributes,
    reason = "printer columns look alike on purpose"
)]

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::channel_rules as rules;
use crate::condition::Condition;

/// A service of the cluster that on-premise clients reach through a connector, without a way in from the Internet.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "connectivity.landbridge.dev",
    version = "v1alpha1",
    kind = "ServiceChannel",
    plural = "servicechannels",
    singular = "servicechannel",
    shortname = "sch",
    namespaced,
    status = "ChannelStatus",
    derive = "PartialEq",
    doc = "A service of the cluster that on-premise clients reach through a connector.",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "ServiceId", type_ = "string", json_path = ".spec.serviceId"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.address"),
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
    validation = Rule::new(rules::ONE_TARGET).message(rules::ONE_TARGET_MESSAGE),
    validation = Rule::new(rules::ADDRESS).message(rules::ADDRESS_MESSAGE),
    validation = Rule::new(rules::SERVICE_ID).message(rules::SERVICE_ID_MESSAGE),
    validation = Rule::new(rules::LOCATIONS).message(rules::LOCATIONS_MESSAGE),
    validation = Rule::new(rules::RFC_PORT).message(rules::RFC_PORT_MESSAGE),
    validation = Rule::new(rules::HANA_PORT).message(rules::HANA_PORT_MESSAGE)
)]
pub struct ServiceChannelSpec {
    /// What runs through it: TCP for opaque bytes, RFC for ABAP systems, HANA for databases, K8S for any service of a
    /// cluster as connectors list it.
    #[serde(rename = "type")]
    pub type_: ChannelType,
    /// The Service it leads to, in the namespace of this resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_ref: Option<ServiceRef>,
    /// Host and port it leads to, where that is no Service: a host of this namespace unless the operator allows any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 260))]
    pub internal_address: Option<String>,
    /// Virtual host that on-premise clients name. Unique together with type and subaccountId.
    #[schemars(length(min = 1, max = 253))]
    pub service_id: String,
    /// Subaccount on whose behalf it is exposed; the configured one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub subaccount_id: Option<String>,
    /// Tenant in the domain model of the consumer, where it differs from the subaccount.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub tenant_id: Option<String>,
    /// Locations whose connectors may hold it; "" is the default location, which is also the one of an absent list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    pub location_ids: Option<Vec<String>>,
    /// What the connectors open; their own configuration decides when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connector: Option<ConnectorSpec>,
}

/// What runs through a channel.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(
    missing_docs,
    reason = "a doc comment on a variant would take the schema from an enum to a oneOf"
)]
pub enum ChannelType {
    Tcp,
    Rfc,
    Hana,
    K8s,
}

/// A Service of the same namespace.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(rules::SERVICE_NAME).message(rules::SERVICE_NAME_MESSAGE))]
pub struct ServiceRef {
    /// Name of the Service.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Port of the Service: its number, or its name.
    #[schemars(schema_with = "port_schema")]
    pub port: IntOrString,
}

/// The standard type says nothing of bounds. Each of these holds for one of the two forms and passes over the other.
fn port_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 1,
        "maximum": 65535,
        "minLength": 1,
        "maxLength": 63,
    })
}

/// The connector's end of a channel.
#[derive(KubeSchema, Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorSpec {
    /// Port that the connector listens on: 33nn (48nn with SNC) for RFC, 3nn15 for HANA, any free one otherwise.
    #[schemars(range(min = 1, max = 65535))]
    pub local_port: i32,
    /// Physical connections that the connector keeps; each carries many calls. One per ten clients is enough.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub connections: i32,
    /// Whether it is open.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn one() -> i32 {
    1
}

fn yes() -> bool {
    true
}

/// What became of a channel; written by Landbridge alone.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelStatus {
    /// One condition per type: Accepted, ResolvedRefs, Programmed, Ready, Reachable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// Host and port that it leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub address: Option<String>,
    /// One entry per location.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    #[schemars(length(max = 64))]
    pub locations: Vec<LocationStatus>,
}

/// A channel at one location.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocationStatus {
    /// Location id; "" is the default location.
    #[schemars(length(max = 128))]
    pub id: String,
    /// Whether a connector of the location holds the channel.
    pub reachable: bool,
}
