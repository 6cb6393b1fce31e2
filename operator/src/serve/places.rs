//! Places that are handed out: so many for one holder, so that none takes them all.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts what each holder has. Remembers only holders of something.
#[derive(Debug)]
pub(super) struct Places<K> {
    each: usize,
    held: Mutex<HashMap<K, usize>>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place<K: Eq + Hash> {
    places: Arc<Places<K>>,
    holder: K,
}

impl<K: Eq + Hash + Clone> Places<K> {
    /// At most `each` for one holder.
    pub(super) fn new(each: usize) -> Arc<Self> {
        let held = Mutex::new(HashMap::new());
        Arc::new(Self { each, held })
    }

    /// One more for `holder`, unless it has its share.
    pub(super) fn take(self: &Arc<Self>, holder: K) -> Option<Place<K>> {
        let mut held = self.held.lock();
        let own = held.get(&holder).copied().unwrap_or_default();
        if own >= self.each {
            return None;
        }
        held.insert(holder.clone(), own + 1);
        drop(held);
        Some(Place {
            places: Arc::clone(self),
            holder,
        })
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut held = self.places.held.lock();
        if let Some(own) = held.get_mut(&self.holder) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_its_share() {
        let places = Places::new(2);
        let held = (places.take("a"), places.take("a"));
        assert!(held.0.is_some() && held.1.is_some());
        assert!(places.take("a").is_none());
        assert!(places.take("b").is_some());
        drop(held);
        assert!(places.held.lock().is_empty());
        assert!(places.take("a").is_some());
    }
}
