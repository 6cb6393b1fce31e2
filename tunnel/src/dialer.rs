//! The company side: keeps connections to the acceptors up and hands out the streams they open.

mod backoff;
mod link;
mod outbound;

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::dial::{DialError, Dialer as NetworkDialer};
use landbridge_runtime::shutdown::Shutdown;
use parking_lot::Mutex;
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use tokio::sync::watch;
use tokio::time::Instant;

pub use outbound::Channels;

use crate::enrol::{EnrolError, IdentityFiles};
use crate::hello::HelloError;
use crate::identity::{IdentityError, check_location};
use crate::metrics::TunnelMetrics;
use crate::mux::h2::Incoming;
use crate::mux::settings::MAX_STREAMS;
use crate::open::{DenyReason, OpenRequest};
use crate::stream::TunnelStream;

/// Connections of one connector to its acceptors, at most.
pub const MAX_CONNECTIONS: u16 = 8;
/// Remaining life of a certificate below which every start warns.
const EXPIRY_WARNING: i64 = 30 * 86_400;
/// How often a connector that stays connected looks at it.
const EXPIRY_CHECK: std::time::Duration = std::time::Duration::from_secs(86_400);

/// Where an acceptor is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerAddress {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Not `host:port`.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not an address; write host:port, for example tunnel.example.com:8042")]
pub struct InvalidAddress(String);

impl FromStr for ServerAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidAddress(text.chars().take(300).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(invalid)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| invalid())?
                .to_string(),
            None => host.to_owned(),
        };
        // Covers names, IPv4 and IPv6, with their alphabets and lengths.
        ServerName::try_from(host.as_str()).map_err(|_| invalid())?;
        Ok(Self { host, port })
    }
}

impl std::fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How a dialer is set up.
#[derive(Clone, Debug)]
pub struct DialerConfig {
    /// Acceptors; connections are spread over them.
    pub servers: Vec<ServerAddress>,
    /// What the acceptor's certificate must carry; `None` is the host that is dialled.
    pub server_name: Option<String>,
    /// Folder with key, certificate and authority.
    pub identity_dir: PathBuf,
    /// Location id; empty is the default location.
    pub location: String,
    /// Name and version of the program, for the acceptor's status page.
    pub agent: String,
    /// Connections to keep, 1 to [`MAX_CONNECTIONS`].
    pub connections: u16,
    /// Streams served at once on each connection.
    pub max_streams: usize,
    /// Deadline of one dial, name look-up included.
    pub dial_deadline: Duration,
    /// Where to count.
    pub metrics: TunnelMetrics,
    /// Connections for service channels, 0 to [`MAX_CONNECTIONS`].
    pub outbound: u16,
}

impl DialerConfig {
    /// Two connections to the default location with the usual bounds.
    pub fn new(servers: Vec<ServerAddress>, identity_dir: impl Into<PathBuf>) -> Self {
        Self {
            servers,
            server_name: None,
            identity_dir: identity_dir.into(),
            location: String::new(),
            agent: concat!("landbridge/", env!("CARGO_PKG_VERSION")).to_owned(),
            connections: 2,
            max_streams: MAX_STREAMS,
            dial_deadline: Duration::from_secs(10),
            metrics: TunnelMetrics::default(),
            outbound: 0,
        }
    }
}

/// Why a dialer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DialerError {
    /// No acceptor is named.
    #[error("no server is configured; name at least one acceptor as host:port")]
    NoServer,
    /// The number of connections is out of bounds.
    #[error("{0} connections are configured; 1 to 8 are possible")]
    Connections(u16),
    /// The location id is malformed.
    #[error(transparent)]
    Location(#[from] IdentityError),
    /// The server name cannot be in a certificate.
    #[error("{0:?} cannot be a server name")]
    ServerName(String),
    /// The identity cannot be read.
    #[error("the connector's identity cannot be used: {0}")]
    Identity(#[from] EnrolError),
}

/// Why a connection was not established.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{name:?} cannot be a server name: {source}")]
    ServerName {
        name: String,
        source: InvalidDnsNameError,
    },
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error("HTTP/2 did not start: {0}")]
    Mux(io::Error),
}

/// What one of the connections is doing.
#[derive(Clone, Debug)]
pub enum ConnectionState {
    /// Dialling.
    Connecting {
        /// Failures before, since the last healthy connection.
        failures: u32,
    },
    /// Streams can be opened.
    Connected {
        /// The acceptor's name.
        replica: String,
        /// Since when.
        since: Instant,
    },
    /// Waiting before the next attempt.
    Waiting {
        /// What went wrong, in words.
        reason: String,
        /// How long it waits.
        retry_in: Duration,
        /// Failures since the last healthy connection.
        failures: u32,
    },
    /// Stopped for good.
    Stopped,
}

/// What all connections of a dialer are doing.
#[derive(Clone, Debug)]
pub struct DialerStatus {
    /// One for each connection on which the acceptor opens.
    pub connections: Vec<ConnectionState>,
    /// One for each connection for service channels.
    pub outbound: Vec<ConnectionState>,
}

impl DialerStatus {
    /// How many are connected, of those on which the acceptor opens.
    pub fn connected(&self) -> usize {
        self.connections
            .iter()
            .filter(|state| matches!(state, ConnectionState::Connected { .. }))
            .count()
    }
}

/// A stream that the cluster side wants to open. Dropping it without an answer resets it.
#[derive(Debug)]
pub struct IncomingStream {
    request: OpenRequest,
    incoming: Incoming,
}

impl IncomingStream {
    /// What it is for. Comes from the peer and is valid in form only; whether it is allowed is for the handler.
    pub const fn request(&self) -> &OpenRequest {
        &self.request
    }

    /// Tells the opener that the stream leads somewhere now.
    pub fn accept(self) -> io::Result<TunnelStream> {
        self.incoming.accept()
    }

    /// Refuses it.
    pub fn deny(self, reason: DenyReason, message: &str) {
        self.incoming.deny(reason, message);
    }

    /// Completes when the opener has given up waiting; then neither accept nor deny is of use.
    pub async fn abandoned(&mut self) {
        self.incoming.abandoned().await;
    }
}

/// What is done with streams. Called in a task of its own for each stream.
pub trait StreamHandler: Send + Sync + 'static {
    /// Serves one stream to its end.
    fn handle(&self, stream: IncomingStream) -> impl Future<Output = ()> + Send;
}

/// Keeps the connections of a connector up.
#[derive(Debug)]
pub struct Dialer {
    shared: Arc<Shared>,
}

struct Shared {
    config: DialerConfig,
    network: NetworkDialer,
    tls: Arc<rustls::ClientConfig>,
    /// When the certificate expires, seconds since 1970.
    not_after: i64,
    /// Differs at every start, so that the acceptor can tell a reconnect from a restart.
    instance: String,
    status: watch::Sender<DialerStatus>,
    /// The replica each connection ends at.
    replicas: Mutex<Vec<Option<String>>>,
    outbound: Channels,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Dialer {
    /// Checks the configuration and reads the identity. Blocks on files.
    pub fn new(config: DialerConfig, network: NetworkDialer) -> Result<Self, DialerError> {
        if config.servers.is_empty() {
            return Err(DialerError::NoServer);
        }
        for count in [config.connections, config.outbound.max(1)] {
            if !(1..=MAX_CONNECTIONS).contains(&count) {
                return Err(DialerError::Connections(count));
            }
        }
        check_location(&config.location)?;
        if let Some(name) = &config.server_name {
            ServerName::try_from(name.as_str()).map_err(|_| DialerError::ServerName(name.clone()))?;
        }
        let identity = IdentityFiles::new(&config.identity_dir).load()?;
        let (count, extra) = (usize::from(config.connections), usize::from(config.outbound));
        let connections = vec![ConnectionState::Connecting { failures: 0 }; count];
        let outbound = vec![ConnectionState::Connecting { failures: 0 }; extra];
        let shared = Shared {
            network,
            tls: identity.tls,
            not_after: identity.not_after,
            instance: uuid::Uuid::new_v4().to_string(),
            status: watch::Sender::new(DialerStatus {
                connections,
                outbound,
            }),
            outbound: Channels::new(extra),
            replicas: Mutex::new(vec![None; count + extra]),
            config,
        };
        shared.report_expiry();
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// What the connections are doing, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<DialerStatus> {
        self.shared.status.subscribe()
    }

    /// Opens service channels on the connections for them.
    pub fn channels(&self) -> Channels {
        self.shared.outbound.clone()
    }

    /// Keeps the connections up, for ever, until draining is asked; then lets open streams finish.
    pub async fn run<H: StreamHandler>(self, handler: Arc<H>, shutdown: Shutdown) {
        let slots = (0..self.shared.config.connections).map(|slot| {
            let (shared, handler, inner) = (Arc::clone(&self.shared), Arc::clone(&handler), shutdown.clone());
            shutdown.spawn(async move { link::keep(shared, slot, handler, inner).await })
        });
        let slots: Vec<_> = slots.collect();
        let outbound = (0..self.shared.config.outbound).map(|slot| {
            let (shared, inner) = (Arc::clone(&self.shared), shutdown.clone());
            shutdown.spawn(async move { outbound::keep(shared, slot, inner).await })
        });
        let slots = futures_util::future::join_all(slots.into_iter().chain(outbound.collect::<Vec<_>>()));
        tokio::select! {
            _ = slots => {}
            () = self.shared.watch_expiry() => {}
        }
    }
}

impl Shared {
    /// A connection lives for months, in which a certificate can expire unnoticed.
    async fn watch_expiry(&self) {
        loop {
            tokio::time::sleep(EXPIRY_CHECK).await;
            self.report_expiry();
        }
    }

    fn report_expiry(&self) {
        report_expiry(self.not_after, &self.config);
    }
}

fn report_expiry(not_after: i64, config: &DialerConfig) {
    config.metrics.certificate_expiry.set(not_after);
    let left = not_after.saturating_sub(i64::try_from(crate::enrol::unix_now()).unwrap_or(i64::MAX));
    let folder = config.identity_dir.display();
    if left <= 0 {
        tracing::error!(%folder, "the connector's certificate has expired; delete the identity folder and enrol again");
    } else if left < EXPIRY_WARNING {
        tracing::warn!(%folder, days = left / 86_400, "the connector's certificate expires soon; enrol again before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for (text, host, port) in [
            ("tunnel.example.com:8042", "tunnel.example.com", 8042),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:8042", "::1", 8042),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "host",
            "host:",
            "host:0",
            "host:65536",
            ":1",
            "https://host:1",
            "a b:1",
            "[x]:1",
        ] {
            assert!(text.parse::<ServerAddress>().is_err(), "{text}");
        }
    }
}
