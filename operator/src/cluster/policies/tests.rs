use std::sync::Arc;

use http::{Method, StatusCode};
use landbridge_destination::Scope;
use landbridge_runtime::metrics::Metrics;
use parking_lot::Mutex;

use super::*;
use crate::cluster::metrics::OperatorMetrics;
use crate::cluster::mock;

struct World {
    policies: Policies,
    scopes: Scopes,
    writer: Writer,
    asked: Arc<Mutex<Vec<String>>>,
    refuses: Arc<Mutex<bool>>,
    told: Arc<Mutex<Vec<NetworkPolicy>>>,
}

fn world() -> World {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let refuses: Arc<Mutex<bool>> = Arc::default();
    let told: Arc<Mutex<Vec<NetworkPolicy>>> = Arc::default();
    let (seen, no, tell) = (Arc::clone(&asked), Arc::clone(&refuses), Arc::clone(&told));
    let client = mock::client(move |request: mock::Request| {
        let name = request.path.rsplit('/').next().unwrap_or_default();
        let name = name.trim_start_matches("landbridge-scope-");
        seen.lock().push(format!("{} {name}", request.method));
        let answer = if *no.lock() {
            mock::status(StatusCode::FORBIDDEN)
        } else if request.method == Method::DELETE {
            mock::json(StatusCode::OK, &NetworkPolicy::default())
        } else {
            let policy: NetworkPolicy = serde_json::from_slice(&request.body).unwrap();
            tell.lock().push(policy.clone());
            mock::json(StatusCode::OK, &policy)
        };
        async move { answer }
    });
    let proxies = Proxies {
        namespace: "system".into(),
        labels: [("app".to_owned(), "proxy".to_owned())].into(),
    };
    World {
        policies: Policies::new(proxies),
        scopes: Scopes::default(),
        writer: Writer::new(client, OperatorMetrics::new(&Metrics::new())),
        asked,
        refuses,
        told,
    }
}

impl World {
    fn listed(&mut self) {
        self.policies.see(Seen::Restarted);
        self.policies.see(Seen::Listed);
    }

    /// Lets so much time pass, as the controller does; the watch tells what was written if `heard`.
    async fn run(&mut self, time: Duration, heard: bool) -> Vec<String> {
        let end = Instant::now() + time;
        loop {
            if heard {
                for policy in std::mem::take(&mut *self.told.lock()) {
                    self.policies.see(Seen::Present(Box::new(policy)));
                }
            }
            self.policies.want(&self.scopes, Instant::now());
            let next = self.policies.due().unwrap_or(end).min(end);
            tokio::time::sleep_until(next.max(Instant::now() + Duration::from_millis(10))).await;
            if Instant::now() >= end {
                return std::mem::take(&mut *self.asked.lock());
            }
            self.policies.tend(&self.scopes, &self.writer, Instant::now());
        }
    }
}

const SOON: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn policies_follow_the_scopes_once() {
    let mut world = world();
    world.scopes.allow("shop", Scope::Namespaced, 10_000);
    assert!(
        world.run(SOON, true).await.is_empty(),
        "what is there is not known yet"
    );
    world.listed();
    assert_eq!(world.run(SOON, true).await, ["PATCH ns-shop"]);
    assert!(world.run(SOON, true).await.is_empty());
    for port in 10_001..10_100 {
        world.scopes.allow("shop", Scope::Namespaced, port);
        world.policies.want(&world.scopes, Instant::now());
    }
    world.scopes.allow("crm", Scope::ClusterWide, 10_200);
    assert_eq!(
        world.run(SOON, true).await,
        ["PATCH cluster-wide", "PATCH ns-shop"]
    );
    world.scopes.refuse("crm", Scope::ClusterWide, 10_200);
    assert_eq!(world.run(SOON, true).await, ["DELETE cluster-wide"]);
    world.policies.see(Seen::Gone {
        namespace: "system".into(),
        name: "landbridge-scope-cluster-wide".into(),
    });
    assert!(world.run(SOON, true).await.is_empty());

    // Edited by hand, and deleted by hand.
    let edited = NetworkPolicy {
        metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            name: Some("landbridge-scope-ns-shop".into()),
            ..Default::default()
        },
        spec: None,
    };
    world.policies.see(Seen::Present(Box::new(edited)));
    assert_eq!(world.run(AGAIN + SOON, true).await, ["PATCH ns-shop"]);
    world.policies.see(Seen::Gone {
        namespace: "system".into(),
        name: "landbridge-scope-ns-shop".into(),
    });
    assert_eq!(world.run(AGAIN + SOON, true).await, ["PATCH ns-shop"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_and_a_foreign_hand_are_met_with_patience() {
    let mut world = world();
    world.listed();
    world.scopes.allow("shop", Scope::Namespaced, 10_000);
    *world.refuses.lock() = true;
    let tries = world.run(AGAIN * 4, true).await.len();
    assert!((3..=5).contains(&tries), "{tries}");
    *world.refuses.lock() = false;
    // Written, but the watch tells nothing of it, or something else.
    let tries = world.run(AGAIN * 4, false).await.len();
    assert!((3..=5).contains(&tries), "{tries}");
    let told = world.run(AGAIN * 2, true).await.len();
    assert!(told <= 2, "{told}");
    assert!(world.run(AGAIN * 2, true).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_begins_to_lead_writes_what_differs() {
    let mut world = world();
    world.listed();
    world.scopes.allow("shop", Scope::Namespaced, 10_000);
    world.policies.want(&world.scopes, Instant::now());
    // Not asked to write while another replica leads.
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.policies.lead(Instant::now());
    assert_eq!(world.run(SOON, true).await, ["PATCH ns-shop"]);
    world.policies.lead(Instant::now());
    assert!(
        world.run(SOON, true).await.is_empty(),
        "a hand-over writes nothing"
    );
}
