//! One replica takes over from the other.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use landbridge_tests::operator::OperatorProcess;
use tokio::time::{Instant, sleep, timeout};

use super::changes::call_until;
use super::cold::{by_kind, replica, writes_of};
use super::landscape::Landscape;

/// Longest time without a leader.
const PATIENCE: Duration = Duration::from_secs(120);

/// Time for a new leader to write what it should not.
const AFTER: Duration = Duration::from_secs(5);

/// How it went.
pub struct Handovers {
    /// After SIGTERM.
    pub stopped: Vec<Duration>,
    /// After SIGKILL.
    pub killed: Vec<Duration>,
    /// From the new leader's start until all proxies report to it.
    pub reported: Vec<Duration>,
    /// Of both replicas, all the time.
    pub writes: BTreeMap<String, usize>,
    /// Failed, and all.
    pub calls: (usize, usize),
}

/// Ends the leader `count` times each way, and starts it again.
pub async fn measure(landscape: &mut Landscape, first: OperatorProcess, count: usize) -> Handovers {
    let mut second = replica(landscape, "operator-1").await;
    second.until_listed().await;
    let users = [first.user.clone(), second.user.clone()];
    let mark = landscape.installation.plane.audit_mark();
    let (end, stop) = tokio::sync::oneshot::channel();
    let mut replicas = [first, second];
    let landscape = &*landscape;
    let runs = async {
        let mut result = Handovers {
            stopped: Vec::new(),
            killed: Vec::new(),
            reported: Vec::new(),
            writes: BTreeMap::new(),
            calls: (0, 0),
        };
        for run in 0..2 * count {
            let (took, reported) = hand_over(landscape, &mut replicas, run % 2 == 1).await;
            let times = if run % 2 == 1 {
                &mut result.killed
            } else {
                &mut result.stopped
            };
            times.push(took);
            result.reported.push(reported);
        }
        let _ = end.send(());
        result
    };
    let (mut result, calls) = tokio::join!(runs, call_until(landscape, stop));
    result.calls = calls;
    let events = landscape.installation.plane.audit_since(mark);
    let written: Vec<_> = users
        .iter()
        .flat_map(|user| writes_of(events.clone(), user))
        .collect();
    result.writes = by_kind(&written);
    result
}

/// Ends the leader; the time until the other one leads, and from then until all proxies report to it.
async fn hand_over(
    landscape: &Landscape,
    replicas: &mut [OperatorProcess; 2],
    kill: bool,
) -> (Duration, Duration) {
    let leader = usize::from(holder(landscape).await.as_deref() == Some("operator-1"));
    let other = 1 - leader;
    let start = Instant::now();
    if kill {
        replicas[leader].process.kill().await;
    } else {
        replicas[leader].process.terminate();
    }
    let expected = format!("operator-{other}");
    until("the other one leads", async || {
        holder(landscape).await.as_deref() == Some(&expected)
    })
    .await;
    let took = start.elapsed();
    let all = landscape.proxies.len() as f64;
    until("the proxies report", async || {
        let (leads, proxies) = (
            replicas[other].metric("landbridge_operator_leading").await,
            replicas[other].metric("landbridge_operator_proxies").await,
        );
        leads == Some(1.0) && proxies == Some(all)
    })
    .await;
    let reported = start.elapsed().saturating_sub(took);
    sleep(AFTER).await;
    if !kill {
        replicas[leader].process.wait().await;
    }
    replicas[leader].restart().await;
    (took, reported)
}

async fn holder(landscape: &Landscape) -> Option<String> {
    let system = landscape.installation.system.name();
    let api: Api<Lease> = Api::namespaced(landscape.kube.clone(), system);
    let lease = api.get("landbridge-operator").await.expect("the lease is there");
    lease.spec?.holder_identity
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}
