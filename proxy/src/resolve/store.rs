//! Destinations from the store, kept as long as they hold: one fetch per query however many requests wait, renewed in
//! the background ahead of need, used on while the store is away, never with an expired token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use landbridge_destination::client::{FindQuery, StoreClient};
use landbridge_destination::error::StoreError;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::cache::{CachePolicy, Times};
use super::{Query, Resolver, Resolving};
use crate::connect::Connector;
use crate::failure::{Failure, Kind};
use crate::pool::Pool;
use crate::resolved::{Plan, Resolved};

/// Asks the store, holding its credentials: for gateways and nodes.
#[derive(Clone)]
pub struct StoreResolver {
    inner: Arc<Inner>,
}

struct Inner {
    client: StoreClient,
    pool: Arc<Pool>,
    connector: Connector,
    policy: CachePolicy,
    entries: moka::sync::Cache<Arc<Query>, Arc<Entry>>,
    metrics: ResolverMetrics,
}

#[derive(Default)]
struct ResolverMetrics {
    hits: Counter,
    fetches: Counter,
    coalesced: Counter,
    failures: Counter,
    stale: Counter,
    rejected: Counter,
}

/// What is known for one query.
#[derive(Default)]
struct Entry {
    answer: ArcSwapOption<Answer>,
    /// Held while the store is asked: whoever waits here shares the answer.
    flight: tokio::sync::Mutex<()>,
    refreshing: AtomicBool,
    /// Grows with every rejected token; an answer asked for before is not kept after.
    generation: AtomicU64,
    /// The next fetch must bring a token that is not from the store's own cache.
    renew_token: AtomicBool,
}

struct Answer {
    result: Result<Arc<Resolved>, Failure>,
    times: Times,
}

impl Entry {
    /// The answer that may be used now, if there is one.
    fn usable(&self, now: Instant) -> Option<Arc<Answer>> {
        self.answer.load_full().filter(|answer| now < answer.times.expire)
    }
}

impl StoreResolver {
    /// A resolver that asks with `client` and binds answers to upstreams of `pool`.
    pub fn new(client: StoreClient, pool: Arc<Pool>, connector: Connector, policy: CachePolicy) -> Self {
        let entries = moka::sync::Cache::new(policy.entries);
        let metrics = ResolverMetrics::default();
        Self {
            inner: Arc::new(Inner {
                client,
                pool,
                connector,
                policy,
                entries,
                metrics,
            }),
        }
    }

    /// Puts its metrics into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("resolver");
        let metrics = &self.inner.metrics;
        registry.register("hits", "Requests served from a kept answer", metrics.hits.clone());
        registry.register("fetches", "Calls to the store", metrics.fetches.clone());
        registry.register(
            "coalesced",
            "Requests that shared another's call",
            metrics.coalesced.clone(),
        );
        registry.register(
            "failures",
            "Calls to the store without a usable answer",
            metrics.failures.clone(),
        );
        registry.register(
            "stale",
            "Renewals that failed while the old answer still holds",
            metrics.stale.clone(),
        );
        registry.register(
            "tokens_rejected",
            "Tokens refused by targets",
            metrics.rejected.clone(),
        );
    }
}

impl Resolver for StoreResolver {
    fn cached(&self, query: &Arc<Query>) -> Option<Arc<Resolved>> {
        let entry = self.inner.entries.get(query)?;
        let now = Instant::now();
        let answer = entry.usable(now)?;
        let resolved = Arc::clone(answer.result.as_ref().ok()?);
        self.inner.metrics.hits.inc();
        if now >= answer.times.refresh && !entry.refreshing.swap(true, Ordering::AcqRel) {
            let (inner, query) = (Arc::clone(&self.inner), Arc::clone(query));
            tokio::spawn(async move { inner.refresh(&query, &entry).await });
        }
        Some(resolved)
    }

    fn resolve<'a>(&'a self, query: &'a Arc<Query>) -> Resolving<'a> {
        Box::pin(self.inner.resolve(query))
    }

    fn reject(&self, query: &Arc<Query>, credential: &HeaderValue) {
        let Some(entry) = self.inner.entries.get(query) else {
            return;
        };
        let current = entry.answer.load_full();
        let is_current = current
            .as_ref()
            .and_then(|answer| answer.result.as_ref().ok()?.credential.as_ref())
            .is_some_and(|current| current.is_same(credential));
        // Of a burst of refusals only the first finds its token still in place.
        if is_current {
            entry.generation.fetch_add(1, Ordering::AcqRel);
            entry.renew_token.store(true, Ordering::Release);
            let previous = entry.answer.compare_and_swap(&current, None);
            if previous.as_ref().map(Arc::as_ptr) == current.as_ref().map(Arc::as_ptr) {
                self.inner.metrics.rejected.inc();
            }
        }
    }
}

impl Inner {
    async fn resolve(&self, query: &Arc<Query>) -> Result<Arc<Resolved>, Failure> {
        let entry = self.entries.get_with(Arc::clone(query), Arc::default);
        if let Some(answer) = entry.usable(Instant::now()) {
            return answer.result.clone();
        }
        let flight = match entry.flight.try_lock() {
            Ok(flight) => flight,
            Err(_) => {
                self.metrics.coalesced.inc();
                entry.flight.lock().await
            }
        };
        if let Some(answer) = entry.usable(Instant::now()) {
            return answer.result.clone();
        }
        let generation = entry.generation.load(Ordering::Acquire);
        let renew_token = entry.renew_token.swap(false, Ordering::AcqRel);
        let answer = Arc::new(self.fetch(query, renew_token).await);
        if entry.generation.load(Ordering::Acquire) == generation {
            entry.answer.store(Some(Arc::clone(&answer)));
        }
        drop(flight);
        answer.result.clone()
    }

    /// Renews an answer that still holds. When that fails it is used on, and tried again soon, unless the failure is
    /// the store's definite word.
    async fn refresh(&self, query: &Query, entry: &Entry) {
        let flight = entry.flight.lock().await;
        let generation = entry.generation.load(Ordering::Acquire);
        let answer = self.fetch(query, false).await;
        let kept = entry.answer.load_full();
        let definite = match &answer.result {
            Ok(_) => true,
            Err(failure) => matches!(
                failure.kind,
                Kind::DestinationNotFound | Kind::DestinationUnusable
            ),
        };
        if entry.generation.load(Ordering::Acquire) == generation {
            match kept {
                Some(kept) if !definite => {
                    self.metrics.stale.inc();
                    let refresh = Instant::now() + self.policy.negative;
                    let times = Times {
                        refresh,
                        ..kept.times
                    };
                    entry.answer.store(Some(Arc::new(Answer {
                        result: kept.result.clone(),
                        times,
                    })));
                }
                _ => entry.answer.store(Some(Arc::new(answer))),
            }
        }
        entry.refreshing.store(false, Ordering::Release);
        drop(flight);
    }

    async fn fetch(&self, query: &Query, renew_token: bool) -> Answer {
        self.metrics.fetches.inc();
        let result = self.ask(query, renew_token).await;
        let received = Instant::now();
        let times = match &result {
            Ok(resolved) => self.policy.times(resolved, received, fastrand::f64()),
            Err(failure) => {
                self.metrics.failures.inc();
                tracing::warn!(destination = query.selector.name, %failure, "cannot resolve the destination");
                let until = received + self.policy.negative;
                Times {
                    refresh: until,
                    expire: until,
                }
            }
        };
        Answer { result, times }
    }

    async fn ask(&self, query: &Query, renew_token: bool) -> Result<Arc<Resolved>, Failure> {
        let mut find = FindQuery::new(query.selector.clone());
        find.tenant.clone_from(&query.tenant);
        find.renew_token = renew_token;
        let asked = Instant::now();
        let found = self
            .client
            .find(&find)
            .await
            .map_err(|error| store_failure(&error))?;
        // Lifetimes are counted from before the call: an answer that took long must not outlive its token.
        let plan = Plan::new(&found, query.location.as_deref(), asked)?;
        let tls = match self.pool.tls_of(&plan.key) {
            Some(tls) => Some(tls),
            None => self.connector.tls_for(&plan.key).map_err(|error| {
                let name = &query.selector.name;
                let message =
                    format!("destination '{name}' cannot be used: its trust store is unusable: {error}");
                Failure::new(Kind::DestinationUnusable, message)
            })?,
        };
        let upstream = self.pool.upstream(plan.key.clone(), tls);
        Ok(Arc::new(plan.bind(upstream)))
    }
}

fn store_failure(error: &StoreError) -> Failure {
    let kind = match error {
        StoreError::NotFound { .. } => Kind::DestinationNotFound,
        StoreError::Timeout { .. } => Kind::StoreTimeout,
        _ => Kind::StoreUnavailable,
    };
    Failure::new(kind, error.to_string())
}
