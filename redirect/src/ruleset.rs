//! What is told to the packet filter: one table with its sets, chains and rules, as values that can be compared, printed in
//! the notation of nft(8), and sent to the kernel.

use std::net::SocketAddr;

use crate::settings::{Destinations, Family, Network, to_address};

mod text;

/// Our table, of the family `inet` (IPv4 and IPv6 together). Nothing outside of it is ever changed.
pub const TABLE: &str = "landbridge";

/// What stands before the owner in the table's comment.
const OWNER: &str = "owner ";

/// The table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// Who wrote it, see [`owner`](Self::owner).
    pub comment: String,
    /// Sets, in order of their names.
    pub sets: Vec<Set>,
    /// Chains, in order of their names.
    pub chains: Vec<Chain>,
}

/// Addresses that rules look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name in the table.
    pub name: String,
    /// IPv4 or IPv6.
    pub family: Family,
    /// What is in it.
    pub elements: Elements,
}

/// What is in a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elements {
    /// Addresses with ports.
    Destinations(Destinations),
    /// Ranges of addresses, first and last, that do not touch.
    Networks(Vec<(u128, u128)>),
}

/// Rules that the kernel asks at one point of a packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name in the table.
    pub name: String,
    /// What rules in it may do.
    pub kind: ChainKind,
    /// Where it is asked.
    pub hook: Hook,
    /// When, among all chains there; the lower the earlier.
    pub priority: i32,
    /// Asked in this order.
    pub rules: Vec<Rule>,
}

/// What rules of a chain may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// Let pass, mark.
    Filter,
    /// Have the packet routed anew.
    Route,
    /// Change addresses of a connection.
    Nat,
    /// Something that we never write.
    Other(String),
}

/// A point of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Arrived, not routed yet.
    Prerouting,
    /// Made by this network namespace itself.
    Output,
    /// Somewhere that we never write; the kernel's number.
    Other(u32),
}

/// Statements that are asked from left to right until one does not match, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What a packet must be, and what is done with it.
    pub statements: Vec<Statement>,
    /// Why.
    pub comment: String,
}

/// One thing that a packet must be, or that is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Is TCP.
    Tcp,
    /// Is of this family.
    Is(Family),
    /// Is TCP to an address and port of the set of destinations.
    DestinationIn(Family),
    /// Is TCP from an address and port of the set of destinations.
    SourceIn(Family),
    /// Is to an address of the set of networks.
    NetworkIn(Family),
    /// Is TCP to this address and port.
    Destination(SocketAddr),
    /// Arrived on a bridge.
    FromBridge,
    /// Leaves on the loopback device.
    OnLoopback,
    /// Carries this mark.
    Mark(u32),
    /// Was made by a socket of this user.
    User(u32),
    /// Belongs to a socket with `IP_TRANSPARENT`.
    TransparentSocket,
    /// Begins a connection. Behind a statement that is about TCP.
    First,
    /// Is TCP and does not begin a connection.
    NotFirst,
    /// Gives a mark.
    SetMark(u32),
    /// Keeps connection tracking away, and with it every translation of addresses.
    Untrack,
    /// Leads to the transparent socket that listens here; without one the packet is none of this rule's.
    TransparentProxy(SocketAddr),
    /// Changes the connection's destination to this port of this machine.
    Redirect(u16),
    /// Goes on at the next chain.
    Accept,
    /// Goes on as if this chain had no more rules.
    Return,
    /// Something that we never write.
    Other(String),
}

impl Ruleset {
    /// Sets and chains in the order in which they are compared.
    pub(crate) fn sorted(mut self) -> Self {
        self.sets.sort_by(|a, b| a.name.cmp(&b.name));
        self.chains.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }

    /// Which process keeps the table; `None` when it was written by hand or by an older kernel.
    pub fn owner(&self) -> Option<&str> {
        owner_of(&self.comment)
    }

    /// Every address that is redirected.
    pub fn destinations(&self) -> Destinations {
        let sets = self.sets.iter().filter_map(|set| match &set.elements {
            Elements::Destinations(all) => Some(all.iter().copied()),
            Elements::Networks(_) => None,
        });
        sets.flatten().collect()
    }

    /// The same table with other destinations.
    pub(crate) fn with_destinations(mut self, destinations: &Destinations) -> Self {
        for set in &mut self.sets {
            if matches!(set.elements, Elements::Destinations(_)) {
                set.elements = Elements::Destinations(of_family(destinations, set.family));
            }
        }
        self
    }
}

/// The comment of a table, which names its owner if it has one.
pub(crate) fn table_comment(mode: &str, owner: &str) -> String {
    if owner.is_empty() {
        return format!("landbridge redirect, {mode}");
    }
    format!("landbridge redirect, {mode}, {OWNER}{owner}")
}

/// The owner in a comment.
pub(crate) fn owner_of(comment: &str) -> Option<&str> {
    let (_, owner) = comment.rsplit_once(OWNER)?;
    Some(owner).filter(|owner| !owner.is_empty())
}

/// Name of the set of destinations of a family.
pub(crate) fn destinations_set(family: Family) -> &'static str {
    match family {
        Family::V4 => "destinations4",
        Family::V6 => "destinations6",
    }
}

/// Name of the set of networks of a family.
pub(crate) fn networks_set(family: Family) -> &'static str {
    match family {
        Family::V4 => "networks4",
        Family::V6 => "networks6",
    }
}

/// Those of one family.
pub(crate) fn of_family(destinations: &Destinations, family: Family) -> Destinations {
    let of = |address: &&SocketAddr| Family::of(address.ip()) == family;
    destinations.iter().filter(of).copied().collect()
}

impl Set {
    /// Ranges of a set of networks, first and last address as people write them; empty for one of destinations.
    pub fn ranges(&self) -> Vec<String> {
        let Elements::Networks(ranges) = &self.elements else {
            return Vec::new();
        };
        let range = |(first, last): &(u128, u128)| {
            let (first, last) = (to_address(self.family, *first), to_address(self.family, *last));
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        };
        ranges.iter().map(range).collect()
    }

    /// That of the destinations of a family.
    pub(crate) fn destinations(family: Family, all: &Destinations) -> Self {
        Self {
            name: destinations_set(family).to_owned(),
            family,
            elements: Elements::Destinations(of_family(all, family)),
        }
    }

    /// That of the networks of a family.
    pub(crate) fn networks(family: Family, all: &[Network]) -> Self {
        Self {
            name: networks_set(family).to_owned(),
            family,
            elements: Elements::Networks(crate::settings::merged(all, family)),
        }
    }
}
