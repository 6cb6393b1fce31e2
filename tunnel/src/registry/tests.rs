use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::*;
use crate::mux::{ConnectionStats, StreamSlot};
use crate::open::{DenyReason, Protocol};

/// A connection that answers every open in the same way and remembers how often it was asked.
#[derive(Debug)]
struct FakeMux {
    stats: Arc<ConnectionStats>,
    answer: fn() -> OpenError,
    asked: AtomicU64,
    closed: Mutex<Option<String>>,
}

impl Mux for FakeMux {
    fn open<'a>(&'a self, _: &'a dyn crate::mux::Opening) -> BoxFuture<'a, Result<TunnelStream, OpenError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let error = (self.answer)();
        async move { Err(error) }.boxed()
    }
    fn ping(&self) -> BoxFuture<'_, Option<Duration>> {
        async { None }.boxed()
    }
    fn drain(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
    fn close(&self, why: &str) {
        *self.closed.lock() = Some(why.to_owned());
    }
    fn closed(&self) -> BoxFuture<'_, String> {
        async { String::new() }.boxed()
    }
    fn stats(&self) -> &ConnectionStats {
        &self.stats
    }
}

fn denied() -> OpenError {
    OpenError::Denied {
        reason: DenyReason::DeniedSystem,
        message: String::new(),
    }
}

fn gone() -> OpenError {
    OpenError::Lost {
        detail: "GOAWAY".to_owned(),
        unprocessed: true,
    }
}

fn session(
    registry: &Registry,
    connector: &str,
    slot: u16,
    instance: &str,
    answer: fn() -> OpenError,
) -> (Arc<Session>, Arc<FakeMux>) {
    let stats = Arc::new(ConnectionStats::default());
    let mux = Arc::new(FakeMux {
        stats,
        answer,
        asked: AtomicU64::new(0),
        closed: Mutex::new(None),
    });
    let session = Session {
        id: registry.next_id(),
        identity: PeerIdentity::new("acme", connector, None).unwrap(),
        location: "hq".to_owned(),
        slot,
        instance: instance.to_owned(),
        agent: "test".to_owned(),
        peer: ([127, 0, 0, 1], 1).into(),
        since: Instant::now(),
        mux: Arc::clone(&mux) as Arc<dyn Mux>,
    };
    (Arc::new(session), mux)
}

fn request() -> OpenRequest {
    OpenRequest::new("backend", 80, Protocol::Tcp).unwrap()
}

#[tokio::test]
async fn only_the_asked_tenant_and_location_are_used() {
    let registry = Registry::default();
    let (a, _) = session(&registry, "c1", 0, "p1", denied);
    registry.add(a).unwrap();
    for (tenant, location, found) in [("acme", "hq", true), ("acme", "", false), ("other", "hq", false)] {
        assert_eq!(registry.is_connected(tenant, location), found);
        let error = registry.open(tenant, location, &request()).await.unwrap_err();
        assert_eq!(
            matches!(error, OpenError::Denied { .. }),
            found,
            "{tenant} {location}: {error}"
        );
        assert_eq!(matches!(error, OpenError::NoConnector { .. }), !found);
    }
}

#[tokio::test]
async fn locations_are_told_once_and_only_while_somebody_is_there() {
    let registry = Registry::default();
    assert!(registry.locations().is_empty());
    let (one, _) = session(&registry, "c1", 0, "p1", denied);
    let (two, _) = session(&registry, "c2", 0, "p2", denied);
    registry.add(Arc::clone(&one)).unwrap();
    registry.add(Arc::clone(&two)).unwrap();
    assert_eq!(registry.locations(), ["hq"]);
    registry.remove(&one);
    registry.remove(&two);
    assert!(registry.locations().is_empty());
}

#[tokio::test]
async fn the_newest_connection_of_a_slot_wins() {
    let registry = Registry::default();
    let mut changed = registry.changed();
    let (old, old_mux) = session(&registry, "c1", 0, "before-restart", denied);
    let (other_slot, other_mux) = session(&registry, "c1", 1, "before-restart", denied);
    let (neighbour, neighbour_mux) = session(&registry, "c2", 0, "x", denied);
    for session in [&old, &other_slot, &neighbour] {
        registry.add(Arc::clone(session)).unwrap();
    }
    changed.mark_unchanged();
    let (new, _) = session(&registry, "c1", 0, "after-restart", denied);
    registry.add(new).unwrap();
    assert!(changed.has_changed().unwrap());
    assert!(old_mux.closed.lock().is_some());
    assert!(other_mux.closed.lock().is_none() && neighbour_mux.closed.lock().is_none());
    assert_eq!(registry.len(), 3);
    // The old task removes itself later; that must not remove the new one.
    registry.remove(&old);
    assert_eq!(registry.len(), 3);
}

#[tokio::test]
async fn a_leaving_connection_may_finish_beside_its_replacement() {
    let registry = Registry::default();
    let (old, old_mux) = session(&registry, "c1", 0, "p", denied);
    registry.add(old).unwrap();
    old_mux.stats.set_leaving();
    let (new, new_mux) = session(&registry, "c1", 0, "p", denied);
    registry.add(new).unwrap();
    assert!(old_mux.closed.lock().is_none());
    for _ in 0..20 {
        let _ = registry.open("acme", "hq", &request()).await;
    }
    assert_eq!(old_mux.asked.load(Ordering::Relaxed), 0);
    assert_eq!(new_mux.asked.load(Ordering::Relaxed), 20);
}

#[tokio::test]
async fn an_open_that_was_not_seen_is_tried_elsewhere_once_each() {
    let registry = Registry::default();
    let (a, a_mux) = session(&registry, "c1", 0, "p", gone);
    let (b, b_mux) = session(&registry, "c2", 0, "p", gone);
    registry.add(a).unwrap();
    registry.add(b).unwrap();
    let error = registry.open("acme", "hq", &request()).await.unwrap_err();
    assert!(matches!(error, OpenError::Lost { .. }), "{error}");
    assert_eq!(
        (
            a_mux.asked.load(Ordering::Relaxed),
            b_mux.asked.load(Ordering::Relaxed)
        ),
        (1, 1)
    );
}

/// The connector says that a connection is full before its stream is looked at.
#[tokio::test]
async fn an_open_that_met_a_full_connection_is_tried_elsewhere() {
    let registry = Registry::default();
    let full = || OpenError::Denied {
        reason: DenyReason::Busy,
        message: String::new(),
    };
    let (a, a_mux) = session(&registry, "c1", 0, "p", full);
    let (b, b_mux) = session(&registry, "c1", 1, "p", full);
    registry.add(a).unwrap();
    registry.add(b).unwrap();
    let error = registry.open("acme", "hq", &request()).await.unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Denied {
                reason: DenyReason::Busy,
                ..
            }
        ),
        "{error}"
    );
    let asked = |mux: &FakeMux| mux.asked.load(Ordering::Relaxed);
    assert_eq!((asked(&a_mux), asked(&b_mux)), (1, 1));
}

#[tokio::test]
async fn busy_connections_are_avoided() {
    let registry = Registry::default();
    let (a, a_mux) = session(&registry, "c1", 0, "p", denied);
    let (b, b_mux) = session(&registry, "c1", 1, "p", denied);
    registry.add(a).unwrap();
    registry.add(b).unwrap();
    let _held = StreamSlot::take(&a_mux.stats);
    for _ in 0..50 {
        let _ = registry.open("acme", "hq", &request()).await;
    }
    assert_eq!(
        (
            a_mux.asked.load(Ordering::Relaxed),
            b_mux.asked.load(Ordering::Relaxed)
        ),
        (0, 50)
    );
}

#[tokio::test]
async fn the_limits_hold() {
    let limits = RegistryLimits {
        per_identity: 2,
        total: 3,
    };
    let registry = Registry::new(limits, TunnelMetrics::default());
    let add = |connector: &str, slot| registry.add(session(&registry, connector, slot, "p", denied).0);
    add("c1", 0).unwrap();
    add("c1", 1).unwrap();
    assert_eq!(add("c1", 2), Err(Full::Identity(2)));
    add("c2", 0).unwrap();
    assert_eq!(add("c3", 0), Err(Full::Total(3)));
    // Replacing is possible at the limit.
    add("c1", 1).unwrap();
    assert_eq!(registry.len(), 3);
}
