//! Who calls from which address: an index of the cluster's pods, fed by a watch.
//!
//! Three users: the proxies are told address, namespace and service account of every caller ([`Hub::set_workloads`]);
//! the EndpointSlices need addresses and readiness of the proxies' own pods ([`Index::proxies`]); and what a proxy
//! reported counts only as long as its pod is there ([`Board::pod_gone`]).

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::injection::sighting::Sightings;
use crate::serve::hub::Hub;
use crate::serve::reports::{Board, PodId};

mod follow;
pub mod pod;
mod table;

pub use follow::{Scope, follow};

use pod::SlimPod;
use table::{Changes, Table};

/// A workload as the source of connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Service account.
    pub service_account: Arc<str>,
}

/// A service account whose pods are proxies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProxyAccount {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub service_account: String,
}

/// A proxy's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPod {
    /// Which pod.
    pub id: PodId,
    /// Its addresses, at most one of each family. With the host's network they are the node's.
    pub addresses: Vec<IpAddr>,
    /// Whether it passes its readiness probe.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Node it runs on, once there is one.
    pub node: Option<String>,
}

/// What a watch of pods saw.
pub type Seen = crate::cluster::watch::Seen<SlimPod>;

/// The index. What changes in it is told to hub and board at once.
#[derive(Debug)]
pub struct Index {
    table: Mutex<Table>,
    hub: Arc<Hub>,
    board: Arc<Board>,
    proxies: watch::Sender<u64>,
    listed: watch::Sender<bool>,
    sightings: Option<Sightings>,
}

impl Index {
    /// An empty index. `watches` is how many watches feed it (one, or one for each namespace); pods of
    /// `accounts` are proxies.
    pub fn new(watches: usize, accounts: Vec<ProxyAccount>, hub: Arc<Hub>, board: Arc<Board>) -> Self {
        Self {
            table: Mutex::new(Table::new(watches, accounts)),
            hub,
            board,
            proxies: watch::Sender::new(0),
            listed: watch::Sender::new(false),
            sightings: None,
        }
    }

    /// The same, telling what is seen of the sidecars in pods.
    #[must_use]
    pub fn telling(mut self, sightings: Sightings) -> Self {
        self.sightings = Some(sightings);
        self
    }

    /// Takes what watch number `source` saw.
    pub fn take(&self, source: usize, seen: Seen) {
        if let (Some(sightings), Seen::Present(pod)) = (&self.sightings, &seen) {
            sightings.see(pod);
        }
        // Hub and board are told while the table is locked, so that two watches cannot overtake each other.
        let mut table = self.table.lock();
        let changes = table.take(source, seen);
        self.tell(changes);
        let listed = table.is_listed();
        drop(table);
        self.listed
            .send_if_modified(|before| std::mem::replace(before, listed) != listed);
    }

    fn tell(&self, changes: Changes) {
        if !changes.addresses.is_empty() {
            self.hub.set_workloads(changes.addresses);
        }
        for pod in &changes.gone {
            self.board.pod_gone(pod);
        }
        if changes.proxies {
            self.proxies.send_modify(|tick| *tick = tick.wrapping_add(1));
        }
    }

    /// The pods of the proxies, sorted by namespace and name.
    pub fn proxies(&self) -> Vec<ProxyPod> {
        self.table.lock().proxies()
    }

    /// Moves whenever [`Index::proxies`] gives something else.
    pub fn proxy_ticks(&self) -> watch::Receiver<u64> {
        self.proxies.subscribe()
    }

    /// True once every watch has listed all its pods.
    pub fn listed(&self) -> watch::Receiver<bool> {
        self.listed.subscribe()
    }

    /// Who calls from `address`.
    pub fn caller(&self, address: IpAddr) -> Option<Caller> {
        self.table.lock().caller(address)
    }

    /// Pods and addresses known; for status pages.
    pub fn size(&self) -> (usize, usize) {
        self.table.lock().size()
    }
}

#[cfg(test)]
mod tests;
