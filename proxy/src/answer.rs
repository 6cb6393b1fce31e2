//! Gateways answer sidecars: who has a certificate of the operator asks for a route, and hears how its destination is to be
//! called, if pods of its namespace may use it.
//!
//! Nothing is read of a caller before its certificate is verified. Everything it can make us keep is bounded.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use landbridge_destination::route::RouteSnapshot;
use landbridge_runtime::listener::accept;
use landbridge_runtime::shares::Shares;
use landbridge_runtime::shutdown::Shutdown;
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificate::{Certificate, holder, unix_now};
use crate::resolve::caching::CachingResolver;

mod decide;
mod metrics;
mod serve;

use metrics::AnswerMetrics;
use serve::{Caller, Desk};

/// Connections at one time: one per sidecar.
const CONNECTIONS: usize = 8192;

/// Of these, one account may have so many: a Deployment may have thousands of pods, but must not shut the others out.
const PER_ACCOUNT: usize = CONNECTIONS / 2;

/// Handshakes at one time, and of one address: nothing is known of these callers yet.
const HANDSHAKES: usize = 256;
const HANDSHAKES_PER_ADDRESS: usize = 32;

/// Deadline of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A connection is not used for longer, so that authorities that have gone are noticed, and callers spread over gateways
/// that have come.
const LONGEST: u64 = 3600;

/// How often authorities are read again.
const LOOK: Duration = Duration::from_secs(10);

/// A peer that does not answer a ping for this long is gone; it is pinged as often.
const PING: Duration = Duration::from_secs(20);

/// Questions of one connection at one time. A sidecar asks once for each destination that its pod uses.
const STREAMS: u32 = 32;

/// Longest head; ours have under 1 KiB.
const HEAD: u32 = 8 << 10;

/// Where sidecars are answered.
#[derive(Debug)]
pub struct Answering {
    /// The open port.
    pub listener: TcpListener,
    /// This gateway's certificate.
    pub certificate: Certificate,
}

/// Answers sidecars.
pub(crate) struct Answerer {
    certificate: Certificate,
    tls: ArcSwapOption<ServerConfig>,
    desk: Arc<Desk>,
    places: Arc<Semaphore>,
    accounts: Arc<Shares<String>>,
    handshakes: Arc<Shares<IpAddr>>,
    metrics: AnswerMetrics,
}

impl Answerer {
    /// `roots` are those that this gateway trusts beside the public ones: sidecars trust the same.
    pub(crate) fn new(
        certificate: Certificate,
        resolver: CachingResolver,
        routes: watch::Receiver<Arc<RouteSnapshot>>,
        roots: &[CertificateDer<'_>],
    ) -> Arc<Self> {
        let metrics = AnswerMetrics::default();
        Arc::new(Self {
            certificate,
            tls: ArcSwapOption::default(),
            desk: Arc::new(Desk::new(resolver, routes, to_pem(roots), metrics.clone())),
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            accounts: Shares::new(PER_ACCOUNT, CONNECTIONS),
            handshakes: Shares::new(HANDSHAKES_PER_ADDRESS, HANDSHAKES),
            metrics,
        })
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Answers until `shutdown` begins. Connections are tasks of it: they finish what they are asked.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener, shutdown: Shutdown) {
        let looking = Arc::clone(&self);
        tokio::select! {
            () = looking.look() => {}
            () = self.accept(&listener, &shutdown) => {}
            () = shutdown.started() => {}
        }
    }

    /// Keeps up with the authorities.
    async fn look(&self) {
        let mut told = false;
        loop {
            match self.certificate.server_config().await {
                Ok(config) => {
                    told = false;
                    self.tls.store(Some(Arc::new(config)));
                }
                Err(error) if !std::mem::replace(&mut told, true) => {
                    tracing::warn!(%error, "sidecars are judged by the authorities known before");
                }
                Err(_) => {}
            }
            sleep(LOOK).await;
        }
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener, shutdown: &Shutdown) {
        loop {
            let (stream, peer) = accept(listener).await;
            let Some(tls) = self.tls.load_full() else {
                continue;
            };
            let place = Arc::clone(&self.places).try_acquire_owned();
            let handshake = self.handshakes.take(&peer.ip().to_canonical());
            let (Ok(place), Some(handshake)) = (place, handshake) else {
                self.metrics.turned_away.inc();
                tracing::debug!(%peer, "connection refused: too many");
                continue;
            };
            let (this, ending) = (Arc::clone(self), shutdown.clone());
            shutdown.spawn_until_forced(async move {
                let shaken = this.handshake(stream, TlsAcceptor::from(tls), peer).await;
                drop(handshake);
                if let Some((stream, caller, until)) = shaken {
                    this.serve(stream, caller, until, &ending).await;
                }
                drop(place);
            });
        }
    }

    /// The verified caller, and until when its certificate counts.
    async fn handshake(
        &self,
        stream: TcpStream,
        tls: TlsAcceptor,
        peer: SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, Caller, u64)> {
        let stream = match timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.metrics.unverified.inc();
                tracing::debug!(%peer, %error, "TLS handshake with a sidecar failed");
                return None;
            }
            Err(_) => {
                self.metrics.unverified.inc();
                tracing::debug!(%peer, "TLS handshake with a sidecar took too long");
                return None;
            }
        };
        let tls = stream.get_ref().1;
        let held = tls.peer_certificates().and_then(<[_]>::first).map(holder);
        match held {
            Some(Ok((identity, until))) if tls.alpn_protocol() == Some(b"h2") => {
                let address = peer.ip().to_canonical();
                Some((stream, Caller { identity, address }, until))
            }
            held => {
                self.metrics.unverified.inc();
                tracing::debug!(%peer, ?held, "a caller's certificate names no service account, or it does not speak HTTP/2");
                None
            }
        }
    }

    async fn serve(&self, stream: TlsStream<TcpStream>, caller: Caller, until: u64, ending: &Shutdown) {
        let Some(_share) = self.accounts.take(&caller.identity.to_string()) else {
            self.metrics.turned_away.inc();
            return tracing::warn!(caller = %caller.identity, "connection refused: the account has {PER_ACCOUNT} open");
        };
        let _open = self.metrics.open();
        let life = Duration::from_secs(until.saturating_sub(unix_now()).min(LONGEST));
        let (desk, caller) = (Arc::clone(&self.desk), Arc::new(caller));
        let service = service_fn(move |request| {
            let (desk, caller) = (Arc::clone(&desk), Arc::clone(&caller));
            async move { desk.answer(&caller, request).await }
        });
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD);
        let serving = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(serving);
        tokio::select! {
            result = serving.as_mut() => return ended(result),
            () = ending.started() => {}
            () = sleep(life) => {}
        }
        serving.as_mut().graceful_shutdown();
        // Questions have deadlines; whoever does not read the answer is cut off with the process, or a ping later.
        ended(serving.await);
    }
}

fn ended(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection of a sidecar ended");
    }
}

/// As a destination's trust store is written (RFC 7468); empty for none.
fn to_pem(certificates: &[CertificateDer<'_>]) -> String {
    use base64::Engine as _;
    let encode = |certificate| base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut text = String::new();
    for certificate in certificates {
        let body = encode(certificate);
        // Readers take lines of any length; 64 is what the standard says.
        let lines = body.as_bytes().chunks(64).map(String::from_utf8_lossy);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        lines.for_each(|line| text.extend([&*line, "\n"]));
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_survive_pem() {
        let key = rcgen::KeyPair::generate().unwrap();
        let one = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        let two = rcgen::CertificateParams::new(vec!["h".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let both = [one.der().clone(), two.der().clone()];
        let text = to_pem(&both);
        assert_eq!(
            landbridge_runtime::tls::certificates(text.as_bytes()).unwrap(),
            both
        );
        assert_eq!(to_pem(&[]), "");
    }
}
