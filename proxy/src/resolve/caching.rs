//! Destinations kept as long as they hold: one question per query however many requests wait, renewed in the background
//! ahead of need, used on while the source is away, never with an expired token.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::HeaderValue;
use landbridge_destination::route::Route;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::time::Instant;

use super::cache::{CachePolicy, Times};
use super::change::Change;
use super::entry::{Answer, Entry};
use super::gateway::{GatewaySettings, GatewaySource};
use super::metrics::ResolverMetrics;
use super::source::{Asked, Asking, Binder, Source};
use super::store::StoreSource;
use super::{Query, Renewing, Resolver, Resolving};
use crate::connect::Connector;
use crate::failure::{Failure, Kind};
use crate::pool::Pool;
use crate::resolved::Resolved;
use crate::stores::Stores;

/// Bytes of an entry without the texts of its query.
const BASE_WEIGHT: usize = 512;

/// Bytes that the limit of entries counts for each: a caller who makes up long queries gets fewer of them.
const TYPICAL_WEIGHT: u64 = 1024;

/// Kept answers that are asked for again at once when they are known to be out of date; the others follow when they are
/// used. A change concerns few destinations, but each may be kept for many tenants.
const EAGER: usize = 64;

/// Such questions at one time.
const EAGER_AT_ONCE: usize = 16;

/// Times an answer is asked for in a row because it changed while it was asked for.
const ATTEMPTS: usize = 3;

/// Keeps what a source says.
#[derive(Clone)]
pub struct CachingResolver {
    inner: Arc<Inner>,
}

struct Inner {
    source: Source,
    binder: Binder,
    policy: CachePolicy,
    entries: moka::sync::Cache<Arc<Query>, Arc<Entry>>,
    metrics: ResolverMetrics,
    eager: Semaphore,
    /// When a change of any destination was last heard of.
    changed: Mutex<Option<Instant>>,
}

/// An answer for somebody who keeps it himself.
pub(crate) struct Known {
    pub(crate) resolved: Arc<Resolved>,
    /// Certificates of the store that it depends on.
    pub(crate) certificates: Vec<String>,
    /// It is older than was wanted.
    pub(crate) outdated: bool,
}

impl CachingResolver {
    /// Asks stores, holding their credentials: for gateways and nodes. Answers are bound to upstreams of `pool`.
    pub fn of_stores(stores: Stores, pool: Arc<Pool>, connector: Connector, policy: CachePolicy) -> Self {
        Self::new(
            Source::Store(StoreSource(stores)),
            Binder { pool, connector },
            policy,
        )
    }

    /// Asks a gateway: for sidecars, which hold no credential of a store.
    ///
    /// # Errors
    /// The resolver of names cannot be built.
    pub fn of_gateway(
        settings: GatewaySettings,
        pool: Arc<Pool>,
        connector: Connector,
        policy: CachePolicy,
    ) -> std::io::Result<Self> {
        let source = Source::Gateway(Box::new(GatewaySource::new(settings, policy.fresh)?));
        Ok(Self::new(source, Binder { pool, connector }, policy))
    }

    fn new(source: Source, binder: Binder, policy: CachePolicy) -> Self {
        let entries = moka::sync::Cache::builder()
            .max_capacity(policy.entries * TYPICAL_WEIGHT)
            .weigher(|query: &Arc<Query>, _| u32::try_from(BASE_WEIGHT + query.weight()).unwrap_or(u32::MAX))
            .time_to_idle(policy.fresh + policy.stale)
            .build();
        Self {
            inner: Arc::new(Inner {
                source,
                binder,
                policy,
                entries,
                metrics: ResolverMetrics::default(),
                eager: Semaphore::new(EAGER_AT_ONCE),
                changed: Mutex::default(),
            }),
        }
    }

    /// Something has changed in a store: what is kept of it is asked for again, at once or when it is used next, and
    /// used on until then.
    pub fn changed(&self, change: &Change) {
        let inner = &self.inner;
        let now = Instant::now();
        // Before the look at what there is: what comes into being meanwhile knows of the change.
        *inner.changed.lock() = Some(now);
        let mut eager = 0;
        for (query, entry) in &inner.entries {
            let answer = entry.answer.load_full();
            let certificates = answer
                .as_ref()
                .map_or(&[][..], |answer| answer.certificates.as_slice());
            if !change.concerns(&query.selector, inner.source.instance(&query), certificates) {
                continue;
            }
            entry.outdate(now);
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
        if let Source::Gateway(gateway) = &self.inner.source {
            gateway.register(registry);
        }
    }

    /// An answer for which the store was asked at `since` or later, if that can be had; all who want that share one
    /// question. `refused` is the credential that came with the answer before and that the target did not take.
    pub(crate) async fn answer(
        &self,
        query: &Arc<Query>,
        since: Option<Instant>,
        refused: Option<&HeaderValue>,
    ) -> Result<Known, Failure> {
        let mut answer = self.inner.answer(query, since).await?;
        if let (Some(refused), Ok(resolved)) = (refused, &answer.result)
            && resolved
                .credential
                .as_ref()
                .is_some_and(|own| own.renewable && own.is_same(refused))
            && self.inner.renew(query, refused).await.is_some()
        {
            answer = self.inner.answer(query, None).await?;
        }
        Ok(Known {
            resolved: answer.result.clone()?,
            certificates: answer.certificates.clone(),
            outdated: since.is_some_and(|since| answer.asked < since),
        })
    }
}

impl Resolver for CachingResolver {
    fn query(&self, route: &Route) -> Query {
        let route_key = match &self.inner.source {
            Source::Store(_) => None,
            Source::Gateway(_) => Some(route.key.clone()),
        };
        Query {
            route: route_key,
            ..Query::new(route.selector.clone())
        }
    }

    fn cached(&self, query: &Arc<Query>) -> Option<Arc<Resolved>> {
        let entry = self.inner.entries.get(query)?;
        let now = Instant::now();
        let answer = entry.usable(now)?;
        let resolved = Arc::clone(answer.result.as_ref().ok()?);
        self.inner.metrics.hits.inc();
        self.inner.refresh_if_due(query, &entry, &answer, now);
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
    /// The entry of a query. A new one counts as changed when something has just changed: whoever answers may not have
    /// heard of that yet.
    fn entry(&self, query: &Arc<Query>) -> Arc<Entry> {
        self.entries
            .get_with_by_ref(query, || Arc::new(Entry::new(*self.changed.lock())))
    }

    async fn resolve(self: &Arc<Self>, query: &Arc<Query>) -> Result<Arc<Resolved>, Failure> {
        let entry = self.entry(query);
        let came = Instant::now();
        if let Some(answer) = entry.usable(came) {
            return answer.result.clone();
        }
        let flight = self.board(&entry).await;
        if let Some(answer) = entry.usable(came) {
            return answer.result.clone();
        }
        let answer = self
            .fly(query, &entry, flight, self.first(), |answer, _| Some(answer))
            .await;
        answer.map_or_else(|| Err(cut_off()), |answer| answer.result.clone())
    }

    /// As [`CachingResolver::answer`], without the credential.
    async fn answer(
        self: &Arc<Self>,
        query: &Arc<Query>,
        since: Option<Instant>,
    ) -> Result<Arc<Answer>, Failure> {
        let entry = self.entry(query);
        let came = Instant::now();
        let young = |answer: &Arc<Answer>| since.is_none_or(|since| answer.asked >= since);
        if let Some(answer) = entry.usable(came).filter(young) {
            self.metrics.hits.inc();
            self.refresh_if_due(query, &entry, &answer, came);
            return Ok(answer);
        }
        let flight = self.board(&entry).await;
        let kept = entry.usable(came);
        if let Some(answer) = kept.clone().filter(young) {
            return Ok(answer);
        }
        let asking = match kept {
            // Only who asks is counted, not those who share the answer.
            Some(kept) if !entry.younger.lock().take(Instant::now()) => return Ok(kept),
            Some(_) => Asking::default(),
            None => self.first(),
        };
        let keep = self.keep_what_holds();
        let answer = self.fly(query, &entry, flight, asking, keep).await;
        let answer = answer.ok_or_else(cut_off)?;
        if !answer.is_definite()
            && let Some(kept) = entry.usable(came).filter(|kept| kept.result.is_ok())
        {
            return Ok(kept);
        }
        Ok(answer)
    }

    /// How it is asked for what nothing is known of.
    fn first(&self) -> Asking {
        Asking {
            patience: self.policy.patience,
            ..Asking::default()
        }
    }

    /// The right to ask; whoever does not get it at once shares the answer of who has it.
    async fn board(&self, entry: &Entry) -> OwnedMutexGuard<()> {
        match Arc::clone(&entry.flight).try_lock_owned() {
            Ok(flight) => flight,
            Err(_) => {
                self.metrics.coalesced.inc();
                Arc::clone(&entry.flight).lock_owned().await
            }
        }
    }

    fn refresh_if_due(
        self: &Arc<Self>,
        query: &Arc<Query>,
        entry: &Arc<Entry>,
        answer: &Answer,
        now: Instant,
    ) {
        let due = now >= answer.times.refresh || !entry.is_current(answer);
        if due && !entry.refreshing.swap(true, Ordering::AcqRel) {
            let (inner, query, entry) = (Arc::clone(self), Arc::clone(query), Arc::clone(entry));
            tokio::spawn(async move { inner.refresh(&query, &entry).await });
        }
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
        let asking = Asking {
            refused: Some(refused.clone()),
            ..Asking::default()
        };
        let answer = self
            .fly(query, &entry, flight, asking, |answer, _| {
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
        let keep = self.keep_what_holds();
        let _ = self.fly(query, entry, flight, Asking::default(), keep).await;
    }

    /// Keeps the old answer when the new one is only that there is none now.
    fn keep_what_holds(
        &self,
    ) -> impl FnOnce(Arc<Answer>, Option<Arc<Answer>>) -> Option<Arc<Answer>> + Send + use<> {
        let negative = self.policy.negative;
        let stale = self.metrics.stale.clone();
        move |answer, kept| {
            let Some(kept) = kept.filter(|kept| !answer.is_definite() && kept.result.is_ok()) else {
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
                asked: kept.asked,
                received: kept.received,
                generation: answer.generation,
                certificates: kept.certificates.clone(),
            }))
        }
    }

    /// Asks the source in a task of its own, so that an application that goes away takes nothing from those who wait
    /// with it. `keep` says what is kept, given the new answer and the old one. Gives the new answer; nothing if the
    /// runtime goes down.
    async fn fly(
        self: &Arc<Self>,
        query: &Arc<Query>,
        entry: &Arc<Entry>,
        flight: OwnedMutexGuard<()>,
        mut asking: Asking,
        keep: impl FnOnce(Arc<Answer>, Option<Arc<Answer>>) -> Option<Arc<Answer>> + Send + 'static,
    ) -> Option<Arc<Answer>> {
        let (inner, query, entry) = (Arc::clone(self), Arc::clone(query), Arc::clone(entry));
        let task = tokio::spawn(async move {
            // Before the question: what changes from now on makes this answer an old one.
            let generation = entry.generation.load(Ordering::Acquire);
            asking.since = *entry.changed.lock();
            let answer = Arc::new(inner.fetch(&query, &asking, generation).await);
            if let Some(kept) = keep(Arc::clone(&answer), entry.answer.load_full()) {
                entry.answer.store(Some(kept));
            }
            drop(flight);
            answer
        });
        task.await.ok()
    }

    async fn fetch(&self, query: &Query, asking: &Asking, generation: u64) -> Answer {
        self.metrics.fetches.inc();
        let asked = self.source.ask(query, asking, &self.binder).await;
        let Asked {
            result,
            at,
            outdated,
            certificates,
        } = asked;
        let received = Instant::now();
        let soon = received + self.policy.negative;
        let times = match &result {
            Ok(resolved) => {
                let times = self.policy.times(resolved, received, fastrand::f64());
                let refresh = if outdated {
                    times.refresh.min(soon)
                } else {
                    times.refresh
                };
                Times { refresh, ..times }
            }
            Err(failure) => {
                self.metrics.failures.inc();
                tracing::warn!(destination = query.selector.name, %failure, "cannot resolve the destination");
                Times {
                    refresh: soon,
                    expire: soon,
                }
            }
        };
        Answer {
            result,
            times,
            asked: at,
            received,
            generation,
            certificates,
        }
    }
}

fn cut_off() -> Failure {
    Failure::new(
        Kind::StoreUnavailable,
        "the look-up was cut off because the proxy is stopping; try again",
    )
}
