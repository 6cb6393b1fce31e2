//! Service channels: what the connector opens toward the cluster, on connections of the kind
//! [`OUTBOUND`](crate::hello::OUTBOUND).
//!
//! On such a connection the connector is the HTTP/2 client. Everything else (TLS, identity, hello, pings, windows,
//! limits) is as on inbound ones. Two things run on it:
//!
//! * One [`exchange`] in both directions, opened by the connector: the acceptor tells which channels this connector
//!   may open, the connector tells which it holds open for clients.
//! * Any number of streams, one per client. The open header is a CONNECT request with the authority `channel:1` and
//!   these headers; the answer is 200, or a refusal as described in [`open`](crate::open):
//!
//! | Header | Value |
//! |---|---|
//! | `landbridge-version` | `1` |
//! | `landbridge-protocol` | `channel` |
//! | `landbridge-channel-kind` | 1 to 16 upper-case letters and digits |
//! | `landbridge-channel-id` | the service id, percent-encoded UTF-8, at most 253 characters |
//! | `landbridge-deadline-ms` | optional, 1 to 86400000 |
//! | `landbridge-request-id` | optional, 1 to 128 visible ASCII characters |
//!
//! Tenant and location are never named in a stream: they are those of the connection, which the certificate proved.

pub mod exchange;
pub mod handler;
mod wire;

use std::fmt;
use std::time::Duration;

use http::header::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::open::wire::{REQUEST_ID_RULE, bounded_value};
use crate::open::{BadOpen, DenyReason, MAX_DEADLINE, OpenError};

pub use handler::{ChannelHandler, ChannelPeer, ChannelService, IncomingChannel};

/// Longest service id in characters (the limit of a DNS name; seed L32687 calls it a virtual host).
pub const MAX_ID: usize = 253;
/// Longest kind in bytes.
pub const MAX_KIND: usize = 16;

/// Which channel: its kind and its service id. What kinds there are is for both ends to know.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "AnyName")]
pub struct ChannelName {
    kind: String,
    id: String,
}

/// As it came, not yet checked.
#[derive(Deserialize)]
struct AnyName {
    kind: String,
    id: String,
}

impl TryFrom<AnyName> for ChannelName {
    type Error = BadOpen;

    fn try_from(name: AnyName) -> Result<Self, BadOpen> {
        Self::new(&name.kind, &name.id)
    }
}

impl ChannelName {
    /// Checks both parts. The id is compared letter by letter: names of database instances are case-sensitive (seed
    /// L27394).
    ///
    /// # Errors
    /// A part is empty, too long or has characters outside of its alphabet.
    pub fn new(kind: &str, id: &str) -> Result<Self, BadOpen> {
        let word = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        if !(1..=MAX_KIND).contains(&kind.len()) || !kind.bytes().all(word) {
            return Err(BadOpen::Malformed {
                name: "landbridge-channel-kind",
                rule: "1 to 16 upper-case letters and digits",
            });
        }
        let barred = |one: char| one.is_whitespace() || one.is_control() || one == '/';
        // A character has four bytes at most; looked at first, so that counting is bounded.
        if id.is_empty() || id.len() > 4 * MAX_ID || id.chars().count() > MAX_ID || id.contains(barred) {
            return Err(BadOpen::Malformed {
                name: "landbridge-channel-id",
                rule: "1 to 253 characters, no blanks, slashes or control characters",
            });
        }
        Ok(Self {
            kind: kind.to_owned(),
            id: id.to_owned(),
        })
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its service id.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, self.id)
    }
}

/// What one stream of a connector is opened for. Only valid requests can exist.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChannelRequest {
    name: ChannelName,
    deadline: Option<Duration>,
    request_id: Option<HeaderValue>,
}

impl ChannelRequest {
    /// Asks for a channel.
    pub const fn new(name: ChannelName) -> Self {
        Self {
            name,
            deadline: None,
            request_id: None,
        }
    }

    /// How long the cluster side may take to reach the service; also how long the open waits for its answer. Cut to
    /// whole milliseconds between 1 and [`MAX_DEADLINE`].
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        let millis = deadline.clamp(Duration::from_millis(1), MAX_DEADLINE).as_millis();
        self.deadline = Some(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)));
        self
    }

    /// Id in the logs of both sides: 1 to 128 visible ASCII characters.
    ///
    /// # Errors
    /// It is something else.
    pub fn with_request_id(mut self, id: &str) -> Result<Self, BadOpen> {
        self.request_id = Some(bounded_value(REQUEST_ID_RULE, id.as_bytes())?);
        Ok(self)
    }

    /// The channel.
    pub const fn name(&self) -> &ChannelName {
        &self.name
    }

    /// How long the cluster side may take.
    pub const fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Id in the logs, when there is one.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_ref().and_then(|value| value.to_str().ok())
    }
}

/// A channel that the cluster offers to one connector.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Offered {
    /// Which.
    #[serde(flatten)]
    pub name: ChannelName,
    /// What the cluster would have the connector open. The connector's administrator decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalSide>,
}

/// The connector's end of a channel, as the cluster would have it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LocalSide {
    /// Port to listen on.
    pub port: u16,
    /// Tunnel connections to spread its clients over.
    #[serde(default)]
    pub connections: u16,
    /// Whether it is open.
    pub enabled: bool,
}

/// Why a service channel was not opened.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// No outbound connection, also not after waiting for one.
    #[error(
        "no tunnel connection to the cluster on which service channels can be opened; see the connector's log for why it is not connected"
    )]
    NotConnected,
    /// The cluster answered, and refused.
    #[error("the cluster refused ({reason}): {message}")]
    Refused {
        /// Why.
        reason: DenyReason,
        /// The cluster's words.
        message: String,
    },
    /// No answer within the deadline.
    #[error("the cluster did not answer within {after:?}; see the log of the proxies")]
    Timeout {
        /// The deadline that passed.
        after: Duration,
    },
    /// The connection was lost before the answer.
    #[error("the tunnel connection was lost meanwhile: {0}")]
    Lost(String),
    /// Every connection carries as many streams as it may.
    #[error(
        "all tunnel connections are at their limit of {limit} streams; raise connections of the service channel"
    )]
    Busy {
        /// Streams that one connection may carry.
        limit: usize,
    },
    /// The request cannot be written.
    #[error("the service channel cannot be asked for: {0}")]
    Invalid(#[from] BadOpen),
}

impl From<OpenError> for ChannelError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NoConnector { .. } => Self::NotConnected,
            OpenError::Denied { reason, message } => Self::Refused { reason, message },
            OpenError::Timeout { after } => Self::Timeout { after },
            OpenError::Lost { detail, .. } => Self::Lost(detail),
            OpenError::Busy { limit } => Self::Busy { limit },
            OpenError::Invalid(bad) => Self::Invalid(bad),
        }
    }
}

#[cfg(test)]
mod tests;
