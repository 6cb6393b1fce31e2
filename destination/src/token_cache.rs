//! Tokens kept until shortly before they expire: one fetch per key however many ask, renewed ahead in the background,
//! never handed out expired, bounded in memory.

mod cached;
mod flight;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use landbridge_runtime::bucket::Bucket;
use moka::Expiry;
use moka::future::Cache;
use moka::ops::compute::Op;
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use crate::oauth::Token;
pub use cached::CachedToken;
use cached::forced_renewals;
use flight::{Flight, Flights, Outcome};

/// Memory the cache may use, in bytes: some ten thousand tokens of the usual 2 KiB.
const CAPACITY: u64 = 32 * 1024 * 1024;

/// What an entry costs beside its token.
const ENTRY_OVERHEAD: u32 = 512;

/// Longest a failure is remembered, whatever the token service says.
const LONGEST_FAILURE_LIFE: Duration = Duration::from_secs(60);

/// Identity of a token: everything that decides which token a token service gives. A digest, so that the cache's keys
/// hold no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenKey([u8; 32]);

impl fmt::Debug for TokenKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TokenKey({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

impl TokenKey {
    /// Digest of the parts. Each goes in with its length, so that no two lists of parts look alike.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }

    /// The digest, as a part of another key.
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

/// What happened, since the start. Counters only, no labels.
#[derive(Debug, Default)]
pub struct TokenCacheStats {
    /// Answered from the cache.
    pub hits: AtomicU64,
    /// Fetched while the caller waited.
    pub fetches: AtomicU64,
    /// Waited for a fetch that another caller had started.
    pub coalesced: AtomicU64,
    /// Fetches that failed.
    pub failures: AtomicU64,
    /// Renewed ahead in the background.
    pub renewals: AtomicU64,
    /// Renewals that failed; the old token stays while it is good.
    pub renewal_failures: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Why a fetch has no token.
pub trait FetchFailure: Clone + Send + Sync + fmt::Display + 'static {
    /// How long the token service asked not to be called, if it did. The failure is remembered that long, 60 s at most.
    fn pause(&self) -> Option<Duration> {
        None
    }
}

enum Entry<E> {
    Token(Arc<CachedToken>),
    Failed(Arc<Failed<E>>),
}

struct Failed<E> {
    error: E,
    at: Instant,
    life: Duration,
}

impl<E> Clone for Entry<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Token(token) => Self::Token(Arc::clone(token)),
            Self::Failed(failed) => Self::Failed(Arc::clone(failed)),
        }
    }
}

/// The cache. Cheap to clone; clones share the entries. `E` is the error of the fetch.
pub struct TokenCache<E> {
    entries: Cache<TokenKey, Entry<E>>,
    flights: Arc<Flights<TokenKey, Entry<E>>>,
    failure_life: Duration,
    stats: Arc<TokenCacheStats>,
}

impl<E> Clone for TokenCache<E> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
            flights: Arc::clone(&self.flights),
            failure_life: self.failure_life,
            stats: Arc::clone(&self.stats),
        }
    }
}

impl<E> fmt::Debug for TokenCache<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TokenCache")
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

struct EntryExpiry;

impl<E> Expiry<TokenKey, Entry<E>> for EntryExpiry {
    fn expire_after_create(
        &self,
        _: &TokenKey,
        entry: &Entry<E>,
        _: std_instant::Instant,
    ) -> Option<Duration> {
        Some(match entry {
            Entry::Token(token) => token.token.usable,
            Entry::Failed(failed) => failed.life,
        })
    }

    fn expire_after_update(
        &self,
        key: &TokenKey,
        entry: &Entry<E>,
        at: std_instant::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, entry, at)
    }
}

/// The cache library's trait names the standard clock; it is not read here.
mod std_instant {
    #[expect(clippy::disallowed_types, reason = "named by moka::Expiry, never read")]
    pub(super) type Instant = std::time::Instant;
}

impl<E: FetchFailure> TokenCache<E> {
    /// An empty cache. A failed fetch is remembered for `failure_life`, so that a token service in trouble gets one
    /// call instead of all of them.
    pub fn new(failure_life: Duration) -> Self {
        let entries = Cache::builder()
            .max_capacity(CAPACITY)
            .weigher(|_, entry: &Entry<E>| weight(entry))
            .expire_after(EntryExpiry)
            .build();
        Self {
            entries,
            flights: Arc::new(Flights::new()),
            failure_life,
            stats: Arc::default(),
        }
    }

    /// What happened so far.
    pub fn stats(&self) -> &Arc<TokenCacheStats> {
        &self.stats
    }

    /// What is known of `key` without waiting for anybody. A token that is due is renewed by `fetch` in the background.
    pub async fn peek<F, Fut>(&self, key: TokenKey, fetch: &F) -> Option<Result<Arc<CachedToken>, E>>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Token, E>> + Send + 'static,
    {
        match self.entries.get(&key).await? {
            Entry::Token(cached) if cached.is_usable() => {
                count(&self.stats.hits);
                if cached.claim_renewal() {
                    self.renew(key, Arc::clone(&cached), fetch());
                }
                Some(Ok(cached))
            }
            Entry::Failed(failed) if failed.at.elapsed() < failed.life => {
                count(&self.stats.hits);
                Some(Err(failed.error.clone()))
            }
            _ => None,
        }
    }

    /// The token of `key`, from the cache or by `fetch`. Callers that ask at the same time share one fetch, which goes
    /// on when they leave. A token too short-lived to keep is still given to those who waited for it.
    ///
    /// # Errors
    /// The fetch failed, now or within the last moments.
    pub async fn get<F, Fut>(&self, key: TokenKey, fetch: F) -> Result<Arc<CachedToken>, E>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Token, E>> + Send + 'static,
    {
        match self.peek(key, &fetch).await {
            Some(known) => known,
            None => self.join(key, fetch, None).await,
        }
    }

    /// A token that is newer than `refused`, for whoever had that one refused by its target. The old one stays for
    /// everybody else until the new one is there. Ten renewals of a key may follow each other at once, then one every
    /// 5 s; beyond that the token at hand is given.
    ///
    /// # Errors
    /// The fetch failed; the old token stays.
    pub async fn replace<F, Fut>(
        &self,
        key: TokenKey,
        refused: &Arc<CachedToken>,
        fetch: F,
    ) -> Result<Arc<CachedToken>, E>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Token, E>> + Send + 'static,
    {
        self.join(key, fetch, Some(Arc::clone(refused))).await
    }

    async fn join<F, Fut>(
        &self,
        key: TokenKey,
        fetch: F,
        refused: Option<Arc<CachedToken>>,
    ) -> Result<Arc<CachedToken>, E>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Token, E>> + Send + 'static,
    {
        let fetch = Arc::new(fetch);
        let (outcome, flight) = self.flights.board(key);
        match flight {
            Some(flight) => self.fly(key, flight, Arc::clone(&fetch), refused),
            None => count(&self.stats.coalesced),
        }
        let entry = match landed(outcome).await {
            Some(entry) => entry,
            // The task died with the fetch's panic, or the process is ending: what happens now is this caller's own.
            None => self.entry(fetch().await, forced_renewals()),
        };
        match entry {
            Entry::Token(cached) => Ok(cached),
            Entry::Failed(failed) => Err(failed.error.clone()),
        }
    }

    /// Makes the fetch in a task of its own, one per key; it ends by the fetch's own deadline.
    fn fly<F, Fut>(
        &self,
        key: TokenKey,
        flight: Flight<TokenKey, Entry<E>>,
        fetch: Arc<F>,
        refused: Option<Arc<CachedToken>>,
    ) where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Token, E>> + Send + 'static,
    {
        let this = self.clone();
        tokio::spawn(async move {
            let known = this.entries.get(&key).await;
            let entry = match this.settled(known.as_ref(), refused.as_ref()) {
                Some(entry) => entry,
                None => {
                    count(&this.stats.fetches);
                    let forced = match &known {
                        Some(Entry::Token(cached)) => Arc::clone(&cached.forced),
                        _ => forced_renewals(),
                    };
                    let entry = this.entry(fetch().await, forced);
                    this.keep(key, &entry).await;
                    entry
                }
            };
            // After the cache has it: whoever does not find it there yet still joins here.
            flight.land(entry);
        });
    }

    /// What makes a fetch needless: a flight that has just landed, or too many forced renewals.
    fn settled(&self, known: Option<&Entry<E>>, refused: Option<&Arc<CachedToken>>) -> Option<Entry<E>> {
        match known? {
            Entry::Token(cached) if cached.is_usable() => {
                let newer = refused.is_none_or(|refused| !Arc::ptr_eq(refused, cached));
                (newer || !cached.forced.lock().take(Instant::now()))
                    .then(|| Entry::Token(Arc::clone(cached)))
            }
            Entry::Failed(failed) if failed.at.elapsed() < failed.life => {
                Some(Entry::Failed(Arc::clone(failed)))
            }
            _ => None,
        }
    }

    fn entry(&self, fetched: Result<Token, E>, forced: Arc<Mutex<Bucket>>) -> Entry<E> {
        match fetched {
            Ok(token) => Entry::Token(Arc::new(CachedToken::new(token, forced))),
            Err(error) => {
                count(&self.stats.failures);
                let pause = error.pause().unwrap_or_default().min(LONGEST_FAILURE_LIFE);
                let life = pause.max(self.failure_life);
                let at = Instant::now();
                Entry::Failed(Arc::new(Failed { error, at, life }))
            }
        }
    }

    /// Keeps what came of a fetch; a failure does not take the place of a good token.
    async fn keep(&self, key: TokenKey, entry: &Entry<E>) {
        let new = entry.clone();
        self.entries
            .entry(key)
            .and_compute_with(|current| {
                let good = current.is_some_and(
                    |current| matches!(current.value(), Entry::Token(cached) if cached.is_usable()),
                );
                let put = !good || matches!(new, Entry::Token(_));
                std::future::ready(if put { Op::Put(new) } else { Op::Nop })
            })
            .await;
    }

    /// Forgets a token that was refused, unless a newer one has taken its place: a burst of refusals then makes one
    /// fetch. A renewal that started before may not bring the key back.
    pub async fn invalidate(&self, key: TokenKey, token: &Arc<CachedToken>) {
        self.remove(key, &Entry::Token(Arc::clone(token))).await;
    }

    fn renew<Fut>(&self, key: TokenKey, old: Arc<CachedToken>, fetch: Fut)
    where
        Fut: Future<Output = Result<Token, E>> + Send + 'static,
    {
        let this = self.clone();
        // One task per key at most, because the claim is; it ends by the fetch's own deadline.
        tokio::spawn(async move {
            match fetch.await {
                Ok(token) => {
                    count(&this.stats.renewals);
                    let new = Entry::Token(Arc::new(CachedToken::new(token, Arc::clone(&old.forced))));
                    this.compare_and_swap(key, &Entry::Token(old), Op::Put(new)).await;
                }
                Err(error) => {
                    count(&this.stats.renewal_failures);
                    tracing::warn!(%error, remaining_s = old.remaining().as_secs(), "token renewal failed; the old token stays in use");
                    old.postpone_renewal();
                }
            }
        });
    }

    async fn remove(&self, key: TokenKey, expected: &Entry<E>) {
        self.compare_and_swap(key, expected, Op::Remove).await;
    }

    async fn compare_and_swap(&self, key: TokenKey, expected: &Entry<E>, change: Op<Entry<E>>) {
        self.entries
            .entry(key)
            .and_compute_with(|current| {
                let same = current.is_some_and(|current| same_entry(current.value(), expected));
                std::future::ready(if same { change } else { Op::Nop })
            })
            .await;
    }
}

async fn landed<T: Clone>(mut outcome: Outcome<T>) -> Option<T> {
    let outcome = outcome.wait_for(Option::is_some).await.ok()?;
    outcome.clone()
}

/// What an entry costs: all its texts, because a token service chooses how long they are.
fn weight<E: FetchFailure>(entry: &Entry<E>) -> u32 {
    let length = match entry {
        Entry::Token(cached) => {
            let token = &cached.token;
            let refresh = token.refresh_token.as_ref();
            token.access_token.expose_secret().len()
                + refresh.map_or(0, |secret| secret.expose_secret().len())
                + token.scope.as_ref().map_or(0, String::len)
        }
        Entry::Failed(failed) => failed.error.to_string().len(),
    };
    u32::try_from(length)
        .unwrap_or(u32::MAX)
        .saturating_add(ENTRY_OVERHEAD)
}

fn same_entry<E>(one: &Entry<E>, other: &Entry<E>) -> bool {
    match (one, other) {
        (Entry::Token(one), Entry::Token(other)) => Arc::ptr_eq(one, other),
        (Entry::Failed(one), Entry::Failed(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
