//! The cluster side: takes connections of connectors, verifies them, and puts them into the registry.

mod outbound;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::listener::{self, BindError};
use landbridge_runtime::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::outbound::Places;
use crate::channel::handler::ChannelService;
use crate::enrol::server::Enrolment;
use crate::enrol::{Ca, CaError};
use crate::hello::{self, AcceptorHello, ConnectorHello, HelloRefusal, OUTBOUND};
use crate::identity::PeerIdentity;
use crate::metrics::{ConnectionResult, TunnelMetrics};
use crate::mux::metered::Metered;
use crate::mux::{ConnectionStats, Mux, h2};
use crate::registry::{Registry, RegistryLimits, Session};
use crate::tls::{
    ALPN_ENROL, ALPN_TUNNEL, CurrentCertificate, HANDSHAKE_DEADLINE, UNVERIFIED_BYTES, server_config,
};

/// How often a draining session is looked at, and for how long it must be idle before it is closed.
const DRAIN_STEP: Duration = Duration::from_millis(250);

type Tls = TlsStream<Metered<TcpStream>>;

/// Bounds of an acceptor.
#[derive(Clone, Copy, Debug)]
pub struct AcceptorLimits {
    /// Connections that are not verified yet; each may hold up to 64 KiB for 20 s.
    pub unverified: usize,
    /// Bounds of the registry.
    pub sessions: RegistryLimits,
}

impl Default for AcceptorLimits {
    fn default() -> Self {
        Self {
            unverified: 256,
            sessions: RegistryLimits::default(),
        }
    }
}

/// How an acceptor is set up.
#[derive(Clone, Debug)]
pub struct AcceptorConfig {
    /// Where to listen; the usual port is 8042.
    pub listen: SocketAddr,
    /// The flag or setting that chose `listen`, for error messages.
    pub listen_setting: String,
    /// Where the authority and the tokens are kept. Replicas share it.
    pub state_dir: PathBuf,
    /// Names and addresses under which connectors reach this acceptor; they go into its certificate.
    pub server_names: Vec<String>,
    /// The name of this replica.
    pub replica: String,
    /// All replicas, this one included; may be empty when there is only one.
    pub replicas: Vec<String>,
    /// Bounds.
    pub limits: AcceptorLimits,
    /// Where to count.
    pub metrics: TunnelMetrics,
    /// Serves what connectors open; without it only this side opens streams.
    pub channels: Option<ChannelService>,
}

impl AcceptorConfig {
    /// A single acceptor with the usual bounds.
    pub fn new(listen: SocketAddr, state_dir: impl Into<PathBuf>, server_names: Vec<String>) -> Self {
        Self {
            listen,
            listen_setting: "the tunnel's listen address".to_owned(),
            state_dir: state_dir.into(),
            server_names,
            replica: "acceptor".to_owned(),
            replicas: Vec::new(),
            limits: AcceptorLimits::default(),
            metrics: TunnelMetrics::default(),
            channels: None,
        }
    }
}

/// Why an acceptor cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AcceptorError {
    /// The port cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The authority cannot be used.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// Without a name no connector can verify the acceptor.
    #[error(
        "the tunnel needs at least one server name: the host name or address by which connectors reach it"
    )]
    NoServerName,
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The address of the listener cannot be read, or a task failed.
    #[error("the acceptor cannot start: {0}")]
    Io(#[from] io::Error),
}

/// An acceptor that listens but does not serve yet.
#[derive(Debug)]
pub struct Acceptor {
    listener: TcpListener,
    local_addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    config: AcceptorConfig,
    ca: Arc<Ca>,
    certificate: Arc<CurrentCertificate>,
    renew_after: Duration,
    tls: TlsAcceptor,
    registry: Registry,
    outbound: Places,
    enrolment: Enrolment,
    unverified: Arc<Semaphore>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Opens the authority (making it at the first start) and the port.
    pub async fn bind(config: AcceptorConfig) -> Result<Self, AcceptorError> {
        if config.server_names.is_empty() {
            return Err(AcceptorError::NoServerName);
        }
        let (state_dir, names) = (config.state_dir.clone(), config.server_names.clone());
        let prepare = move || {
            let ca = Ca::load_or_create(&state_dir)?;
            let (certificate, renew_after) = ca.issue_server(&names)?;
            Ok::<_, CaError>((
                Arc::new(ca),
                Arc::new(CurrentCertificate::new(certificate)),
                renew_after,
            ))
        };
        let prepared = tokio::task::spawn_blocking(prepare)
            .await
            .map_err(io::Error::other)?;
        let (ca, certificate, renew_after) = prepared?;
        let listener = listener::bind(config.listen, &config.listen_setting).await?;
        let local_addr = listener.local_addr()?;
        let shared = Shared {
            tls: TlsAcceptor::from(Arc::new(server_config(
                ca.certificate(),
                Arc::clone(&certificate),
            )?)),
            registry: Registry::new(config.limits.sessions, config.metrics.clone()),
            outbound: Places::new(config.limits.sessions),
            enrolment: Enrolment::new(Arc::clone(&ca), config.state_dir.clone(), config.metrics.clone()),
            unverified: Arc::new(Semaphore::new(config.limits.unverified)),
            config,
            ca,
            certificate,
            renew_after,
        };
        Ok(Self {
            listener,
            local_addr,
            shared: Arc::new(shared),
        })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The connected connectors.
    pub fn registry(&self) -> Registry {
        self.shared.registry.clone()
    }

    /// Takes connections until draining is asked; then asks the connectors to go elsewhere, lets open streams finish
    /// and returns when the last session has ended.
    pub async fn serve(self, shutdown: Shutdown) {
        let Self { listener, shared, .. } = self;
        let mut renew_at = Instant::now() + shared.renew_after;
        loop {
            tokio::select! {
                () = shutdown.started() => break,
                () = tokio::time::sleep_until(renew_at) => renew_at = Instant::now() + shared.renew().await,
                (socket, peer) = listener::accept(&listener) => shared.take(socket, peer, &shutdown),
            }
        }
        drop(listener);
        let mut changed = shared.registry.changed();
        while !shared.registry.is_empty() {
            tokio::select! {
                () = shutdown.forced() => break,
                result = changed.changed() => if result.is_err() { break },
            }
        }
    }
}

impl Shared {
    /// Exchanges the server certificate; returns when to do it again.
    async fn renew(self: &Arc<Self>) -> Duration {
        let shared = Arc::clone(self);
        let issue = move || shared.ca.issue_server(&shared.config.server_names);
        match tokio::task::spawn_blocking(issue).await {
            Ok(Ok((certificate, renew_after))) => {
                self.certificate.replace(certificate);
                tracing::info!("the acceptor's certificate was renewed");
                renew_after
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the acceptor's certificate could not be renewed; trying again in an hour");
                Duration::from_secs(3600)
            }
            Err(_) => Duration::from_secs(3600),
        }
    }

    fn take(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr, shutdown: &Shutdown) {
        let Ok(permit) = Arc::clone(&self.unverified).try_acquire_owned() else {
            self.config.metrics.connection(ConnectionResult::Overload);
            tracing::warn!(%peer, limit = self.config.limits.unverified, "connection dropped: too many unverified ones");
            return;
        };
        listener::tune_link(&socket);
        let (shared, inner) = (Arc::clone(self), shutdown.clone());
        shutdown.spawn(async move { shared.verify(socket, peer, permit, inner).await });
    }

    /// TLS, then by ALPN.
    async fn verify(
        self: Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        shutdown: Shutdown,
    ) {
        let stats = Arc::new(ConnectionStats::default());
        stats.limit_reading(UNVERIFIED_BYTES);
        let metered = Metered::new(socket, Arc::clone(&stats));
        let mut tls = match timeout(HANDSHAKE_DEADLINE, self.tls.accept(metered)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return self.reject(peer, ConnectionResult::Handshake, &error.to_string()),
            Err(_) => return self.reject(peer, ConnectionResult::Handshake, "no TLS handshake within 10 s"),
        };
        let (_, session) = tls.get_ref();
        match session.alpn_protocol() {
            Some(ALPN_ENROL) => self.enrolment.serve(&mut tls, peer).await,
            Some(ALPN_TUNNEL) => {
                let Some(leaf) = session.peer_certificates().and_then(<[_]>::first) else {
                    return self.reject(peer, ConnectionResult::Unauthenticated, "no client certificate");
                };
                match PeerIdentity::of_certificate(leaf) {
                    Ok(identity) => {
                        stats.limit_reading(u64::MAX);
                        self.welcome(tls, peer, identity, stats, permit, shutdown).await;
                    }
                    Err(error) => self.reject(peer, ConnectionResult::Unauthenticated, &error.to_string()),
                }
            }
            _ => self.reject(
                peer,
                ConnectionResult::Handshake,
                "no ALPN that this acceptor serves",
            ),
        }
    }

    fn reject(&self, peer: SocketAddr, result: ConnectionResult, reason: &str) {
        self.config.metrics.connection(result);
        tracing::warn!(%peer, reason, "tunnel connection rejected");
    }

    /// The hello, then HTTP/2, then the registry.
    async fn welcome(
        self: Arc<Self>,
        mut tls: Tls,
        peer: SocketAddr,
        identity: PeerIdentity,
        stats: Arc<ConnectionStats>,
        permit: OwnedSemaphorePermit,
        shutdown: Shutdown,
    ) {
        let hello = match hello::receive(&mut tls).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(refusal)) => return self.refuse(&mut tls, peer, &identity, refusal).await,
            Err(error) => return self.reject(peer, ConnectionResult::Hello, &error.to_string()),
        };
        if let Err(refusal) = self.check(&hello, &identity, &shutdown) {
            return self.refuse(&mut tls, peer, &identity, refusal).await;
        }
        let outbound = match self.outbound(&hello, &identity, peer, &shutdown) {
            Ok(outbound) => outbound,
            Err(refusal) => return self.refuse(&mut tls, peer, &identity, refusal).await,
        };
        let accepted = AcceptorHello {
            version: hello::VERSION,
            accepted: true,
            reason: None,
            message: None,
            replica: self.config.replica.clone(),
            replicas: self
                .config
                .replicas
                .iter()
                .take(hello::MAX_REPLICAS)
                .cloned()
                .collect(),
        };
        if let Err(error) = hello::answer(&mut tls, &accepted).await {
            return self.reject(peer, ConnectionResult::Hello, &error.to_string());
        }
        if let Some(outbound) = outbound {
            stats.set_limit(outbound::CHANNEL_STREAMS);
            return match h2::accepting(tls, stats).await {
                Ok(link) => {
                    drop(permit);
                    self.config.metrics.connection(ConnectionResult::Established);
                    outbound.run(link).await;
                }
                Err(error) => self.reject(peer, ConnectionResult::Hello, &error.to_string()),
            };
        }
        if hello.max_streams > 0 {
            stats.set_limit(hello.max_streams);
        }
        let (mux, driver) = match h2::opener(tls, stats).await {
            Ok(started) => started,
            Err(error) => return self.reject(peer, ConnectionResult::Hello, &error.to_string()),
        };
        let session = Session {
            id: self.registry.next_id(),
            identity,
            location: hello.location,
            slot: hello.slot,
            instance: hello.instance,
            agent: hello.agent,
            peer,
            since: Instant::now(),
            mux: Arc::new(mux),
        };
        drop(permit);
        self.run(Arc::new(session), driver, shutdown).await;
    }

    fn check(
        &self,
        hello: &ConnectorHello,
        identity: &PeerIdentity,
        shutdown: &Shutdown,
    ) -> Result<(), HelloRefusal> {
        if shutdown.is_draining() {
            return Err(HelloRefusal::Draining);
        }
        if let Some(allowed) = identity
            .location
            .as_ref()
            .filter(|allowed| **allowed != hello.location)
        {
            return Err(HelloRefusal::Location {
                allowed: allowed.clone(),
            });
        }
        if self.config.replicas.len() > 1 && hello.avoid.contains(&self.config.replica) {
            return Err(HelloRefusal::Avoided);
        }
        if hello.kind == OUTBOUND {
            return Ok(());
        }
        self.registry
            .room(identity, &hello.location, hello.slot)
            .map_err(|full| HelloRefusal::TooMany(full.to_string()))
    }

    async fn refuse(&self, tls: &mut Tls, peer: SocketAddr, identity: &PeerIdentity, refusal: HelloRefusal) {
        self.config.metrics.connection(ConnectionResult::Hello);
        tracing::warn!(%peer, %identity, reason = refusal.reason(), message = %refusal, "tunnel hello refused");
        if let Err(error) = hello::answer(tls, &refusal.answer()).await {
            tracing::debug!(%peer, %error, "the refusal could not be sent");
        }
        let _ = timeout(hello::DEADLINE, tokio::io::AsyncWriteExt::shutdown(tls)).await;
    }

    /// Lives as long as the session.
    async fn run(&self, session: Arc<Session>, driver: impl Future<Output = h2::Ended>, shutdown: Shutdown) {
        let identity = session.identity.clone();
        if let Err(full) = self.registry.add(Arc::clone(&session)) {
            return self.reject(session.peer, ConnectionResult::Hello, &full.to_string());
        }
        self.config.metrics.connection(ConnectionResult::Established);
        let (peer, location, slot) = (session.peer, session.location.as_str(), session.slot);
        tracing::info!(%peer, %identity, location, slot, agent = session.agent, "connector connected");
        let (lost, cause) = tokio::select! {
            ended = driver => (ended.lost, ended.cause),
            () = drain(session.mux.as_ref(), &shutdown) => (false, "drained".to_owned()),
            () = shutdown.forced() => (false, "forced to stop".to_owned()),
        };
        self.registry.remove(&session);
        if lost {
            self.config.metrics.sessions_lost.inc();
        }
        tracing::info!(%peer, %identity, location, slot, cause, "connector disconnected");
    }
}

/// After draining was asked: tells the connector, then waits until nothing is open any more.
async fn drain(mux: &dyn Mux, shutdown: &Shutdown) {
    shutdown.started().await;
    mux.drain().await;
    let mut idle = 0;
    while idle < 2 {
        sleep(DRAIN_STEP).await;
        idle = if mux.stats().active() == 0 { idle + 1 } else { 0 };
    }
}
