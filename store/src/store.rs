//! The service as a whole: bound, then served until it is asked to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::Readiness;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_runtime::{admin as admin_endpoint, listener, tls};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::admin::Admin;
use crate::api;
use crate::app::App;
use crate::around::Around;
use crate::auth::jwks::Jwks;
use crate::auth::users::MAX_ISSUERS;
use crate::auth::{
    ClientRates, Discovery, FailureLimiter, Issuer, RemoteClient, SigningKeys, UserTokens, Verifier,
    follow_keys,
};
use crate::certificates::Certificates;
use crate::config::{Checked, Config, url_text};
use crate::error::Error;
use crate::metrics::StoreMetrics;
use crate::records::{Records, follow};
use crate::server::{self, Tls};
use crate::storage::{Storage, follow_vault_keys};
use crate::tokens::{Fetcher, TokenEngine};
use crate::trust::TrustKeys;
use landbridge_runtime::shares::Shares;

/// A store that listens but does not answer yet.
#[derive(Debug)]
pub struct Store {
    listener: TcpListener,
    tls: Option<Tls>,
    admin_listener: Option<TcpListener>,
    local_addr: SocketAddr,
    url: String,
    signing_key_age: Duration,
    app: Arc<App>,
    readiness: Readiness,
    metrics: MetricsHandle,
}

/// The registry has no `Debug`.
struct MetricsHandle(Metrics);

impl std::fmt::Debug for MetricsHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Metrics")
    }
}

impl Store {
    /// Checks the configuration, opens data and sockets.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn bind(config: Config) -> Result<Self, Error> {
        Self::bind_with(config, Readiness::new(), Metrics::new()).await
    }

    /// As [`bind`](Self::bind), with the readiness and metrics of a process that runs more than the store.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn bind_with(config: Config, readiness: Readiness, metrics: Metrics) -> Result<Self, Error> {
        let checked = config.check()?;
        let token = readiness.token("store");
        // Sockets first: a port in use is told before anything is touched.
        let listener = listener::bind(config.listen, "store.listen").await?;
        let local_addr = listener.local_addr()?;
        let admin_listener = match config.admin_listen {
            Some(address) => Some(listener::bind(address, "store.admin_listen").await?),
            None => None,
        };
        let tls = match &config.tls {
            Some(files) => Some(Tls::load(files.clone()).await?),
            None => None,
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = checked
            .public_url
            .as_ref()
            .map_or_else(|| format!("{scheme}://{local_addr}"), url_text);
        if tls.is_none() && !local_addr.ip().is_loopback() && !url.starts_with("https://") {
            tracing::warn!(%local_addr, "the store listens in plain HTTP on an address others can reach; give it a TLS certificate, or put TLS before it and set its public_url");
        }
        let app = Arc::new(assemble(&config, checked, url.clone()).await?);
        app.metrics
            .register(&metrics, Arc::clone(app.tokens.stats()), &app.storage.caches);
        token.ready();
        let metrics = MetricsHandle(metrics);
        Ok(Self {
            listener,
            tls,
            admin_listener,
            local_addr,
            url,
            signing_key_age: config.signing_key_age,
            app,
            readiness,
            metrics,
        })
    }

    /// Where the REST API listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where health and metrics are served, if anywhere.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_listener.as_ref()?.local_addr().ok()
    }

    /// Address clients use, for service keys.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Administration of this store's data.
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.app.storage))
    }

    /// Answers requests until `shutdown` begins and those in flight are done.
    ///
    /// # Errors
    /// None today; kept for what cannot be served any more.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), Error> {
        let Self {
            listener,
            tls,
            admin_listener,
            app,
            readiness,
            metrics,
            ..
        } = self;
        tracing::info!(address = %self.local_addr, url = self.url, "store ready");
        let (router, limits) = (api::router(Arc::clone(&app)), app.limits);
        let ended = shutdown.child();
        let admin = async {
            if let Some(listener) = admin_listener {
                let router = admin_endpoint::router(readiness.clone(), metrics.0.clone());
                admin_endpoint::serve(listener, router, ended.started()).await;
            }
        };
        let main = async {
            let config = tls.as_ref().map(Tls::config);
            if let Some(tls) = tls {
                shutdown.spawn(tls.follow(shutdown.clone()));
            }
            let serving = server::serve(listener, config, router, limits, shutdown.clone());
            let keys = follow_keys(
                Arc::clone(app.issuer.keys()),
                self.signing_key_age,
                shutdown.child(),
            );
            let storage = &app.storage;
            let following = follow(
                storage.database.clone(),
                Arc::clone(&storage.freshness),
                shutdown.child(),
            );
            shutdown.spawn(follow_vault_keys(Arc::clone(storage), shutdown.child()));
            let draining = async {
                shutdown.started().await;
                readiness.drain();
                app.ending.begin();
            };
            tokio::join!(serving, draining, following, keys);
            // Not `begin` on the shared signal: the admin endpoint of this store ends last.
            ended.begin();
        };
        tokio::join!(admin, main);
        app.storage.database.close().await;
        Ok(())
    }
}

/// Key pairs of a subaccount: the active and the passive one.
const TRUST_KEYS: u32 = 2;

async fn assemble(config: &Config, checked: Checked, url: String) -> Result<App, Error> {
    let storage = Arc::new(Storage::open(config).await?);
    let keys = Arc::new(SigningKeys::load_or_create(&storage, config.token_algorithm).await?);
    let dialer = Dialer::new(AddressPolicy::PublicOnly)?;
    let roots = tls::roots(&checked.additional_cas)?;
    let remote = RemoteClient::new(&dialer, roots.clone(), config.allow_private_token_services)?;
    let verifier = Arc::new(Verifier::new(&url, Arc::clone(&keys)));
    let jwks = Arc::new(Jwks::new(remote.clone()));
    let users = UserTokens::new(
        Arc::clone(&verifier),
        Arc::clone(&storage),
        Records::new(Arc::clone(&storage), MAX_ISSUERS, config.limits.cache_bytes),
        Arc::clone(&jwks),
        Discovery::new(remote.clone()),
        Shares::new(config.limits.max_token_waits, config.limits.max_requests),
    );
    let fetcher = Fetcher::new(dialer, roots, config.allow_private_token_services);
    let destinations = Records::new(
        Arc::clone(&storage),
        config.limits.max_destinations,
        config.limits.cache_bytes,
    );
    let users = Arc::new(users);
    let trust = Records::new(Arc::clone(&storage), TRUST_KEYS, config.limits.cache_bytes / 4);
    let trust = Arc::new(TrustKeys::new(trust, &url));
    let certificates = Records::new(
        Arc::clone(&storage),
        config.limits.max_certificates,
        config.limits.cache_bytes / 4,
    );
    let certificates = Arc::new(Certificates::new(certificates));
    let around = Around {
        destinations: destinations.clone(),
        jwks,
        users: Arc::clone(&users),
        certificates: Arc::clone(&certificates),
        trust: Arc::clone(&trust),
    };
    Ok(App {
        destinations,
        fragments: Records::new(
            Arc::clone(&storage),
            config.limits.max_destinations,
            config.limits.cache_bytes,
        ),
        certificates,
        trust,
        users,
        verifier,
        issuer: Issuer::new(url, keys, config.token_life),
        failures: FailureLimiter::new(),
        rates: ClientRates::new(config.limits.client_rate),
        remote,
        tokens: TokenEngine::new(fetcher, Box::new(around), &config.limits),
        metrics: StoreMetrics::new(),
        limits: config.limits,
        feeds: Shares::new((config.limits.max_feeds / 4).max(1), config.limits.max_feeds),
        ending: Shutdown::new(),
        uploads: Shares::new(config.limits.max_uploads, config.limits.max_requests),
        permits: Semaphore::new(config.limits.max_requests),
        storage,
    })
}

/// Runs a store until `shutdown` begins.
///
/// # Errors
/// See [`Error`].
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), Error> {
    Store::bind(config).await?.serve(shutdown).await
}
