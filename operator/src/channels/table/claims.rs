//! Who makes which claim, and who wins.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use landbridge_destination::channel::ChannelKey;

use crate::channels::Claim;

/// All claims, the winner of each first.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<Claim, BTreeSet<Claimant>>);

/// The older one wins, of two of the same second the one with the smaller name, a `ServiceChannel` first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    created: Timestamp,
    cluster_scoped: bool,
    key: ChannelKey,
}

impl Claimant {
    fn new(created: Timestamp, key: &ChannelKey) -> Self {
        Self {
            created,
            cluster_scoped: key.namespace.is_none(),
            key: key.clone(),
        }
    }
}

impl Claims {
    /// Returns all that have another winner now: a claim that many make is not told to all of them each time.
    pub(super) fn make(&mut self, claim: &Claim, created: Timestamp, key: &ChannelKey) -> Vec<ChannelKey> {
        let claimants = self.0.entry(claim.clone()).or_default();
        let new = Claimant::new(created, key);
        let wins = claimants.first().is_none_or(|first| new < *first);
        claimants.insert(new);
        if wins { keys(claimants) } else { Vec::new() }
    }

    /// Returns all that have another winner now.
    pub(super) fn drop(&mut self, claim: &Claim, created: Timestamp, key: &ChannelKey) -> Vec<ChannelKey> {
        let Some(claimants) = self.0.get_mut(claim) else {
            return Vec::new();
        };
        let won = claimants.first().is_some_and(|first| first.key == *key);
        claimants.remove(&Claimant::new(created, key));
        let told = if won { keys(claimants) } else { Vec::new() };
        if claimants.is_empty() {
            self.0.remove(claim);
        }
        told
    }

    /// The first that makes a claim, if not `but`.
    pub(super) fn first(&self, claim: &Claim, but: Option<&ChannelKey>) -> Option<&ChannelKey> {
        self.0
            .get(claim)?
            .iter()
            .map(|claimant| &claimant.key)
            .find(|key| Some(*key) != but)
    }
}

fn keys(claimants: &BTreeSet<Claimant>) -> Vec<ChannelKey> {
    claimants.iter().map(|one| one.key.clone()).collect()
}
