//! Named readiness: a process is ready when every part that asked to be waited for has said so, and not ready again
//! once it drains. What is still missing is told by name, so that an operator need not guess.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The parts of a process that must be ready before it takes traffic.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    pending: BTreeMap<u64, String>,
    draining: bool,
}

/// One part's promise to become ready. Dropping it without [`ready`](Self::ready) leaves the process unready, which
/// is right: the part has died before it was ready.
#[derive(Debug)]
#[must_use = "call `ready()` when this part can serve"]
pub struct ReadyToken {
    id: u64,
    state: Arc<Mutex<State>>,
}

impl Readiness {
    /// Nothing to wait for yet: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the process unready until the returned token says otherwise. `name` is shown by `/readyz`.
    pub fn token(&self, name: impl Into<String>) -> ReadyToken {
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        state.pending.insert(id, name.into());
        ReadyToken {
            id,
            state: Arc::clone(&self.state),
        }
    }

    /// From now on not ready, for good: load balancers must look elsewhere.
    pub fn drain(&self) {
        self.state.lock().draining = true;
    }

    /// What the process still waits for; empty means ready.
    pub fn pending(&self) -> Vec<String> {
        let state = self.state.lock();
        let mut names: Vec<String> = state.pending.values().cloned().collect();
        if state.draining {
            names.push("draining".to_owned());
        }
        names
    }
}

impl ReadyToken {
    /// This part can serve. It never becomes unready again, except by draining.
    pub fn ready(self) {
        self.state.lock().pending.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        let readiness = Readiness::new();
        let store = readiness.token("store");
        let routes = readiness.token("routes");
        assert_eq!(readiness.pending(), ["store", "routes"]);
        store.ready();
        drop(routes);
        assert_eq!(
            readiness.pending(),
            ["routes"],
            "a part that died is still missing"
        );
        readiness.drain();
        assert_eq!(readiness.pending(), ["routes", "draining"]);
    }
}
