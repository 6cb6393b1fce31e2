//! Slows down whoever guesses client secrets.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use moka::sync::Cache;

/// Failures of one client from one address within [`WINDOW`] after which it has to wait.
const FAILURES: u32 = 10;

/// How long failures count, from the first one.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// Client and address pairs remembered. Whoever uses more of them than this still has 2^256 secrets to guess.
const ENTRIES: u64 = 10_000;

/// Counts failures per client id and address. Behind a TLS terminator all callers have one address, so this says who is
/// told to wait after a wrong secret, never who is refused with the right one: a stranger could lock out the real client.
#[derive(Debug)]
pub(crate) struct FailureLimiter {
    failures: Cache<[u8; 32], Arc<AtomicU32>>,
}

impl FailureLimiter {
    pub(crate) fn new() -> Self {
        Self {
            failures: Cache::builder()
                .max_capacity(ENTRIES)
                .time_to_live(WINDOW)
                .build(),
        }
    }

    /// Whether this client has to wait.
    pub(crate) fn is_blocked(&self, client_id: &str, peer: IpAddr) -> bool {
        self.failures
            .get(&key(client_id, peer))
            .is_some_and(|count| count.load(Ordering::Relaxed) >= FAILURES)
    }

    /// Notes a failure.
    pub(crate) fn failed(&self, client_id: &str, peer: IpAddr) {
        self.failures
            .get_with(key(client_id, peer), Arc::default)
            .fetch_add(1, Ordering::Relaxed);
    }
}

fn key(client_id: &str, peer: IpAddr) -> [u8; 32] {
    let text = format!("{peer} {client_id}");
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_the_guesser_only() {
        let limiter = FailureLimiter::new();
        let (guesser, client) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        for _ in 0..FAILURES {
            assert!(!limiter.is_blocked("a", guesser));
            limiter.failed("a", guesser);
        }
        assert!(limiter.is_blocked("a", guesser));
        assert!(!limiter.is_blocked("a", client));
        assert!(!limiter.is_blocked("b", guesser));
    }
}
