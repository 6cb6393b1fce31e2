//! `landbridge standalone`: wires store, tunnel acceptor, file source and gateway into one process.

pub(crate) mod embedded;
mod settings;
mod status;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use landbridge_destination::client::StoreClient;
use landbridge_destination::route::RouteSnapshot;
use landbridge_operator::lookup::StoreLookups;
use landbridge_operator::standalone::{self as file_source, Channels, StatusView};
use landbridge_proxy::{RouteStates, Sources};
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::{Readiness, ReadyToken};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_runtime::{admin, http_client, listener, tls};
use landbridge_tunnel::{Acceptor, AcceptorConfig, Registry, TunnelMetrics};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::args::StandaloneArgs;
use crate::ready::Ready;
use crate::runner::stop_on_signal;
use settings::{Settings, StoreChoice};

/// How long the parts behind the proxy may take to stop once the proxy has drained.
const BACK_DRAIN: Duration = Duration::from_secs(2);

/// Runs until a signal, then drains: first the proxy, then what it needs for that.
///
/// # Errors
/// Wrong configuration (all mistakes at once), or a part that cannot start.
pub(crate) async fn run(args: StandaloneArgs) -> Result<()> {
    let settings = Settings::check(&args)?;
    if let Some(file) = &settings.ready_file {
        Ready::remove(file)?;
    }
    let (readiness, metrics) = (Readiness::new(), Metrics::new());
    // Before anyone can ask.
    let manifests = readiness.token("manifests");
    // What the proxy needs while it drains must outlive it.
    let (front, back) = (Shutdown::new(), Shutdown::new());
    let mut tasks = JoinSet::new();

    let admin_listener = listener::bind(settings.admin_listen, "--admin-listen").await?;
    let (tunnels, tunnel_address) = start_acceptor(&settings, &metrics, &back).await?;
    let store = start_store(&settings, &readiness, &metrics, &back).await?;

    let routes = watch::Sender::new(Arc::new(RouteSnapshot::default()));
    let states = watch::Sender::new(RouteStates::default());
    let status = watch::Sender::new(Arc::new(StatusView::default()));
    let ready = Ready {
        admin: admin_listener.local_addr()?,
        store: store.url.clone(),
        binding: store.binding_file.clone(),
        tenant: store.tenant.clone(),
        tunnel: tunnel_address,
    };
    let router = admin::router(readiness.clone(), metrics.clone())
        .merge(status::router(status.subscribe(), tunnels.clone()));
    let (last, end) = tokio::sync::oneshot::channel::<()>();
    let admin = tokio::spawn(admin::serve(admin_listener, router, async { drop(end.await) }));

    let channels = Channels {
        routes: routes.clone(),
        states: states.subscribe(),
        status: status.clone(),
    };
    let lookups = StoreLookups::new(store.client.clone(), HashMap::new());
    let (config, shutdown) = (settings.file_source(), front.child());
    tasks.spawn(async move {
        file_source::run(config, lookups, channels, shutdown)
            .await
            .map_err(Into::into)
    });

    let sources = Sources {
        store: store.client,
        tunnels,
        routes: routes.subscribe(),
        states,
    };
    let (config, shutdown) = (settings.proxy(), front.child());
    let gateway_metrics = metrics.clone();
    let gateway =
        tokio::spawn(async move { landbridge_proxy::run(config, sources, &gateway_metrics, shutdown).await });

    tokio::spawn(announce(
        ready,
        settings.ready_file.clone(),
        manifests,
        status.subscribe(),
    ));
    let result = wait(&front, &readiness, gateway, &mut tasks).await;
    back.drain(BACK_DRAIN).await;
    drop(last);
    let _ = admin.await;
    result
}

/// Waits for the signal and then for the proxy's drain; or for a part that fails, which ends everything.
async fn wait(
    front: &Shutdown,
    readiness: &Readiness,
    mut gateway: tokio::task::JoinHandle<Result<(), landbridge_proxy::Error>>,
    tasks: &mut JoinSet<Result<()>>,
) -> Result<()> {
    tokio::select! {
        result = stop_on_signal(front.clone()) => result?,
        result = &mut gateway => return result.context("the proxy has failed")?.map_err(Into::into),
        Some(result) = tasks.join_next() => {
            front.begin();
            result.context("a part has failed")??;
        }
    }
    readiness.drain();
    gateway.await.context("the proxy has failed")?.map_err(Into::into)
}

/// Says that everything serves, once the manifests have been read and looked up.
async fn announce(
    ready: Ready,
    file: Option<std::path::PathBuf>,
    manifests: ReadyToken,
    mut status: watch::Receiver<Arc<StatusView>>,
) {
    if status.wait_for(|status| status.settled).await.is_err() {
        return;
    }
    manifests.ready();
    tracing::info!(admin = %ready.admin, store = ready.store, tunnel = ready.tunnel.map(tracing::field::display), "ready");
    let Some(file) = file else { return };
    let written = tokio::task::spawn_blocking(move || ready.write(&file)).await;
    if let Ok(Err(error)) = written {
        tracing::error!("{error:#}");
    }
}

async fn start_acceptor(
    settings: &Settings,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> Result<(Registry, Option<SocketAddr>)> {
    let tunnel_metrics = TunnelMetrics::default();
    metrics.register(|registry| tunnel_metrics.register(registry));
    let Some(listen) = settings.tunnel_listen else {
        return Ok((Registry::default(), None));
    };
    let config = AcceptorConfig {
        listen_setting: "--tunnel-listen".to_owned(),
        metrics: tunnel_metrics,
        ..AcceptorConfig::new(listen, settings.tunnel_dir(), settings.tunnel_names.clone())
    };
    let acceptor = Acceptor::bind(config)
        .await
        .context("starting the tunnel acceptor")?;
    let (registry, address) = (acceptor.registry(), acceptor.local_addr());
    shutdown.spawn(acceptor.serve(shutdown.clone()));
    Ok((registry, Some(address)))
}

/// Where destinations come from.
struct StoreInUse {
    client: StoreClient,
    url: Option<String>,
    binding_file: Option<std::path::PathBuf>,
    tenant: Option<String>,
}

async fn start_store(
    settings: &Settings,
    readiness: &Readiness,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> Result<StoreInUse> {
    // Our own store is on this machine, others are where their binding says: any address is right here.
    let dialer = Dialer::new(AddressPolicy::Any)?;
    let http = http_client::HttpClient::new(
        dialer,
        tls::client_config(tls::roots(&settings.additional_roots)?, &[])?,
        Duration::from_secs(5),
    );
    match &settings.store {
        StoreChoice::Remote(binding) => Ok(StoreInUse {
            client: StoreClient::new((**binding).clone(), http),
            url: None,
            binding_file: None,
            tenant: None,
        }),
        StoreChoice::Embedded => {
            let started = embedded::start(settings, readiness.clone(), metrics.clone(), shutdown).await?;
            Ok(StoreInUse {
                client: StoreClient::new(started.binding, http),
                url: Some(started.url),
                binding_file: Some(started.binding_file),
                tenant: Some(started.tenant),
            })
        }
    }
}
