//! Service channels as the operator tells proxies about them: an on-premise client reaches a service of the cluster.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Identity of a channel: the resource it comes from. The two kinds share one table, not one set of names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelKey {
    /// Namespace of a `ServiceChannel`; none for a `ServiceMapping`, which is cluster-scoped (seed L32714).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the resource.
    pub name: String,
}

impl fmt::Display for ChannelKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(formatter, "{namespace}/{}", self.name),
            None => formatter.write_str(&self.name),
        }
    }
}

/// What runs through a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ChannelKind {
    /// Opaque bytes.
    Tcp,
    /// Remote function calls of ABAP systems.
    Rfc,
    /// HANA databases.
    Hana,
    /// The API server of a cluster.
    K8s,
}

/// One channel as proxies and connectors serve it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// Identity.
    pub key: ChannelKey,
    /// What runs through it.
    pub kind: ChannelKind,
    /// Virtual host that on-premise clients name; unique together with kind and subaccount (seed L32709).
    pub service_id: String,
    /// Subaccount on whose behalf it is exposed; none for the dedicated tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subaccount: Option<String>,
    /// Tenant in the domain model of the consumer, where it differs from the subaccount (seed L32684).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Location ids it is open for; the empty text is the default location, which is also the one of an empty list.
    pub location_ids: Vec<String>,
    /// Host and port inside the cluster.
    pub address: String,
    /// What the connector is to open, where the resource says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connector: Option<ConnectorSide>,
    /// Generation of the resource this was made from.
    pub generation: u64,
}

/// The connector's end of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectorSide {
    /// Port that the connector listens on.
    pub local_port: u16,
    /// Tunnel connections that its clients are spread over; each carries many (seed L18029-18032).
    pub connections: u16,
    /// Whether it is open.
    pub enabled: bool,
}
