//! A gateway with its control client, and applications that call it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use landbridge_destination::route::{Route, RouteKey, RouteProtocol, RouteSnapshot, RouteState, Scope};
use landbridge_destination::selector::DestinationSelector;
use landbridge_destination::serve::{Message, Whole, Workload};
use landbridge_proxy::control::{self, Settings};
use landbridge_proxy::stores::Stores;
use landbridge_proxy::workloads::Workloads;
use landbridge_proxy::{Answering, Config, Destinations, GatewaySettings, RouteStates, Sources, certificate};
use landbridge_runtime::dial::AddressPolicy;
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::Readiness;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tunnel::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::eventually;
use crate::operator::Mounts;
use crate::store::Store;

/// What a proxy is, and where it has its destinations from.
pub(crate) enum Role<'a> {
    /// From a store; answers sidecars on the listener, if there is one.
    Gateway(&'a Store, Option<TcpListener>),
    /// From a gateway. Serves on ports of its own here, as interception needs rights.
    Sidecar(SocketAddr),
}

/// A running proxy.
pub(crate) struct Proxy {
    pub(crate) routes: watch::Receiver<Arc<RouteSnapshot>>,
    pub(crate) workloads: Arc<Workloads>,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
    states: watch::Receiver<RouteStates>,
    shutdown: Shutdown,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // As after a kill: nothing is told, nothing is saved any more.
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Proxy {
    /// `operator` need not be there.
    pub(crate) fn start(operator: SocketAddr, mounts: &Mounts, store: &Store) -> Self {
        Self::start_as(Role::Gateway(store, None), operator, mounts)
    }

    pub(crate) fn start_as(role: Role<'_>, operator: SocketAddr, mounts: &Mounts) -> Self {
        let settings = Settings {
            host: operator.ip().to_string(),
            port: operator.port(),
            authority: control::Authority::File(mounts.ca()),
            learned: Default::default(),
            token_file: mounts.token_file(),
            state_file: Some(mounts.state()),
        };
        let (metrics, readiness, shutdown) = (Metrics::new(), Readiness::new(), Shutdown::new());
        let (routes_in, routes) = watch::channel(Arc::new(RouteSnapshot::default()));
        let (states_in, states) = watch::channel(RouteStates::default());
        let (changes_in, changes) = mpsc::channel(64);
        let workloads = Arc::new(Workloads::new());
        let certificate = || {
            let (certificate, renewal) = certificate::certificate(&settings, &metrics).unwrap();
            let ready = readiness.token("certificate");
            let renewing = tokio::spawn(renewal.run(ready, shutdown.child()));
            (certificate, renewing)
        };
        let (stores, destinations, answering, renewing) = match role {
            Role::Gateway(store, listener) => {
                let stores = Stores::single(store.client());
                let (answering, renewing) = listener
                    .map(|listener| {
                        let (certificate, renewing) = certificate();
                        let answering = Answering {
                            listener,
                            certificate,
                        };
                        (answering, renewing)
                    })
                    .unzip();
                let destinations = Destinations::Stores(stores.clone());
                (Some(stores), destinations, answering, renewing)
            }
            Role::Sidecar(gateway) => {
                let (certificate, renewing) = certificate();
                let gateway = GatewaySettings {
                    host: gateway.ip().to_string(),
                    port: gateway.port(),
                    certificate,
                };
                (None, Destinations::Gateway(gateway), None, Some(renewing))
            }
        };
        let callers = stores.is_some().then(|| Arc::clone(&workloads));
        let channels = control::Channels {
            routes: routes_in,
            workloads: callers.clone(),
            changes: changes_in,
            stores,
            states: Some(states.clone()),
            tunnels: None,
            service_channels: None,
            ready: readiness.token("routes"),
        };
        let sources = Sources {
            destinations,
            answering,
            changes,
            tunnels: Registry::default(),
            routes: routes.clone(),
            states: states_in,
            workloads: callers,
            intercept: None,
        };
        let config = Config {
            targets: AddressPolicy::Any,
            drain: Duration::from_secs(1),
            ..Config::new("127.0.0.1".parse().unwrap())
        };
        let (child, own) = (shutdown.child(), metrics.clone());
        let following =
            tokio::spawn(async move { control::run(settings, channels, &own, child).await.unwrap() });
        let (child, own) = (shutdown.child(), metrics.clone());
        let serving =
            tokio::spawn(async move { landbridge_proxy::run(config, sources, &own, child).await.unwrap() });
        Self {
            routes,
            workloads,
            readiness,
            metrics,
            states,
            shutdown,
            tasks: [following, serving].into_iter().chain(renewing).collect(),
        }
    }

    /// Where a route is served, once it is.
    pub(crate) async fn serves(&self, name: &str) -> SocketAddr {
        let key = RouteKey::new("shop", name);
        let address = || match self.states.borrow().get(&key) {
            Some(RouteState::Listening(address)) => Some(*address),
            _ => None,
        };
        eventually(&format!("{name} is served"), || address().is_some()).await;
        address().unwrap()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.routes
            .borrow()
            .routes
            .iter()
            .map(|route| route.key.name.clone())
            .collect()
    }

    /// Stops in an orderly way.
    pub(crate) async fn stop(mut self) {
        self.shutdown.begin();
        for task in &mut self.tasks {
            task.await.unwrap();
        }
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let text = self.metrics.encode().unwrap();
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

pub(crate) fn route(name: &str) -> Route {
    Route {
        key: RouteKey::new("shop", name),
        selector: DestinationSelector::named(name),
        protocol: RouteProtocol::Http,
        port: 0,
        scope: Scope::ClusterWide,
        generation: 1,
        frontends: Vec::new(),
    }
}

pub(crate) fn workload(address: &str, namespace: &str) -> Workload {
    Workload {
        address: address.parse().unwrap(),
        namespace: namespace.into(),
        service_account: "default".into(),
    }
}

pub(crate) fn snapshot(version: u64, routes: Vec<Route>, workloads: Vec<Workload>) -> Message {
    Message::Snapshot(Whole {
        version,
        routes,
        workloads,
        ..Whole::default()
    })
}

/// A kept connection of an application.
pub(crate) struct Caller(pub(crate) TcpStream);

impl Caller {
    /// From an address of this machine: each one of 127.0.0.0/8 is another pod.
    pub(crate) async fn connect(from: &str, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0))
            .unwrap();
        Self(socket.connect(to).await.unwrap())
    }

    /// Calls, and gives the whole answer, head and body.
    pub(crate) async fn get(&mut self) -> String {
        self.0
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut text = Vec::new();
        let reading = async {
            loop {
                assert!(self.0.read_buf(&mut text).await.unwrap() > 0, "closed");
                let shown = String::from_utf8_lossy(&text).into_owned();
                let Some((head, body)) = shown.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.unwrap().parse::<usize>().unwrap() {
                    return shown;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reading)
            .await
            .unwrap()
    }
}

/// Calls once, on a connection of its own.
pub(crate) async fn get(from: &str, to: SocketAddr) -> String {
    Caller::connect(from, to).await.get().await
}
