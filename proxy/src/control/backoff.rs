//! When to try the operator again: for ever, soon at first, and not in step with all the other proxies.

use std::time::Duration;

/// Wait after the first failure.
const FIRST: Duration = Duration::from_millis(200);

/// Longest wait.
const LONGEST: Duration = Duration::from_secs(10);

/// A connection that lived this long was healthy; what comes after it is a new incident.
pub(super) const HEALTHY: Duration = Duration::from_secs(10);

/// The wait after so many failures in a row: doubling, and a random part of up to the half is taken off. `random` is
/// in `0.0..1.0`.
pub(crate) fn delay(failures: u32, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    full - full.mul_f64(random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_longest_and_spreads() {
        let waits: Vec<u128> = (0..=8).map(|failures| delay(failures, 0.0).as_millis()).collect();
        assert_eq!(waits, [200, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(delay(1, 1.0).as_millis(), 100);
        assert_eq!(delay(u32::MAX, 1.0).as_millis(), 5000);
    }
}
