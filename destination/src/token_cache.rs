//! Tokens kept until shortly before they expire: one fetch per key however many ask, renewed ahead in the background,
//! never handed out expired, bounded in memory.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use moka::Expiry;
use moka::future::Cache;
use moka::ops::compute::Op;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use crate::oauth::Token;

/// Memory the cache may use, in bytes: some ten thousand tokens of the usual 2 KiB.
const CAPACITY: u64 = 32 * 1024 * 1024;

/// What an entry costs beside its token.
const ENTRY_OVERHEAD: u32 = 512;

/// How long after a failed renewal the next one waits while the old token is still good.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

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
}

/// A token with the time it was fetched.
#[derive(Debug)]
pub struct CachedToken {
    /// The token.
    pub token: Token,
    fetched: Instant,
    /// Milliseconds after `fetched` from which on it is renewed in the background.
    renew_after: AtomicU64,
    renewing: AtomicBool,
}

impl CachedToken {
    fn new(token: Token) -> Self {
        let renew_after = AtomicU64::new(millis(renewal_time(&token)));
        Self {
            token,
            fetched: Instant::now(),
            renew_after,
            renewing: AtomicBool::new(false),
        }
    }

    /// Time left until it expires.
    pub fn remaining(&self) -> Duration {
        self.token.life.saturating_sub(self.fetched.elapsed())
    }

    /// Whether it was there already at `moment`.
    pub fn is_older_than(&self, moment: Instant) -> bool {
        self.fetched < moment
    }

    fn is_usable(&self) -> bool {
        self.fetched.elapsed() < self.token.usable
    }

    /// Claims the renewal, for one caller only.
    fn claim_renewal(&self) -> bool {
        millis(self.fetched.elapsed()) >= self.renew_after.load(Ordering::Relaxed)
            && !self.renewing.swap(true, Ordering::AcqRel)
    }

    fn postpone_renewal(&self) {
        let next = self.fetched.elapsed() + jittered(RENEWAL_PAUSE);
        self.renew_after.store(millis(next), Ordering::Relaxed);
        self.renewing.store(false, Ordering::Release);
    }
}

/// When a token is renewed: at 80 % of its life or 60 s before its end, whichever is earlier, but not before half of
/// the time it may be used; +-10 % so that tokens fetched together are not renewed together.
fn renewal_time(token: &Token) -> Duration {
    let early = token
        .life
        .mul_f64(0.8)
        .min(token.life.saturating_sub(Duration::from_secs(60)));
    jittered(early.max(token.usable / 2)).min(token.usable)
}

fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.9 + 0.2 * fastrand::f64())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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

enum Entry<E> {
    Token(Arc<CachedToken>),
    Failed(E, Instant),
}

impl<E: Clone> Clone for Entry<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Token(token) => Self::Token(Arc::clone(token)),
            Self::Failed(error, at) => Self::Failed(error.clone(), *at),
        }
    }
}

/// The cache. Cheap to clone; clones share the entries. `E` is the error of the fetch.
pub struct TokenCache<E> {
    entries: Cache<TokenKey, Entry<E>>,
    failure_life: Duration,
    stats: Arc<TokenCacheStats>,
}

impl<E> Clone for TokenCache<E> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
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

struct EntryExpiry {
    failure_life: Duration,
}

impl<E> Expiry<TokenKey, Entry<E>> for EntryExpiry {
    fn expire_after_create(
        &self,
        _: &TokenKey,
        entry: &Entry<E>,
        _: std_instant::Instant,
    ) -> Option<Duration> {
        Some(match entry {
            Entry::Token(token) => token.token.usable,
            Entry::Failed(..) => self.failure_life,
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

impl<E: Clone + Send + Sync + fmt::Display + 'static> TokenCache<E> {
    /// An empty cache. A failed fetch is remembered for `failure_life`, so that a token service in trouble gets one
    /// call instead of all of them.
    pub fn new(failure_life: Duration) -> Self {
        let entries = Cache::builder()
            .max_capacity(CAPACITY)
            .weigher(|_, entry: &Entry<E>| match entry {
                Entry::Token(token) => {
                    let length = token.token.access_token.expose_secret().len();
                    u32::try_from(length)
                        .unwrap_or(u32::MAX)
                        .saturating_add(ENTRY_OVERHEAD)
                }
                Entry::Failed(..) => ENTRY_OVERHEAD,
            })
            .expire_after(EntryExpiry { failure_life })
            .build();
        Self {
            entries,
            failure_life,
            stats: Arc::default(),
        }
    }

    /// What happened so far.
    pub fn stats(&self) -> &Arc<TokenCacheStats> {
        &self.stats
    }

    /// The token of `key`, from the cache or by `fetch`. Callers that ask at the same time share one fetch. A token
    /// too short-lived to keep is still given to those who waited for it.
    ///
    /// # Errors
    /// The fetch failed, now or within the last moments.
    pub async fn get<F, Fut>(&self, key: TokenKey, fetch: F) -> Result<Arc<CachedToken>, E>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Token, E>> + Send + 'static,
    {
        match self.entries.get(&key).await {
            Some(Entry::Token(cached)) if cached.is_usable() => {
                count(&self.stats.hits);
                if cached.claim_renewal() {
                    self.renew(key, Arc::clone(&cached), fetch());
                }
                return Ok(cached);
            }
            Some(Entry::Failed(error, at)) if at.elapsed() < self.failure_life => {
                count(&self.stats.hits);
                return Err(error);
            }
            Some(stale) => self.remove(key, &stale).await,
            None => {}
        }
        let fetched = AtomicBool::new(false);
        let entry = self
            .entries
            .get_with(key, async {
                fetched.store(true, Ordering::Relaxed);
                self.first(fetch()).await
            })
            .await;
        if !fetched.load(Ordering::Relaxed) {
            count(&self.stats.coalesced);
        }
        match entry {
            Entry::Token(cached) => Ok(cached),
            Entry::Failed(error, _) => Err(error),
        }
    }

    /// Forgets a token that was refused, unless a newer one has taken its place: a burst of refusals then makes one
    /// fetch. A renewal that started before may not bring the key back.
    pub async fn invalidate(&self, key: TokenKey, token: &Arc<CachedToken>) {
        self.remove(key, &Entry::Token(Arc::clone(token))).await;
    }

    async fn first(&self, fetch: impl Future<Output = Result<Token, E>>) -> Entry<E> {
        count(&self.stats.fetches);
        match fetch.await {
            Ok(token) => Entry::Token(Arc::new(CachedToken::new(token))),
            Err(error) => {
                count(&self.stats.failures);
                Entry::Failed(error, Instant::now())
            }
        }
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
                    let new = Entry::Token(Arc::new(CachedToken::new(token)));
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

fn same_entry<E>(one: &Entry<E>, other: &Entry<E>) -> bool {
    match (one, other) {
        (Entry::Token(one), Entry::Token(other)) => Arc::ptr_eq(one, other),
        (Entry::Failed(_, one), Entry::Failed(_, other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
