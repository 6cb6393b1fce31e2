//! The gateway: one listener per route, kept in step with what is declared.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use landbridge_destination::route::{Route, RouteKey, RouteProtocol, RouteSnapshot, RouteState};
use landbridge_runtime::listener;
use landbridge_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::config::Config;
use crate::connection;
use crate::exchange::{RouteContext, Shared};
use crate::metrics::ProxyMetrics;
use crate::place::Place;
use crate::resolve::Query;
use crate::tcp;
use crate::workloads::Access;

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

/// How often a route that could not be served is tried again: whatever held its port may be gone by then.
const RETRY: Duration = Duration::from_secs(5);

/// One open port.
struct Listening {
    context: Arc<ArcSwap<RouteContext>>,
    address: SocketAddr,
    /// Ends the listener, and lets the connections that came by it finish.
    stop: Shutdown,
    accepting: JoinHandle<()>,
}

impl Listening {
    /// Whether this listener can serve `route` as it is.
    fn fits(&self, route: &Route) -> bool {
        let current = self.context.load();
        route.port == current.route.port && route.protocol == current.route.protocol
    }
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
        let mut declared = true;
        loop {
            let snapshot = Arc::clone(&routes.borrow_and_update());
            let complete = self.apply(&snapshot).await;
            tokio::select! {
                // When whoever declares routes is gone, what is there keeps being served.
                changed = routes.changed(), if declared => declared = changed.is_ok(),
                () = sleep(RETRY), if !complete => {}
                () = shutdown.started() => break,
            }
        }
        for (_, listening) in self.listeners.drain() {
            listening.stop.begin();
        }
        shutdown.drain(self.config.drain).await;
    }

    /// Opens, changes and closes listeners so that they are what `snapshot` says. First everything is closed that
    /// must be, then opened: a port may go from one route to another. Returns whether every route is served.
    async fn apply(&mut self, snapshot: &RouteSnapshot) -> bool {
        let keys: Vec<RouteKey> = self.listeners.keys().cloned().collect();
        for key in keys {
            let route = snapshot.get(&key);
            if !route.is_some_and(|route| self.listeners[&key].fits(route)) {
                self.close(&key).await;
            }
            if route.is_none() {
                self.metrics.remove(&key);
            }
        }
        let mut states = HashMap::with_capacity(snapshot.routes.len());
        for route in snapshot.routes.iter() {
            states.insert(route.key.clone(), self.apply_route(route).await);
        }
        let complete = states
            .values()
            .all(|state| matches!(state, RouteState::Listening(_)));
        let states = Arc::new(states);
        self.states.send_if_modified(|known| {
            let changed = **known != *states;
            *known = states;
            changed
        });
        complete
    }

    async fn apply_route(&mut self, route: &Arc<Route>) -> RouteState {
        if let Some(listening) = self.listeners.get(&route.key) {
            if listening.context.load().route != *route {
                let same_scope = listening.context.load().route.scope == route.scope;
                listening.context.store(self.context(route));
                // Connections that last are told that their right may have ended.
                if let Some(workloads) = self.shared.workloads.as_ref().filter(|_| !same_scope) {
                    workloads.touch();
                }
            }
            return RouteState::Listening(listening.address);
        }
        match self.open(route).await {
            Ok(address) => RouteState::Listening(address),
            Err(error) => {
                tracing::error!(route = %route.key, %error, "cannot serve the route; trying again");
                RouteState::Failed(error.to_string())
            }
        }
    }

    async fn open(&mut self, route: &Arc<Route>) -> Result<SocketAddr, Box<dyn Error + Send + Sync>> {
        let address = SocketAddr::new(self.config.bind, route.port);
        let listener = listener::bind(address, &self.config.bind_setting).await?;
        let address = listener.local_addr()?;
        let context = Arc::new(ArcSwap::new(self.context(route)));
        let stop = Shutdown::new();
        let accepting = Accepting {
            listener,
            context: Arc::clone(&context),
            stop: stop.clone(),
            slots: Arc::clone(&self.slots),
            metrics: self.metrics.clone(),
        };
        let (ending, draining) = (stop.clone(), self.shared.shutdown.clone());
        let accepting = self.shared.shutdown.spawn(async move {
            tokio::select! {
                () = accepting.run() => {}
                () = ending.started() => {}
                () = draining.started() => {}
            }
        });
        tracing::info!(route = %route.key, %address, protocol = ?route.protocol, "serving");
        self.listeners.insert(
            route.key.clone(),
            Listening {
                context,
                address,
                stop,
                accepting,
            },
        );
        Ok(address)
    }

    /// Stops listening, and returns when the port is free. Requests on the route's connections finish.
    async fn close(&mut self, key: &RouteKey) {
        if let Some(listening) = self.listeners.remove(key) {
            tracing::info!(route = %key, address = %listening.address, "no longer serving");
            listening.stop.begin();
            let _ = listening.accepting.await;
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
    stop: Shutdown,
    slots: Arc<Semaphore>,
    metrics: ProxyMetrics,
}

impl Accepting {
    async fn run(self) {
        loop {
            let (stream, peer) = listener::accept(&self.listener).await;
            let Some(place) = Place::take(&self.slots, &self.metrics) else {
                // Closing at once costs less than an answer, and that is what is short now.
                tracing::warn!(%peer, "connection refused: the limit of connections is reached (max-connections)");
                continue;
            };
            let route = self.context.load_full();
            let (context, stop) = (Arc::clone(&self.context), self.stop.clone());
            let access = Access::new(peer.ip(), route.shared.workloads.clone());
            let shutdown = route.shared.shutdown.clone();
            shutdown.spawn(async move {
                access.introduced(&route.route).await;
                match route.route.protocol {
                    RouteProtocol::Http => connection::serve(stream, context, access, stop, place).await,
                    RouteProtocol::Tcp => tcp::serve(stream, context, access, place).await,
                }
            });
        }
    }
}
