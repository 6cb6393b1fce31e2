//! When to try again: for ever, but not in step with everybody else.

use std::time::Duration;

/// Longest wait after the first failure.
const FIRST: Duration = Duration::from_millis(500);
/// Longest wait of all.
const LONGEST: Duration = Duration::from_secs(30);
/// Shortest wait: full jitter may choose zero, and a tight loop helps nobody.
const SHORTEST: Duration = Duration::from_millis(50);
/// A connection that lived this long was healthy; what comes after it is a new incident.
pub(super) const HEALTHY: Duration = Duration::from_secs(60);

/// The wait after so many failures in a row. Full jitter: anything up to the doubling limit, so that thousands of
/// connectors do not come back in waves. `random` is in `0.0..1.0`.
pub(super) fn delay(failures: u32, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let limit = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    limit.mul_f64(random.clamp(0.0, 1.0)).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest_and_never_ends() {
        let longest: Vec<u128> = (0..=9).map(|failures| delay(failures, 1.0).as_millis()).collect();
        assert_eq!(
            longest,
            [500, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]
        );
        assert_eq!(delay(u32::MAX, 1.0), LONGEST);
        assert_eq!(delay(5, 0.0), SHORTEST);
        assert_eq!(delay(5, 0.5), Duration::from_secs(4));
    }
}
