//! Connections of the operator's own HTTPS servers: accepted up to a limit, TLS 1.3, HTTP/2 or HTTP/1.1, drained in
//! an orderly way. The serve API and the admission webhook use it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use landbridge_runtime::listener::accept;
use landbridge_runtime::shares::Shares;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_runtime::tls::provider;
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use rustls::version::{TLS12, TLS13};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Deadline of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Deadline of a request's head, and of a silent HTTP/1.1 connection between two requests.
const HEAD: Duration = Duration::from_secs(10);

/// A peer that does not answer a ping for this long is gone; it is pinged as often.
const PING: Duration = Duration::from_secs(10);

/// Requests of one connection at the same time. A proxy has a stream and a report.
const STREAMS: u32 = 16;

/// Longest head. A projected token has about 1.2 KiB.
const HEAD_BYTES: u32 = 32 * 1024;

/// Bounds of a server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at the same time; more wait in the kernel's queue.
    pub connections: usize,
    /// Of these at most so many from one address. Connections of this machine are not counted: there, one address may
    /// stand for everybody.
    pub per_address: usize,
    /// A connection that has not shown by then that it may use the server ([`Link::proven`]) is closed; none where
    /// callers are not told apart.
    pub unproven: Option<Duration>,
    /// How long requests may take when the server ends.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // One for each stream, and some for reports and certificates.
            connections: 10_240,
            per_address: 64,
            unproven: Some(Duration::from_secs(20)),
            drain: Duration::from_secs(2),
        }
    }
}

/// The connection that a request came on; among the request's extensions.
#[derive(Debug, Clone)]
pub struct Link {
    peer: IpAddr,
    proven: Arc<AtomicBool>,
    cut: CancellationToken,
    ending: Shutdown,
}

impl Link {
    pub(super) fn new(peer: IpAddr, ending: Shutdown) -> Self {
        Self {
            peer,
            proven: Arc::default(),
            cut: CancellationToken::new(),
            ending,
        }
    }

    /// Address of the other side.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Its caller was identified: the connection may stay.
    pub fn proven(&self) {
        self.proven.store(true, Ordering::Relaxed);
    }

    /// Closes the connection at once.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    #[cfg(test)]
    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }

    /// Completes when the server ends. Streams end by themselves then; other requests are finished.
    pub(super) async fn ending(&self) {
        self.ending.started().await;
    }

    /// Runs what belongs to a request beside its answer, until it ends or is forced to.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.ending.spawn_until_forced(task);
    }
}

/// TLS of the serve API: version 1.3 only, HTTP/2 preferred.
///
/// # Errors
/// The provider lacks the protocol version (does not happen with ours).
pub fn tls_for_proxies(certificate: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    config(&[&TLS13], certificate)
}

/// TLS of the admission webhook. Version 1.2 too: API servers can be configured to that.
///
/// # Errors
/// As [`tls_for_proxies`].
pub fn tls_for_webhook(certificate: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, rustls::Error> {
    config(&[&TLS13, &TLS12], certificate)
}

fn config(
    versions: &[&'static rustls::SupportedProtocolVersion],
    certificate: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Serves `router` until `shutdown` begins, then finishes what runs, within `limits.drain`.
pub async fn serve(
    listener: TcpListener,
    tls: ServerConfig,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let connections = shutdown.child();
    let places = Arc::new(Semaphore::new(limits.connections));
    let per_address = Shares::new(limits.per_address, usize::MAX);
    loop {
        // A place first: when there is none, callers wait in the kernel's queue, which is bounded too.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = shutdown.started() => break,
        };
        let Ok(place) = place else { break };
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = shutdown.started() => break,
        };
        let address = peer.ip().to_canonical();
        let share = if address.is_loopback() {
            None
        } else if let Some(share) = per_address.take(&address) {
            Some(share)
        } else {
            tracing::debug!(%peer, "connection refused: too many from this address");
            continue;
        };
        let link = Link::new(address, connections.clone());
        let (acceptor, router) = (acceptor.clone(), router.clone());
        connections.spawn_until_forced(async move {
            connection(stream, peer, acceptor, router, link, limits.unproven).await;
            drop((place, share));
        });
    }
    drop(listener);
    tokio::select! {
        drained = connections.drain(limits.drain) => tracing::debug!(?drained, "connections ended"),
        () = shutdown.forced() => {}
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    link: Link,
    unproven: Option<Duration>,
) {
    let ending = link.ending.clone();
    let handshake = tokio::select! {
        handshake = timeout(HANDSHAKE, acceptor.accept(stream)) => handshake,
        () = ending.started() => return,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
    };
    let requests = link.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(requests.clone());
        router.clone().oneshot(request.map(Body::new))
    });
    let builder = builder();
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = link.cut.cancelled() => return,
        () = unproven_for(unproven, &link.proven) => return tracing::debug!(%peer, "closed: nobody was identified on it"),
        () = ending.started() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                result = serving.as_mut() => result,
                () = link.cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(2 * HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES);
    builder
}

/// Completes if nobody was identified in time.
async fn unproven_for(limit: Option<Duration>, proven: &AtomicBool) {
    if let Some(limit) = limit {
        sleep(limit).await;
        if !proven.load(Ordering::Relaxed) {
            return;
        }
    }
    std::future::pending().await
}
