//! Connections to internal hosts.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::dial::{DialError, Dialer};
use landbridge_runtime::tls::{TlsError, client_config, read_certificates, roots};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::access::{Mapping, Systems};

/// A connection to an internal host, with or without TLS.
pub type Connection = Either<TcpStream, TlsStream<TcpStream>>;

/// Why an internal host cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// TCP.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The host cannot be a name in a certificate.
    #[error("{0:?} cannot be a server name for TLS; correct internal_host of the mapping")]
    ServerName(String),
    /// TLS.
    #[error(
        "no TLS connection to {host}:{port}: {source}; if its certificate is of an internal authority, set backend_ca_file of the mapping"
    )]
    Tls {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// TLS took too long.
    #[error("no TLS connection to {host}:{port} in time")]
    TlsTimeout {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
}

impl BackendError {
    /// Whether a deadline passed, rather than a refusal.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Dial(error) => error.is_timeout(),
            Self::TlsTimeout { .. } => true,
            _ => false,
        }
    }
}

/// Why TLS to internal hosts cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("backend_ca_file: {0}")]
pub struct TrustError(#[from] TlsError);

/// Connects to internal hosts.
pub struct Backends {
    dialer: Dialer,
    /// Keyed by the file of authorities; `None` are the public ones. Made at the start: reading roots is slow.
    tls: HashMap<(Option<PathBuf>, bool), Arc<ClientConfig>>,
}

impl std::fmt::Debug for Backends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backends")
            .field("tls", &self.tls.len())
            .finish_non_exhaustive()
    }
}

impl Backends {
    /// Reads the authorities that the systems name. Blocks on files.
    pub fn new<'a>(dialer: Dialer, systems: impl Iterator<Item = &'a Systems>) -> Result<Self, TrustError> {
        let mut tls = HashMap::new();
        for mapping in systems
            .flat_map(Systems::iter)
            .filter(|mapping| mapping.protocol.uses_tls())
        {
            let key = (mapping.backend_ca.clone(), mapping.protocol.is_http());
            if let Entry::Vacant(entry) = tls.entry(key) {
                let config = tls_config(entry.key())?;
                entry.insert(config);
            }
        }
        Ok(Self { dialer, tls })
    }

    /// Connects, TLS included, within `deadline`.
    pub async fn connect(&self, mapping: &Mapping, deadline: Duration) -> Result<Connection, BackendError> {
        let until = Instant::now() + deadline;
        let (host, port) = (&mapping.internal_host, mapping.internal_port);
        let socket = self.dialer.connect(host, port, deadline).await?;
        if !mapping.protocol.uses_tls() {
            return Ok(Either::Left(socket));
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare).map_err(|_| BackendError::ServerName(host.clone()))?;
        let key = (mapping.backend_ca.clone(), mapping.protocol.is_http());
        let failed = |source| BackendError::Tls {
            host: host.clone(),
            port,
            source,
        };
        let config = self
            .tls
            .get(&key)
            .ok_or_else(|| failed(io::Error::other("TLS was not set up")))?;
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, socket);
        match timeout_at(until, handshake).await {
            Ok(connected) => connected.map(Either::Right).map_err(failed),
            Err(_) => Err(BackendError::TlsTimeout {
                host: host.clone(),
                port,
            }),
        }
    }
}

fn tls_config((authorities, http): &(Option<PathBuf>, bool)) -> Result<Arc<ClientConfig>, TlsError> {
    let trusted = match authorities {
        None => roots(&[])?,
        // Only these: whoever names an internal authority does not want every public one to be trusted as well.
        Some(file) => {
            let mut trusted = RootCertStore::empty();
            for certificate in read_certificates(file)? {
                trusted.add(certificate)?;
            }
            trusted
        }
    };
    let alpn: &[&[u8]] = if *http { &[b"http/1.1"] } else { &[] };
    client_config(trusted, alpn).map(Arc::new)
}
