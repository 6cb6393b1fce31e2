//! Destinations from the store, kept as long as they hold: one fetch per query however many requests wait, renewed in
//! the background ahead of need, used on while the store is away, never with an expired token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use landbridge_destination::client::FindQuery;
use landbridge_destination::error::StoreError;
use landbridge_runtime::bucket::Bucket;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::time::{Instant, sleep};

use super::cache::{CachePolicy, Times};
use super::change::Change;
use super::metrics::ResolverMetrics;
use super::{Query, Renewing, Resolver, Resolving};
use crate::connect::Connector;
use crate::failure::{Failure, Kind};
use crate::pool::Pool;
use crate::resolved::{Plan, Resolved};
use crate::stores::Stores;

/// Bytes of an entry without the texts of its query.
const BASE_WEIGHT: usize = 512;

/// Bytes that the limit of entries counts for each: a caller who makes up long queries gets fewer of them.
const TYPICAL_WEIGHT: u64 = 1024;

/// Kept answers that are asked for again at once when they are known to be out of date; the others follow when they are
/// used. A change concerns few destinations, but each may be kept for many tenants.
const EAGER: usize = 64;

/// Pause between two questions to a store that is away.
const AGAIN: Duration = Duration::from_millis(250);

/// How a store is asked.
#[derive(Clone, Copy, Debug, Default)]
struct Asking {
    /// For a new token instead of the one it may have kept.
    renew_token: bool,
    /// How long a store that is away is waited for.
    patience: Duration,
}

impl Asking {
    const NEW_TOKEN: Self = Self {
        renew_token: true,
        patience: Duration::ZERO,
    };
}

/// Such questions at one time.
const EAGER_AT_ONCE: usize = 16;

/// Times an answer is asked for in a row because it changed while it was asked for.
const ATTEMPTS: usize = 3;

/// Asks the store, holding its credentials: for gateways and nodes.
#[derive(Clone)]
pub struct StoreResolver {
    inner: Arc<Inner>,
}

struct Inner {
    stores: Stores,
    pool: Arc<Pool>,
    connector: Connector,
    policy: CachePolicy,
    entries: moka::sync::Cache<Arc<Query>, Arc<Entry>>,
    metrics: ResolverMetrics,
    eager: Semaphore,
}

/// What is known for one query.
struct Entry {
    answer: ArcSwapOption<Answer>,
    /// Grows when the store says that the destination has changed; an answer asked for before is out of date.
    generation: AtomicU64,
    /// Held while the store is asked, and whenever `answer` is replaced: whoever waits here shares the answer.
    flight: Arc<tokio::sync::Mutex<()>>,
    /// A task renews the answer in the background.
    refreshing: AtomicBool,
    renewals: Mutex<Bucket>,
}

struct Answer {
    result: Result<Arc<Resolved>, Failure>,
    times: Times,
    received: Instant,
    /// The entry's generation when it was asked for.
    generation: u64,
    /// Certificates of the store that it depends on.
    certificates: Vec<String>,
}

impl Default for Entry {
    fn default() -> Self {
        // A target that answers 401 whatever it gets must not become a flood at the token service.
        let renewals = Mutex::new(Bucket::new(5, Duration::from_secs(30)));
        Self {
            answer: ArcSwapOption::default(),
            generation: AtomicU64::default(),
            flight: Arc::default(),
            refreshing: AtomicBool::default(),
            renewals,
        }
    }
}

impl Entry {
    /// The answer, if it may be used at `now`, or came after `now`: then it was asked for on behalf of everybody who
    /// was waiting, even if its token is too short-lived to be kept. One that is out of date is used until there is
    /// another; a failure is not.
    fn usable(&self, now: Instant) -> Option<Arc<Answer>> {
        self.answer.load_full().filter(|answer| {
            let current = self.is_current(answer);
            (now < answer.times.expire && (current || answer.result.is_ok()))
                || (answer.received >= now && current)
        })
    }

    /// Whether the destination has not changed since `answer` was asked for.
    fn is_current(&self, answer: &Answer) -> bool {
        answer.generation == self.generation.load(Ordering::Acquire)
    }
}

impl StoreResolver {
    /// A resolver that asks `stores` and binds answers to upstreams of `pool`.
    pub fn new(stores: Stores, pool: Arc<Pool>, connector: Connector, policy: CachePolicy) -> Self {
        let entries = moka::sync::Cache::builder()
            .max_capacity(policy.entries * TYPICAL_WEIGHT)
            .weigher(|query: &Arc<Query>, _| u32::try_from(BASE_WEIGHT + query.weight()).unwrap_or(u32::MAX))
            .time_to_idle(policy.fresh + policy.stale)
            .build();
        let metrics = ResolverMetrics::default();
        Self {
            inner: Arc::new(Inner {
                stores,
                pool,
                connector,
                policy,
                entries,
                metrics,
                eager: Semaphore::new(EAGER_AT_ONCE),
            }),
        }
    }

    /// Something has changed in a store: what is kept of it is asked for again, at once or when it is used next, and
    /// used on until then.
    pub fn changed(&self, change: &Change) {
        let inner = &self.inner;
        let mut eager = 0;
        for (query, entry) in &inner.entries {
            let answer = entry.answer.load_full();
            let certificates = answer
                .as_ref()
                .map_or(&[][..], |answer| answer.certificates.as_slice());
            if !change.concerns(
                &query.selector,
                inner.stores.name(query.selector.instance.as_deref()),
                certificates,
            ) {
                continue;
            }
            entry.generation.fetch_add(1, Ordering::AcqRel);
            inner.metrics.outdated.inc();
            if change.is_named()
                && eager < EAGER
                && answer.is_some()
                && !entry.refreshing.swap(true, Ordering::AcqRel)
            {
                eager += 1;
                let inner = Arc::clone(inner);
                tokio::spawn(async move {
                    let _turn = inner.eager.acquire().await;
                    inner.refresh(&query, &entry).await;
                });
            }
        }
    }

    /// Puts its metrics into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        self.inner.metrics.register(registry);
    }
}

impl Resolver for StoreResolver {
    fn cached(&self, query: &Arc<Query>) -> Option<Arc<Resolved>> {
        let entry = self.inner.entries.get(query)?;
        let now = Instant::now();
        let answer = entry.usable(now)?;
        let resolved = Arc::clone(answer.result.as_ref().ok()?);
        self.inner.metrics.hits.inc();
        let due = now >= answer.times.refresh || !entry.is_current(&answer);
        if due && !entry.refreshing.swap(true, Ordering::AcqRel) {
            let (inner, query) = (Arc::clone(&self.inner), Arc::clone(query));
            tokio::spawn(async move { inner.refresh(&query, &entry).await });
        }
        Some(resolved)
    }

    fn resolve<'a>(&'a self, query: &'a Arc<Query>) -> Resolving<'a> {
        Box::pin(self.inner.resolve(query))
    }

    fn renew<'a>(&'a self, query: &'a Arc<Query>, credential: &'a HeaderValue) -> Renewing<'a> {
        Box::pin(self.inner.renew(query, credential))
    }

    fn renew_later(&self, query: &Arc<Query>, credential: &HeaderValue) {
        let Some(entry) = self.inner.entries.get(query) else {
            return;
        };
        if entry.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (inner, query, credential) = (Arc::clone(&self.inner), Arc::clone(query), credential.clone());
        tokio::spawn(async move {
            inner.renew(&query, &credential).await;
            entry.refreshing.store(false, Ordering::Release);
        });
    }
}

impl Inner {
    async fn resolve(self: &Arc<Self>, query: &Arc<Query>) -> Result<Arc<Resolved>, Failure> {
        let entry = self.entries.get_with(Arc::clone(query), Arc::default);
        let came = Instant::now();
        if let Some(answer) = entry.usable(came) {
            return answer.result.clone();
        }
        let flight = match Arc::clone(&entry.flight).try_lock_owned() {
            Ok(flight) => flight,
            Err(_) => {
                self.metrics.coalesced.inc();
                Arc::clone(&entry.flight).lock_owned().await
            }
        };
        if let Some(answer) = entry.usable(came) {
            return answer.result.clone();
        }
        let first = Asking {
            patience: self.policy.patience,
            ..Asking::default()
        };
        let answer = self
            .fly(query, &entry, flight, first, |answer, _| Some(answer))
            .await;
        answer.map_or_else(|| Err(cut_off()), |answer| answer.result.clone())
    }

    async fn renew(self: &Arc<Self>, query: &Arc<Query>, refused: &HeaderValue) -> Option<Arc<Resolved>> {
        let entry = self.entries.get(query)?;
        let flight = Arc::clone(&entry.flight).lock_owned().await;
        let is_refused = |resolved: &Resolved| {
            resolved
                .credential
                .as_ref()
                .is_some_and(|own| own.is_same(refused))
        };
        if let Some(Ok(resolved)) = entry.answer.load().as_ref().map(|answer| &answer.result)
            && !is_refused(resolved)
        {
            // Of a burst of refusals only the first finds its token still in place.
            return Some(Arc::clone(resolved));
        }
        if !entry.renewals.lock().take(Instant::now()) {
            return None;
        }
        self.metrics.rejected.inc();
        let answer = self
            .fly(query, &entry, flight, Asking::NEW_TOKEN, |answer, _| {
                answer.result.is_ok().then_some(answer)
            })
            .await?;
        answer
            .result
            .clone()
            .ok()
            .filter(|resolved| !is_refused(resolved))
    }

    /// Renews an answer that still holds. When that fails it is used on, and tried again soon, unless the failure is
    /// the store's definite word.
    async fn refresh(self: &Arc<Self>, query: &Arc<Query>, entry: &Arc<Entry>) {
        for _ in 0..ATTEMPTS {
            self.refresh_once(query, entry).await;
            if entry
                .answer
                .load()
                .as_ref()
                .is_none_or(|answer| entry.is_current(answer))
            {
                break;
            }
        }
        entry.refreshing.store(false, Ordering::Release);
    }

    async fn refresh_once(self: &Arc<Self>, query: &Arc<Query>, entry: &Arc<Entry>) {
        let flight = Arc::clone(&entry.flight).lock_owned().await;
        let negative = self.policy.negative;
        let stale = self.metrics.stale.clone();
        let _ = self
            .fly(query, entry, flight, Asking::default(), move |answer, kept| {
                let definite = match &answer.result {
                    Ok(_) => true,
                    Err(failure) => matches!(
                        failure.kind,
                        Kind::DestinationNotFound | Kind::DestinationUnusable
                    ),
                };
                let Some(kept) = kept.filter(|_| !definite) else {
                    return Some(answer);
                };
                stale.inc();
                let times = Times {
                    refresh: Instant::now() + negative,
                    ..kept.times
                };
                Some(Arc::new(Answer {
                    result: kept.result.clone(),
                    times,
                    received: kept.received,
                    // Asked for on behalf of this generation: the next try is at `refresh`, not at the next use.
                    generation: answer.generation,
                    certificates: kept.certificates.clone(),
                }))
            })
            .await;
    }

    /// Asks the store in a task of its own, so that an application that goes away takes nothing from those who wait
    /// with it. `keep` says what is kept, given the new answer and the old one. Gives the new answer; nothing if the
    /// runtime goes down.
    async fn fly(
        self: &Arc<Self>,
        query: &Arc<Query>,
        entry: &Arc<Entry>,
        flight: OwnedMutexGuard<()>,
        asking: Asking,
        keep: impl FnOnce(Arc<Answer>, Option<Arc<Answer>>) -> Option<Arc<Answer>> + Send + 'static,
    ) -> Option<Arc<Answer>> {
        let (inner, query, entry) = (Arc::clone(self), Arc::clone(query), Arc::clone(entry));
        let task = tokio::spawn(async move {
            // Before the question: what changes from now on makes this answer an old one.
            let generation = entry.generation.load(Ordering::Acquire);
            let answer = Arc::new(inner.fetch(&query, asking, generation).await);
            if let Some(kept) = keep(Arc::clone(&answer), entry.answer.load_full()) {
                entry.answer.store(Some(kept));
            }
            drop(flight);
            answer
        });
        task.await.ok()
    }

    async fn fetch(&self, query: &Query, asking: Asking, generation: u64) -> Answer {
        self.metrics.fetches.inc();
        let mut certificates = Vec::new();
        let result = self.ask(query, asking, &mut certificates).await;
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
        Answer {
            result,
            times,
            received,
            generation,
            certificates,
        }
    }

    /// One call to the store. `certificates` gets the names of what the destination uses of the store's certificates,
    /// whether or not that leads to an answer.
    async fn ask(
        &self,
        query: &Query,
        asking: Asking,
        certificates: &mut Vec<String>,
    ) -> Result<Arc<Resolved>, Failure> {
        let client = self.stores.client(query.selector.instance.as_deref())?;
        let mut find = FindQuery::new(query.selector.clone());
        find.tenant.clone_from(&query.tenant);
        find.renew_token = asking.renew_token;
        let until = Instant::now() + asking.patience;
        let (found, asked) = loop {
            let asked = Instant::now();
            match client.find(&find).await {
                Ok(found) => break (found, asked),
                Err(StoreError::Unavailable { retryable: true, .. }) if asked < until => sleep(AGAIN).await,
                Err(error) => return Err(store_failure(&error)),
            }
        };
        certificates.extend(found.configuration.trust_store().map(str::to_owned));
        let others = found.certificates.iter().flatten();
        certificates.extend(others.map(|certificate| certificate.name.clone()));
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

fn cut_off() -> Failure {
    Failure::new(
        Kind::StoreUnavailable,
        "the look-up was cut off because the proxy is stopping; try again",
    )
}
