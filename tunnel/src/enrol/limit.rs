//! How often one address may fail to enrol: guessing must be slow, and a flood must not reach the disk.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Failed attempts an address may make at once.
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
    pub(crate) fn take(&mut self, address: IpAddr, now: Instant) -> bool {
        let address = network(address);
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

    /// Gives an attempt back that did not fail: a whole company may enrol from one address.
    pub(crate) fn give_back(&mut self, address: IpAddr) {
        if let Some(full_at) = self.full_at.get_mut(&network(address)) {
            *full_at = full_at.checked_sub(REFILL).unwrap_or(*full_at);
        }
    }
}

/// Whoever has one IPv6 address has the whole /64 (RFC 6177), so that is what counts.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
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
        assert_eq!((0..50).filter(|_| limit.take(a, now)).count(), BURST as usize);
        assert!(limit.take(b, now), "another address is not affected");
        assert!(!limit.take(a, now));
        assert!(limit.take(a, now + REFILL));
        assert!(!limit.take(a, now + REFILL));
    }

    #[test]
    fn a_success_costs_nothing_and_a_network_counts_as_one() {
        let mut limit = AttemptLimit::default();
        let now = Instant::now();
        let a: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        for _ in 0..50 {
            assert!(limit.take(a, now));
            limit.give_back(a);
        }
        for host in 0..u16::try_from(BURST).unwrap() {
            assert!(limit.take(IpAddr::from([0x2001, 0xdb8, 0, 1, 9, 0, 0, host]), now));
        }
        assert!(!limit.take(a, now));
        assert!(limit.take("2001:db8:0:2::1".parse().unwrap(), now));
        assert!(limit.take(a, now + REFILL));
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(network(mapped), IpAddr::from([10, 0, 0, 1]));
    }

    #[test]
    fn remembers_a_bounded_number_of_addresses() {
        let mut limit = AttemptLimit::default();
        let now = Instant::now();
        for number in 0..10_000_u32 {
            limit.take(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(limit.full_at.len(), MAX_ADDRESSES);
        assert!(limit.take(IpAddr::from([255, 0, 0, 1]), now + REFILL));
    }
}
