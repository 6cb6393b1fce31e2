use std::sync::Arc;

use http::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::shutdown::Shutdown;
use parking_lot::Mutex;

use super::*;
use crate::cluster::metrics::OperatorMetrics;
use crate::cluster::mock::{self, Request};

const NOW: i64 = 1_000_000;

fn sighting(pod: &str, owner: Option<&str>, news: News) -> Sighting {
    Sighting {
        namespace: "shop".into(),
        name: pod.into(),
        uid: format!("uid-{pod}"),
        created: NOW,
        controller: owner.map(|name| OwnerReference {
            api_version: "apps/v1".into(),
            kind: "ReplicaSet".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            controller: Some(true),
            ..OwnerReference::default()
        }),
        news,
    }
}

fn failed(restarts: u32) -> News {
    News::Unproven {
        container: "landbridge-proxy",
        restarts,
    }
}

fn told(steps: &[Step]) -> Vec<(&str, &str)> {
    let told = steps.iter().filter_map(|step| match step {
        Step::Tell(about, event) => Some((about.name.as_deref().unwrap(), event.reason.as_str())),
        Step::Evict => None,
    });
    told.collect()
}

#[test]
fn many_pods_of_one_owner_are_one_event() {
    let mut judge = Judge::new(UnprovenPods::Report);
    let injected = || News::Injected("lb:1".into());
    let steps = judge.judge(&sighting("web-1", Some("web"), injected()), NOW);
    assert_eq!(told(&steps), [("web", "Injected")]);
    let Step::Tell(_, event) = &steps[0] else {
        panic!("{steps:?}")
    };
    assert!(
        event.message.contains("lb:1") && event.severity == Severity::Normal,
        "{event:?}"
    );
    assert_eq!(judge.judge(&sighting("web-2", Some("web"), injected()), NOW), []);
    assert_eq!(
        told(&judge.judge(&sighting("api-1", Some("api"), injected()), NOW)),
        [("api", "Injected")]
    );
    let skipped = |why: &str| News::Skipped(why.into());
    for (pod, why, expected) in [
        ("web-3", "one", Some("web")),
        ("web-4", "one", None),
        ("web-5", "another", Some("web")),
    ] {
        let steps = judge.judge(&sighting(pod, Some("web"), skipped(why)), NOW);
        let expected: Vec<_> = expected
            .map(|name| (name, "InjectionSkipped"))
            .into_iter()
            .collect();
        assert_eq!(told(&steps), expected, "{pod}");
    }
    assert_eq!(
        told(&judge.judge(&sighting("bare", None, skipped("why")), NOW)),
        [("bare", "InjectionSkipped")]
    );
}

#[test]
fn what_was_there_before_this_process_is_not_news() {
    let mut judge = Judge::new(UnprovenPods::Report);
    let old = sighting("web-1", None, News::Injected("lb:1".into()));
    assert_eq!(judge.judge(&old, NOW + NEW + 1), []);
    assert_eq!(told(&judge.judge(&old, NOW + NEW)), [("web-1", "Injected")]);
    // But what does not work is, however old.
    let broken = sighting("web-2", None, failed(0));
    assert_eq!(
        told(&judge.judge(&broken, NOW + 10 * NEW)),
        [("web-2", "RedirectionNotProven")]
    );
    assert_eq!(judge.judge(&broken, NOW), [], "once for each pod");
}

#[tokio::test(start_paused = true)]
async fn evictions_are_few_and_only_where_another_pod_comes() {
    let evicts = |steps: &[Step]| steps.contains(&Step::Evict);
    let mut report = Judge::new(UnprovenPods::Report);
    assert!(!evicts(
        &report.judge(&sighting("a", Some("web"), failed(9)), NOW)
    ));

    let mut judge = Judge::new(UnprovenPods::Delete);
    assert!(
        !evicts(&judge.judge(&sighting("a", Some("web"), failed(0)), NOW)),
        "the first try"
    );
    assert!(
        !evicts(&judge.judge(&sighting("bare", None, failed(9)), NOW)),
        "nobody makes another"
    );
    assert!(evicts(&judge.judge(&sighting("a", Some("web"), failed(1)), NOW)));
    assert!(
        !evicts(&judge.judge(&sighting("b", Some("api"), failed(1)), NOW)),
        "too soon"
    );
    tokio::time::advance(PAUSE).await;
    assert!(evicts(&judge.judge(&sighting("b", Some("api"), failed(1)), NOW)));
    tokio::time::advance(PAUSE).await;
    assert!(
        !evicts(&judge.judge(&sighting("c", Some("web"), failed(1)), NOW)),
        "the same owner"
    );
}

/// Runs the loop over these sightings against an API server that answers evictions so.
async fn run_with(leads: bool, answer: StatusCode, seen: Vec<Sighting>) -> (Vec<Request>, String) {
    let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
    let kept = Arc::clone(&requests);
    let client = mock::client(move |request: Request| {
        let kept = Arc::clone(&kept);
        async move {
            let eviction = request.path.ends_with("/eviction");
            kept.lock().push(request);
            if answer == StatusCode::PROCESSING {
                std::future::pending::<()>().await;
            }
            if eviction && answer == StatusCode::CREATED {
                mock::json(
                    answer,
                    &serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
                )
            } else if eviction {
                mock::status(answer)
            } else {
                mock::status(StatusCode::FORBIDDEN)
            }
        }
    });
    let (registry, shutdown) = (Metrics::new(), Shutdown::new());
    let metrics = InjectionMetrics::default();
    metrics.register(&registry);
    let leadership = if leads {
        Leadership::Leading
    } else {
        Leadership::Following(None)
    };
    let (sender, sightings) = mpsc::channel(10);
    let recorder = Recorder::start(
        client.clone(),
        "system",
        "op-0",
        OperatorMetrics::new(&registry),
        &shutdown,
    );
    for one in seen {
        sender.send(one).await.unwrap();
    }
    drop(sender);
    let parts = Parts {
        client,
        recorder,
        metrics,
        leadership: watch::channel(leadership).1,
        sightings,
    };
    run(UnprovenPods::Delete, parts).await;
    let evictions = requests.lock().clone();
    let evictions = evictions
        .into_iter()
        .filter(|request| request.path.ends_with("/eviction"))
        .collect();
    (evictions, registry.encode().unwrap())
}

#[tokio::test]
async fn the_very_pod_is_evicted() {
    let (evictions, metrics) = run_with(
        true,
        StatusCode::CREATED,
        vec![sighting("web-1", Some("web"), failed(2))],
    )
    .await;
    let [eviction] = &evictions[..] else {
        panic!("{evictions:?}")
    };
    assert_eq!(eviction.path, "/api/v1/namespaces/shop/pods/web-1/eviction");
    let body: serde_json::Value = serde_json::from_slice(&eviction.body).unwrap();
    assert_eq!(body["deleteOptions"]["preconditions"]["uid"], "uid-web-1");
    assert!(
        metrics.contains("operator_unproven_pods_total{action=\"evicted\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("operator_unproven_pods_total{action=\"reported\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn refusals_are_counted_as_what_they_are() {
    for (status, expected) in [
        (StatusCode::TOO_MANY_REQUESTS, Some("held")),
        (StatusCode::FORBIDDEN, Some("failed")),
        (StatusCode::NOT_FOUND, None),
        (StatusCode::CONFLICT, None),
    ] {
        let (evictions, metrics) = run_with(true, status, vec![sighting("w", Some("web"), failed(2))]).await;
        assert_eq!(evictions.len(), 1, "{status}");
        for action in ["held", "failed", "evicted"] {
            let counted = metrics.contains(&format!("action=\"{action}\"}} 1"));
            assert_eq!(counted, expected == Some(action), "{status} {action}");
        }
    }
}

/// As the client of a real API server behaves that says to come again later.
#[tokio::test(start_paused = true)]
async fn what_is_not_answered_is_left_for_later() {
    let seen = vec![sighting("w", Some("web"), failed(2))];
    let (evictions, metrics) = run_with(true, StatusCode::PROCESSING, seen).await;
    assert_eq!(evictions.len(), 1);
    assert!(metrics.contains("action=\"held\"} 1"), "{metrics}");
}

#[tokio::test]
async fn a_replica_that_follows_says_and_does_nothing() {
    let (evictions, metrics) = run_with(
        false,
        StatusCode::CREATED,
        vec![sighting("w", Some("web"), failed(2))],
    )
    .await;
    assert!(evictions.is_empty());
    assert!(!metrics.contains("action="), "{metrics}");
}
