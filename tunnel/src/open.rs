//! The open header: what the cluster side asks for when it opens one stream, and how the connector answers.
//!
//! One stream is one HTTP/2 CONNECT request (RFC 9113 section 8.5). Everything in it is versioned and bounded, and
//! encoding and decoding are pure functions, so that both ends can be tested without a socket.

pub(crate) mod wire;

use std::fmt;
use std::time::Duration;

use http::header::HeaderValue;
use http::{Method, StatusCode};

use self::wire::{REQUEST_ID_RULE, TRACEPARENT_RULE, bounded_value, check_host};
pub use self::wire::{decode_answer, encode_denial};

/// Version of the open header that this build writes and understands.
pub const OPEN_VERSION: &str = "1";
/// Longest virtual host in bytes: the limit of a DNS name (RFC 1035) with room for the brackets of an IPv6 literal.
pub const MAX_HOST: usize = 255;
/// Longest request id in bytes.
pub const MAX_REQUEST_ID: usize = 128;
/// Longest `traceparent` in bytes; version 00 has 55 (W3C Trace Context), later versions may be longer.
pub const MAX_TRACEPARENT: usize = 128;
/// Longest deadline that an open may carry: one day.
pub const MAX_DEADLINE: Duration = Duration::from_secs(86_400);
/// Longest denial message in characters; the rest is cut, because it travels in a header.
pub const MAX_MESSAGE: usize = 512;

/// What the connector is expected to speak on the stream.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Protocol {
    /// HTTP/1.1; the connector checks every request against the resources of the system.
    Http,
    /// Opaque bytes.
    Tcp,
}

impl Protocol {
    /// The word used in the header `landbridge-protocol`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
        }
    }

    fn parse(value: &str) -> Option<Self> {
        match value {
            "http" => Some(Self::Http),
            "tcp" => Some(Self::Tcp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the connector refused a stream.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DenyReason {
    /// The system is not exposed by this connector (seed L34185).
    DeniedSystem,
    /// The back end refused the connection or cannot be resolved.
    Unreachable,
    /// The back end did not answer within the deadline.
    Timeout,
    /// The system is exposed, but not for this protocol.
    RefusedProtocol,
    /// The open header is malformed.
    BadOpen,
    /// The open header is of a version that the connector does not speak.
    UnsupportedVersion,
    /// The service channel is not exposed to this connector, or switched off (answer of the cluster side).
    DeniedChannel,
    /// The connector has no free stream.
    Busy,
    /// The connector failed; its log says why.
    Internal,
}

impl DenyReason {
    /// Every reason, for tables and metric labels.
    pub const ALL: [Self; 9] = [
        Self::DeniedSystem,
        Self::Unreachable,
        Self::Timeout,
        Self::RefusedProtocol,
        Self::BadOpen,
        Self::UnsupportedVersion,
        Self::DeniedChannel,
        Self::Busy,
        Self::Internal,
    ];

    /// The word used in the header `landbridge-reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeniedSystem => "denied-system",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::RefusedProtocol => "refused-protocol",
            Self::BadOpen => "bad-open",
            Self::UnsupportedVersion => "unsupported-version",
            Self::DeniedChannel => "denied-channel",
            Self::Busy => "busy",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status of the answer; also the status a gateway may pass on.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::DeniedSystem | Self::RefusedProtocol | Self::DeniedChannel => StatusCode::FORBIDDEN,
            Self::Unreachable => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::BadOpen => StatusCode::BAD_REQUEST,
            Self::UnsupportedVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn parse(value: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str().as_bytes() == value)
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A malformed open header: what is wrong with which field.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadOpen {
    /// The request is not a CONNECT.
    #[error("a stream is opened with CONNECT, not {0}")]
    Method(Method),
    /// `:authority` is missing or is not `host:port`.
    #[error("the authority must be host:port with a port from 1 to 65535")]
    Authority,
    /// The virtual host is empty, too long or has a character outside of the alphabet.
    #[error(
        "the virtual host must have 1 to 255 letters, digits, '.', '-' or '_', or be a bracketed IPv6 address"
    )]
    Host,
    /// A header that must stand once is missing.
    #[error("header {0} is missing")]
    Missing(&'static str),
    /// A header stands more than once.
    #[error("header {0} stands more than once")]
    Repeated(&'static str),
    /// A header is too long or has a value outside of its alphabet.
    #[error("header {name} is malformed: {rule}")]
    Malformed {
        /// Name of the header.
        name: &'static str,
        /// What it must look like.
        rule: &'static str,
    },
    /// The header is of another version.
    #[error(
        "open header version {found:?} is not supported, this side speaks version 1; update the older side"
    )]
    Version {
        /// The version found, cut to 16 characters.
        found: String,
    },
    /// A principal was sent, and this version does not propagate principals. Going on without would let the call
    /// run under another identity than the caller's, so it is refused rather than ignored.
    #[error(
        "header landbridge-principal is not supported yet; use a destination without principal propagation"
    )]
    Principal,
}

impl BadOpen {
    /// The reason to answer with.
    pub const fn reason(&self) -> DenyReason {
        match self {
            Self::Version { .. } => DenyReason::UnsupportedVersion,
            _ => DenyReason::BadOpen,
        }
    }
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No connector of this tenant is connected with this location id (seed L34486: 503).
    #[error(
        "no connector is connected for tenant {tenant:?} and location id {location:?}; start the connector, or correct the location id"
    )]
    NoConnector {
        /// Tenant asked for.
        tenant: String,
        /// Location id asked for; empty is the default location.
        location: String,
    },
    /// The connector answered, and refused.
    #[error("the connector refused the stream ({reason}): {message}")]
    Denied {
        /// Why.
        reason: DenyReason,
        /// The connector's words, at most [`MAX_MESSAGE`] characters.
        message: String,
    },
    /// No answer within the deadline.
    #[error("the connector did not answer within {after:?}; see its log for the back end it tried")]
    Timeout {
        /// The deadline that passed.
        after: Duration,
    },
    /// The connection was lost before the answer. The back end may or may not have been reached.
    #[error("the tunnel connection was lost while the stream was opened: {detail}")]
    Lost {
        /// What the multiplexer reported.
        detail: String,
        /// True when the connector certainly has not seen the request, so that another connection may be tried.
        unprocessed: bool,
    },
    /// Every connection to the connector carries as many streams as it may.
    #[error(
        "all connections to the connector are at their limit of {limit} streams; add connections or connectors"
    )]
    Busy {
        /// Streams that one connection may carry.
        limit: usize,
    },
    /// The request cannot be written as an open header.
    #[error("the stream cannot be asked for: {0}")]
    Invalid(#[from] BadOpen),
}

/// What one stream is opened for. Only valid requests can exist.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenRequest {
    host: String,
    port: u16,
    protocol: Protocol,
    deadline: Option<Duration>,
    request_id: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
}

impl OpenRequest {
    /// Asks for the system with this virtual host and port. Hosts are case-insensitive and kept in lower case.
    pub fn new(host: &str, port: u16, protocol: Protocol) -> Result<Self, BadOpen> {
        check_host(host)?;
        if port == 0 {
            return Err(BadOpen::Authority);
        }
        let host = host.to_ascii_lowercase();
        Ok(Self {
            host,
            port,
            protocol,
            deadline: None,
            request_id: None,
            traceparent: None,
        })
    }

    /// How long the connector may take to reach the back end; also how long the open waits for its answer.
    /// Cut to whole milliseconds between 1 and [`MAX_DEADLINE`].
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        let deadline = deadline.clamp(Duration::from_millis(1), MAX_DEADLINE);
        self.deadline = Some(Duration::from_millis(
            u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
        ));
        self
    }

    /// Id of the request in the logs of both sides: 1 to [`MAX_REQUEST_ID`] visible ASCII characters.
    pub fn with_request_id(mut self, id: &str) -> Result<Self, BadOpen> {
        self.request_id = Some(bounded_value(REQUEST_ID_RULE, id.as_bytes())?);
        Ok(self)
    }

    /// W3C trace context of the caller: 1 to [`MAX_TRACEPARENT`] lower-case hexadecimal digits and dashes.
    pub fn with_traceparent(mut self, traceparent: &str) -> Result<Self, BadOpen> {
        self.traceparent = Some(bounded_value(TRACEPARENT_RULE, traceparent.as_bytes())?);
        Ok(self)
    }

    /// Virtual host in lower case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Virtual port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What is spoken on the stream.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// How long the connector may take.
    pub const fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Id of the request, when the caller gave one.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_ref().and_then(|value| value.to_str().ok())
    }

    /// Trace context of the caller.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_ref().and_then(|value| value.to_str().ok())
    }
}

#[cfg(test)]
mod tests;
