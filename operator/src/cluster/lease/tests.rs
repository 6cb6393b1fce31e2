use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, StatusCode};
use parking_lot::Mutex;

use super::*;
use crate::cluster::mock;

fn candidate(identity: &str) -> Candidate {
    Candidate {
        config: Config {
            namespace: "system".into(),
            name: "landbridge-operator".into(),
            identity: identity.into(),
            address: Some(([10, 0, 0, 1], 8443).into()),
        },
        sighting: None,
        renewed: None,
        held: None,
        failing: false,
    }
}

fn with_version(mut lease: Lease, version: &str) -> Lease {
    lease.metadata.resource_version = Some(version.into());
    lease
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_renews_is_taken_over() {
    let (one, mut two) = (candidate("one"), candidate("two"));
    assert_eq!(two.next(None), Move::Create);
    let lease = with_version(one.lease(None), "1");
    assert_eq!(one.next(Some(&lease)), Move::Take { renewal: true });
    let look = |two: &mut Candidate, lease: &Lease| {
        two.sighting = sighting(two.sighting.take(), Some(lease), Instant::now());
        two.next(Some(lease))
    };
    assert_eq!(look(&mut two, &lease), Move::Wait);
    tokio::time::advance(DURATION - Duration::from_secs(1)).await;
    let renewed = with_version(one.lease(Some(&lease)), "2");
    assert_eq!(look(&mut two, &renewed), Move::Wait);
    tokio::time::advance(DURATION - Duration::from_secs(1)).await;
    assert_eq!(look(&mut two, &renewed), Move::Wait, "seen changed 9 s ago");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(look(&mut two, &renewed), Move::Take { renewal: false });
    let taken = two.lease(Some(&renewed));
    let spec = taken.spec.as_ref().unwrap();
    assert_eq!(spec.lease_transitions, Some(2));
    assert_eq!(address(&taken), Some(([10, 0, 0, 1], 8443).into()));
    assert_eq!(one.next(Some(&taken)), Move::Wait);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_given_back_is_taken_at_once() {
    let mut lease = candidate("one").lease(None);
    lease.spec.as_mut().unwrap().holder_identity = None;
    assert_eq!(address(&lease), None);
    assert_eq!(candidate("two").next(Some(&lease)), Move::Take { renewal: false });
}

/// An API server with one Lease, which can be made to hang.
struct Leases {
    client: Client,
    lease: Arc<Mutex<Option<Lease>>>,
    hangs: Arc<AtomicBool>,
}

fn leases() -> Leases {
    let lease: Arc<Mutex<Option<Lease>>> = Arc::default();
    let hangs = Arc::new(AtomicBool::new(false));
    let (stored, stuck) = (Arc::clone(&lease), Arc::clone(&hangs));
    let client = mock::client(move |request| {
        let answer = if stuck.load(Ordering::Relaxed) {
            None
        } else {
            Some(answer(&mut stored.lock(), &request))
        };
        async move {
            match answer {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    });
    Leases { client, lease, hangs }
}

fn answer(stored: &mut Option<Lease>, request: &mock::Request) -> mock::Response {
    let version = |lease: &Lease| lease.metadata.resource_version.clone();
    if request.method == Method::GET {
        return match stored {
            Some(lease) => mock::json(StatusCode::OK, lease),
            None => mock::status(StatusCode::NOT_FOUND),
        };
    }
    let mut lease: Lease = serde_json::from_slice(&request.body).unwrap();
    let known = stored.as_ref().and_then(version);
    if known != version(&lease) {
        return mock::status(StatusCode::CONFLICT);
    }
    let next = known.map_or(1, |known| known.parse::<u64>().unwrap() + 1);
    lease.metadata.resource_version = Some(next.to_string());
    *stored = Some(lease.clone());
    mock::json(StatusCode::OK, &lease)
}

fn start(
    leases: &Leases,
    identity: &str,
) -> (watch::Receiver<Leadership>, Shutdown, tokio::task::JoinHandle<()>) {
    let (sender, receiver) = watch::channel(Leadership::Following(None));
    let shutdown = Shutdown::new();
    let config = candidate(identity).config;
    let task = tokio::spawn(run(leases.client.clone(), config, sender, shutdown.clone()));
    (receiver, shutdown, task)
}

async fn until(state: &mut watch::Receiver<Leadership>, leads: bool) -> Duration {
    let start = Instant::now();
    let wanted = |state: &Leadership| (*state == Leadership::Leading) == leads;
    tokio::time::timeout(Duration::from_secs(60), state.wait_for(wanted))
        .await
        .unwrap()
        .unwrap();
    start.elapsed()
}

/// Whenever the API server falls silent, in the middle of a call or between two.
#[tokio::test(start_paused = true)]
async fn who_cannot_renew_stops_in_time_and_leads_again_afterwards() {
    for moment in [0, 500, 1_500, 2_900, 3_100, 4_500] {
        let leases = leases();
        let (mut state, _shutdown, _task) = start(&leases, "one");
        until(&mut state, true).await;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        leases.hangs.store(true, Ordering::Relaxed);
        let took = until(&mut state, false).await;
        assert!(took <= GIVE_UP, "{moment}: {took:?}");
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(*state.borrow(), Leadership::Following(None));
        leases.hangs.store(false, Ordering::Relaxed);
        let took = until(&mut state, true).await;
        assert!(took <= CALL + LOOK, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_leads_until_it_ends_and_then_the_other() {
    let leases = leases();
    let (mut one, stop, task) = start(&leases, "one");
    until(&mut one, true).await;
    let (mut two, _stop, _task) = start(&leases, "two");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(*one.borrow(), Leadership::Leading);
    assert_eq!(
        *two.borrow(),
        Leadership::Following(Some(([10, 0, 0, 1], 8443).into())),
        "it knows where the other serves"
    );
    stop.begin();
    task.await.unwrap();
    assert_eq!(*one.borrow(), Leadership::Following(None));
    assert!(until(&mut two, true).await <= LOOK);

    // Somebody takes it away: the holder notices with its next renewal.
    let mut lease = leases.lease.lock().clone().unwrap();
    lease.metadata.resource_version = Some("1000".into());
    lease.spec.as_mut().unwrap().holder_identity = Some("three".into());
    *leases.lease.lock() = Some(lease);
    assert!(until(&mut two, false).await <= RENEW + LOOK);
}
