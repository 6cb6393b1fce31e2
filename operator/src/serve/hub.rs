//! What proxies are told, and who may see it: one table, and for each subscriber what it does not know yet.
//!
//! A subscriber holds a [`Cursor`] and asks when it has room. So a slow one costs nothing: changes that it has not
//! asked for are not kept for it, only a log of keys that all share. Who has fallen behind the log gets a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use landbridge_destination::channel::{Channel, ChannelKey};
use landbridge_destination::serve::StoreChange;
use landbridge_destination::{Route, RouteKey, Scope};
use parking_lot::Mutex;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::watch;

use crate::workloads::Caller;

mod lines;
mod log;
mod stores;

use lines::{Lines, Shared};
use log::{Log, What};
use stores::StoreChanges;

/// What a subscriber may see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Everything: the proxies themselves.
    All,
    /// What a workload of this namespace may use: its own routes and those open to the cluster, its own pods, no
    /// service channels.
    Namespace(Arc<str>),
}

impl Audience {
    fn sees_route(&self, key: &RouteKey, scope: Scope) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(own) => scope == Scope::ClusterWide || *key.namespace == **own,
        }
    }

    fn sees_pods_of(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(own) => **own == *namespace,
        }
    }

    fn sees_channels(&self) -> bool {
        matches!(self, Self::All)
    }
}

/// How far a subscriber has come.
#[derive(Debug)]
pub struct Cursor {
    audience: Audience,
    version: Option<u64>,
    leader: Option<SocketAddr>,
    stores: u64,
}

/// What a subscriber is to be told now.
#[derive(Debug, Default)]
pub struct Told {
    /// Lines of the stream, each with its line end. Subscribers that are told the same share the bytes.
    pub lines: Vec<Bytes>,
    /// The subscriber missed something that a snapshot does not repeat: its stream has to end, because a client that
    /// connects anew asks for everything again.
    pub lost: bool,
}

/// The table. All methods may be called from anywhere; none waits for a subscriber.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    tick: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    complete: bool,
    version: u64,
    routes: BTreeMap<Arc<RouteKey>, HeldRoute>,
    channels: BTreeMap<ChannelKey, Box<RawValue>>,
    workloads: HashMap<IpAddr, Caller>,
    leader: Option<SocketAddr>,
    log: Log,
    stores: StoreChanges,
    shared: Shared,
}

/// A route, written once for all subscribers.
#[derive(Debug)]
struct HeldRoute {
    scope: Scope,
    json: Box<RawValue>,
}

/// Version of an empty hub. Above zero, so that a message in several parts can have versions below the last one's.
const FIRST_VERSION: u64 = 4096;

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// Knows nothing, and says so: see [`Hub::complete`].
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                complete: false,
                version: FIRST_VERSION,
                routes: BTreeMap::new(),
                channels: BTreeMap::new(),
                workloads: HashMap::new(),
                leader: None,
                log: Log::new(FIRST_VERSION),
                stores: StoreChanges::default(),
                shared: Shared::default(),
            }),
            tick: watch::Sender::new(0),
        }
    }

    /// From now on subscribers are served. Call it when everything that the cluster has was put in: a snapshot of half
    /// of it would make proxies close the other half's ports.
    pub fn complete(&self) {
        self.state.lock().complete = true;
        self.wake();
    }

    /// Whether [`Hub::complete`] was called.
    pub fn is_complete(&self) -> bool {
        self.state.lock().complete
    }

    /// Takes new, changed and removed routes. What is equal to what is known is no change.
    pub fn set_routes(&self, changed: Vec<Arc<Route>>, removed: Vec<RouteKey>) {
        let changed: Vec<_> = changed
            .into_iter()
            .filter_map(|route| written(&*route, &route.key).map(|json| (route, json)))
            .collect();
        let mut state = self.state.lock();
        let before = state.version;
        for key in removed {
            state.remove_route(&key);
        }
        for (route, json) in changed {
            state.put_route(&route, json);
        }
        self.finish(state, before);
    }

    /// Takes the whole table of service channels.
    pub fn set_channels(&self, channels: Vec<Channel>) {
        let next: BTreeMap<ChannelKey, Box<RawValue>> = channels
            .into_iter()
            .filter_map(|channel| written(&channel, &channel.key).map(|json| (channel.key, json)))
            .collect();
        let mut state = self.state.lock();
        let before = state.version;
        state.put_channels(next);
        self.finish(state, before);
    }

    /// Takes changed addresses of workloads; none means that it is no workload's any more.
    pub fn set_workloads(&self, changes: Vec<(IpAddr, Option<Caller>)>) {
        let mut state = self.state.lock();
        let before = state.version;
        for (address, caller) in changes {
            state.put_workload(address, caller);
        }
        self.finish(state, before);
    }

    /// Something in a store is not what it was.
    pub fn store_changed(&self, change: StoreChange) {
        self.state.lock().stores.add(change);
        self.wake();
    }

    /// The replica that leads now, by its serve address.
    pub fn leader(&self, address: Option<SocketAddr>) {
        let mut state = self.state.lock();
        if state.leader != address {
            state.leader = address;
            // Snapshots name the leader.
            state.shared.clear();
            drop(state);
            self.wake();
        }
    }

    /// A new subscriber, which knows nothing.
    pub fn subscribe(&self, audience: Audience) -> Cursor {
        let state = self.state.lock();
        Cursor {
            audience,
            version: None,
            leader: None,
            stores: state.stores.now(),
        }
    }

    /// Moves whenever there may be something to tell.
    pub fn ticks(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }

    /// What the subscriber does not know yet. It counts as told.
    pub fn tell(&self, cursor: &mut Cursor) -> Told {
        let mut state = self.state.lock();
        if !state.complete {
            return Told::default();
        }
        let mut lines = state.table_lines(cursor);
        if cursor.leader != state.leader {
            cursor.leader = state.leader;
            lines.extend(lines::leader(state.leader));
        }
        let Some(changes) = state.stores.since(&mut cursor.stores) else {
            return Told { lines, lost: true };
        };
        lines.extend(changes.into_iter().filter_map(lines::store_changed));
        Told { lines, lost: false }
    }

    /// Version now, routes, channels and workload addresses; for status pages.
    pub fn size(&self) -> (u64, usize, usize, usize) {
        let state = self.state.lock();
        (
            state.version,
            state.routes.len(),
            state.channels.len(),
            state.workloads.len(),
        )
    }

    fn finish(&self, state: parking_lot::MutexGuard<'_, State>, before: u64) {
        let changed = state.version != before;
        drop(state);
        if changed {
            self.wake();
        }
    }

    fn wake(&self) {
        self.tick.send_modify(|tick| *tick = tick.wrapping_add(1));
    }
}

impl State {
    /// One version per change and not per call, so that versions tell how much somebody is behind.
    fn note(&mut self, what: What) {
        self.version += 1;
        self.log.push(self.version, what);
    }

    fn put_route(&mut self, route: &Route, json: Box<RawValue>) {
        let held = HeldRoute {
            scope: route.scope,
            json,
        };
        let (key, before) = match self.routes.get_key_value(&route.key) {
            Some((_, old)) if old.json.get() == held.json.get() => return,
            Some((key, old)) => (Arc::clone(key), Some(old.scope)),
            None => (Arc::new(route.key.clone()), None),
        };
        self.routes.insert(Arc::clone(&key), held);
        self.note(What::Route { key, before });
    }

    fn remove_route(&mut self, key: &RouteKey) {
        if let Some((key, old)) = self.routes.remove_entry(key) {
            let before = Some(old.scope);
            self.note(What::Route { key, before });
        }
    }

    fn put_channels(&mut self, next: BTreeMap<ChannelKey, Box<RawValue>>) {
        let changed: Vec<(ChannelKey, bool)> = next
            .iter()
            .filter_map(|(key, json)| match self.channels.get(key) {
                Some(old) if old.get() == json.get() => None,
                old => Some((key.clone(), old.is_some())),
            })
            .collect();
        let removed = self.channels.keys().filter(|key| !next.contains_key(key));
        let removed: Vec<_> = removed.map(|key| (key.clone(), true)).collect();
        self.channels = next;
        for (key, before) in changed.into_iter().chain(removed) {
            self.note(What::Channel { key, before });
        }
    }

    fn put_workload(&mut self, address: IpAddr, caller: Option<Caller>) {
        let before = match &caller {
            Some(caller) if self.workloads.get(&address) == Some(caller) => return,
            Some(caller) => self.workloads.insert(address, caller.clone()),
            None => self.workloads.remove(&address),
        };
        if before.is_none() && caller.is_none() {
            return;
        }
        let before = before.map(|caller| caller.namespace);
        self.note(What::Workload { address, before });
    }

    fn table_lines(&mut self, cursor: &mut Cursor) -> Vec<Bytes> {
        if cursor.version == Some(self.version) {
            return Vec::new();
        }
        let from = cursor.version.filter(|version| self.log.reaches(*version));
        cursor.version = Some(self.version);
        if from.is_none() {
            cursor.leader = self.leader;
        }
        if let Some(lines) = self.shared.get(&cursor.audience, from, self.version) {
            return lines;
        }
        let mut lines = Lines::new(self.version, from.is_none(), self.leader);
        match from {
            None => self.whole(&cursor.audience, &mut lines),
            Some(from) => self.delta(&cursor.audience, from, &mut lines),
        }
        let lines = lines.finish();
        self.shared
            .put(cursor.audience.clone(), from, self.version, lines)
    }

    fn whole<'a>(&'a self, audience: &Audience, lines: &mut Lines<'a>) {
        for (key, route) in &self.routes {
            if audience.sees_route(key, route.scope) {
                lines.route(&route.json);
            }
        }
        if audience.sees_channels() {
            self.channels.values().for_each(|json| lines.channel(json));
        }
        for (address, caller) in &self.workloads {
            if audience.sees_pods_of(&caller.namespace) {
                lines.workload(*address, caller);
            }
        }
    }

    /// The present state of every key that changed after `from`. A removal is told only to who saw the key at `from`:
    /// names of other namespaces are nobody's business.
    fn delta<'a>(&'a self, audience: &Audience, from: u64, lines: &mut Lines<'a>) {
        let changes = self.log.since(from);
        for (key, before) in &changes.routes {
            let seen = before.is_some_and(|scope| audience.sees_route(key, scope));
            match self.routes.get::<RouteKey>(key) {
                Some(route) if audience.sees_route(key, route.scope) => lines.route(&route.json),
                _ if seen => lines.removed_route(key),
                _ => {}
            }
        }
        for (key, before) in &changes.channels {
            match self.channels.get(*key) {
                _ if !audience.sees_channels() => {}
                Some(json) => lines.channel(json),
                None if *before => lines.removed_channel(key),
                None => {}
            }
        }
        for (address, before) in &changes.workloads {
            let seen = before.is_some_and(|namespace| audience.sees_pods_of(namespace));
            match self.workloads.get(address) {
                Some(caller) if audience.sees_pods_of(&caller.namespace) => {
                    lines.workload(*address, caller);
                }
                _ if seen => lines.removed_workload(*address),
                _ => {}
            }
        }
    }
}

/// JSON of one entry. A plain struct of texts and numbers can always be written; if ever one cannot, the others go on.
fn written(entry: &impl serde::Serialize, key: &dyn std::fmt::Display) -> Option<Box<RawValue>> {
    to_raw_value(entry)
        .inspect_err(|error| tracing::error!(%key, %error, "cannot be told to proxies; please report this"))
        .ok()
}

#[cfg(test)]
mod tests;
