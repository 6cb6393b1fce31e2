//! The other end of a connection, and everything that affects who it is.

use std::fmt;
use std::sync::Arc;

use rustls::ClientConfig;

/// How targets are reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Dialled from here.
    Internet,
    /// Through the tunnel of this tenant and location id (empty: the connector without one).
    OnPremise {
        /// Whose connector; decides who may be reached at all.
        tenant: String,
        /// Which of the tenant's connectors.
        location: String,
    },
}

/// Which server certificates are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// No TLS on this hop.
    Plain,
    /// The proxy's roots.
    Roots,
    /// The proxy's roots and those of this PEM text (the destination's trust store).
    Custom(Arc<str>),
    /// Any certificate (`TrustAll`).
    All,
}

/// Identity of an upstream. Two requests share connections only when all of this is equal, so a connection made with
/// one tenant's tunnel or one destination's trust store is never used for another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamKey {
    /// How it is reached.
    pub way: Way,
    /// What its certificate must be.
    pub trust: Trust,
    /// Host, as dialled, as SNI and as the connector's virtual host.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for UpstreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Internet => write!(f, "{}:{}", self.host, self.port),
            Way::OnPremise { location, .. } if location.is_empty() => {
                write!(f, "{}:{} on premise", self.host, self.port)
            }
            Way::OnPremise { location, .. } => {
                write!(f, "{}:{} on premise at {location}", self.host, self.port)
            }
        }
    }
}

/// TLS configuration of an upstream; equal when the key is, so it takes no part in comparisons.
#[derive(Clone)]
pub struct UpstreamTls(pub Arc<ClientConfig>);

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UpstreamTls")
    }
}
