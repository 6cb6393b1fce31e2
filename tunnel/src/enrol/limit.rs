//! How often one address may try to enrol: guessing must be slow, and a flood must not reach the disk.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Attempts an address may make at once.
const BURST: u32 = 10;
/// Time after which one more is allowed.
const REFILL: Duration = Duration::from_secs(2);
/// Addresses remembered; 64 bytes each.
const MAX_ADDRESSES: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct AttemptLimit {
    /// When each address will have all its attempts back.
    full_at: HashMap<IpAddr, Instant>,
}

impl AttemptLimit {
    /// Takes one attempt, or refuses.
    pub(crate) fn allow(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.full_at.len() >= MAX_ADDRESSES && !self.full_at.contains_key(&address) {
            self.full_at.retain(|_, full_at| *full_at > now);
            // Still full: thousands of addresses are attacking at once, so nobody new gets in for a moment.
            if self.full_at.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let full_at = self.full_at.entry(address).or_insert(now);
        let after = (*full_at).max(now) + REFILL;
        if after.duration_since(now) > REFILL * BURST {
            return false;
        }
        *full_at = after;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_a_burst_and_then_a_trickle() {
        let mut limit = AttemptLimit::default();
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        assert_eq!((0..50).filter(|_| limit.allow(a, now)).count(), BURST as usize);
        assert!(limit.allow(b, now), "another address is not affected");
        assert!(!limit.allow(a, now));
        assert!(limit.allow(a, now + REFILL));
        assert!(!limit.allow(a, now + REFILL));
    }

    #[test]
    fn remembers_a_bounded_number_of_addresses() {
        let mut limit = AttemptLimit::default();
        let now = Instant::now();
        for number in 0..10_000_u32 {
            limit.allow(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(limit.full_at.len(), MAX_ADDRESSES);
        assert!(limit.allow(IpAddr::from([255, 0, 0, 1]), now + REFILL));
    }
}
