//! What the controller knows and decides. Pure but for the clock: watches, look-ups and proxies tell it what is, it
//! tells which routes the proxies are to have and what is to be written.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use landbridge_crds::Destination;
use landbridge_destination::{DestinationSelector, Route, RouteKey};
use parking_lot::RwLock;
use tokio::time::Instant;

use super::children::{self, ProxyEndpoint};
use super::observed::{Known, Observed, SliceKey};
use super::policy::Scopes;
use super::ports::PortTable;
use super::watch::Seen;
use crate::lookup::{Table, Timing};
use crate::plan::{Event, PlanOptions};
use crate::reach::Reach;

mod claims;
mod decide;
mod entry;
mod lookups;
mod managed;
mod rows;
mod work;

pub use managed::Managed;
pub use managed::SeenNamespace;
pub use rows::DestinationRow;
pub use work::{Child, Done, Orphan, Work};

use claims::Claims;
use entry::Entry;
use work::Heard;

/// What is known of the proxies.
pub trait ProxyView {
    /// Proxies that listen for the destination on this port, those that have what it needs.
    fn endpoints(&self, key: &RouteKey, port: u16, reach: &Reach) -> Vec<ProxyEndpoint>;
    /// Why a proxy cannot serve it, where one says so.
    fn failure(&self, key: &RouteKey) -> Option<String>;
    /// How many proxies have reported.
    fn reporting(&self) -> usize;
    /// Whether every proxy has had the time to report since this replica leads. Before that, endpoints that were
    /// written by the replica before are not taken away.
    fn settled(&self) -> bool;
}

/// Settings of the model.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Namespace of this installation; what it makes says so.
    pub installation: String,
    /// What holds for all destinations.
    pub options: PlanOptions,
    /// Ports of the proxies.
    pub ports: RangeInclusive<u16>,
    /// How often the store is asked, and how many questions at a time.
    pub lookups: Timing,
    /// Which namespaces.
    pub managed: Managed,
}

/// Whether this replica decides, or follows one that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It allocates ports and writes.
    Leader,
    /// It serves what the leader has decided.
    Follower,
}

/// What a round of decisions brought.
#[derive(Debug, Default)]
pub struct Decided {
    /// New and changed routes.
    pub routes: Vec<Arc<Route>>,
    /// Routes that are gone.
    pub removed: Vec<RouteKey>,
    /// Destinations for which something is to be written, and from when on.
    pub write: Vec<(RouteKey, Instant)>,
    /// What is worth telling about which destination.
    pub events: Vec<(RouteKey, Vec<Event>)>,
    /// Destinations that are gone.
    pub gone: Vec<RouteKey>,
    /// Destinations whose declaration is another: what failed before may work now.
    pub renewed: Vec<RouteKey>,
}

/// Longest time that a status waits for the store and the proxies before it says so.
pub const SETTLING: Duration = Duration::from_secs(2);

/// Services that are somebody else's; shared with the admission of new resources.
#[derive(Debug, Clone, Default)]
pub struct ForeignServices(Arc<RwLock<HashSet<RouteKey>>>);

impl ForeignServices {
    /// Whether there is one of this name.
    pub fn contains(&self, key: &RouteKey) -> bool {
        self.0.read().contains(key)
    }

    fn note(&self, key: &RouteKey, foreign: bool) {
        if foreign == self.contains(key) {
            return;
        }
        if foreign {
            self.0.write().insert(key.clone());
        } else {
            self.0.write().remove(key);
        }
    }
}

/// Everything that is known.
pub struct Model {
    settings: Settings,
    role: Role,
    destinations: Known<RouteKey, Entry>,
    referrers: HashMap<DestinationSelector, HashSet<RouteKey>>,
    table: Table,
    claims: Claims,
    services: Known<RouteKey, Observed>,
    slices: Known<SliceKey, Observed>,
    foreign: ForeignServices,
    scopes: Scopes,
    dirty: HashSet<RouteKey>,
    /// Destinations that are being written.
    heard: HashMap<RouteKey, Heard>,
    /// Gone since the last round.
    gone: Vec<RouteKey>,
    /// Declared anew since the last round.
    renewed: Vec<RouteKey>,
}

impl Model {
    /// Knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            role: Role::Follower,
            destinations: Known::default(),
            referrers: HashMap::new(),
            table: Table::new(settings.lookups),
            claims: Claims::new(PortTable::new(settings.ports.clone())),
            services: Known::default(),
            slices: Known::default(),
            foreign: ForeignServices::default(),
            scopes: Scopes::default(),
            dirty: HashSet::new(),
            heard: HashMap::new(),
            gone: Vec::new(),
            renewed: Vec::new(),
            settings,
        }
    }

    /// Whether all that decisions depend on has been listed once.
    pub fn is_complete(&self) -> bool {
        self.destinations.is_listed()
            && self.services.is_listed()
            && self.slices.is_listed()
            && self.settings.managed.is_listed()
    }

    /// From now on this replica leads, or no longer.
    pub fn set_role(&mut self, role: Role) {
        if std::mem::replace(&mut self.role, role) != role {
            self.claims.outdate();
            for entry in self.destinations.values_mut() {
                entry.settling = None;
            }
            self.mark_all();
        }
    }

    /// A destination was seen.
    pub fn see_destination(&mut self, seen: Seen<Destination>, now: Instant) {
        match seen {
            Seen::Restarted => self.destinations.restart(),
            Seen::Present(resource) => {
                let key = key_of(resource.as_ref());
                self.put(key, Entry::new(*resource), now);
            }
            Seen::Unreadable(invalid) => {
                let key = RouteKey::new(
                    invalid.metadata.namespace.clone().unwrap_or_default(),
                    invalid.metadata.name.clone().unwrap_or_default(),
                );
                self.put(key, Entry::unreadable(*invalid), now);
            }
            Seen::Gone { namespace, name } => {
                let key = RouteKey::new(namespace, name);
                self.hear(&key, |heard| heard.resource = true);
                if let Some(entry) = self.destinations.remove(&key) {
                    self.forget(key, &entry);
                }
            }
            Seen::Listed => {
                // Entries are needed to forget them well, so they are taken before the list throws them away.
                for key in self.destinations.outdated() {
                    if let Some(entry) = self.destinations.remove(&key) {
                        self.forget(key, &entry);
                    }
                }
                self.destinations.complete();
            }
        }
    }

    fn put(&mut self, key: RouteKey, mut entry: Entry, now: Instant) {
        self.hear(&key, |heard| heard.resource = true);
        let before = self.destinations.get_mut(&key);
        let old_selector = before.as_ref().and_then(|before| before.selector.clone());
        if let Some(before) = before {
            if before.is_same(&entry) {
                self.destinations.touch(&key);
                return;
            }
            let identity = |entry: &Entry| (entry.uid().to_owned(), entry.resource.metadata.generation);
            if identity(before) != identity(&entry) {
                self.renewed.push(key.clone());
            }
            entry.inherit(before, self.role == Role::Leader);
        }
        if self.settings.managed.contains(&key.namespace) {
            entry.selector = entry.wanted_selector(&key);
        }
        if old_selector != entry.selector {
            self.unrefer(old_selector.as_ref(), &key);
            self.refer(entry.selector.as_ref(), &key, now);
        }
        self.destinations.set(key.clone(), entry);
        self.dirty.insert(key);
    }

    fn refer(&mut self, selector: Option<&DestinationSelector>, key: &RouteKey, now: Instant) {
        if let Some(selector) = selector {
            self.table.insert(selector, now);
            self.referrers
                .entry(selector.clone())
                .or_default()
                .insert(key.clone());
        }
    }

    fn unrefer(&mut self, selector: Option<&DestinationSelector>, key: &RouteKey) {
        let Some(selector) = selector else { return };
        if let Some(keys) = self.referrers.get_mut(selector) {
            keys.remove(key);
            if keys.is_empty() {
                self.referrers.remove(selector);
                self.table.remove(selector);
            }
        }
    }

    fn forget(&mut self, key: RouteKey, entry: &Entry) {
        self.unrefer(entry.selector.clone().as_ref(), &key);
        if let Some(route) = &entry.route {
            self.scopes.refuse(&key.namespace, route.scope, route.port);
        }
        self.give_back(&key);
        self.dirty.remove(&key);
        self.gone.push(key);
    }

    /// A watch told something of a destination or of what was made for it.
    fn hear(&mut self, key: &RouteKey, note: impl FnOnce(&mut Heard)) {
        if let Some(heard) = self.heard.get_mut(key) {
            note(heard);
        }
    }

    /// A Service was seen; also those of others, because they may be in the way.
    pub fn see_service(&mut self, seen: Seen<Service>) {
        match seen {
            Seen::Restarted => self.services.restart(),
            Seen::Present(service) => {
                let key = key_of(service.as_ref());
                let observed = Observed::service(&service);
                self.foreign.note(&key, observed.owner.is_none());
                self.hear(&key, |heard| heard.service = true);
                if self.services.put(key.clone(), observed) {
                    self.reserve(&key);
                    self.give_back(&key);
                    self.mark(&key);
                }
            }
            Seen::Unreadable(_) => {}
            Seen::Gone { namespace, name } => {
                let key = RouteKey::new(namespace, name);
                self.services.remove(&key);
                self.service_gone(&key);
            }
            Seen::Listed => {
                for key in self.services.complete() {
                    self.service_gone(&key);
                }
            }
        }
    }

    fn service_gone(&mut self, key: &RouteKey) {
        self.foreign.note(key, false);
        self.hear(key, |heard| heard.service = true);
        self.give_back(key);
        self.mark(key);
    }

    /// An EndpointSlice of ours was seen.
    pub fn see_slice(&mut self, seen: Seen<EndpointSlice>) {
        match seen {
            Seen::Restarted => self.slices.restart(),
            Seen::Present(slice) => {
                let key = slice_key(&slice);
                let route = key.0.clone();
                self.hear(&route, |heard| heard.slices.push(key.1.clone()));
                if self.slices.put(key, Observed::slice(&slice)) {
                    self.mark(&route);
                }
            }
            Seen::Unreadable(_) => {}
            Seen::Gone { namespace, name } => {
                let destination = children::destination_of_slice(&name);
                let route = RouteKey::new(namespace, destination);
                self.hear(&route, |heard| heard.slices.push(name.clone()));
                self.slices.remove(&(route.clone(), name));
                self.mark(&route);
            }
            Seen::Listed => {
                for (route, name) in self.slices.complete() {
                    self.hear(&route, |heard| heard.slices.push(name));
                    self.mark(&route);
                }
            }
        }
    }

    /// A namespace was seen; matters only where namespaces are chosen by label.
    pub fn see_namespace(&mut self, namespace: SeenNamespace, now: Instant) {
        let changed = self.settings.managed.see(namespace);
        if changed.is_empty() {
            return;
        }
        let concerned: Vec<RouteKey> = self
            .destinations
            .iter()
            .filter(|(key, _)| changed.contains(&key.namespace))
            .map(|(key, _)| key.clone())
            .collect();
        for key in concerned {
            let Some(entry) = self.destinations.get(&key) else {
                continue;
            };
            let old = entry.selector.clone();
            let managed = self.settings.managed.contains(&key.namespace);
            let new = managed.then(|| entry.wanted_selector(&key)).flatten();
            if old != new {
                self.unrefer(old.as_ref(), &key);
                self.refer(new.as_ref(), &key, now);
                if let Some(entry) = self.destinations.get_mut(&key) {
                    entry.selector = new;
                }
            }
            self.dirty.insert(key);
        }
    }

    /// Something about these destinations is new at the proxies.
    pub fn proxies_changed<'a>(&mut self, keys: impl IntoIterator<Item = &'a RouteKey>) {
        for key in keys {
            self.mark(key);
        }
    }

    /// Connectors have come to proxies, or left them.
    pub fn connectors_changed(&mut self) {
        let needing = |key: &&RouteKey| self.reach(key) != Reach::Anywhere;
        let keys: Vec<RouteKey> = self
            .destinations
            .iter()
            .map(|(key, _)| key)
            .filter(needing)
            .cloned()
            .collect();
        self.dirty.extend(keys);
    }

    /// What proxies need for a destination.
    fn reach(&self, key: &RouteKey) -> Reach {
        let selector = self
            .destinations
            .get(key)
            .and_then(|entry| entry.selector.as_ref());
        selector.map_or(Reach::Anywhere, |selector| Reach::of(&self.table.get(selector)))
    }

    /// Something about all of them may be new.
    pub fn mark_all(&mut self) {
        let keys: Vec<RouteKey> = self.destinations.iter().map(|(key, _)| key.clone()).collect();
        self.dirty.extend(keys);
    }

    fn mark(&mut self, key: &RouteKey) {
        if self.destinations.get(key).is_some() {
            self.dirty.insert(key.clone());
        }
    }

    /// Services that are somebody else's, as they are at any time.
    pub fn foreign_services(&self) -> ForeignServices {
        self.foreign.clone()
    }

    /// Which callers may use which ports.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// How many of the destinations that are looked after are available, and how many are not, for metrics.
    pub fn counts(&self) -> (usize, usize) {
        let managed = |(key, _): &(&RouteKey, &Entry)| self.settings.managed.contains(&key.namespace);
        self.destinations
            .iter()
            .filter(managed)
            .fold((0, 0), |(yes, no), (_, entry)| match entry.is_available() {
                true => (yes + 1, no),
                false => (yes, no + 1),
            })
    }
}

/// Namespace and name of an object.
pub fn key_of<K: kube::Resource>(object: &K) -> RouteKey {
    RouteKey::new(object.namespace().unwrap_or_default(), object.name_any())
}

fn slice_key(slice: &EndpointSlice) -> SliceKey {
    let name = slice.name_any();
    let destination = children::destination_of_slice(&name);
    (
        RouteKey::new(slice.namespace().unwrap_or_default(), destination),
        name,
    )
}

#[cfg(test)]
mod tests;
