//! A limit on forced renewals: whoever asks for a new token with every call must not become a flood at the token
//! service.

use std::time::Duration;

use tokio::time::Instant;

/// Renewals that may follow each other at once.
const BURST: u32 = 10;

/// After which time one more is allowed.
const REFILL: Duration = Duration::from_secs(5);

/// Counts forced renewals of one key. Pure; the caller says what time it is.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    used: u32,
    since: Option<Instant>,
}

impl Bucket {
    /// Whether one more renewal is allowed at `now`; it is counted if so.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let periods = now.saturating_duration_since(since).as_secs() / REFILL.as_secs();
        let refilled = u32::try_from(periods).unwrap_or(BURST);
        if refilled > 0 {
            self.used = self.used.saturating_sub(refilled);
            self.since = Some(now);
        }
        let allowed = self.used < BURST;
        self.used += u32::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_one_each_period() {
        let start = Instant::now();
        let mut bucket = Bucket::default();
        let mut taken = |at: u64| {
            (0..20)
                .filter(|_| bucket.take(start + Duration::from_secs(at)))
                .count()
        };
        assert_eq!([taken(0), taken(4), taken(5), taken(15)], [10, 0, 1, 2]);
        assert_eq!(taken(100_000), 10);
    }
}
