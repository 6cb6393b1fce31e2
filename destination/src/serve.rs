//! The serve API, operator to proxies: what both sides say to each other.
//!
//! A proxy reads one stream of [`Message`]s, a JSON text per line, from any operator replica, and posts [`Report`]s to
//! the replica that leads. Every call carries a projected service-account token of the audience [`AUDIENCE`].

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channel::{Channel, ChannelKey};
use crate::route::{Route, RouteKey, RouteState};

/// Audience of the tokens.
pub const AUDIENCE: &str = "landbridge";

/// `GET`: the stream of messages, `application/x-ndjson`.
pub const STREAM_PATH: &str = "/v1/stream";

/// `POST`: a [`Report`], answered by a [`ReportAnswer`].
pub const REPORT_PATH: &str = "/v1/report";

/// Name in the server's certificate, also where the leader is dialled by its address.
pub const SERVER_NAME: &str = "landbridge-operator";

/// A stream without anything new says [`Message::Alive`] this often; a report is renewed this often too.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// Silence after which the other side counts as gone: three heartbeats.
pub const SILENCE: Duration = Duration::from_secs(15);

/// Longest line of the stream and longest body of a report. A route is below 1 KiB, so this holds over 30 000.
pub const MAX_MESSAGE_BYTES: usize = 32 << 20;

/// A pod as the source of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// One of its addresses. Pods of the host network are never told: their address is the node's.
    pub address: IpAddr,
    /// Namespace.
    pub namespace: String,
    /// Service account.
    pub service_account: String,
}

/// All that a caller may see, at one version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Whole {
    /// Version; grows with every message of one operator process, and says nothing across two of them.
    pub version: u64,
    /// Routes.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Service channels; for proxies of the connectivity mode.
    #[serde(default)]
    pub channels: Vec<Channel>,
    /// Who calls from which address.
    #[serde(default)]
    pub workloads: Vec<Workload>,
    /// Serve address of the leading replica, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<SocketAddr>,
}

/// What is different since the message before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delta {
    /// Version after it.
    pub version: u64,
    /// New and changed routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Routes that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed_routes: Vec<RouteKey>,
    /// New and changed channels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<Channel>,
    /// Channels that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed_channels: Vec<ChannelKey>,
    /// New and changed workloads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<Workload>,
    /// Addresses that are no workload's any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed_workloads: Vec<IpAddr>,
}

/// Something in a store is not what it was: what is kept of it has to be asked for again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreChange {
    /// Destination service instance; none for the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Names of changed destinations, fragments and certificates; none when anything may have changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
}

/// One line of the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Message {
    /// Always the first; later again when deltas would be longer or were lost.
    Snapshot(Whole),
    /// A change.
    Delta(Delta),
    /// What is kept of a store is out of date.
    StoreChanged(StoreChange),
    /// Another replica leads now, or none.
    Leader {
        /// Serve address.
        address: Option<SocketAddr>,
    },
    /// Nothing new.
    Alive,
}

/// What a proxy says of itself. Its pod is known from its token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Chosen at random when the proxy starts; tells a new process in the same pod from the old one.
    pub process: u64,
    /// Number of this report; a delta counts only right after the report with the number before.
    pub sequence: u64,
    /// Whether `routes` and `channels` are everything, or only what changed since the report before.
    pub whole: bool,
    /// State of routes.
    #[serde(default)]
    pub routes: Vec<RouteReport>,
    /// Routes that are not served any more; for a delta.
    #[serde(default)]
    pub removed_routes: Vec<RouteKey>,
    /// Service channels that are offered to connectors, and who holds them.
    #[serde(default)]
    pub channels: Vec<ChannelReport>,
    /// Service channels that are not offered any more; for a delta.
    #[serde(default)]
    pub removed_channels: Vec<ChannelKey>,
    /// Location ids of the connectors that are connected here, sorted, the empty text for the default one; none where
    /// the proxy takes no connectors. In every report, also in a delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locations: Option<Vec<String>>,
    /// Whether the proxy is about to end: it wants no new connections.
    #[serde(default)]
    pub draining: bool,
}

/// State of one route at one proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteReport {
    /// Which route.
    pub key: RouteKey,
    /// Its state.
    #[serde(flatten)]
    pub state: RouteState,
}

/// A channel that a proxy offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelReport {
    /// Which channel.
    pub key: ChannelKey,
    /// Location ids of the connectors that hold it; empty when it is offered and none does.
    pub locations: Vec<String>,
}

/// Answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub enum ReportAnswer {
    /// Taken (status 200).
    Taken,
    /// The report before this delta is not known: send everything (status 409).
    SendWhole,
    /// Another replica leads (status 421).
    NotLeader {
        /// Its serve address, where known.
        leader: Option<SocketAddr>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_their_type() {
        let lines = [
            (Message::Alive, r#"{"type":"alive"}"#),
            (
                Message::Leader { address: None },
                r#"{"type":"leader","address":null}"#,
            ),
            (
                Message::StoreChanged(StoreChange {
                    instance: None,
                    names: Some(vec!["erp".into()]),
                }),
                r#"{"type":"storeChanged","names":["erp"]}"#,
            ),
        ];
        for (message, line) in lines {
            assert_eq!(serde_json::to_string(&message).unwrap(), line);
            assert_eq!(serde_json::from_str::<Message>(line).unwrap(), message);
        }
    }

    #[test]
    fn a_report_survives_json() {
        let report = Report {
            process: 7,
            sequence: 1,
            whole: true,
            routes: vec![RouteReport {
                key: RouteKey::new("shop", "erp"),
                state: RouteState::Failed("port 10000 in use".into()),
            }],
            ..Report::default()
        };
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}
