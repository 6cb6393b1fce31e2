//! What one pod reported last.

use std::collections::HashMap;
use std::time::Duration;

use landbridge_destination::channel::ChannelKey;
use landbridge_destination::serve::{ChannelReport, Report, RouteReport};
use landbridge_destination::{RouteKey, RouteState};
use tokio::time::Instant;

use super::keys::Keys;
use super::{Changed, Channels};
use crate::reach::Locations;

/// Longest text that is kept of a failure; it ends up in a condition.
const FAILURE_BYTES: usize = 1024;

/// State of a route at a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held<'a> {
    /// Nothing reported.
    Nothing,
    /// Open.
    Port(u16),
    /// Cannot be opened.
    Failed(&'a str),
}

#[derive(Debug)]
pub(super) struct PodReport {
    process: u64,
    sequence: u64,
    heard: Instant,
    draining: bool,
    locations: Locations,
    routes: Routes,
    channels: Channels,
}

/// Port by route number; 0 where nothing is open. Failures are rare and kept apart.
#[derive(Debug, Default)]
struct Routes {
    ports: Vec<u16>,
    failures: HashMap<u32, Box<str>>,
}

impl PodReport {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            process: 0,
            sequence: 0,
            heard: now,
            draining: false,
            locations: None,
            routes: Routes::default(),
            channels: Channels::new(),
        }
    }

    /// Whether `report` is the one after the last.
    pub(super) fn continues(&self, report: &Report) -> bool {
        report.process == self.process && self.sequence.checked_add(1) == Some(report.sequence)
    }

    /// Whether `report`, a whole one, is not older than the last.
    pub(super) fn may_replace(&self, report: &Report) -> bool {
        report.process != self.process || report.sequence >= self.sequence
    }

    pub(super) fn silent_since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    pub(super) fn locations(&self) -> &Locations {
        &self.locations
    }

    pub(super) fn route(&self, id: u32) -> Held<'_> {
        self.routes.get(id)
    }

    pub(super) fn channel(&self, key: &ChannelKey) -> Option<&[String]> {
        self.channels.get(key).map(Vec::as_slice)
    }

    pub(super) fn apply(&mut self, report: Report, now: Instant, keys: &mut Keys) -> Changed {
        let mut changed = Changed::default();
        self.process = report.process;
        self.sequence = report.sequence;
        self.heard = now;
        if report.whole {
            self.replace_routes(report.routes, keys, &mut changed);
            let gone = std::mem::take(&mut self.channels);
            self.put_channels(report.channels, &mut changed);
            for (key, locations) in gone {
                if self.channels.get(&key) == Some(&locations) {
                    changed.channels.remove(&key);
                } else {
                    changed.channels.insert(key);
                }
            }
        } else {
            for key in &report.removed_routes {
                self.remove_route(key, keys, &mut changed);
            }
            for route in report.routes {
                self.put_route(route, keys, &mut changed);
            }
            self.put_channels(report.channels, &mut changed);
            for key in report.removed_channels {
                if self.channels.remove(&key).is_some() {
                    changed.channels.insert(key);
                }
            }
        }
        if self.locations != report.locations {
            self.locations = report.locations;
            changed.locations = true;
        }
        if std::mem::replace(&mut self.draining, report.draining) != report.draining {
            changed.routes.extend(self.routes.names(keys));
            changed.channels.extend(self.channels.keys().cloned());
        }
        changed
    }

    /// Gives back all its route numbers.
    pub(super) fn leave(&mut self, keys: &mut Keys) -> Changed {
        let changed = Changed {
            routes: self.routes.names(keys).collect(),
            channels: self.channels.drain().map(|(key, _)| key).collect(),
            locations: self.locations.take().is_some(),
        };
        self.routes.ids().for_each(|id| keys.release(id));
        self.routes = Routes::default();
        changed
    }

    fn replace_routes(&mut self, routes: Vec<RouteReport>, keys: &mut Keys, changed: &mut Changed) {
        let old = std::mem::take(&mut self.routes);
        for RouteReport { key, state } in routes {
            let id = keys.take(key);
            if self.routes.get(id) != Held::Nothing {
                // Named twice: the last one counts, one use is enough.
                keys.release(id);
            }
            self.routes.set(id, state);
        }
        let both = self.routes.ids().chain(old.ids());
        let different = both.filter(|id| self.routes.get(*id) != old.get(*id));
        let names = different.filter_map(|id| keys.name(id).map(|key| (**key).clone()));
        changed.routes.extend(names);
        old.ids().for_each(|id| keys.release(id));
    }

    fn put_route(&mut self, route: RouteReport, keys: &mut Keys, changed: &mut Changed) {
        let known = keys
            .id(&route.key)
            .filter(|id| self.routes.get(*id) != Held::Nothing);
        let id = known.unwrap_or_else(|| keys.take(route.key.clone()));
        if self.routes.set(id, route.state) {
            changed.routes.insert(route.key);
        }
    }

    fn remove_route(&mut self, key: &RouteKey, keys: &mut Keys, changed: &mut Changed) {
        if let Some(id) = keys.id(key)
            && self.routes.get(id) != Held::Nothing
        {
            self.routes.unset(id);
            keys.release(id);
            changed.routes.insert(key.clone());
        }
    }

    fn put_channels(&mut self, channels: Vec<ChannelReport>, changed: &mut Changed) {
        for ChannelReport { key, mut locations } in channels {
            locations.sort_unstable();
            locations.dedup();
            let before = self.channels.insert(key.clone(), locations);
            if before.as_ref() != self.channels.get(&key) {
                changed.channels.insert(key);
            }
        }
    }
}

impl Routes {
    fn get(&self, id: u32) -> Held<'_> {
        match self.ports.get(id as usize) {
            None | Some(0) => match self.failures.get(&id) {
                Some(why) => Held::Failed(why),
                None => Held::Nothing,
            },
            Some(port) => Held::Port(*port),
        }
    }

    /// Whether it is different.
    fn set(&mut self, id: u32, state: RouteState) -> bool {
        match state {
            RouteState::Listening(address) => {
                let index = id as usize;
                if self.ports.len() <= index {
                    self.ports.resize(index + 1, 0);
                }
                let had_failed = self.failures.remove(&id).is_some();
                let before = self
                    .ports
                    .get_mut(index)
                    .map(|port| std::mem::replace(port, address.port()));
                had_failed || before != Some(address.port())
            }
            RouteState::Failed(mut why) => {
                why.truncate(why.floor_char_boundary(FAILURE_BYTES));
                let port = self.ports.get_mut(id as usize).map(std::mem::take);
                let before = self.failures.insert(id, why.into_boxed_str());
                port.is_some_and(|port| port != 0) || before.as_ref() != self.failures.get(&id)
            }
        }
    }

    fn unset(&mut self, id: u32) {
        if let Some(port) = self.ports.get_mut(id as usize) {
            *port = 0;
        }
        self.failures.remove(&id);
    }

    fn ids(&self) -> impl Iterator<Item = u32> {
        let open = (0u32..).zip(&self.ports).filter(|(_, port)| **port != 0);
        open.map(|(id, _)| id).chain(self.failures.keys().copied())
    }

    fn names(&self, keys: &Keys) -> impl Iterator<Item = RouteKey> {
        self.ids()
            .filter_map(|id| keys.name(id).map(|key| (**key).clone()))
    }
}
