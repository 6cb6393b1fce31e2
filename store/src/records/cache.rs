//! What was read, opened and remembered. A read and its decryption take some 0.2 ms, an answer from here 1 us.

use std::fmt;
use std::sync::Arc;

use super::Record;
use super::freshness::{Freshness, Mark};
use crate::db::{Kind, Place};

/// What an entry takes beside the thing itself, in bytes: keys, counters, and that texts are held twice.
const OVERHEAD: usize = 512;

/// Records of one kind, remembered up to a number of bytes. What does not exist is remembered too.
pub(crate) struct Cache<T> {
    kind: Kind,
    freshness: Arc<Freshness>,
    entries: moka::sync::Cache<Key, Entry<T>>,
}

impl<T> fmt::Debug for Cache<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Cache")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl<T> Clone for Cache<T> {
    fn clone(&self) -> Self {
        Self {
            kind: self.kind,
            freshness: Arc::clone(&self.freshness),
            entries: self.entries.clone(),
        }
    }
}

/// Tenant, owner and name, which none of them separates from the next within it.
type Key = Box<str>;

#[derive(Debug)]
struct Entry<T> {
    mark: Mark,
    weight: u32,
    record: Option<Arc<Record<T>>>,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self {
            mark: self.mark,
            weight: self.weight,
            record: self.record.clone(),
        }
    }
}

/// A name that was looked up in vain. What is read now may be remembered under it.
#[derive(Debug)]
pub(crate) struct LookedUp(Option<(Key, Mark)>);

impl<T: Send + Sync + 'static> Cache<T> {
    pub(super) fn new(kind: Kind, freshness: Arc<Freshness>, bytes: u64) -> Self {
        let entries = moka::sync::Cache::builder()
            .max_capacity(bytes)
            .weigher(|key: &Key, entry: &Entry<T>| {
                entry.weight.saturating_add(u32::try_from(key.len()).unwrap_or(0))
            })
            .build();
        Self {
            kind,
            freshness,
            entries,
        }
    }

    /// What is known of a name: the thing, or that there is none.
    pub(super) fn get(&self, place: &Place, name: &str) -> Result<Option<Arc<Record<T>>>, LookedUp> {
        let Some(mark) = self.freshness.mark(self.kind, place, name) else {
            return Err(LookedUp(None));
        };
        let key = format!("{}\0{}\0{name}", place.subaccount_id, place.owner).into_boxed_str();
        match self.entries.get(&key) {
            Some(entry) if entry.mark == mark => Ok(entry.record),
            _ => Err(LookedUp(Some((key, mark)))),
        }
    }

    /// Remembers what was read after it was looked up in vain, of `weight` bytes.
    pub(super) fn put(&self, looked_up: LookedUp, record: Option<Arc<Record<T>>>, weight: usize) {
        let Some((key, mark)) = looked_up.0 else {
            return;
        };
        let weight = u32::try_from(2 * weight + OVERHEAD).unwrap_or(u32::MAX);
        let entry = Entry { mark, weight, record };
        self.entries.insert(key, entry);
    }
}
