//! The gateway: one listener per route, kept in step with what is declared.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use landbridge_destination::route::{Route, RouteKey, RouteProtocol, RouteSnapshot, RouteState};
use landbridge_runtime::listener;
use landbridge_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::config::Config;
use crate::connection;
use crate::exchange::{RouteContext, Shared};
use crate::metrics::ProxyMetrics;
use crate::resolve::Query;
use crate::tcp;

/// What listens where, told to whoever declared the routes.
pub type RouteStates = Arc<HashMap<RouteKey, RouteState>>;

/// The running gateway.
pub struct Gateway {
    config: Config,
    shared: Arc<Shared>,
    metrics: ProxyMetrics,
    slots: Arc<Semaphore>,
    listeners: HashMap<RouteKey, Listening>,
    states: watch::Sender<RouteStates>,
}

/// One open port.
struct Listening {
    context: Arc<ArcSwap<RouteContext>>,
    address: SocketAddr,
    stop: Shutdown,
}

impl Gateway {
    /// A gateway without routes. `states` hears what listens where.
    pub fn new(
        config: Config,
        shared: Arc<Shared>,
        metrics: ProxyMetrics,
        states: watch::Sender<RouteStates>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(config.max_connections));
        Self {
            config,
            shared,
            metrics,
            slots,
            listeners: HashMap::new(),
            states,
        }
    }

    /// Follows `routes` until draining is asked, then stops listening and waits for what is in flight.
    pub async fn run(mut self, mut routes: watch::Receiver<Arc<RouteSnapshot>>) {
        let shutdown = self.shared.shutdown.clone();
        loop {
            let snapshot = Arc::clone(&routes.borrow_and_update());
            self.apply(&snapshot).await;
            tokio::select! {
                changed = routes.changed() => if changed.is_err() {
                    // Whoever declares routes is gone; what is there keeps being served.
                    shutdown.started().await;
                    break;
                },
                () = shutdown.started() => break,
            }
        }
        for (_, listening) in self.listeners.drain() {
            listening.stop.begin();
        }
        shutdown.drain(self.config.drain).await;
    }

    /// Opens, changes and closes listeners so that they are what `snapshot` says.
    async fn apply(&mut self, snapshot: &RouteSnapshot) {
        let gone: Vec<RouteKey> = self
            .listeners
            .keys()
            .filter(|key| snapshot.get(key).is_none())
            .cloned()
            .collect();
        for key in gone {
            self.close(&key);
            self.metrics.remove(&key);
        }
        let mut states = HashMap::with_capacity(snapshot.routes.len());
        for route in snapshot.routes.iter() {
            states.insert(route.key.clone(), self.apply_route(route).await);
        }
        self.states.send_replace(Arc::new(states));
    }

    async fn apply_route(&mut self, route: &Arc<Route>) -> RouteState {
        if let Some(listening) = self.listeners.get(&route.key) {
            let current = listening.context.load();
            let same_port = route.port == current.route.port && route.protocol == current.route.protocol;
            if same_port {
                if current.route != *route {
                    listening.context.store(self.context(route));
                }
                return RouteState::Listening(listening.address);
            }
            drop(current);
            self.close(&route.key);
        }
        match self.open(route).await {
            Ok(address) => RouteState::Listening(address),
            Err(error) => {
                tracing::error!(route = %route.key, %error, "cannot serve the route");
                RouteState::Failed(error.to_string())
            }
        }
    }

    async fn open(
        &mut self,
        route: &Arc<Route>,
    ) -> Result<SocketAddr, Box<dyn std::error::Error + Send + Sync>> {
        let address = SocketAddr::new(self.config.bind, route.port);
        let listener = listener::bind(address, &self.config.bind_setting).await?;
        let address = listener.local_addr()?;
        let listening = Listening {
            context: Arc::new(ArcSwap::new(self.context(route))),
            address,
            stop: Shutdown::new(),
        };
        let accepting = Accepting {
            listener,
            context: Arc::clone(&listening.context),
            slots: Arc::clone(&self.slots),
            metrics: self.metrics.clone(),
        };
        let stop = listening.stop.clone();
        let draining = self.shared.shutdown.clone();
        self.shared.shutdown.spawn(async move {
            tokio::select! {
                () = accepting.run() => {}
                () = stop.started() => {}
                () = draining.started() => {}
            }
        });
        tracing::info!(route = %route.key, %address, protocol = ?route.protocol, "serving");
        self.listeners.insert(route.key.clone(), listening);
        Ok(address)
    }

    /// Stops listening; connections of the route finish by themselves.
    fn close(&mut self, key: &RouteKey) {
        if let Some(listening) = self.listeners.remove(key) {
            tracing::info!(route = %key, address = %listening.address, "no longer serving");
            listening.stop.begin();
        }
    }

    fn context(&self, route: &Arc<Route>) -> Arc<RouteContext> {
        Arc::new(RouteContext {
            route: Arc::clone(route),
            metrics: self.metrics.route(&route.key),
            query: Arc::new(Query::new(route.selector.clone())),
            shared: Arc::clone(&self.shared),
        })
    }
}

/// The accepting side of one listener.
struct Accepting {
    listener: TcpListener,
    context: Arc<ArcSwap<RouteContext>>,
    slots: Arc<Semaphore>,
    metrics: ProxyMetrics,
}

impl Accepting {
    async fn run(self) {
        loop {
            let (stream, peer) = listener::accept(&self.listener).await;
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
                // Closing at once costs less than an answer, and that is what is short now.
                self.metrics.refused.inc();
                tracing::warn!(%peer, "connection refused: the limit of connections is reached (max-connections)");
                continue;
            };
            let context = self.context.load_full();
            let open = self.metrics.connections.clone();
            let shutdown = context.shared.shutdown.clone();
            open.inc();
            shutdown.spawn(async move {
                match context.route.protocol {
                    RouteProtocol::Http => connection::serve(stream, context).await,
                    RouteProtocol::Tcp => tcp::serve(stream, context).await,
                }
                open.dec();
                drop(slot);
            });
        }
    }
}
