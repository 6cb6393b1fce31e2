//! Route keys as small numbers, so that a proxy's state of 10 000 routes is a list and not a map of texts.

use std::collections::HashMap;
use std::sync::Arc;

use landbridge_destination::RouteKey;

/// Keys that some report names. A number is given again when no report names its key any more.
#[derive(Debug, Default)]
pub(super) struct Keys {
    ids: HashMap<Arc<RouteKey>, u32>,
    names: Vec<Option<Name>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Name {
    key: Arc<RouteKey>,
    uses: u32,
}

impl Keys {
    pub(super) fn id(&self, key: &RouteKey) -> Option<u32> {
        self.ids.get(key).copied()
    }

    pub(super) fn name(&self, id: u32) -> Option<&Arc<RouteKey>> {
        self.names.get(id as usize)?.as_ref().map(|name| &name.key)
    }

    /// The number of `key`, and one use more.
    pub(super) fn take(&mut self, key: RouteKey) -> u32 {
        if let Some(id) = self.id(&key) {
            if let Some(Some(name)) = self.names.get_mut(id as usize) {
                name.uses += 1;
            }
            return id;
        }
        let key = Arc::new(key);
        let name = Some(Name {
            key: Arc::clone(&key),
            uses: 1,
        });
        let id = self.free.pop().unwrap_or_else(|| {
            self.names.push(None);
            u32::try_from(self.names.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(slot) = self.names.get_mut(id as usize) {
            *slot = name;
        }
        self.ids.insert(key, id);
        id
    }

    /// One use less.
    pub(super) fn release(&mut self, id: u32) {
        let Some(slot) = self.names.get_mut(id as usize) else {
            return;
        };
        if let Some(name) = slot {
            name.uses -= 1;
            if name.uses == 0 {
                self.ids.remove(&name.key);
                *slot = None;
                self.free.push(id);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}
