//! Ports of the proxies, one for each destination. A port is remembered in the Service (target port) and in the status,
//! so there is nothing to keep on disk: whoever leads next reads them there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::RangeInclusive;

use landbridge_destination::RouteKey;

/// Who has which port.
#[derive(Debug)]
pub struct PortTable {
    range: RangeInclusive<u16>,
    by_key: HashMap<RouteKey, u16>,
    by_port: HashMap<u16, RouteKey>,
    /// Where the search for a free one goes on: a port that was given back is used again as late as possible, because
    /// for a while something may still send to it for the destination it stood for.
    next: u16,
}

impl PortTable {
    /// Gives ports of `range`.
    pub fn new(range: RangeInclusive<u16>) -> Self {
        let next = *range.start();
        Self {
            range,
            by_key: HashMap::new(),
            by_port: HashMap::new(),
            next,
        }
    }

    /// The port of a destination.
    pub fn get(&self, key: &RouteKey) -> Option<u16> {
        self.by_key.get(key).copied()
    }

    /// Who has this port.
    pub fn holder(&self, port: u16) -> Option<&RouteKey> {
        self.by_port.get(&port)
    }

    /// Forgets who has which port, but not which ports were used last.
    pub fn clear(&mut self) {
        self.by_key.clear();
        self.by_port.clear();
    }

    /// Takes over what was decided earlier. Whether it counts: not if the port is another destination's or out of the
    /// range, nor if the destination has one already.
    pub fn remember(&mut self, key: &RouteKey, port: u16) -> bool {
        if !self.range.contains(&port) || self.by_key.contains_key(key) {
            return self.get(key) == Some(port);
        }
        match self.by_port.entry(port) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(key.clone());
                self.by_key.insert(key.clone(), port);
                true
            }
        }
    }

    /// Follows a decision of whoever leads, whatever was known before.
    pub fn adopt(&mut self, key: &RouteKey, port: u16) {
        if self.get(key) == Some(port) || !self.range.contains(&port) {
            return;
        }
        self.release(key);
        if let Some(before) = self.by_port.insert(port, key.clone()) {
            self.by_key.remove(&before);
        }
        self.by_key.insert(key.clone(), port);
    }

    /// The port of a destination; a free one if it has none yet. None when the range is used up.
    pub fn allocate(&mut self, key: &RouteKey) -> Option<u16> {
        if let Some(port) = self.get(key) {
            return Some(port);
        }
        // Without this, each of those that find none would look at all of them.
        if self.by_port.len() >= self.range.len() {
            return None;
        }
        let (first, last) = (*self.range.start(), *self.range.end());
        let port = (self.next..=last)
            .chain(first..self.next)
            .find(|port| !self.by_port.contains_key(port))?;
        self.next = if port == last { first } else { port + 1 };
        self.by_port.insert(port, key.clone());
        self.by_key.insert(key.clone(), port);
        Some(port)
    }

    /// Gives back the port of a destination that is gone. Whether it had one.
    pub fn release(&mut self, key: &RouteKey) -> bool {
        let port = self.by_key.remove(key);
        port.is_some_and(|port| self.by_port.remove(&port).is_some())
    }

    /// What to say when there is none left.
    pub fn used_up(&self) -> String {
        format!(
            "all ports {}-{} of the proxies are taken: remove destinations, or widen --port-range",
            self.range.start(),
            self.range.end()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> RouteKey {
        RouteKey::new("ns", name)
    }

    #[test]
    fn gives_each_a_port_and_reuses_one_as_late_as_possible() {
        let mut ports = PortTable::new(100..=102);
        assert_eq!(ports.allocate(&key("a")), Some(100));
        assert_eq!(ports.allocate(&key("a")), Some(100));
        ports.release(&key("a"));
        assert_eq!(ports.allocate(&key("b")), Some(101));
        assert_eq!(ports.allocate(&key("c")), Some(102));
        assert_eq!(ports.allocate(&key("d")), Some(100));
        assert_eq!(ports.allocate(&key("e")), None);
        assert!(ports.used_up().contains("100-102"));
        ports.release(&key("c"));
        assert_eq!(ports.allocate(&key("e")), Some(102));
    }

    #[test]
    fn what_was_decided_earlier_counts_once() {
        let mut ports = PortTable::new(100..=110);
        assert!(ports.remember(&key("a"), 105));
        assert!(!ports.remember(&key("b"), 105), "taken");
        assert!(!ports.remember(&key("b"), 99), "out of the range");
        assert!(!ports.remember(&key("a"), 106), "has one, and it stays");
        assert!(ports.remember(&key("a"), 105));
        for name in ["b", "c", "d", "e", "f", "g", "h", "i", "j", "k"] {
            assert_ne!(ports.allocate(&key(name)), Some(105));
        }
    }

    #[test]
    fn a_follower_follows() {
        let mut ports = PortTable::new(100..=110);
        ports.adopt(&key("a"), 100);
        ports.adopt(&key("b"), 100);
        assert_eq!((ports.get(&key("a")), ports.get(&key("b"))), (None, Some(100)));
        ports.adopt(&key("b"), 101);
        assert_eq!(ports.allocate(&key("c")), Some(100));
    }
}
