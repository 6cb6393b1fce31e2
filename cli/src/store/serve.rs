//! `landbridge store serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_store::{Bootstrap, Config, Limits, Store, TlsFiles};

use super::TokenArgs;
use super::data::DataArgs;
use super::keys::ServiceKeys;
use crate::args::ServerArgs;
use crate::ready::Ready;
use crate::runner::stop_on_signal;
use crate::standalone::embedded::name_flag;

/// Options of `store serve`.
#[derive(Debug, Args)]
pub(crate) struct StoreServeArgs {
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Where the REST API and the authorization server listen. Plain HTTP without --tls-certificate.
    #[arg(
        long,
        env = "LANDBRIDGE_STORE_LISTEN",
        default_value = "127.0.0.1:20080",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// PEM file of the store's certificate and those between it and its authority: the REST API then listens in TLS
    /// only. Read again when it changes.
    #[arg(
        long,
        env = "LANDBRIDGE_STORE_TLS_CERTIFICATE",
        requires = "tls_key",
        value_name = "FILE"
    )]
    pub tls_certificate: Option<PathBuf>,
    /// PEM file of its private key.
    #[arg(
        long,
        env = "LANDBRIDGE_STORE_TLS_KEY",
        requires = "tls_certificate",
        value_name = "FILE"
    )]
    pub tls_key: Option<PathBuf>,
    /// Base address under which clients reach the store, when it differs from --listen.
    #[arg(long, env = "LANDBRIDGE_STORE_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// A service key (JSON) that is valid here, made elsewhere and given to the clients too. Read again when it changes:
    /// another secret of the same client id replaces the one before. May be given several times.
    #[arg(
        long,
        env = "LANDBRIDGE_SERVICE_KEYS",
        value_delimiter = ',',
        value_name = "FILE"
    )]
    pub service_key: Vec<PathBuf>,
    /// What there is at least: tenants, instances, keys, destinations; YAML or JSON. Applied before the store is ready;
    /// nothing is deleted unless the file says so.
    #[arg(long, env = "LANDBRIDGE_STORE_BOOTSTRAP", value_name = "FILE")]
    pub bootstrap: Option<PathBuf>,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(
        long,
        env = "LANDBRIDGE_ADMIN_LISTEN",
        default_value = "127.0.0.1:9495",
        value_name = "ADDRESS"
    )]
    pub admin_listen: SocketAddr,
    /// Let token services be at private addresses (loopback, link-local, company ranges).
    #[arg(long, env = "LANDBRIDGE_ALLOW_LOCAL_TARGETS")]
    pub allow_local_targets: bool,
    /// Most calls of one client (service key) each second, 0 for no limit. Five seconds' worth may come at once, more are
    /// answered 429.
    #[arg(
        long,
        env = "LANDBRIDGE_STORE_CLIENT_RATE",
        default_value_t = Limits::default().client_rate,
        value_name = "CALLS"
    )]
    pub client_rate: u32,
    /// Tokens that the store issues.
    #[command(flatten)]
    pub tokens: TokenArgs,
    /// What all servers have.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Serves until it is asked to stop.
pub(super) async fn run(args: StoreServeArgs) -> Result<()> {
    if let Some(file) = &args.server.ready_file {
        Ready::remove(file)?;
    }
    let config = Config {
        listen: args.listen,
        tls: args
            .tls_certificate
            .zip(args.tls_key)
            .map(|(certificate, key)| TlsFiles { certificate, key }),
        admin_listen: Some(args.admin_listen),
        public_url: args.public_url,
        allow_private_token_services: args.allow_local_targets,
        additional_cas: args.server.additional_ca,
        token_algorithm: args.tokens.token_algorithm.into(),
        token_life: Duration::from_secs(args.tokens.token_life),
        signing_key_age: Duration::from_secs(args.tokens.signing_key_days * 86_400),
        limits: Limits {
            drain: Duration::from_secs(args.server.drain),
            client_rate: args.client_rate,
            ..Limits::default()
        },
        ..args.data.config().await?
    };
    let store = Store::bind(config)
        .await
        .map_err(|error| name_flag(error, "--listen or --admin-listen"))?;
    // Before anyone is told of the store, so that no client with a good key is ever refused.
    let keys = ServiceKeys::adopt(store.admin(), &args.service_key).await?;
    if let Some(file) = args.bootstrap {
        let bootstrap = tokio::task::spawn_blocking(move || Bootstrap::read(&file)).await??;
        store.admin().bootstrap(&bootstrap, store.url()).await?;
    }
    if let Some(file) = &args.server.ready_file {
        let admin = store.admin_addr().context("the admin endpoint has no address")?;
        let store = Some(store.url().to_owned());
        Ready {
            admin,
            store,
            binding: None,
            tenant: None,
            tunnel: None,
        }
        .write(file)?;
    }
    let shutdown = Shutdown::new();
    shutdown.spawn(keys.follow(shutdown.clone()));
    let serving = store.serve(shutdown.clone());
    tokio::pin!(serving);
    tokio::select! {
        result = &mut serving => return result.map_err(Into::into),
        result = stop_on_signal(shutdown) => result?,
    }
    serving.await.map_err(Into::into)
}
