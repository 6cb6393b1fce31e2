//! Which destination has which port. It is written down in the Service and in the status, so whoever leads next finds it
//! there; the table is only the memory of that.

use std::collections::HashSet;

use landbridge_destination::RouteKey;

use super::{Model, Role};
use crate::cluster::ports::PortTable;

/// What is known of ports, and who waits for one.
#[derive(Debug)]
pub(super) struct Claims {
    table: PortTable,
    /// Whether the table has to be made anew from what is written down.
    outdated: bool,
    /// Those that found none; looked at again when one is given back.
    waiting: HashSet<RouteKey>,
}

impl Claims {
    pub(super) fn new(table: PortTable) -> Self {
        Self {
            table,
            outdated: true,
            waiting: HashSet::new(),
        }
    }

    /// Another replica may have decided since.
    pub(super) fn outdate(&mut self) {
        self.outdated = true;
    }

    /// What to say when there is none left.
    pub(super) fn used_up(&self) -> String {
        self.table.used_up()
    }
}

impl Model {
    /// The port that is written down for a destination. The Service counts first: it is what workloads use, and a
    /// status is edited more easily.
    fn claim(&self, key: &RouteKey) -> Option<u16> {
        let managed = self.settings.managed.contains(&key.namespace);
        let entry = self.destinations.get(key).filter(|_| managed)?;
        self.service_port(key).or_else(|| entry.published_port())
    }

    fn service_port(&self, key: &RouteKey) -> Option<u16> {
        let service = self.services.get(key)?;
        let (port, _) = service
            .target
            .filter(|_| service.is_of(&self.settings.installation))?;
        Some(port)
    }

    /// The port of a destination, as this replica's role has it: a leader gives one, a follower reads it.
    pub(super) fn port_of(&mut self, key: &RouteKey, readable: bool) -> Option<u16> {
        let port = match self.role {
            Role::Leader => self.lead_port(key, readable),
            Role::Follower => self.follow_port(key),
        };
        if port.is_none() {
            self.claims.waiting.insert(key.clone());
        } else {
            self.claims.waiting.remove(key);
        }
        port
    }

    fn lead_port(&mut self, key: &RouteKey, readable: bool) -> Option<u16> {
        if let Some(port) = self.claims.table.get(key) {
            return Some(port);
        }
        if let Some(port) = self.claim(key)
            && self.claims.table.remember(key, port)
        {
            return Some(port);
        }
        readable.then(|| self.claims.table.allocate(key)).flatten()
    }

    /// What the leader has decided. A port is another's as long as that one's Service or status says so: watches of
    /// different kinds are not in step, and a status may have been edited.
    fn follow_port(&mut self, key: &RouteKey) -> Option<u16> {
        let own = self.claims.table.get(key);
        let port = self.claim(key)?;
        if own == Some(port) {
            return own;
        }
        let holder = self.claims.table.holder(port).cloned();
        if let Some(holder) = holder {
            if self.claim(&holder) == Some(port) {
                return own;
            }
            self.dirty.insert(holder);
        }
        self.claims.table.adopt(key, port);
        if own.is_some() {
            self.port_given_back();
        }
        self.claims.table.get(key)
    }

    /// Gives the port back, unless something still leads to it: a managed destination, or the Service of one that is
    /// gone, until Kubernetes has cleaned it up.
    pub(super) fn give_back(&mut self, key: &RouteKey) {
        let managed = self.settings.managed.contains(&key.namespace);
        let needed = managed && self.destinations.get(key).is_some();
        if !needed {
            self.claims.waiting.remove(key);
        }
        if !needed && self.service_port(key).is_none() && self.claims.table.release(key) {
            self.port_given_back();
        }
    }

    fn port_given_back(&mut self) {
        self.dirty.extend(self.claims.waiting.drain());
    }

    /// A Service of ours was seen: its port is not to be given to another.
    pub(super) fn reserve(&mut self, key: &RouteKey) {
        if self.role == Role::Leader
            && let Some(port) = self.service_port(key)
        {
            self.claims.table.remember(key, port);
        }
    }

    /// Makes the table from what is written down: before the first decision, and when this replica begins to lead.
    /// What Service and status agree about counts before what one of them says.
    pub(super) fn claim_ports(&mut self) {
        if self.role == Role::Follower || !std::mem::take(&mut self.claims.outdated) {
            return;
        }
        self.claims.table.clear();
        let mut claims: Vec<(u8, &RouteKey, u16)> = Vec::with_capacity(self.destinations.len());
        for (key, _) in self.services.iter() {
            let Some(port) = self.service_port(key) else {
                continue;
            };
            let entry = self.destinations.get(key);
            let agreed = entry.is_some_and(|entry| entry.published_port() == Some(port));
            claims.push((u8::from(!agreed), key, port));
        }
        for (key, entry) in self.destinations.iter() {
            if self.settings.managed.contains(&key.namespace)
                && let Some(port) = entry.published_port()
            {
                claims.push((2, key, port));
            }
        }
        claims.sort_unstable();
        for (_, key, port) in claims {
            self.claims.table.remember(key, port);
        }
    }
}
