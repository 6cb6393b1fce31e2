//! Which connections lead to which (tenant, location), and the choice among them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::identity::PeerIdentity;
use crate::metrics::{OpenResult, TunnelMetrics};
use crate::mux::{Mux, MuxStats};
use crate::open::{DenyReason, OpenError, OpenRequest};
use crate::stream::TunnelStream;

/// Connections tried for one open when the peer certainly has not seen it on the ones before.
const ATTEMPTS: usize = 3;

/// One connected connection of a connector, as it is registered.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) identity: PeerIdentity,
    pub(crate) location: String,
    /// Which of the connector's connections it is.
    pub(crate) slot: u16,
    /// The connector process.
    pub(crate) instance: String,
    pub(crate) agent: String,
    pub(crate) peer: SocketAddr,
    pub(crate) since: Instant,
    pub(crate) mux: Arc<dyn Mux>,
}

/// What [`Registry::sessions`] tells about one connection.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Verified identity.
    pub identity: PeerIdentity,
    /// Location id it serves; empty is the default location.
    pub location: String,
    /// Which of the connector's connections it is.
    pub slot: u16,
    /// Name and version of the connector.
    pub agent: String,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// How long it has been connected.
    pub connected_for: std::time::Duration,
    /// Counters.
    pub stats: MuxStats,
}

/// Why a session was not registered.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Full {
    #[error("this connector already has {0} connections; lower its number of connections")]
    Identity(usize),
    #[error("this acceptor already has {0} connections; raise its limit or add replicas")]
    Total(usize),
}

/// Limits of the registry.
#[derive(Clone, Copy, Debug)]
pub struct RegistryLimits {
    /// Connections of one connector at one acceptor.
    pub per_identity: usize,
    /// Connections of all connectors at one acceptor; each idle one costs about 60 KiB.
    pub total: usize,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self {
            per_identity: 16,
            total: 10_000,
        }
    }
}

type Locations = HashMap<String, Vec<Arc<Session>>>;

#[derive(Debug, Default)]
struct Table {
    /// Nested, so that a look-up needs no owned key.
    tenants: HashMap<String, Locations>,
    count: usize,
}

struct Shared {
    table: RwLock<Table>,
    changed: watch::Sender<u64>,
    next_id: AtomicU64,
    limits: RegistryLimits,
    metrics: TunnelMetrics,
}

/// The live connections. Clones share them.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("sessions", &self.len()).finish()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(RegistryLimits::default(), TunnelMetrics::default())
    }
}

impl Registry {
    /// An empty registry.
    pub fn new(limits: RegistryLimits, metrics: TunnelMetrics) -> Self {
        let shared = Shared {
            table: RwLock::default(),
            changed: watch::Sender::new(0),
            next_id: AtomicU64::new(1),
            limits,
            metrics,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Opens a stream to the connector of this tenant and location (empty is the default location), over the less
    /// busy of two connections taken by chance. Another connection is tried when the peer certainly has not seen
    /// the request.
    pub async fn open(
        &self,
        tenant: &str,
        location: &str,
        request: &OpenRequest,
    ) -> Result<TunnelStream, OpenError> {
        let result = self.try_open(tenant, location, request).await;
        self.shared.metrics.open(match &result {
            Ok(_) => OpenResult::Opened,
            Err(OpenError::NoConnector { .. }) => OpenResult::NoConnector,
            Err(OpenError::Denied { .. }) => OpenResult::Denied,
            Err(OpenError::Timeout { .. }) => OpenResult::Timeout,
            Err(OpenError::Lost { .. }) => OpenResult::Lost,
            Err(OpenError::Busy { .. }) => OpenResult::Busy,
            Err(OpenError::Invalid(_)) => OpenResult::Invalid,
        });
        result
    }

    async fn try_open(
        &self,
        tenant: &str,
        location: &str,
        request: &OpenRequest,
    ) -> Result<TunnelStream, OpenError> {
        let mut tried = [0; ATTEMPTS];
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            let Some(session) = self.choose(tenant, location, &tried[..attempt]) else {
                break;
            };
            tried[attempt] = session.id;
            match session.mux.open(request).await {
                Err(
                    error @ (OpenError::Lost {
                        unprocessed: true, ..
                    }
                    | OpenError::Busy { .. }
                    // The connector's own limit, which is one of the connection too.
                    | OpenError::Denied {
                        reason: DenyReason::Busy,
                        ..
                    }),
                ) => last = Some(error),
                result => return result,
            }
        }
        Err(last.unwrap_or_else(|| OpenError::NoConnector {
            tenant: tenant.to_owned(),
            location: location.to_owned(),
        }))
    }

    /// Power of two choices: as even as asking all of them, and no herd runs to the same one.
    fn choose(&self, tenant: &str, location: &str, tried: &[u64]) -> Option<Arc<Session>> {
        let table = self.shared.table.read();
        let sessions = table.tenants.get(tenant)?.get(location)?;
        let fresh = |session: &&Arc<Session>| !tried.contains(&session.id);
        let staying = |session: &&Arc<Session>| fresh(session) && !session.mux.stats().is_leaving();
        // A connection that is being replaced still works and is better than none.
        match sessions.iter().filter(staying).count() {
            0 => sessions.iter().find(fresh).cloned(),
            1 => sessions.iter().find(staying).cloned(),
            count => {
                let first = fastrand::usize(..count);
                let second = (first + fastrand::usize(1..count)) % count;
                let a = sessions.iter().filter(staying).nth(first)?;
                let b = sessions.iter().filter(staying).nth(second)?;
                let (load_a, load_b) = (a.mux.stats().active(), b.mux.stats().active());
                Some(Arc::clone(if load_b < load_a { b } else { a }))
            }
        }
    }

    /// Whether a connector of this tenant and location is connected here.
    pub fn is_connected(&self, tenant: &str, location: &str) -> bool {
        let table = self.shared.table.read();
        table
            .tenants
            .get(tenant)
            .and_then(|locations| locations.get(location))
            .is_some_and(|list| !list.is_empty())
    }

    /// Every connection, for status pages.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let table = self.shared.table.read();
        let sessions = table.tenants.values().flat_map(HashMap::values).flatten();
        sessions
            .map(|session| SessionInfo {
                identity: session.identity.clone(),
                location: session.location.clone(),
                slot: session.slot,
                agent: session.agent.clone(),
                peer: session.peer,
                connected_for: session.since.elapsed(),
                stats: session.mux.stats().snapshot(),
            })
            .collect()
    }

    /// Location ids of all connections, each once, sorted; the empty text is the default location.
    pub fn locations(&self) -> Vec<String> {
        let table = self.shared.table.read();
        let live = table
            .tenants
            .values()
            .flatten()
            .filter(|(_, list)| !list.is_empty());
        let sorted: BTreeSet<&String> = live.map(|(location, _)| location).collect();
        sorted.into_iter().cloned().collect()
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.shared.table.read().count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Changes its value whenever a connection comes or goes.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Whether this connection could be added; [`Self::add`] decides. Asked before the connector is told that it is
    /// welcome, so that it learns the reason.
    pub(crate) fn room(&self, identity: &PeerIdentity, location: &str, slot: u16) -> Result<(), Full> {
        let limits = self.shared.limits;
        let table = self.shared.table.read();
        let sessions = table
            .tenants
            .get(&identity.tenant)
            .into_iter()
            .flat_map(HashMap::values)
            .flatten();
        let own: Vec<_> = sessions
            .filter(|session| session.identity.connector == identity.connector)
            .collect();
        let replaced = own
            .iter()
            .any(|session| session.location == location && session.slot == slot);
        if replaced {
            return Ok(());
        }
        if own.len() >= limits.per_identity {
            return Err(Full::Identity(limits.per_identity));
        }
        if table.count >= limits.total {
            Err(Full::Total(limits.total))
        } else {
            Ok(())
        }
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.shared.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a connection. The newest of the same connector and slot wins: after a restart behind a dead link the
    /// old one would otherwise get requests until its pings fail.
    pub(crate) fn add(&self, session: Arc<Session>) -> Result<(), Full> {
        let limits = self.shared.limits;
        let mut table = self.shared.table.write();
        let same = |other: &&Arc<Session>| {
            other.identity.tenant == session.identity.tenant
                && other.identity.connector == session.identity.connector
        };
        let tenant = table.tenants.get(&session.identity.tenant);
        let held = tenant.map_or(0, |locations| locations.values().flatten().filter(same).count());
        let replaced: Vec<Arc<Session>> = tenant
            .and_then(|locations| locations.get(&session.location))
            .map(|list| {
                list.iter()
                    .filter(same)
                    .filter(|old| is_replaced(old, &session))
                    .cloned()
                    .collect()
            })
            .unwrap_or_default();
        if held - replaced.len() >= limits.per_identity {
            return Err(Full::Identity(limits.per_identity));
        }
        if table.count - replaced.len() >= limits.total {
            return Err(Full::Total(limits.total));
        }
        for old in &replaced {
            table.remove(old);
        }
        table.insert(session);
        self.publish(table.count);
        drop(table);
        for old in replaced {
            tracing::info!(peer = %old.identity, slot = old.slot, "replaced by a newer connection of the same connector");
            old.mux
                .close("replaced by a newer connection of the same connector");
        }
        Ok(())
    }

    pub(crate) fn remove(&self, session: &Arc<Session>) {
        let mut table = self.shared.table.write();
        if table.remove(session) {
            self.publish(table.count);
        }
    }

    fn publish(&self, count: usize) {
        self.shared
            .metrics
            .sessions
            .set(i64::try_from(count).unwrap_or(i64::MAX));
        self.shared.changed.send_modify(|revision| *revision += 1);
    }
}

/// The same process replacing a connection that is leaving lets the old one finish its streams; everything else of
/// the same slot is a leftover.
fn is_replaced(old: &Session, new: &Session) -> bool {
    old.slot == new.slot && !(old.instance == new.instance && old.mux.stats().is_leaving())
}

impl Table {
    fn insert(&mut self, session: Arc<Session>) {
        let locations = self.tenants.entry(session.identity.tenant.clone()).or_default();
        locations
            .entry(session.location.clone())
            .or_default()
            .push(session);
        self.count += 1;
    }

    fn remove(&mut self, session: &Session) -> bool {
        let Some(locations) = self.tenants.get_mut(&session.identity.tenant) else {
            return false;
        };
        let Some(list) = locations.get_mut(&session.location) else {
            return false;
        };
        let Some(index) = list.iter().position(|other| other.id == session.id) else {
            return false;
        };
        list.swap_remove(index);
        self.count -= 1;
        // Empty entries go, so that the table does not grow with every tenant that ever connected.
        if list.is_empty() {
            locations.remove(&session.location);
        }
        if locations.is_empty() {
            self.tenants.remove(&session.identity.tenant);
        }
        true
    }
}

#[cfg(test)]
mod tests;
