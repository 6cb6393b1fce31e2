//! `landbridge proxy`: the data plane in a cluster. Serves what the operator says.

pub(crate) mod args;
pub(crate) mod bindings;
mod channels;
mod interception;
mod lookups;
pub(crate) mod mode;
mod reach;
mod routes;
mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use landbridge_destination::route::RouteSnapshot;
use landbridge_proxy::channels::ServiceChannels;
use landbridge_proxy::control::{self, Channels};
use landbridge_proxy::workloads::Workloads;
use landbridge_proxy::{RouteStates, Sources};
use landbridge_runtime::admin;
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::{Readiness, ReadyToken};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tunnel::{AcceptorConfig, Registry};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use crate::ready;
use crate::standalone::parts::Parts;
use crate::standalone::status::tunnels_router;
use crate::standalone::{BACK_DRAIN, Gateway, start_acceptor, wait};
use args::ProxyArgs;
use channels::ServiceChannelPart;
use interception::Interception;
use lookups::Lookups;
use mode::Mode;
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
    let stages = Stages::default();
    let mut parts = Parts::default();

    let admin_listener = settings.bind_admin().await?;
    let interception = Interception::open(&settings.mode)?;
    let admin_address = admin_listener.local_addr()?;
    let lookups = Lookups::start(&settings, &metrics, &readiness, &stages, &mut parts).await?;
    let service = channels::start(&settings, &lookups, &metrics)?;
    let acceptor = settings.acceptor().map(|config| AcceptorConfig {
        channels: service.as_ref().map(ServiceChannelPart::service),
        ..config
    });
    let (tunnels, tunnel) = start_acceptor(acceptor, &metrics, &stages.back, &mut parts).await?;
    let wires = Wires::new(lookups, tunnels.clone(), service.as_ref());
    let shown = Shown {
        routes: wires.routes.subscribe(),
        states: wires.states.subscribe(),
    };
    let router = admin::router(readiness.clone(), metrics.clone())
        .merge(routes::router(shown))
        .merge(tunnels_router(tunnels))
        .merge(channels::router(service.as_ref()));
    let (last, end) = oneshot::channel::<()>();
    let admin = tokio::spawn(admin::serve(admin_listener, router, async { drop(end.await) }));
    tokio::spawn(announce(
        readiness.clone(),
        admin_address,
        tunnel,
        settings.ready_file.clone(),
    ));

    let drained = channels::drain_with(service, &stages.front, settings.drain());
    let proven = interception
        .as_ref()
        .map(|_| readiness.token("proof of interception"));
    let interception = interception.zip(proven);
    let gateway = start(
        settings,
        wires,
        interception,
        ready,
        &metrics,
        &stages,
        &mut parts,
    );
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
    lookups: Lookups,
    tunnels: Registry,
    service_channels: Option<ServiceChannels>,
    routes: watch::Sender<Arc<RouteSnapshot>>,
    states: watch::Sender<RouteStates>,
    workloads: Arc<Workloads>,
    changes: mpsc::Sender<landbridge_proxy::resolve::change::Change>,
    changes_heard: mpsc::Receiver<landbridge_proxy::resolve::change::Change>,
}

impl Wires {
    fn new(lookups: Lookups, tunnels: Registry, service: Option<&ServiceChannelPart>) -> Self {
        let (changes, changes_heard) = mpsc::channel(CHANGES);
        Self {
            lookups,
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

/// Starts the gateway, and what tells it what to serve.
fn start(
    settings: Settings,
    wires: Wires,
    interception: Option<(Interception, ReadyToken)>,
    ready: ReadyToken,
    metrics: &Metrics,
    stages: &Stages,
    parts: &mut Parts,
) -> Gateway {
    let takes_connectors = settings.acceptor().map(|_| wires.tunnels.clone());
    let (ended, drained) = oneshot::channel();
    let intercept = interception.map(|(interception, proven)| {
        let (intercept, beside) = interception.split();
        let status = beside.keep_rules(metrics, stages.news.child(), drained, &stages.back);
        let proving = tokio::spawn(beside.prove(status, metrics.clone(), proven));
        parts.watch("the proof of interception", proving);
        intercept
    });
    let is_gateway = matches!(settings.mode, Mode::Gateway { .. });
    let callers = settings
        .mode
        .learns_callers()
        .then(|| Arc::clone(&wires.workloads));
    let stores = wires.lookups.stores.clone();
    let (destinations, answering) = wires.lookups.into_sources();
    let sources = Sources {
        destinations,
        answering,
        changes: wires.changes_heard,
        tunnels: wires.tunnels,
        routes: wires.routes.subscribe(),
        states: wires.states.clone(),
        workloads: callers.clone(),
        intercept,
    };
    let channels = Channels {
        routes: wires.routes,
        workloads: callers,
        changes: wires.changes.clone(),
        stores: stores.as_ref().map(|(stores, _)| stores.clone()),
        // Nobody is sent to the others by a Service.
        states: is_gateway.then(|| wires.states.subscribe()),
        tunnels: takes_connectors,
        service_channels: wires.service_channels,
        ready,
    };
    let config = settings.gateway();
    if let Some((stores, http)) = stores {
        let following = bindings::follow(settings.instances, stores, http, wires.changes);
        let following = stages.news.child().spawn(async {
            following.await;
            Ok::<_, anyhow::Error>(())
        });
        parts.watch("the watch over service keys", following);
    }

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
    tokio::spawn(async move {
        let result = landbridge_proxy::run(config, sources, &metrics, front).await;
        // The rules may go now.
        let _ = ended.send(());
        result
    })
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
