//! From the configuration to a running connector.

use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::admin;
use landbridge_runtime::dial::{AddressPolicy, Dialer as Network};
use landbridge_runtime::listener::{self, BindError};
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::{Readiness, ReadyToken};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tunnel::dialer::ServerAddress;
use landbridge_tunnel::enrol::{EnrolError, IdentityFiles, enrol};
use landbridge_tunnel::{Dialer, DialerConfig, DialerError, TunnelMetrics};
use secrecy::SecretString;
use tokio::time::sleep;

use crate::audit::Audit;
use crate::backend::{Backends, TrustError};
use crate::channels::{self, ServiceChannels};
use crate::config::{Config, TOKEN_VARIABLE, Tunnel};
use crate::handler::{Handler, Shared};
use crate::metrics::ConnectorMetrics;

/// Longest wait between two attempts to enrol.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Largest token file in bytes; tokens have about 120.
const MAX_TOKEN: usize = 1024;

/// Why a connector stops by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The admin port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The resolver.
    #[error("name resolution cannot be set up: {0}")]
    Resolver(std::io::Error),
    /// Trust in internal hosts.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Neither an identity nor a token.
    #[error(
        "tunnel {tunnel}: no certificate in {} and no token to enrol with; ask for a token on the cluster side and name its file in enrolment_token_file, or set {TOKEN_VARIABLE}",
        folder.display()
    )]
    NotEnrolled {
        /// The tunnel.
        tunnel: String,
        /// The identity folder.
        folder: std::path::PathBuf,
    },
    /// The token file.
    #[error("tunnel {tunnel}: the token file {} cannot be read: {source}", path.display())]
    TokenFile {
        /// The tunnel.
        tunnel: String,
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Enrolment.
    #[error("tunnel {tunnel}: {source}")]
    Enrol {
        /// The tunnel.
        tunnel: String,
        /// Why.
        source: EnrolError,
    },
    /// The identity or the settings of the tunnel.
    #[error("tunnel {tunnel}: {source}")]
    Dialer {
        /// The tunnel.
        tunnel: String,
        /// Why.
        source: DialerError,
    },
    /// A task failed.
    #[error("a task of the connector failed; this is a defect, please report it with the log")]
    Task,
}

/// What the tunnels share.
struct Parts {
    network: Network,
    backends: Arc<Backends>,
    readiness: Readiness,
    tunnel_metrics: TunnelMetrics,
    metrics: ConnectorMetrics,
    audit: Audit,
    limits: crate::config::Limits,
    token: Option<SecretString>,
}

/// Runs until draining is asked and finished, or until no tunnel can work any more.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), Error> {
    let network = Network::new(AddressPolicy::Any).map_err(Error::Resolver)?;
    let (readiness, registry) = (Readiness::new(), Metrics::new());
    let (tunnel_metrics, metrics) = (TunnelMetrics::default(), ConnectorMetrics::default());
    registry.register(|registry| {
        tunnel_metrics.register(registry);
        metrics.register(registry);
    });
    let backends = Backends::new(
        network.clone(),
        config.tunnels.iter().map(|tunnel| tunnel.systems.as_ref()),
    )?;
    let parts = Arc::new(Parts {
        network,
        backends: Arc::new(backends),
        readiness: readiness.clone(),
        tunnel_metrics,
        metrics,
        audit: Audit { level: config.audit },
        limits: config.limits,
        token: config.enrolment_token,
    });
    let work = run_tunnels(config.tunnels, parts, shutdown.clone());
    let Some(address) = config.admin_listen else {
        return work.await;
    };
    let listener = listener::bind(address, "admin_listen").await?;
    let draining = readiness.clone();
    tokio::select! {
        result = work => result,
        () = admin::serve(listener, admin::router(readiness, registry), std::future::pending()) => Err(Error::Task),
        // Only to mark the drain; the work above ends by itself.
        () = async { shutdown.started().await; draining.drain(); std::future::pending().await } => Err(Error::Task),
    }
}

/// A tunnel that cannot work does not stop the others; its error is the result when all have ended.
async fn run_tunnels(tunnels: Vec<Tunnel>, parts: Arc<Parts>, shutdown: Shutdown) -> Result<(), Error> {
    let ready = parts.readiness.token("a tunnel connection");
    let (connected, first) = tokio::sync::watch::channel(false);
    let mut tasks = Vec::new();
    for tunnel in tunnels {
        let (parts, inner, connected) = (Arc::clone(&parts), shutdown.clone(), connected.clone());
        tasks.push(shutdown.spawn(async move {
            let result = run_tunnel(tunnel, parts, connected, inner).await;
            if let Err(error) = &result {
                tracing::error!(%error, "tunnel stopped");
            }
            result
        }));
    }
    drop(connected);
    let announce = announce(ready, first);
    let all = async {
        let mut result = Ok(());
        for task in tasks {
            result = result.and(task.await.unwrap_or(Err(Error::Task)));
        }
        result
    };
    let (result, ()) = tokio::join!(all, announce);
    result
}

/// Ready from the first connection of any tunnel on.
async fn announce(ready: ReadyToken, mut connected: tokio::sync::watch::Receiver<bool>) {
    if connected.wait_for(|connected| *connected).await.is_ok() {
        ready.ready();
    }
}

async fn run_tunnel(
    tunnel: Tunnel,
    parts: Arc<Parts>,
    connected: tokio::sync::watch::Sender<bool>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let identity = IdentityFiles::new(&tunnel.identity_dir);
    if !identity.exist() {
        tokio::select! {
            () = shutdown.started() => return Ok(()),
            result = enrol_tunnel(&tunnel, &identity, &parts) => result?,
        }
    }
    let config = DialerConfig {
        server_name: tunnel.server_name.clone(),
        location: tunnel.location.clone(),
        connections: tunnel.connections,
        max_streams: parts.limits.streams_per_connection,
        outbound: channels::connections(&tunnel),
        metrics: parts.tunnel_metrics.clone(),
        ..DialerConfig::new(tunnel.servers.clone(), &tunnel.identity_dir)
    };
    let dialer = Dialer::new(config, parts.network.clone()).map_err(|source| Error::Dialer {
        tunnel: tunnel.name.clone(),
        source,
    })?;
    let mut status = dialer.status();
    let channels = ServiceChannels {
        tunnel: tunnel.name.clone(),
        own: tunnel.channels,
        accept_offered: tunnel.accept_offered_channels,
        channels: dialer.channels(),
        limits: parts.limits,
        audit: parts.audit,
        metrics: parts.metrics.clone(),
    };
    let shared = Shared {
        tunnel: tunnel.name,
        systems: tunnel.systems,
        backends: Arc::clone(&parts.backends),
        limits: parts.limits,
        audit: parts.audit,
        metrics: parts.metrics.clone(),
        shutdown: shutdown.clone(),
    };
    let watch = async {
        if status.wait_for(|status| status.connected() > 0).await.is_ok() {
            connected.send_replace(true);
        }
    };
    let channels = channels.run(shutdown.clone());
    tokio::join!(
        dialer.run(Arc::new(Handler(Arc::new(shared))), shutdown),
        channels,
        watch
    );
    Ok(())
}

/// Enrols; keeps trying while the acceptor cannot be reached, since it may be started after the connector, and while
/// what fails may pass.
async fn enrol_tunnel(tunnel: &Tunnel, identity: &IdentityFiles, parts: &Parts) -> Result<(), Error> {
    let token = token(tunnel, parts).await?;
    let mut wait = Duration::from_secs(1);
    for turn in 0_usize.. {
        let Some(server) = tunnel.servers.get(turn % tunnel.servers.len().max(1)) else {
            break;
        };
        match enrol_at(tunnel, server, &token, identity, parts).await {
            Ok(()) => {
                tracing::info!(tunnel = tunnel.name, folder = %identity.dir().display(), "enrolled");
                return Ok(());
            }
            Err(error) if error.is_passing() => {
                tracing::warn!(tunnel = tunnel.name, %error, retry_in = ?wait, "not enrolled yet");
                sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            Err(source) => {
                return Err(Error::Enrol {
                    tunnel: tunnel.name.clone(),
                    source,
                });
            }
        }
    }
    Ok(())
}

async fn enrol_at(
    tunnel: &Tunnel,
    server: &ServerAddress,
    token: &SecretString,
    identity: &IdentityFiles,
    parts: &Parts,
) -> Result<(), EnrolError> {
    let name = tunnel.server_name.as_ref().unwrap_or(&server.host);
    enrol(&parts.network, server, name, token, identity).await
}

async fn token(tunnel: &Tunnel, parts: &Parts) -> Result<SecretString, Error> {
    let Some(path) = &tunnel.token_file else {
        return parts.token.clone().ok_or_else(|| Error::NotEnrolled {
            tunnel: tunnel.name.clone(),
            folder: tunnel.identity_dir.clone(),
        });
    };
    let error = |source| Error::TokenFile {
        tunnel: tunnel.name.clone(),
        path: path.clone(),
        source,
    };
    let text = tokio::fs::read_to_string(path).await.map_err(error)?;
    if text.len() > MAX_TOKEN {
        return Err(error(std::io::Error::other("it is too large to be a token")));
    }
    Ok(SecretString::from(text))
}
