//! The data plane: takes what applications send in plain HTTP or TCP, finds out which destination it is for, adds the
//! credential and carries it to the Internet or through the tunnel.
//!
//! Modules are in the order a request passes them: [`gateway`] listens, [`connection`] (or [`tcp`]) serves one
//! connection behind its [`head_guard`], [`exchange`] takes one request through [`identify`], [`resolve`] and
//! [`carry`], over connections made by [`connect`] and kept in the [`pool`]; [`body`] carries the answer back and
//! closes the [`record`]. The other way, from the company into the cluster, is [`channels`]. Where there is an operator,
//! [`control`] hears from it what to serve, and [`workloads`] who may call; sidecars and gateways get a [`certificate`]
//! from it, by which gateways [`answer`] sidecars.

pub mod answer;
pub mod body;
pub mod carry;
pub mod certificate;
pub mod channels;
pub mod config;
pub mod connect;
pub mod connection;
pub mod control;
pub mod exchange;
pub mod failure;
pub mod gateway;
pub mod head_guard;
pub mod headers;
pub mod identify;
pub mod intercept;
pub mod metrics;
pub mod outgoing;
pub mod place;
pub mod pool;
pub mod record;
pub mod renew;
pub mod resolve;
pub mod resolved;
mod serving;
pub mod stores;
pub mod target;
pub mod tcp;
pub mod upgrade;
pub mod upstream;
pub mod workloads;

use std::sync::Arc;

use landbridge_destination::route::RouteSnapshot;
use landbridge_runtime::dial::Dialer;
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_runtime::tls;
use landbridge_tunnel::Registry;
use tokio::sync::{mpsc, watch};

use answer::Answerer;
pub use answer::Answering;
pub use config::Config;
use connect::Connector;
use exchange::Shared;
pub use gateway::RouteStates;
use intercept::{Intercept, Interceptor};
use metrics::ProxyMetrics;
use outgoing::Pseudonym;
use pool::Pool;
use resolve::caching::CachingResolver;
use resolve::change::Change;
pub use resolve::gateway::GatewaySettings;
use stores::Stores;
use workloads::Workloads;

/// The gateway could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A root certificate is unusable.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The resolver of names cannot be built.
    #[error("cannot start name resolution: {0}")]
    Resolver(#[from] std::io::Error),
}

/// Who finds destinations.
pub enum Destinations {
    /// Stores, whose credentials this process holds.
    Stores(Stores),
    /// Gateways, which ask the stores: for sidecars.
    Gateway(GatewaySettings),
}

/// What the gateway works with.
pub struct Sources {
    /// Find destinations.
    pub destinations: Destinations,
    /// Where sidecars are answered; `None`: nowhere.
    pub answering: Option<Answering>,
    /// What changes in them, as far as somebody tells. Otherwise what is kept is asked for again after some seconds.
    pub changes: mpsc::Receiver<Change>,
    /// Connected company networks.
    pub tunnels: Registry,
    /// What to serve.
    pub routes: watch::Receiver<Arc<RouteSnapshot>>,
    /// Hears what is served where.
    pub states: watch::Sender<RouteStates>,
    /// Who calls from which address; `None` lets everyone who reaches the proxy use what it serves.
    pub workloads: Option<Arc<Workloads>>,
    /// Take connections on their way to destinations, instead of listening on a port for each.
    pub intercept: Option<(Intercept, intercept::Listeners)>,
}

/// Runs a gateway, or an interceptor, until `shutdown` asks it to drain and everything in flight has ended (or the deadline has passed).
///
/// # Errors
/// See [`Error`]; once running it does not fail.
pub async fn run(
    config: Config,
    sources: Sources,
    metrics: &Metrics,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let roots = tls::roots(&config.additional_roots)?;
    let dialer = Dialer::new(config.targets)?;
    let connector = Connector::new(dialer, sources.tunnels, roots)?;
    let pool = Arc::new(Pool::default());
    let sweeping = tokio::spawn(Arc::clone(&pool).sweep());
    let proxy_metrics = ProxyMetrics::default();
    metrics.register(|registry| proxy_metrics.register(registry));
    metrics.register_published(|registry| proxy_metrics.published.register(registry));
    let resolver = match sources.destinations {
        Destinations::Stores(stores) => {
            CachingResolver::of_stores(stores, pool, connector.clone(), config.cache)
        }
        Destinations::Gateway(gateway) => {
            CachingResolver::of_gateway(gateway, pool, connector.clone(), config.cache)?
        }
    };
    metrics.register(|registry| resolver.register(registry));
    if let Some(answering) = sources.answering {
        let (own, routes) = (resolver.clone(), sources.routes.clone());
        let answerer = Answerer::new(answering.certificate, own, routes, &config.additional_roots);
        metrics.register(|registry| answerer.register(registry));
        shutdown.spawn_until_forced(answerer.run(answering.listener, shutdown.clone()));
    }
    let following = tokio::spawn(follow(sources.changes, resolver.clone()));
    let shared = Arc::new(Shared {
        resolver: Arc::new(resolver),
        connector,
        pseudonym: Pseudonym::new(),
        shutdown,
        workloads: sources.workloads,
    });
    let (routes, states) = (sources.routes, sources.states);
    match sources.intercept {
        None => {
            gateway::Gateway::new(config, shared, proxy_metrics, states)
                .run(routes)
                .await;
        }
        Some((intercept, listeners)) => {
            Interceptor::new(config, intercept, shared, proxy_metrics, states)
                .run(listeners, routes, metrics)
                .await;
        }
    }
    sweeping.abort();
    following.abort();
    Ok(())
}

/// Tells the resolver what changes.
async fn follow(mut changes: mpsc::Receiver<Change>, resolver: CachingResolver) {
    while let Some(change) = changes.recv().await {
        resolver.changed(&change);
    }
}
