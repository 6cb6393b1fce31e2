//! Fetches under way, one per key. A fetch is a task of its own: it ends as it ends, whoever has stopped waiting, so
//! that a token service slower than its callers succeeds all the same.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Where the outcome of a fetch arrives; a closed channel without one means that the fetch's task died.
pub(super) type Outcome<T> = watch::Receiver<Option<T>>;

/// Fetches under way. Bounded by their callers: each ends by its own deadline.
pub(super) struct Flights<K, T> {
    under_way: Mutex<HashMap<K, Outcome<T>>>,
}

/// A fetch to be made: whoever gets it has to make it. Dropping it lets the next caller start another one.
pub(super) struct Flight<K: Eq + Hash, T> {
    flights: Arc<Flights<K, T>>,
    key: K,
    outcome: watch::Sender<Option<T>>,
}

impl<K: Eq + Hash + Copy, T> Flights<K, T> {
    pub(super) fn new() -> Self {
        Self {
            under_way: Mutex::new(HashMap::new()),
        }
    }

    /// The fetch that is under way, or a new one with the duty to make it.
    pub(super) fn board(self: &Arc<Self>, key: K) -> (Outcome<T>, Option<Flight<K, T>>) {
        let mut under_way = self.under_way.lock();
        // One that died without an outcome is replaced.
        if let Some(outcome) = under_way
            .get(&key)
            .filter(|outcome| outcome.has_changed().is_ok())
        {
            return (outcome.clone(), None);
        }
        let (sender, outcome) = watch::channel(None);
        under_way.insert(key, outcome.clone());
        let flight = Flight {
            flights: Arc::clone(self),
            key,
            outcome: sender,
        };
        (outcome, Some(flight))
    }
}

impl<K: Eq + Hash, T> Flight<K, T> {
    /// Ends it, with what everybody waits for.
    pub(super) fn land(self, outcome: T) {
        self.outcome.send_replace(Some(outcome));
    }
}

impl<K: Eq + Hash, T> Drop for Flight<K, T> {
    fn drop(&mut self) {
        self.flights.under_way.lock().remove(&self.key);
    }
}
