//! The table, shared.

use std::sync::Arc;

use landbridge_destination::channel::ChannelKey;
use parking_lot::Mutex;

use crate::channels::{ChannelOptions, Channels, Declared};

/// The table, for others to read: the admission of new resources asks it.
#[derive(Debug, Clone)]
pub struct Directory(pub(super) Arc<Mutex<Channels>>);

impl Directory {
    /// A table that is empty so far.
    pub fn new(options: ChannelOptions) -> Self {
        Self(Arc::new(Mutex::new(Channels::new(options))))
    }

    /// Another resource that makes the same claim; none for a resource that makes none.
    pub fn claimed(&self, resource: &Declared) -> Option<ChannelKey> {
        let table = self.0.lock();
        let claim = table.claim_of(resource)?;
        table.claimed(&claim, &resource.key).cloned()
    }

    /// Whether two forms of a resource make the same claim.
    pub fn same_claim(&self, one: &Declared, other: &Declared) -> bool {
        let table = self.0.lock();
        table.claim_of(one) == table.claim_of(other)
    }

    /// Why a resource would not be served as things are.
    pub fn objection(&self, resource: &Declared) -> Option<String> {
        self.0.lock().objection(resource)
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Changes the table, for tests of those who read it.
    #[cfg(test)]
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Channels) -> T) -> T {
        change(&mut self.0.lock())
    }
}
