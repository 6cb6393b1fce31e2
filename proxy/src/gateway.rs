//! The gateway: one listener per route, kept in step with what is declared.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use landbridge_destination::route::{Route, RouteKey, RouteSnapshot, RouteState};
use landbridge_runtime::listener;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::config::Config;
use crate::exchange::Shared;
use crate::metrics::ProxyMetrics;
use crate::place::Place;
use crate::serving::Served;

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
    served: Served,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Listening {
    /// Whether this listener can serve `route` as it is.
    fn fits(&self, route: &Route) -> bool {
        let current = self.served.context.load();
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
            listening.served.stop.begin();
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
            listening.served.change(route, &self.shared, &self.metrics);
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
        let served = Served::new(route, &self.shared, &self.metrics);
        let accepting = Accepting {
            listener,
            served: served.clone(),
            slots: Arc::clone(&self.slots),
            metrics: self.metrics.clone(),
        };
        let (ending, draining) = (served.stop.clone(), self.shared.shutdown.clone());
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
                served,
                address,
                accepting,
            },
        );
        Ok(address)
    }

    /// Stops listening, and returns when the port is free. Requests on the route's connections finish.
    async fn close(&mut self, key: &RouteKey) {
        if let Some(listening) = self.listeners.remove(key) {
            tracing::info!(route = %key, address = %listening.address, "no longer serving");
            listening.served.stop.begin();
            let _ = listening.accepting.await;
        }
    }
}

/// The accepting side of one listener.
struct Accepting {
    listener: TcpListener,
    served: Served,
    slots: Arc<Semaphore>,
    metrics: ProxyMetrics,
}

impl Accepting {
    async fn run(self) {
        let shutdown = self.served.context.load().shared.shutdown.clone();
        loop {
            let (stream, peer) = listener::accept(&self.listener).await;
            let Some(place) = Place::take(&self.slots, &self.metrics) else {
                // Closing at once costs less than an answer, and that is what is short now.
                tracing::warn!(%peer, "connection refused: the limit of connections is reached (max-connections)");
                continue;
            };
            shutdown.spawn(self.served.clone().serve(stream, peer, place));
        }
    }
}
