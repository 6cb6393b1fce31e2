//! How often one client may call, so that none takes the store from the others.

use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::bucket::Bucket;
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A client may be silent and then call at once what it is given in so many seconds: at its start, an application reads
/// all its destinations.
const BURST: u32 = 5;

/// Clients that are told apart. Only those with a good token or secret are counted, so strangers cannot fill this.
const CLIENTS: u64 = 100_000;

/// After so long without a call a client's burst is there in full anyway.
const FORGET: Duration = Duration::from_secs(2 * BURST as u64);

/// Counts the calls of every client.
#[derive(Debug)]
pub(crate) struct ClientRates {
    /// Time between two calls of a client that calls as often as it may; `None` when nothing is limited.
    refill: Option<Duration>,
    burst: u32,
    clients: Cache<Box<str>, Arc<Mutex<Bucket>>>,
}

impl ClientRates {
    /// `rate` calls each second, 0 for as many as a client likes.
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            refill: Duration::from_secs(1).checked_div(rate),
            burst: rate.saturating_mul(BURST),
            clients: Cache::builder()
                .max_capacity(CLIENTS)
                .time_to_idle(FORGET)
                .build(),
        }
    }

    /// Whether this client may call at `now`; the call is counted if so.
    pub(crate) fn take(&self, client_id: &str, now: Instant) -> bool {
        let Some(refill) = self.refill else {
            return true;
        };
        let bucket = match self.clients.get(client_id) {
            Some(bucket) => bucket,
            None => self.clients.get_with(client_id.into(), || {
                Arc::new(Mutex::new(Bucket::new(self.burst, refill)))
            }),
        };
        let mut bucket = bucket.lock();
        bucket.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_rate() {
        let (rates, start) = (ClientRates::new(100), Instant::now());
        let calls = |client: &str, at: Duration| {
            let calls = (0..1000).filter(|_| rates.take(client, start + at));
            calls.count()
        };
        assert_eq!(calls("a", Duration::ZERO), 500);
        assert_eq!(calls("b", Duration::ZERO), 500);
        assert_eq!(calls("a", Duration::from_millis(9)), 0);
        assert_eq!(calls("a", Duration::from_millis(100)), 10);
        assert_eq!(calls("a", Duration::from_secs(60)), 500);
    }

    #[test]
    fn zero_limits_nobody() {
        let (rates, now) = (ClientRates::new(0), Instant::now());
        assert!((0..10_000).all(|_| rates.take("a", now)));
    }
}
