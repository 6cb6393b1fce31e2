//! Limits per tenant, or whatever else shares a resource: none of them may use it up for the others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts what each of the sharers holds. Remembers only those who hold something, so it is as small as the total.
#[derive(Debug)]
pub struct Shares<K> {
    each: usize,
    total: usize,
    held: Mutex<Held<K>>,
}

#[derive(Debug)]
struct Held<K> {
    by: HashMap<K, usize>,
    total: usize,
}

/// One piece of a share, given back when dropped.
#[derive(Debug)]
pub struct Share<K: Eq + Hash> {
    shares: Arc<Shares<K>>,
    holder: K,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// At most `each` for one holder and `total` for all of them.
    pub fn new(each: usize, total: usize) -> Arc<Self> {
        let held = Mutex::new(Held {
            by: HashMap::new(),
            total: 0,
        });
        Arc::new(Self { each, total, held })
    }

    /// One more for `holder`; nothing when it has its share, or all is given away.
    pub fn take(self: &Arc<Self>, holder: &K) -> Option<Share<K>> {
        let mut held = self.held.lock();
        let own = held.by.get(holder).copied().unwrap_or_default();
        if own >= self.each || held.total >= self.total {
            return None;
        }
        held.by.insert(holder.clone(), own + 1);
        held.total += 1;
        Some(Share {
            shares: Arc::clone(self),
            holder: holder.clone(),
        })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock();
        held.total -= 1;
        if let Some(own) = held.by.get_mut(&self.holder) {
            *own -= 1;
            if *own == 0 {
                held.by.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_its_share() {
        let shares = Shares::new(2, 3);
        let one = shares.take(&"a");
        let two = shares.take(&"a");
        assert!(one.is_some() && two.is_some());
        assert!(shares.take(&"a").is_none());
        let three = shares.take(&"b");
        assert!(three.is_some());
        assert!(shares.take(&"c").is_none(), "all is given away");
        drop((one, two, three));
        assert!(shares.held.lock().by.is_empty());
        assert!(shares.take(&"a").is_some());
    }
}
