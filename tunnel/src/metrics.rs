//! Figures of both ends of the tunnel. Labels are fixed sets: no tenant, host or address, so they cannot grow.

use prometheus_client::encoding::EncodeLabelValue;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How a connection attempt ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum ConnectionResult {
    /// The session was established.
    Established,
    /// TCP could not be connected.
    Unreachable,
    /// TLS failed, or took too long, or the certificate was not accepted.
    Handshake,
    /// No verified client certificate on a tunnel connection.
    Unauthenticated,
    /// The hello was malformed or refused.
    Hello,
    /// Too many connections wait for verification.
    Overload,
}

/// How an enrolment ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum EnrolmentResult {
    /// A certificate was issued.
    Issued,
    /// The token or the request was not accepted.
    Refused,
    /// Too many attempts.
    Limited,
    /// The acceptor failed.
    Failed,
}

/// How an open ended.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum OpenResult {
    /// The stream is open.
    Opened,
    /// The connector refused.
    Denied,
    /// No connector was connected.
    NoConnector,
    /// No answer in time.
    Timeout,
    /// The connection was lost meanwhile.
    Lost,
    /// No stream was free.
    Busy,
    /// The request was malformed.
    Invalid,
}

type Labels<T> = [(&'static str, T); 1];

/// The figures. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct TunnelMetrics {
    connections: Family<Labels<ConnectionResult>, Counter>,
    enrolments: Family<Labels<EnrolmentResult>, Counter>,
    opens: Family<Labels<OpenResult>, Counter>,
    /// Sessions that are connected now.
    pub sessions: Gauge,
    /// Connections on which the connector opens service channels, now.
    pub outbound_sessions: Gauge,
    /// Sessions that ended because the peer did not answer pings or the connection broke.
    pub sessions_lost: Counter,
    /// Seconds since 1970 at which the own certificate expires; 0 when there is none.
    pub certificate_expiry: Gauge,
}

impl TunnelMetrics {
    /// Adds the figures to `registry` under `tunnel_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("tunnel");
        registry.register(
            "connections",
            "Connection attempts by result",
            self.connections.clone(),
        );
        registry.register(
            "enrolments",
            "Enrolment attempts by result",
            self.enrolments.clone(),
        );
        registry.register("opens", "Streams asked for by result", self.opens.clone());
        registry.register("sessions", "Connected sessions", self.sessions.clone());
        registry.register(
            "outbound_sessions",
            "Connections for service channels",
            self.outbound_sessions.clone(),
        );
        registry.register("sessions_lost", "Sessions that broke", self.sessions_lost.clone());
        let expiry = self.certificate_expiry.clone();
        registry.register(
            "certificate_expiry_seconds",
            "Expiry of the own certificate, Unix time",
            expiry,
        );
    }

    pub(crate) fn connection(&self, result: ConnectionResult) {
        self.connections.get_or_create(&[("result", result)]).inc();
    }

    pub(crate) fn enrolment(&self, result: EnrolmentResult) {
        self.enrolments.get_or_create(&[("result", result)]).inc();
    }

    pub(crate) fn open(&self, result: OpenResult) {
        self.opens.get_or_create(&[("result", result)]).inc();
    }
}
