//! Connections that were taken on their way to a destination: one listener for all of them, which the kernel's packet
//! filter leads them to. Which destination is meant is the address they were on their way to.
//!
//! Beside a workload (sidecar) or on its node. In the order a connection passes: `listen` has accepted it, `original` says
//! where it was going, `table` whose address that is; what is nobody's goes on to where it was going (`pass`), or is refused.

mod listen;
mod metrics;
mod original;
pub(crate) mod pass;
mod table;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use landbridge_destination::route::{Route, RouteKey, RouteSnapshot, RouteState};
use landbridge_runtime::listener::{self, BindError};
use landbridge_runtime::metrics::Metrics;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::config::Config;
use crate::exchange::Shared;
use crate::gateway::RouteStates;
use crate::metrics::ProxyMetrics;
use crate::place::Place;
use crate::serving::Served;

use metrics::InterceptMetrics;
pub use original::{OriginalDestination, Redirected, Transparent};
use pass::PROOF_DEADLINE;
use table::{Strangers, Table, Verdict};

/// How connections get here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Redirected inside the workload's own network namespace (sidecar).
    Redirected,
    /// Delivered to a transparent socket, from any pod of the node.
    Transparent {
        /// `SO_MARK` of the sockets, by which the rules know the packets that go back.
        mark: u32,
    },
}

/// Settings.
#[derive(Debug, Clone)]
pub struct Intercept {
    /// How connections get here.
    pub way: Way,
    /// Port on loopback; 0 takes any free one, see [`Listeners::port`]. Processes on one node each have their own: with a
    /// common one the kernel would give connections to a new process that does not know yet whose they are, and lose those
    /// that an old one has not accepted when it closes the port.
    pub port: u16,
    /// The setting that chose the port.
    pub setting: String,
    /// Addresses that nobody has: who gets the token from one of them knows that interception works.
    pub proof_addresses: Vec<SocketAddr>,
    /// The token, random in each process.
    pub proof_token: [u8; 32],
    /// Hears which addresses are to be intercepted: those that a connection would be served for.
    pub taken: watch::Sender<Arc<BTreeSet<SocketAddr>>>,
}

/// The open sockets. Made before anything else, so that a port in use is told at once.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<TcpListener>,
}

impl Listeners {
    /// Opens them, on the loopback address of each IP version that there is.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn open(intercept: &Intercept) -> Result<Self, BindError> {
        let sockets = listen::open(intercept.way, intercept.port, &intercept.setting)?;
        Ok(Self { sockets })
    }

    /// The port of all of them.
    pub fn port(&self) -> u16 {
        self.addresses().first().map_or(0, SocketAddr::port)
    }

    /// Where.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.sockets.iter().filter_map(|socket| socket.local_addr().ok());
        addresses.collect()
    }
}

/// Serves intercepted connections.
pub(crate) struct Interceptor {
    config: Config,
    intercept: Intercept,
    shared: Arc<Shared>,
    metrics: ProxyMetrics,
    states: watch::Sender<RouteStates>,
    served: HashMap<RouteKey, Served>,
    table: Arc<ArcSwap<Table<Served>>>,
}

impl Interceptor {
    pub(crate) fn new(
        config: Config,
        intercept: Intercept,
        shared: Arc<Shared>,
        metrics: ProxyMetrics,
        states: watch::Sender<RouteStates>,
    ) -> Self {
        Self {
            config,
            intercept,
            shared,
            metrics,
            states,
            served: HashMap::new(),
            table: Arc::default(),
        }
    }

    /// Follows `routes` until draining is asked, then takes nothing new and waits for what is in flight.
    pub(crate) async fn run(
        mut self,
        listeners: Listeners,
        mut routes: watch::Receiver<Arc<RouteSnapshot>>,
        metrics: &Metrics,
    ) {
        let shutdown = self.shared.shutdown.clone();
        self.accept(listeners, metrics);
        let mut declared = true;
        loop {
            let snapshot = Arc::clone(&routes.borrow_and_update());
            self.apply(&snapshot);
            tokio::select! {
                // When whoever declares routes is gone, what is there keeps being served.
                changed = routes.changed(), if declared => declared = changed.is_ok(),
                () = shutdown.started() => break,
            }
        }
        for (_, served) in self.served.drain() {
            served.stop.begin();
        }
        shutdown.drain(self.config.drain).await;
    }

    fn accept(&self, listeners: Listeners, metrics: &Metrics) {
        let figures = InterceptMetrics::default();
        metrics.register(|registry| figures.register(registry));
        let slots = Arc::new(Semaphore::new(self.config.max_connections));
        let own = listeners.addresses();
        for listener in listeners.sockets {
            let origin: Box<dyn OriginalDestination> = match self.intercept.way {
                Way::Redirected => Box::new(Redirected),
                Way::Transparent { .. } => Box::new(Transparent),
            };
            let accepting = Accepting {
                origin,
                strangers: match self.intercept.way {
                    // From the pod's own address: whatever rules there are for it hold.
                    Way::Redirected => Strangers::Pass,
                    // It would come from the node, past the rules that hold for the pod. The client tries again, and by then the
                    // packet filter knows.
                    Way::Transparent { .. } => Strangers::Refuse,
                },
                own: own.clone(),
                intercept: self.intercept.clone(),
                table: Arc::clone(&self.table),
                slots: Arc::clone(&slots),
                shared: Arc::clone(&self.shared),
                metrics: self.metrics.clone(),
                figures: figures.clone(),
            };
            let draining = self.shared.shutdown.clone();
            self.shared.shutdown.spawn(async move {
                tokio::select! {
                    () = Arc::new(accepting).run(listener) => {}
                    () = draining.started() => {}
                }
            });
        }
    }

    /// Serves what `snapshot` says; then says which addresses that are.
    fn apply(&mut self, snapshot: &RouteSnapshot) {
        let intercepted = |route: &&Arc<Route>| !route.frontends.is_empty();
        let metrics = &self.metrics;
        self.served.retain(|key, served| {
            let route = snapshot.get(key).filter(intercepted);
            let stays = route.is_some_and(|route| served.context.load().route.protocol == route.protocol);
            if !stays {
                served.stop.begin();
            }
            if route.is_none() {
                metrics.remove(key);
            }
            stays
        });
        let mut states = HashMap::with_capacity(snapshot.routes.len());
        let mut table = Table::default();
        for route in snapshot.routes.iter().filter(intercepted) {
            let served = self
                .served
                .entry(route.key.clone())
                .or_insert_with(|| Served::new(route, &self.shared, &self.metrics));
            served.change(route, &self.shared, &self.metrics);
            table.add(&route.frontends, served);
            if let Some(address) = route.frontends.first() {
                states.insert(route.key.clone(), RouteState::Listening(*address));
            }
        }
        let taken = Arc::new(table.addresses());
        self.table.store(Arc::new(table));
        // Only now: what the packet filter sends here has to be known here.
        self.intercept.taken.send_if_modified(|known| {
            let changed = **known != *taken;
            *known = taken;
            changed
        });
        self.states.send_replace(Arc::new(states));
    }
}

/// The accepting side of one socket.
struct Accepting {
    origin: Box<dyn OriginalDestination>,
    strangers: Strangers,
    /// The addresses of the sockets themselves.
    own: Vec<SocketAddr>,
    intercept: Intercept,
    table: Arc<ArcSwap<Table<Served>>>,
    slots: Arc<Semaphore>,
    shared: Arc<Shared>,
    metrics: ProxyMetrics,
    figures: InterceptMetrics,
}

impl Accepting {
    async fn run(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, peer) = listener::accept(&listener).await;
            let Some(place) = Place::take(&self.slots, &self.metrics) else {
                tracing::warn!(%peer, "connection refused: the limit of connections is reached (max-connections)");
                continue;
            };
            self.dispatch(stream, peer, place);
        }
    }

    fn dispatch(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        let original = match self.origin.of(&stream) {
            Ok(original) => original,
            Err(error) => {
                self.figures.refused.inc();
                tracing::warn!(%peer, %error, "it cannot be told where an intercepted connection was going; closed");
                return;
            }
        };
        let intercept = &self.intercept;
        let verdict = table::decide(
            original,
            &self.table.load(),
            &intercept.proof_addresses,
            &self.own,
            self.strangers,
        );
        let shutdown = &self.shared.shutdown;
        match verdict {
            Verdict::Serve(served) => {
                self.figures.served.inc();
                match self.strangers {
                    Strangers::Pass => shutdown.spawn(served.serve_or_pass(stream, peer, original, place)),
                    Strangers::Refuse => shutdown.spawn(served.serve(stream, peer, place)),
                };
            }
            Verdict::Prove => {
                shutdown.spawn(prove(stream, intercept.proof_token, place));
            }
            Verdict::Pass => {
                self.figures.passed.inc();
                let cut = shutdown.clone();
                shutdown.spawn(async move { pass::on(stream, original, place, &cut).await });
            }
            Verdict::Stale => {
                self.figures.stale.inc();
                tracing::debug!(%peer, %original, "it is no destination's address any more; reset, so that it is tried again");
                listen::reset(stream);
            }
            Verdict::Loop => {
                self.figures.refused.inc();
                tracing::warn!(%peer, %original, "refused: this port takes only connections that were on their way to a destination");
                listen::reset(stream);
            }
        }
    }
}

/// Shows that the connection came here.
async fn prove(mut stream: TcpStream, token: [u8; 32], _place: Place) {
    let telling = async {
        stream.write_all(&token).await?;
        stream.shutdown().await
    };
    let _ = timeout(PROOF_DEADLINE, telling).await;
}
