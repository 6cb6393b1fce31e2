//! A token bucket: something may happen a few times at once, and then once in a while.

use std::time::Duration;

use tokio::time::Instant;

/// Counts what is limited. Pure; the caller says what time it is.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    burst: u32,
    refill: Duration,
    used: u32,
    since: Option<Instant>,
}

impl Bucket {
    /// `burst` times at once, and one more after each `refill` (at least a nanosecond).
    pub const fn new(burst: u32, refill: Duration) -> Self {
        Self {
            burst,
            refill,
            used: 0,
            since: None,
        }
    }

    /// Whether it may happen once more at `now`; it is counted if so.
    pub fn take(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let periods = now.saturating_duration_since(since).as_nanos() / self.refill.as_nanos().max(1);
        let refilled = u32::try_from(periods).unwrap_or(u32::MAX);
        if refilled > 0 {
            // What is left of a period counts for the next one: else a refill of 1 ms would be one of 2 ms where somebody
            // asks every 1.9 ms.
            let whole = self.refill.saturating_mul(refilled);
            let full = refilled >= self.used;
            self.since = Some(if full { now } else { since + whole });
            self.used = self.used.saturating_sub(refilled);
        }
        let allowed = self.used < self.burst;
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
        let mut bucket = Bucket::new(5, Duration::from_secs(30));
        let mut taken = |at: u64| {
            (0..10)
                .filter(|_| bucket.take(start + Duration::from_secs(at)))
                .count()
        };
        assert_eq!(
            [taken(0), taken(29), taken(30), taken(90), taken(100_000)],
            [5, 0, 1, 2, 5]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_period_is_not_lost() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1, Duration::from_micros(100));
        assert!(bucket.take(start));
        let asked = (1..=10_u32).map(|step| start + Duration::from_micros(190) * step);
        assert_eq!(asked.filter(|at| bucket.take(*at)).count(), 10);
        let mut bucket = Bucket::new(100, Duration::from_micros(100));
        let asked = (1..=10_000_u32).map(|step| start + Duration::from_micros(19) * step);
        assert_eq!(
            asked.filter(|at| bucket.take(*at)).count(),
            100 + 1899,
            "the burst, and the whole periods since the first time"
        );
    }
}
