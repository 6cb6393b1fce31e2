//! `landbridge operator`: the control plane in a cluster.

pub(crate) mod args;
pub(crate) mod inject;
mod settings;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use landbridge_operator::cluster::{self, Environment, Listeners, client, health};
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client::HttpClient;
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::Readiness;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_runtime::{admin, http_client, listener};
use serde_json::json;

use crate::ready;
use crate::runner::stop_on_signal;
use args::OperatorArgs;
use settings::Settings;

/// Runs until a signal, then gives the lease back and ends.
///
/// # Errors
/// Wrong configuration (all mistakes at once), no cluster, or a port that is taken.
pub(crate) async fn run(args: OperatorArgs) -> Result<()> {
    let mut settings = Settings::check(&args)?;
    if let Some(file) = &settings.ready_file {
        ready::remove(file)?;
    }
    let (readiness, metrics, shutdown) = (Readiness::new(), Metrics::new(), Shutdown::new());
    metrics.publish_process();
    let admin_listener = listener::bind(settings.admin_listen, "--admin-listen").await?;
    let serve = listener::bind(settings.serve_listen, "--serve-listen").await?;
    if let Some(advertise) = &mut settings.config.advertise {
        // The port that was opened: the one asked for may be 0.
        advertise.set_port(serve.local_addr()?.port());
    }
    let mut addresses = json!({ "admin": admin_listener.local_addr()?, "serve": serve.local_addr()? });
    let webhook = match &settings.webhook {
        None => None,
        Some((listen, config)) => {
            let listener = listener::bind(*listen, "--webhook-listen").await?;
            addresses["webhook"] = json!(listener.local_addr()?);
            Some((listener, config.clone()))
        }
    };
    let environment = Environment {
        client: client::connect(settings.kubeconfig.as_deref()).await?,
        http: store_http(&settings)?,
        readiness: readiness.clone(),
        metrics: metrics.clone(),
    };
    let listeners = Listeners { serve, webhook };
    settings.tell();
    let operator = cluster::start(&settings.config, &environment, listeners, &shutdown)?;
    let router = admin::router(readiness.clone(), metrics).merge(health::router(&operator, settings.shown()));
    let (last, end) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(admin::serve(admin_listener, router, async { drop(end.await) }));
    tokio::spawn(announce(
        readiness.clone(),
        addresses,
        settings.ready_file.clone(),
    ));

    stop_on_signal(shutdown.clone()).await?;
    readiness.drain();
    shutdown.drain(settings.drain).await;
    drop(last);
    let _ = serving.await;
    Ok(())
}

fn store_http(settings: &Settings) -> Result<HttpClient> {
    // Stores are where their bindings say: any address is right here.
    let dialer = Dialer::new(AddressPolicy::Any).context("starting name resolution")?;
    Ok(http_client::standard_within(
        dialer,
        &settings.roots,
        settings.store_deadlines,
    )?)
}

/// Says when everything was listed, and writes the ready file then.
async fn announce(readiness: Readiness, addresses: serde_json::Value, file: Option<PathBuf>) {
    while !readiness.pending().is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tracing::info!(%addresses, "ready");
    if let Some(file) = file
        && let Err(error) = ready::write(&file, &addresses)
    {
        tracing::warn!("{error:#}");
    }
}
