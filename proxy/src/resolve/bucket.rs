//! A limit on renewals: a target that answers 401 whatever it gets must not become a flood at the token service.

use std::time::Duration;

use tokio::time::Instant;

/// Renewals that may follow each other at once.
const BURST: u32 = 5;

/// After which time one more is allowed.
const REFILL: Duration = Duration::from_secs(30);

/// Counts renewals of one destination. Pure; the caller says what time it is.
#[derive(Debug, Default)]
pub struct Bucket {
    used: u32,
    since: Option<Instant>,
}

impl Bucket {
    /// Whether one more renewal is allowed at `now`; it is counted if so.
    pub fn take(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let refilled =
            u32::try_from(now.saturating_duration_since(since).as_secs() / REFILL.as_secs()).unwrap_or(BURST);
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
        let taken = |bucket: &mut Bucket, at: u64| {
            (0..10)
                .filter(|_| bucket.take(start + Duration::from_secs(at)))
                .count()
        };
        assert_eq!(taken(&mut bucket, 0), 5);
        assert_eq!(taken(&mut bucket, 29), 0);
        assert_eq!(taken(&mut bucket, 30), 1);
        assert_eq!(taken(&mut bucket, 90), 2);
        assert_eq!(taken(&mut bucket, 100_000), 5);
    }
}
