//! Networks in the notation of RFC 4632, and what they are as intervals.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Family;

/// A network: its first address, and how many bits of it count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    length: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not ADDRESS/LENGTH.
    #[error("'{0}' is no network; write 10.96.0.0/12 or fd00::/64")]
    Syntax(String),
    /// Bits behind the length are set: a typing error more often than not.
    #[error("'{given}' has bits behind its length; write {meant}")]
    HostBits {
        /// What was given.
        given: String,
        /// The network that it is in.
        meant: Network,
    },
    /// Networks that cannot be redirected.
    #[error(
        "'{0}' is this machine itself or nobody in particular (loopback, multicast); it cannot be redirected"
    )]
    Own(String),
}

impl Network {
    /// Its family.
    pub fn family(self) -> Family {
        Family::of(self.address)
    }

    /// First and last address, as numbers.
    pub(crate) fn range(self) -> (u128, u128) {
        let bits = self.family().address_len() * 8;
        let start = number(self.address);
        let free = bits - usize::from(self.length).min(bits);
        let size = if free >= 128 {
            u128::MAX
        } else {
            (1u128 << free) - 1
        };
        (start, start | size)
    }

    fn from_parts(address: IpAddr, length: u8) -> Self {
        let length = length.min(if address.is_ipv4() { 32 } else { 128 });
        let free = if address.is_ipv4() { 32 } else { 128 } - u32::from(length);
        let mask = if free >= 128 { 0 } else { !((1u128 << free) - 1) };
        let address = to_address(Family::of(address), number(address) & mask);
        Self { address, length }
    }
}

/// An address as a number.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

/// The address of a number. Numbers that no IPv4 address has become the last one.
pub(crate) fn to_address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX))),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

/// Ranges of addresses that cover `networks` of one family, joined where they touch, in order.
pub(crate) fn merged(networks: &[Network], family: Family) -> Vec<(u128, u128)> {
    let mut ranges: Vec<(u128, u128)> = networks
        .iter()
        .filter(|network| network.family() == family)
        .map(|network| network.range())
        .collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if start <= last.1.saturating_add(1) => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || NetworkError::Syntax(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(syntax)?;
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        let length: u8 = length.parse().map_err(|_| syntax())?;
        if length > if address.is_ipv4() { 32 } else { 128 } {
            return Err(syntax());
        }
        let network = Self::from_parts(address, length);
        if network.address != address {
            return Err(NetworkError::HostBits {
                given: text.to_owned(),
                meant: network,
            });
        }
        // 0.0.0.0/0 and ::/0 are everything; rules leave loopback alone there.
        if address.is_loopback() || address.is_multicast() || (address.is_unspecified() && length > 0) {
            return Err(NetworkError::Own(text.to_owned()));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}
