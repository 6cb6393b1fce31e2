//! New connections to upstreams: dialled, with TLS where the target wants it, or opened as a stream of the tunnel.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use landbridge_runtime::dial::{DialError, Dialer};
use landbridge_runtime::tls::{self, TlsError};
use landbridge_tunnel::{DenyReason, OpenError, OpenRequest, Protocol, Registry, TunnelStream};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::failure::{Failure, Kind};
use crate::pool::{Idle, Upstream};
use crate::upstream::{Trust, UpstreamKey, UpstreamTls, Way};

/// Largest head of an answer. Well above the 8 KiB of common servers, so that none of their answers is lost here.
const MAX_ANSWER_HEAD: usize = 256 << 10;

/// A new byte stream to an upstream.
pub enum Stream {
    /// Dialled, in the clear.
    Plain(TcpStream),
    /// Dialled, with TLS. Boxed: its state is over 1 KiB, the others are small.
    Tls(Box<TlsStream<TcpStream>>),
    /// Through the tunnel.
    Tunnel(TunnelStream),
}

/// Makes connections.
#[derive(Clone)]
pub struct Connector {
    dialer: Dialer,
    tunnels: Registry,
    roots: Arc<RootCertStore>,
    default_tls: Arc<ClientConfig>,
}

impl Connector {
    /// A connector that trusts `roots` on the Internet and finds the company networks in `tunnels`.
    ///
    /// # Errors
    /// The TLS configuration cannot be built.
    pub fn new(dialer: Dialer, tunnels: Registry, roots: RootCertStore) -> Result<Self, TlsError> {
        let default_tls = Arc::new(tls::client_config(roots.clone(), &[b"http/1.1"])?);
        Ok(Self {
            dialer,
            tunnels,
            roots: Arc::new(roots),
            default_tls,
        })
    }

    /// The TLS configuration for a new upstream.
    ///
    /// # Errors
    /// The destination's trust store has a malformed certificate.
    pub fn tls_for(&self, key: &UpstreamKey) -> Result<Option<UpstreamTls>, TlsError> {
        Ok(match &key.trust {
            Trust::Plain => None,
            Trust::Roots => Some(UpstreamTls(Arc::clone(&self.default_tls))),
            Trust::All => Some(UpstreamTls(Arc::new(tls::trust_all_client_config(&[
                b"http/1.1",
            ])?))),
            Trust::Custom(pem) => {
                // The custom store adds to the default roots, it does not replace them.
                let mut roots = RootCertStore::clone(&self.roots);
                for certificate in tls::certificates(pem.as_bytes())? {
                    roots.add(certificate)?;
                }
                Some(UpstreamTls(Arc::new(tls::client_config(roots, &[b"http/1.1"])?)))
            }
        })
    }

    /// A connection for HTTP requests. Its driver runs as a task of its own until the connection ends.
    ///
    /// # Errors
    /// Which hop failed and how.
    pub async fn http(
        &self,
        upstream: &Upstream,
        limit: Duration,
        request_id: &str,
    ) -> Result<Idle, Failure> {
        match self.open(upstream, Protocol::Http, limit, request_id).await? {
            Stream::Plain(stream) => handshake(stream, &upstream.key).await,
            Stream::Tls(stream) => handshake(stream, &upstream.key).await,
            Stream::Tunnel(stream) => handshake(stream, &upstream.key).await,
        }
    }

    /// A byte stream, made within `limit`.
    ///
    /// # Errors
    /// Which hop failed and how.
    pub async fn open(
        &self,
        upstream: &Upstream,
        protocol: Protocol,
        limit: Duration,
        request_id: &str,
    ) -> Result<Stream, Failure> {
        let key = &upstream.key;
        match &key.way {
            Way::Internet => {
                let until = Instant::now() + limit;
                let stream = self
                    .dialer
                    .connect(&key.host, key.port, limit)
                    .await
                    .map_err(|e| dial_failure(&e))?;
                match &upstream.tls {
                    None => Ok(Stream::Plain(stream)),
                    Some(config) => encrypt(stream, config, key, until).await.map(Stream::Tls),
                }
            }
            Way::OnPremise { tenant, location } => {
                let request = OpenRequest::new(&key.host, key.port, protocol)
                    .map(|request| request.with_deadline(limit))
                    .and_then(|request| request.with_request_id(request_id))
                    .map_err(|e| Failure::new(Kind::DestinationUnusable, e.to_string()))?;
                let opened = self.tunnels.open(tenant, location, &request).await;
                opened.map(Stream::Tunnel).map_err(|e| open_failure(&e, key))
            }
        }
    }
}

async fn encrypt(
    stream: TcpStream,
    config: &UpstreamTls,
    key: &UpstreamKey,
    until: Instant,
) -> Result<Box<TlsStream<TcpStream>>, Failure> {
    let failed = |why: String| Failure::new(Kind::TargetTls, format!("no TLS connection to {key}: {why}"));
    let name = ServerName::try_from(key.host.clone()).map_err(|e| failed(e.to_string()))?;
    match timeout_at(
        until,
        TlsConnector::from(Arc::clone(&config.0)).connect(name, stream),
    )
    .await
    {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(failed(format!(
            "{error}; if its certificate is of a private authority, name that in the destination's TrustStoreLocation"
        ))),
        Err(_) => Err(Failure::new(
            Kind::TargetConnectTimeout,
            format!("no TLS handshake with {key} in time"),
        )),
    }
}

async fn handshake<S>(stream: S, key: &UpstreamKey) -> Result<Idle, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_ANSWER_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| Failure::new(Kind::TargetFailed, format!("cannot speak HTTP with {key}: {e}")))?;
    let driver = tokio::spawn(async move {
        // How the connection ended is told to the request that was on it; an idle one may just be closed.
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Idle::new(sender, driver.abort_handle()))
}

fn dial_failure(error: &DialError) -> Failure {
    let kind = match error {
        DialError::Forbidden { .. } => Kind::TargetForbidden,
        error if error.is_timeout() => Kind::TargetConnectTimeout,
        _ => Kind::TargetUnreachable,
    };
    Failure::new(kind, error.to_string())
}

fn open_failure(error: &OpenError, key: &UpstreamKey) -> Failure {
    match error {
        OpenError::NoConnector { .. } => Failure::new(Kind::NoConnector, error.to_string()),
        OpenError::Denied { reason, message } => {
            let kind = match reason {
                // The connector's own words are the documented answer (seed L34185).
                DenyReason::DeniedSystem | DenyReason::RefusedProtocol => {
                    return Failure::new(Kind::Denied, message.clone());
                }
                DenyReason::Unreachable => Kind::ConnectorUnreachable,
                DenyReason::Timeout => Kind::ConnectorTimeout,
                DenyReason::Busy => Kind::Overloaded,
                // Channels are refused by this side, never by the connector.
                DenyReason::BadOpen
                | DenyReason::UnsupportedVersion
                | DenyReason::DeniedChannel
                | DenyReason::Internal => Kind::ConnectorFailed,
            };
            Failure::new(
                kind,
                format!("the connector cannot reach {}:{}: {message}", key.host, key.port),
            )
        }
        OpenError::Timeout { .. } => Failure::new(Kind::ConnectorTimeout, error.to_string()),
        OpenError::Busy { .. } => Failure::new(Kind::Overloaded, error.to_string()),
        OpenError::Lost { .. } => Failure::new(Kind::ConnectorFailed, error.to_string()),
        OpenError::Invalid(_) => Failure::new(Kind::DestinationUnusable, error.to_string()),
    }
}
