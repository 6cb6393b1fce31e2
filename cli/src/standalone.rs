//! `landbridge standalone`: wires store, tunnel acceptor, file source and gateway into one process.

pub(crate) mod embedded;
pub(crate) mod parts;
pub(crate) mod settings;
pub(crate) mod status;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, anyhow};
use landbridge_destination::client::StoreClient;
use landbridge_destination::route::RouteSnapshot;
use landbridge_operator::lookup::StoreLookups;
use landbridge_operator::standalone::{self as file_source, Channels, StatusView};
use landbridge_proxy::stores::Stores;
use landbridge_proxy::{Destinations, RouteStates, Sources};
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::{Readiness, ReadyToken};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_runtime::{admin, http_client, listener, tls};
use landbridge_tunnel::{Acceptor, AcceptorConfig, Registry, TunnelMetrics};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::args::StandaloneArgs;
use crate::ready::Ready;
use crate::runner::{end_at_signal, stop_on_signal};
use parts::Parts;
use settings::{Settings, StoreChoice};

/// How long the parts behind the proxy may take to stop once the proxy has drained.
pub(crate) const BACK_DRAIN: Duration = Duration::from_secs(2);

/// Runs until a signal, then drains: first the proxy, then what it needs for that.
///
/// # Errors
/// Wrong configuration (all mistakes at once), or a part that cannot start or has failed.
pub(crate) async fn run(args: StandaloneArgs) -> Result<()> {
    let settings = Settings::check(&args)?;
    if let Some(file) = &settings.ready_file {
        Ready::remove(file)?;
    }
    let (readiness, metrics) = (Readiness::new(), Metrics::new());
    metrics.publish_process();
    // Before anyone can ask.
    let manifests = readiness.token("manifests");
    // What the proxy needs while it drains must outlive it.
    let (front, back) = (Shutdown::new(), Shutdown::new());
    let mut parts = Parts::default();

    let admin_listener = listener::bind(settings.admin_listen, "--admin-listen").await?;
    let (tunnels, tunnel_address) = start_acceptor(settings.acceptor(), &metrics, &back, &mut parts).await?;
    let store = start_store(&settings, &readiness, &metrics, &back, &mut parts).await?;
    let ready = Ready {
        admin: admin_listener.local_addr()?,
        store: store.url.clone(),
        binding: store.binding_file.clone(),
        tenant: store.tenant.clone(),
        tunnel: tunnel_address,
    };

    let status = watch::Sender::new(Arc::new(StatusView::default()));
    let router = admin::router(readiness.clone(), metrics.clone())
        .merge(status::router(status.subscribe(), tunnels.clone()));
    let (last, end) = tokio::sync::oneshot::channel::<()>();
    let admin = tokio::spawn(admin::serve(admin_listener, router, async { drop(end.await) }));
    tokio::spawn(announce(
        ready,
        settings.ready_file.clone(),
        manifests,
        status.subscribe(),
    ));

    let gateway = start_gateway(
        &settings,
        store.client,
        tunnels,
        status,
        &metrics,
        &front,
        &mut parts,
    );
    let result = wait(&front, &readiness, gateway, &mut parts).await;
    back.drain(BACK_DRAIN).await;
    drop(last);
    let _ = admin.await;
    result
}

/// The running proxy.
pub(crate) type Gateway = JoinHandle<Result<(), landbridge_proxy::Error>>;

/// Starts the proxy and the file source that tells it what to serve.
fn start_gateway(
    settings: &Settings,
    store: StoreClient,
    tunnels: Registry,
    status: watch::Sender<Arc<StatusView>>,
    metrics: &Metrics,
    front: &Shutdown,
    parts: &mut Parts,
) -> Gateway {
    let routes = watch::Sender::new(Arc::new(RouteSnapshot::default()));
    let states = watch::Sender::new(RouteStates::default());
    let sources = Sources {
        destinations: Destinations::Stores(Stores::single(store.clone())),
        answering: None,
        // A standalone proxy asks again every few seconds instead.
        changes: mpsc::channel(1).1,
        tunnels,
        routes: routes.subscribe(),
        states: states.clone(),
        // Without a cluster nobody knows who calls from which address.
        workloads: None,
        intercept: None,
    };
    let channels = Channels {
        routes,
        states: states.subscribe(),
        status,
    };
    let lookups = StoreLookups::new(store, HashMap::new());
    let files = file_source::run(settings.file_source(), lookups, channels, front.child());
    parts.watch("the source of manifests", tokio::spawn(files));

    let (config, metrics, shutdown) = (settings.proxy(), metrics.clone(), front.child());
    tokio::spawn(async move { landbridge_proxy::run(config, sources, &metrics, shutdown).await })
}

/// Waits for the signal, or for a part that fails, which ends everything; then for the proxy's drain.
pub(crate) async fn wait(
    front: &Shutdown,
    readiness: &Readiness,
    mut gateway: Gateway,
    parts: &mut Parts,
) -> Result<()> {
    let failure = tokio::select! {
        result = stop_on_signal(front.clone()) => result.err(),
        result = &mut gateway => return Err(match result {
            Ok(Ok(())) => anyhow!("the proxy has ended although nobody asked it to"),
            Ok(Err(error)) => error.into(),
            Err(error) => Error::new(error).context("the proxy has failed"),
        }),
        error = parts.ended() => {
            tracing::error!("{error:#}; draining");
            end_at_signal();
            Some(error)
        }
    };
    front.begin();
    readiness.drain();
    let drained = gateway.await.context("the proxy has failed")?.map_err(Into::into);
    failure.map_or(drained, Err)
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

/// Starts the acceptor of connectors, if there is to be one; the connected networks, and where it listens.
///
/// # Errors
/// The port or the folder cannot be used.
pub(crate) async fn start_acceptor(
    config: Option<AcceptorConfig>,
    metrics: &Metrics,
    shutdown: &Shutdown,
    parts: &mut Parts,
) -> Result<(Registry, Option<SocketAddr>)> {
    let tunnel_metrics = TunnelMetrics::default();
    metrics.register(|registry| tunnel_metrics.register(registry));
    let Some(config) = config else {
        return Ok((Registry::default(), None));
    };
    let config = AcceptorConfig {
        listen_setting: "--tunnel-listen".to_owned(),
        metrics: tunnel_metrics,
        ..config
    };
    let acceptor = Acceptor::bind(config)
        .await
        .context("starting the tunnel acceptor")?;
    let (registry, address) = (acceptor.registry(), acceptor.local_addr());
    let serving = acceptor.serve(shutdown.clone());
    let serving = async move {
        serving.await;
        Ok::<_, Error>(())
    };
    parts.watch("the tunnel acceptor", shutdown.spawn(serving));
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
    parts: &mut Parts,
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
            let started =
                embedded::start(settings, readiness.clone(), metrics.clone(), shutdown, parts).await?;
            Ok(StoreInUse {
                client: StoreClient::new(started.binding, http),
                url: Some(started.url),
                binding_file: Some(started.binding_file),
                tenant: Some(started.tenant),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_part_ends_the_process_after_the_proxy_has_drained() {
        let (front, readiness) = (Shutdown::new(), Readiness::new());
        let (draining, seen) = (front.child(), readiness.clone());
        let (told, drained) = tokio::sync::oneshot::channel();
        let gateway = tokio::spawn(async move {
            draining.started().await;
            while seen.pending().is_empty() {
                tokio::task::yield_now().await;
            }
            let _ = told.send(seen.pending());
            Ok(())
        });
        let mut parts = Parts::default();
        parts.watch(
            "the embedded store",
            tokio::spawn(async { Err(anyhow!("disk gone")) }),
        );
        let error = wait(&front, &readiness, gateway, &mut parts).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "the embedded store has failed: disk gone");
        assert_eq!(drained.await.unwrap(), ["draining"]);
    }

    #[tokio::test]
    async fn a_proxy_that_ends_by_itself_is_a_failure() {
        let gateway = tokio::spawn(async { Ok(()) });
        let result = wait(
            &Shutdown::new(),
            &Readiness::new(),
            gateway,
            &mut Parts::default(),
        )
        .await;
        assert!(result.unwrap_err().to_string().contains("the proxy has ended"));
    }
}
