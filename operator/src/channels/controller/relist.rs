//! What a new list leaves out is gone: a watch that was interrupted tells no deletion of that time.

use std::collections::HashSet;
use std::hash::Hash;

/// The keys of one kind.
#[derive(Debug)]
pub(super) struct Relist<K> {
    known: HashSet<K>,
    /// What the list under way has named so far.
    named: Option<HashSet<K>>,
    complete: bool,
}

impl<K: Clone + Eq + Hash> Relist<K> {
    /// Nothing is known yet; `wanted` is false for a kind that is not watched.
    pub(super) fn new(wanted: bool) -> Self {
        Self {
            known: HashSet::new(),
            named: None,
            complete: !wanted,
        }
    }

    /// Whether there was a complete list.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    pub(super) fn restarted(&mut self) {
        self.named = Some(HashSet::new());
    }

    pub(super) fn present(&mut self, key: &K) {
        if let Some(named) = &mut self.named {
            named.insert(key.clone());
        }
        self.known.insert(key.clone());
    }

    pub(super) fn gone(&mut self, key: &K) {
        self.known.remove(key);
    }

    /// The list is complete. Returns what is gone.
    pub(super) fn listed(&mut self) -> Vec<K> {
        self.complete = true;
        let Some(named) = self.named.take() else {
            return Vec::new();
        };
        let gone = self.known.difference(&named).cloned().collect();
        self.known = named;
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_leaves_out_is_gone() {
        let mut list = Relist::new(true);
        list.restarted();
        list.present(&"a");
        list.present(&"b");
        assert!(!list.is_complete());
        assert_eq!(list.listed(), [""; 0]);
        assert!(list.is_complete());
        list.present(&"c");
        list.gone(&"a");
        list.restarted();
        list.present(&"c");
        assert_eq!(list.listed(), ["b"]);
        assert!(Relist::<u8>::new(false).is_complete());
    }
}
