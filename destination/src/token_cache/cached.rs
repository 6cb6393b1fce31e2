//! A token in the cache: how long it is good, when it is renewed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use landbridge_runtime::bucket::Bucket;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::oauth::Token;

/// How long after a failed renewal the next one waits while the old token is still good.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// The limit on forced renewals of one key: whoever asks for a new token with every call must not become a flood at
/// the token service. Ten at once, then one every 5 s.
pub(super) fn forced_renewals() -> Arc<Mutex<Bucket>> {
    Arc::new(Mutex::new(Bucket::new(10, Duration::from_secs(5))))
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
    /// Limits forced renewals; handed on from token to token of a key.
    pub(super) forced: Arc<Mutex<Bucket>>,
}

impl CachedToken {
    pub(super) fn new(token: Token, forced: Arc<Mutex<Bucket>>) -> Self {
        let renew_after = AtomicU64::new(millis(renewal_time(&token)));
        Self {
            token,
            fetched: Instant::now(),
            renew_after,
            renewing: AtomicBool::new(false),
            forced,
        }
    }

    /// Time left until it expires.
    pub fn remaining(&self) -> Duration {
        self.token.life.saturating_sub(self.fetched.elapsed())
    }

    pub(super) fn is_usable(&self) -> bool {
        self.fetched.elapsed() < self.token.usable
    }

    /// Claims the renewal, for one caller only.
    pub(super) fn claim_renewal(&self) -> bool {
        millis(self.fetched.elapsed()) >= self.renew_after.load(Ordering::Relaxed)
            && !self.renewing.swap(true, Ordering::AcqRel)
    }

    pub(super) fn postpone_renewal(&self) {
        let next = self.fetched.elapsed() + jittered(RENEWAL_PAUSE);
        self.renew_after.store(millis(next), Ordering::Relaxed);
        self.renewing.store(false, Ordering::Release);
    }
}

/// When a token is renewed: at 80 % of its life or 60 s before its end, whichever is earlier, but not before half of
/// the time it may be used; +-10 % so that tokens fetched together are not renewed together.
pub(super) fn renewal_time(token: &Token) -> Duration {
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
