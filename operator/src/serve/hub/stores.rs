//! Changes in stores: news and no state, so what a subscriber missed is summed up and not lost.

use std::collections::HashMap;

use landbridge_destination::serve::StoreChange;

/// Names that are remembered for one instance. Beyond that anything of it may have changed, which is said instead.
const NAMES: usize = 1024;

/// Destination service instances that are remembered.
const INSTANCES: usize = 64;

/// Latest change of every name, by instance.
#[derive(Debug, Default)]
pub(super) struct StoreChanges {
    now: u64,
    /// Changes up to this one may be forgotten.
    floor: u64,
    instances: HashMap<Option<String>, Instance>,
}

#[derive(Debug, Default)]
struct Instance {
    latest: u64,
    /// When anything may have changed.
    all: u64,
    names: HashMap<String, u64>,
}

impl StoreChanges {
    /// Number of the latest change.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    pub(super) fn add(&mut self, change: StoreChange) {
        self.now += 1;
        if !self.instances.contains_key(&change.instance) && self.instances.len() >= INSTANCES {
            self.forget_one();
        }
        let instance = self.instances.entry(change.instance).or_default();
        instance.latest = self.now;
        match change.names {
            Some(names) if instance.names.len() + names.len() <= NAMES => {
                instance
                    .names
                    .extend(names.into_iter().map(|name| (name, self.now)));
            }
            _ => {
                instance.names.clear();
                instance.all = self.now;
            }
        }
    }

    /// What changed after `seen`, which moves to now. None when that is not known any more.
    pub(super) fn since(&self, seen: &mut u64) -> Option<Vec<StoreChange>> {
        let from = std::mem::replace(seen, self.now);
        if from == self.now {
            return Some(Vec::new());
        }
        (from >= self.floor).then(|| {
            self.instances
                .iter()
                .filter(|(_, instance)| instance.latest > from)
                .map(|(name, instance)| StoreChange {
                    instance: name.clone(),
                    names: instance.names_since(from),
                })
                .collect()
        })
    }

    fn forget_one(&mut self) {
        let oldest = self.instances.iter().min_by_key(|(_, instance)| instance.latest);
        if let Some((name, latest)) = oldest.map(|(name, instance)| (name.clone(), instance.latest)) {
            self.instances.remove(&name);
            self.floor = self.floor.max(latest);
        }
    }
}

impl Instance {
    fn names_since(&self, from: u64) -> Option<Vec<String>> {
        if self.all > from {
            return None;
        }
        let changed = self.names.iter().filter(|(_, at)| **at > from);
        let mut names: Vec<String> = changed.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        Some(names)
    }
}
