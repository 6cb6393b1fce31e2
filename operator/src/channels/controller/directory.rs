//! The table, shared.

use std::sync::Arc;

use landbridge_destination::channel::ChannelKey;
use parking_lot::Mutex;

use crate::channels::{ChannelOptions, Channels, Claim, Declared};
use crate::cluster::model::Managed;

/// The table, for others to read: the admission of new resources asks it.
#[derive(Debug, Clone)]
pub struct Directory(pub(super) Arc<Mutex<Channels>>);

impl Directory {
    /// A table that is empty so far; see [`Channels::new`].
    pub fn new(options: ChannelOptions, managed: Managed) -> Self {
        Self(Arc::new(Mutex::new(Channels::new(options, managed))))
    }

    /// The claim that a resource makes; none for one that makes none, or is not looked after.
    pub fn claim_of(&self, resource: &Declared) -> Option<Claim> {
        self.0.lock().claim_of(resource)
    }

    /// Who makes a claim, if not `but` alone.
    pub fn claimed(&self, claim: &Claim, but: &ChannelKey) -> Option<ChannelKey> {
        self.0.lock().claimed(claim, but).cloned()
    }

    /// Why a resource would not be served as things are.
    pub fn objection(&self, resource: &Declared) -> Option<String> {
        self.0.lock().objection(resource)
    }

    /// How many resources are looked after.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Changes the table, for tests of those who read it.
    #[cfg(test)]
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Channels) -> T) -> T {
        change(&mut self.0.lock())
    }
}
