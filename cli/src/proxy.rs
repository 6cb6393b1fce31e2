//! `landbridge proxy`: the data plane in a cluster. Serves what the operator says.

pub(crate) mod args;
pub(crate) mod bindings;
mod channels;
mod reach;
mod routes;
mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use landbridge_destination::client::StoreClient;
use landbridge_destination::route::RouteSnapshot;
use landbridge_proxy::channels::ServiceChannels;
use landbridge_proxy::control::{self, Channels};
use landbridge_proxy::stores::Stores;
use landbridge_proxy::workloads::Workloads;
use landbridge_proxy::{RouteStates, Sources};
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client::{self, HttpClient};
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::{Readiness, ReadyToken};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_runtime::{admin, listener};
use landbridge_tunnel::{AcceptorConfig, Registry};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::ready;
use crate::standalone::parts::Parts;
use crate::standalone::status::tunnels_router;
use crate::standalone::{BACK_DRAIN, Gateway, start_acceptor, wait};
use args::ProxyArgs;
use channels::ServiceChannelPart;
use routes::Shown;
use settings::Settings;

/// Changes of stores that wait for the resolver, which takes each in well under a millisecond.
const CHANGES: usize = 64;

/// Runs until a signal, then tells the operator, still takes connections for a moment, and drains.
///
/// # Errors
/// Wrong configuration (all mistakes at once), or a part that cannot start or has failed.
pub(crate) async fn run(args: ProxyArgs) -> Result<()> {
    let settings = Settings::check(&args)?;
    if let Some(file) = &settings.ready_file {
        ready::remove(file)?;
    }
    let (readiness, metrics) = (Readiness::new(), Metrics::new());
    metrics.publish_process();
    // Before anyone can ask.
    let ready = readiness.token("routes");
    let reached = readiness.token("destination services");
    let stages = Stages::default();
    let mut parts = Parts::default();

    let admin_listener = listener::bind(settings.admin_listen, "--admin-listen").await?;
    let admin_address = admin_listener.local_addr()?;
    let (stores, http) = connect_stores(&settings)?;
    let names = settings.instances.iter().map(|instance| instance.name.clone());
    tokio::spawn(reach::all(stores.clone(), names.collect(), reached));
    let service = channels::start(&settings, &stores, &metrics)?;
    let acceptor = settings.acceptor().map(|config| AcceptorConfig {
        channels: service.as_ref().map(ServiceChannelPart::service),
        ..config
    });
    let (tunnels, tunnel) = start_acceptor(acceptor, &metrics, &stages.back, &mut parts).await?;
    let wires = Wires::new(stores, http, tunnels.clone(), service.as_ref());
    let shown = Shown {
        routes: wires.routes.subscribe(),
        states: wires.states.subscribe(),
    };
    let router = admin::router(readiness.clone(), metrics.clone())
        .merge(routes::router(shown))
        .merge(tunnels_router(tunnels))
        .merge(channels::router(service.as_ref()));
    let (last, end) = tokio::sync::oneshot::channel::<()>();
    let admin = tokio::spawn(admin::serve(admin_listener, router, async { drop(end.await) }));
    tokio::spawn(announce(
        readiness.clone(),
        admin_address,
        tunnel,
        settings.ready_file.clone(),
    ));

    let drained = channels::drain_with(service, &stages.front, settings.drain());
    let gateway = start(settings, wires, ready, &metrics, &stages, &mut parts);
    let result = wait(&stages.news, &readiness, gateway, &mut parts).await;
    stages.front.begin();
    let _ = drained.await;
    stages.back.drain(BACK_DRAIN).await;
    drop(last);
    let _ = admin.await;
    result
}

/// What stops one after the other.
#[derive(Default)]
struct Stages {
    /// The talk with the operator: the first to end, so that nobody is sent here any more.
    news: Shutdown,
    /// The gateway.
    front: Shutdown,
    /// What the gateway needs while it drains.
    back: Shutdown,
}

/// Ends of the channels between the parts.
struct Wires {
    stores: Stores,
    http: HttpClient,
    tunnels: Registry,
    service_channels: Option<ServiceChannels>,
    routes: watch::Sender<Arc<RouteSnapshot>>,
    states: watch::Sender<RouteStates>,
    workloads: Arc<Workloads>,
    changes: mpsc::Sender<landbridge_proxy::resolve::change::Change>,
    changes_heard: mpsc::Receiver<landbridge_proxy::resolve::change::Change>,
}

impl Wires {
    fn new(
        stores: Stores,
        http: HttpClient,
        tunnels: Registry,
        service: Option<&ServiceChannelPart>,
    ) -> Self {
        let (changes, changes_heard) = mpsc::channel(CHANGES);
        Self {
            stores,
            http,
            tunnels,
            service_channels: service.map(|part| part.channels.clone()),
            routes: watch::Sender::new(Arc::new(RouteSnapshot::default())),
            states: watch::Sender::new(RouteStates::default()),
            workloads: Arc::new(Workloads::new()),
            changes,
            changes_heard,
        }
    }
}

/// Clients of the destination service instances.
fn connect_stores(settings: &Settings) -> Result<(Stores, HttpClient)> {
    // Stores are where their bindings say: any address is right here.
    let http = http_client::standard_within(
        Dialer::new(AddressPolicy::Any)?,
        &settings.roots,
        settings.store_deadlines,
    )?;
    let clients = settings.instances.iter().map(|instance| {
        let client = StoreClient::new(instance.binding.clone(), http.clone());
        (instance.name.clone(), client)
    });
    let stores = Stores::new(settings.default_instance.clone(), clients.collect())?;
    Ok((stores, http))
}

/// Starts the gateway, and what tells it what to serve.
fn start(
    settings: Settings,
    wires: Wires,
    ready: ReadyToken,
    metrics: &Metrics,
    stages: &Stages,
    parts: &mut Parts,
) -> Gateway {
    let takes_connectors = settings.acceptor().map(|_| wires.tunnels.clone());
    let sources = Sources {
        stores: wires.stores.clone(),
        changes: wires.changes_heard,
        tunnels: wires.tunnels,
        routes: wires.routes.subscribe(),
        states: wires.states.clone(),
        workloads: Some(Arc::clone(&wires.workloads)),
        intercept: None,
    };
    let channels = Channels {
        routes: wires.routes,
        workloads: Some(wires.workloads),
        changes: wires.changes.clone(),
        stores: wires.stores.clone(),
        states: Some(wires.states.subscribe()),
        tunnels: takes_connectors,
        service_channels: wires.service_channels,
        ready,
    };
    let config = settings.gateway();
    let following = bindings::follow(settings.instances, wires.stores, wires.http, wires.changes);
    let following = stages.news.child().spawn(async {
        following.await;
        Ok::<_, anyhow::Error>(())
    });
    parts.watch("the watch over service keys", following);

    let (news, front, own) = (stages.news.child(), stages.front.clone(), metrics.clone());
    let (control, delay) = (settings.control, settings.drain_delay);
    let talking = tokio::spawn(async move {
        let result = control::run(control, channels, &own, news.clone()).await;
        // The operator knows; now the cluster has to learn it, and until then callers still come.
        if news.is_draining() {
            sleep(delay).await;
        }
        front.begin();
        result
    });
    parts.watch("the talk with the operator", talking);

    let (metrics, front) = (metrics.clone(), stages.front.child());
    tokio::spawn(async move { landbridge_proxy::run(config, sources, &metrics, front).await })
}

/// Says when there is something to serve, and writes the ready file then.
async fn announce(
    readiness: Readiness,
    admin: SocketAddr,
    tunnel: Option<SocketAddr>,
    file: Option<PathBuf>,
) {
    while !readiness.pending().is_empty() {
        sleep(Duration::from_millis(50)).await;
    }
    tracing::info!(%admin, tunnel = tunnel.map(tracing::field::display), "ready");
    let Some(file) = file else { return };
    let addresses = json!({ "admin": admin, "tunnel": tunnel });
    let written = tokio::task::spawn_blocking(move || {
        ready::write(&file, &addresses).with_context(|| format!("writing {}", file.display()))
    });
    if let Ok(Err(error)) = written.await {
        tracing::error!("{error:#}");
    }
}
