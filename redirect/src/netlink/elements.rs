//! Elements of sets, as keys of the kernel.

use std::net::SocketAddr;

use super::attributes::{Attributes, find, find_number, read};
use super::constants::*;
use super::lower::{octets, to_ip};
use crate::ruleset::{Elements, Set, TABLE};
use crate::settings::{Destinations, Family, to_address};

/// Elements in one message. The list is one attribute of 65 535 bytes at most, and an element of IPv6 takes 36.
const PER_MESSAGE: usize = 1024;

/// A key, and whether it is the first one behind a range.
type Key = (Vec<u8>, bool);

/// Messages that name the elements of a set.
pub(crate) fn messages(set: &Set) -> Vec<Attributes> {
    keys(set)
        .chunks(PER_MESSAGE)
        .map(|keys| message(&set.name, keys))
        .collect()
}

fn message(set: &str, keys: &[Key]) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.name(NFTA_SET_ELEM_LIST_TABLE, TABLE);
    attributes.name(NFTA_SET_ELEM_LIST_SET, set);
    attributes.nested(NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
        for (key, end) in keys {
            list.nested(NFTA_LIST_ELEM, |element| {
                if *end {
                    element.number(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
                }
                element.nested(NFTA_SET_ELEM_KEY, |data| data.bytes(NFTA_DATA_VALUE, key));
            });
        }
    });
    attributes
}

fn keys(set: &Set) -> Vec<Key> {
    match &set.elements {
        Elements::Destinations(all) => all.iter().map(|to| (pair(*to), false)).collect(),
        Elements::Networks(ranges) => ranges
            .iter()
            .flat_map(|(first, last)| {
                let address = |number| octets(to_address(set.family, number));
                // Nothing is behind the last address of all: such a range has no end.
                let all = if set.family == Family::V4 {
                    u128::from(u32::MAX)
                } else {
                    u128::MAX
                };
                let end = (*last < all).then(|| (address(last + 1), true));
                [Some((address(*first), false)), end].into_iter().flatten()
            })
            .collect(),
    }
}

/// Address and port, each padded to four bytes.
fn pair(to: SocketAddr) -> Vec<u8> {
    let mut key = octets(to.ip());
    key.extend_from_slice(&to.port().to_be_bytes());
    key.extend_from_slice(&[0, 0]);
    key
}

/// Bytes of a set's key.
pub(crate) fn key_length(set: &Set) -> u32 {
    let address = u32::try_from(set.family.address_len()).unwrap_or_default();
    match set.elements {
        Elements::Destinations(_) => address + 4,
        Elements::Networks(_) => address,
    }
}

/// Type of a set's key, for those who list it.
pub(crate) fn key_type(set: &Set) -> u32 {
    let address = match set.family {
        Family::V4 => TYPE_IPADDR,
        Family::V6 => TYPE_IP6ADDR,
    };
    match set.elements {
        Elements::Destinations(_) => address << TYPE_BITS | TYPE_INET_SERVICE,
        Elements::Networks(_) => address,
    }
}

/// An empty set with a key of that type; `None` for a type that we never write.
pub(crate) fn empty(name: String, key_type: u32) -> Option<Set> {
    let pairs = key_type >> TYPE_BITS;
    let (family, elements) = match (key_type, pairs) {
        (TYPE_IPADDR, _) => (Family::V4, Elements::Networks(Vec::new())),
        (TYPE_IP6ADDR, _) => (Family::V6, Elements::Networks(Vec::new())),
        (_, TYPE_IPADDR) => (Family::V4, Elements::Destinations(Destinations::new())),
        (_, TYPE_IP6ADDR) => (Family::V6, Elements::Destinations(Destinations::new())),
        _ => return None,
    };
    Some(Set {
        name,
        family,
        elements,
    })
}

/// The elements of a message of the kernel.
pub(crate) fn read_keys(attributes: &[u8]) -> Vec<Key> {
    let list = find(attributes, NFTA_SET_ELEM_LIST_ELEMENTS).unwrap_or_default();
    read(list)
        .filter_map(|(_, element)| {
            let flags = find_number(element, NFTA_SET_ELEM_FLAGS).unwrap_or_default();
            let key = find(find(element, NFTA_SET_ELEM_KEY)?, NFTA_DATA_VALUE)?;
            Some((key.to_vec(), flags & NFT_SET_ELEM_INTERVAL_END != 0))
        })
        .collect()
}

/// Puts what was read into the set.
pub(crate) fn fill(set: &mut Set, mut keys: Vec<Key>) {
    match &mut set.elements {
        Elements::Destinations(all) => all.extend(keys.iter().filter_map(|(key, _)| read_pair(key))),
        Elements::Networks(ranges) => {
            // The kernel tells them in its own order; at one address an end stands before a beginning.
            keys.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
            let mut first = None;
            for (key, end) in keys {
                let Some(number) = to_ip(&key).map(number) else {
                    continue;
                };
                match (first, end) {
                    (Some(begin), true) => {
                        ranges.push((begin, number.saturating_sub(1)));
                        first = None;
                    }
                    (None, false) => first = Some(number),
                    // The end before everything, and what makes no range.
                    _ => {}
                }
            }
            if let Some(begin) = first {
                let last = if set.family == Family::V4 {
                    u128::from(u32::MAX)
                } else {
                    u128::MAX
                };
                ranges.push((begin, last));
            }
        }
    }
}

fn number(ip: std::net::IpAddr) -> u128 {
    match ip {
        std::net::IpAddr::V4(ip) => u128::from(u32::from(ip)),
        std::net::IpAddr::V6(ip) => u128::from(ip),
    }
}

fn read_pair(key: &[u8]) -> Option<SocketAddr> {
    let (address, port) = key.split_at_checked(key.len().checked_sub(4)?)?;
    let port = u16::from_be_bytes([*port.first()?, *port.get(1)?]);
    Some(SocketAddr::new(to_ip(address)?, port))
}
