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
use landbridge_destination::serve::StoreChange;
use landbridge_destination::{DestinationSelector, Route, RouteKey};
use parking_lot::RwLock;
use tokio::time::Instant;

use super::children::{self, ProxyEndpoint};
use super::observed::{Known, Observed, SliceKey};
use super::policy::Scopes;
use super::ports::PortTable;
use super::watch::Seen;
use crate::lookup::{Answer, Failure, Table, Timing};
use crate::plan::{Event, Lookup, PlanOptions};

mod decide;
mod entry;
mod managed;
mod rows;
mod work;

pub use managed::Managed;
pub use managed::SeenNamespace;
pub use rows::DestinationRow;
pub use work::{Child, Done, Orphan, Work};

use entry::Entry;

/// What is known of the proxies.
pub trait ProxyView {
    /// Proxies that listen for the destination on this port.
    fn endpoints(&self, key: &RouteKey, port: u16) -> Vec<ProxyEndpoint>;
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
    ports: PortTable,
    services: Known<RouteKey, Observed>,
    slices: Known<SliceKey, Observed>,
    foreign: ForeignServices,
    scopes: Scopes,
    dirty: HashSet<RouteKey>,
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
            ports: PortTable::new(settings.ports.clone()),
            services: Known::default(),
            slices: Known::default(),
            foreign: ForeignServices::default(),
            scopes: Scopes::default(),
            dirty: HashSet::new(),
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
        if let Some(port) = entry.status_port() {
            self.learn_port(&key, port);
        }
        let before = self.destinations.get_mut(&key);
        let old_selector = before.as_ref().and_then(|before| before.selector.clone());
        if let Some(before) = before {
            if before.is_same(&entry) {
                self.destinations.touch(&key);
                return;
            }
            if before.resource.metadata.generation != entry.resource.metadata.generation {
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
        self.ports.release(&key);
        self.dirty.remove(&key);
        self.gone.push(key);
    }

    fn learn_port(&mut self, key: &RouteKey, port: u16) {
        match self.role {
            Role::Leader => {
                self.ports.remember(key, port);
            }
            Role::Follower => self.ports.adopt(key, port),
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
                if let Some((port, _)) = observed.target {
                    self.learn_port(&key, port);
                }
                if self.services.put(key.clone(), observed) {
                    self.mark(&key);
                }
            }
            Seen::Unreadable(_) => {}
            Seen::Gone { namespace, name } => {
                let key = RouteKey::new(namespace, name);
                self.services.remove(&key);
                self.foreign.note(&key, false);
                self.mark(&key);
            }
            Seen::Listed => {
                for key in self.services.complete() {
                    self.foreign.note(&key, false);
                    self.mark(&key);
                }
            }
        }
    }

    /// An EndpointSlice of ours was seen.
    pub fn see_slice(&mut self, seen: Seen<EndpointSlice>) {
        match seen {
            Seen::Restarted => self.slices.restart(),
            Seen::Present(slice) => {
                let key = slice_key(&slice);
                let route = key.0.clone();
                if self.slices.put(key, Observed::slice(&slice)) {
                    self.mark(&route);
                }
            }
            Seen::Unreadable(_) => {}
            Seen::Gone { namespace, name } => {
                let destination = children::destination_of_slice(&name);
                let route = RouteKey::new(namespace, destination);
                self.slices.remove(&(route.clone(), name));
                self.mark(&route);
            }
            Seen::Listed => {
                for (route, _) in self.slices.complete() {
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

    /// The next look-up that is due.
    pub fn next_lookup(&mut self, now: Instant) -> Option<(DestinationSelector, Option<String>)> {
        self.table.take(now)
    }

    /// When the next look-up is due.
    pub fn next_lookup_at(&self) -> Option<Instant> {
        self.table.next_due()
    }

    /// What a look-up brought. Tells proxies to drop what they keep, where the store has something else than before.
    pub fn looked_up(
        &mut self,
        selector: &DestinationSelector,
        result: Result<Answer, Failure>,
        now: Instant,
    ) -> Option<StoreChange> {
        let first = matches!(self.table.get(selector), Lookup::Pending);
        // `finish` looks at what matters here; the proxies use more of a destination, so for them any answer with a
        // new ETag is news.
        let renewed = matches!(result, Ok(Answer::Found { etag: Some(_), .. }));
        let decisive = self.table.finish(selector, result, now);
        if decisive {
            for key in self.referrers.get(selector).into_iter().flatten() {
                self.dirty.insert(key.clone());
            }
        }
        (!first && (renewed || decisive)).then(|| StoreChange {
            instance: selector.instance.clone(),
            names: Some(vec![selector.name.clone()]),
        })
    }

    /// The store says that something has changed: asks again for what is concerned.
    pub fn store_changed(&mut self, change: &StoreChange, default_instance: Option<&str>, now: Instant) {
        let of = |name: &Option<String>| name.as_deref().or(default_instance).map(ToOwned::to_owned);
        let instance = of(&change.instance);
        self.table.recall(now, |selector| {
            of(&selector.instance) == instance
                && change
                    .names
                    .as_ref()
                    .is_none_or(|names| names.iter().any(|name| selector.concerns(name)))
        });
    }

    /// Services that are somebody else's, as they are at any time.
    pub fn foreign_services(&self) -> ForeignServices {
        self.foreign.clone()
    }

    /// Which callers may use which ports.
    pub fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// Destinations known, and how many of them are available, for metrics: (available, not).
    pub fn counts(&self) -> (usize, usize) {
        let available = self
            .destinations
            .iter()
            .filter(|(_, entry)| entry.is_available())
            .count();
        (available, self.destinations.len() - available)
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
