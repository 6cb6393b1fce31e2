//! Which port stands for which destination. Pure; the memory that makes it stable is in [`mod@file`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::str::FromStr;

use landbridge_destination::RouteKey;

pub mod file;

/// Where ports of destinations without `spec.service.port` come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortPolicy {
    /// Any free port, chosen by the operating system, another one after each start.
    Any,
    /// One of these; the same after each start.
    Range(RangeInclusive<u16>),
}

/// A text that names no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no range of ports: write FIRST-LAST, for instance 20000-20999, or 0 for any free port")]
pub struct InvalidPortRange(String);

impl FromStr for PortPolicy {
    type Err = InvalidPortRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPortRange(text.chars().take(64).collect());
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| invalid());
        if number(text) == Ok(0) {
            return Ok(Self::Any);
        }
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        if first == 0 || first > last {
            Err(invalid())
        } else {
            Ok(Self::Range(first..=last))
        }
    }
}

/// Why a destination has no port, and what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Another resource has it, or declares it as well.
    #[error(
        "port {port} belongs to {owner} already: choose another spec.service.port, or set that of {owner} to another \
         port first"
    )]
    Taken {
        /// The wanted port.
        port: u16,
        /// Who has it.
        owner: RouteKey,
    },
    /// Everything is in use.
    #[error(
        "all {count} ports of the range {first}-{last} are in use: enlarge the range, or set spec.service.port to a \
         port outside of it"
    )]
    Exhausted {
        /// First of the range.
        first: u16,
        /// Last of the range.
        last: u16,
        /// How many there are.
        count: usize,
    },
}

/// Ports that were given out of the range, also to destinations that are gone: one that comes back gets its old
/// port while nobody else needed it. As large as the range at most.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    ports: BTreeMap<RouteKey, u16>,
}

/// Who has which port now.
pub type Allocation = BTreeMap<RouteKey, Result<u16, PortError>>;

impl Memory {
    /// What was remembered, without ports that occur twice.
    pub fn new(ports: impl IntoIterator<Item = (RouteKey, u16)>) -> Self {
        let mut seen = BTreeSet::new();
        Self {
            ports: ports.into_iter().filter(|(_, port)| seen.insert(*port)).collect(),
        }
    }

    /// What to remember.
    pub fn ports(&self) -> &BTreeMap<RouteKey, u16> {
        &self.ports
    }
}

/// Gives every destination a port: the declared one where there is one, else the remembered one, else the lowest free
/// one of the range. A declared port that was given to another destination of `wanted` is refused: its callers would
/// reach the wrong target. `wanted` has every destination once; port 0 in the answer means any free one.
/// `previous` is the answer before.
pub fn allocate(
    wanted: &BTreeMap<RouteKey, Option<u16>>,
    policy: &PortPolicy,
    memory: &Memory,
    previous: &Allocation,
) -> (Allocation, Memory) {
    let given = given(wanted, policy, memory);
    let (mut allocation, taken) = declared(wanted, &given, previous);
    let without: Vec<&RouteKey> = wanted
        .iter()
        .filter(|(_, port)| port.is_none())
        .map(|(key, _)| key)
        .collect();
    let PortPolicy::Range(range) = policy else {
        allocation.extend(without.into_iter().map(|key| (key.clone(), Ok(0))));
        // Kept for the day on which a range is configured again.
        return (allocation, memory.clone());
    };
    let mut ports: BTreeMap<RouteKey, u16> = given
        .into_iter()
        .filter(|(port, _)| !taken.contains(port))
        .map(|(port, key)| (key.clone(), port))
        .collect();
    let reserved: BTreeMap<u16, &RouteKey> = memory
        .ports
        .iter()
        .filter(|(key, port)| !wanted.contains_key(*key) && range.contains(port) && !taken.contains(port))
        .map(|(key, port)| (*port, key))
        .collect();
    let held: BTreeSet<u16> = ports.values().copied().collect();
    let untouched = range
        .clone()
        .filter(|port| !taken.contains(port) && !held.contains(port) && !reserved.contains_key(port));
    // When nothing untouched is left, the ports of those that are gone are taken.
    let mut free = untouched.chain(reserved.keys().copied());
    for key in without {
        if ports.contains_key(key) {
            continue;
        }
        match free.next() {
            Some(port) => drop(ports.insert(key.clone(), port)),
            None => {
                let (first, last) = (*range.start(), *range.end());
                let error = PortError::Exhausted {
                    first,
                    last,
                    count: range.len(),
                };
                allocation.insert(key.clone(), Err(error));
            }
        }
    }
    allocation.extend(ports.iter().map(|(key, port)| (key.clone(), Ok(*port))));
    let held: BTreeSet<u16> = ports.values().copied().collect();
    let gone = reserved.into_iter().filter(|(port, _)| !held.contains(port));
    ports.extend(gone.map(|(port, key)| (key.clone(), port)));
    (allocation, Memory { ports })
}

/// The ports of the range that were given to destinations that are there and still declare none. By the memory, not by
/// the answer before, so that a restart decides alike.
fn given<'a>(
    wanted: &'a BTreeMap<RouteKey, Option<u16>>,
    policy: &PortPolicy,
    memory: &Memory,
) -> BTreeMap<u16, &'a RouteKey> {
    let PortPolicy::Range(range) = policy else {
        return BTreeMap::new();
    };
    let undeclared = wanted.iter().filter(|(_, port)| port.is_none());
    undeclared
        .filter_map(|(key, _)| Some((*memory.ports.get(key)?, key)))
        .filter(|(port, _)| range.contains(port))
        .collect()
}

/// The declared ports, and the set of those that could be had.
fn declared(
    wanted: &BTreeMap<RouteKey, Option<u16>>,
    given: &BTreeMap<u16, &RouteKey>,
    previous: &Allocation,
) -> (Allocation, BTreeSet<u16>) {
    let declared = || {
        wanted
            .iter()
            .filter_map(|(key, port)| port.map(|port| (key, port)))
    };
    // Who has a declared port keeps it: a new resource must not take a working one down.
    let has = |key: &RouteKey, port: u16| previous.get(key) == Some(&Ok(port));
    let incumbents = declared().filter(|(key, port)| has(key, *port));
    let others = declared().filter(|(key, port)| !has(key, *port));
    let mut allocation = Allocation::new();
    let mut owners: BTreeMap<u16, &RouteKey> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (key, port) in incumbents.chain(others) {
        let holder = given.get(&port).copied().filter(|_| !has(key, port));
        let owner = *owners.entry(port).or_insert(holder.unwrap_or(key));
        let result = if owner == key {
            taken.insert(port);
            Ok(port)
        } else {
            Err(PortError::Taken {
                port,
                owner: owner.clone(),
            })
        };
        allocation.insert(key.clone(), result);
    }
    (allocation, taken)
}

#[cfg(test)]
mod tests;
