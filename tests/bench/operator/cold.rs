//! The operator starts: into a cluster where nothing was done yet, and into one where everything was.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use landbridge_crds::Destination;
use landbridge_tests::audit::Event;
use landbridge_tests::operator::OperatorProcess;
use landbridge_tests::{free_port, process};
use tokio::time::{Instant, sleep, timeout};

use super::figures::memory;
use super::landscape::Landscape;

/// Longest time for everything to be programmed.
const PATIENCE: Duration = Duration::from_secs(900);

/// Time for what followed from the last change.
const SETTLE: Duration = Duration::from_secs(3);

/// How a start into an untouched cluster went.
pub struct Cold {
    pub seconds: f64,
    pub writes: BTreeMap<String, usize>,
    pub cpu: Vec<(String, f64)>,
    pub operator: (f64, f64),
    pub proxies: Vec<(f64, f64)>,
}

/// How a start into a finished cluster went.
pub struct Again {
    pub seconds: f64,
    pub watched: u64,
    pub writes: BTreeMap<String, usize>,
    /// CPU seconds of the operator.
    pub cpu: f64,
    pub operator: (f64, f64),
}

/// Starts a replica behind the Service, without waiting.
pub async fn replica(landscape: &Landscape, name: &str) -> OperatorProcess {
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let listening = listen.to_string();
    landscape.service.add(listen);
    let options = ["--serve-listen", &listening, "--allow-local-targets"];
    landscape.installation.launch(name, &options).await
}

/// Starts the first one.
pub async fn start(landscape: &Landscape) -> OperatorProcess {
    replica(landscape, "operator-0").await
}

/// Waits until everything is programmed, and tells what it took. The operator was started just before.
pub async fn measure(landscape: &Landscape, operator: &OperatorProcess) -> Cold {
    let (start, cpu) = (Timestamp::now(), landscape.cpu(operator));
    let plane = &landscape.installation.plane;
    let mark = plane.audit_mark();
    until_done(operator, landscape.count).await;
    let used = cpu.used();
    check(landscape).await;
    let written = writes_of(plane.audit_since(mark), &operator.user);
    // Figures are renewed once a second, the last write tells exactly when it was done.
    let last = written.iter().map(|event| event.at).max().expect("writes");
    Cold {
        seconds: last.duration_since(start).as_secs_f64(),
        writes: by_kind(&written),
        cpu: used,
        operator: memory(operator.process.pid()),
        proxies: landscape
            .proxies
            .iter()
            .map(|proxy| memory(proxy.process.pid()))
            .collect(),
    }
}

/// Starts it anew, with `declared` destinations, and counts what it writes although there is nothing to do.
pub async fn again(
    landscape: &Landscape,
    operator: &mut OperatorProcess,
    declared: usize,
    watched: u64,
) -> Again {
    // What was still to be written for the changes before is not to be counted here.
    sleep(SETTLE).await;
    operator.process.terminate();
    operator.process.wait().await;
    let plane = &landscape.installation.plane;
    let (mark, start) = (plane.audit_mark(), Instant::now());
    operator.restart().await;
    until_done(operator, declared).await;
    let seconds = start.elapsed().as_secs_f64();
    // A new process: all it has used.
    let used = process::cpu_seconds(operator.process.pid());
    sleep(Duration::from_secs(watched)).await;
    Again {
        seconds,
        watched,
        writes: by_kind(&writes_of(plane.audit_since(mark), &operator.user)),
        cpu: used,
        operator: memory(operator.process.pid()),
    }
}

/// Waits until the leading replica has nothing left to write, and all destinations are available.
async fn until_done(operator: &OperatorProcess, count: usize) {
    let mut last = String::new();
    let done = async {
        loop {
            let figure = async |name: &str| operator.metric(&format!("landbridge_operator_{name}")).await;
            let (leads, queue) = (figure("leading").await, figure("queue").await);
            let available = figure("destinations{Available=\"True\"}").await;
            if leads == Some(1.0) && queue == Some(0.0) && available == Some(count as f64) {
                return;
            }
            last = format!("leads {leads:?}, queue {queue:?}, available {available:?}");
            sleep(Duration::from_millis(200)).await;
        }
    };
    if timeout(PATIENCE, done).await.is_err() {
        panic!("not done within {PATIENCE:?}: {last}; {}", operator.process.log());
    }
}

/// What the cluster says, not what the operator thinks.
async fn check(landscape: &Landscape) {
    let mut ready = 0;
    for workspace in &landscape.workspaces {
        let api: Api<Destination> = workspace.destinations.clone();
        for destination in api.list(&ListParams::default()).await.expect("a list") {
            let conditions = destination.status.unwrap_or_default().conditions;
            let is = |type_: &str| {
                conditions
                    .iter()
                    .any(|condition| condition.type_ == type_ && condition.status == "True")
            };
            ready += usize::from(is("Ready") && is("Available"));
        }
        let services = workspace
            .services
            .list_metadata(&ListParams::default())
            .await
            .expect("a list");
        let slices = workspace
            .slices
            .list_metadata(&ListParams::default())
            .await
            .expect("a list");
        assert_eq!(services.items.len(), slices.items.len(), "{}", workspace.name());
    }
    assert_eq!(
        ready, landscape.count,
        "destinations that are Ready and Available"
    );
}

/// Writes of a user that succeeded, but for its lease, which is renewed all the time.
pub fn writes_of(events: Vec<Event>, user: &str) -> Vec<Event> {
    events
        .into_iter()
        .filter(|event| event.user == user && event.is_write() && event.resource != "leases")
        // Questions, though they are asked with POST.
        .filter(|event| !event.resource.ends_with("reviews"))
        .collect()
}

/// How many of which kind; what was refused apart.
pub fn by_kind(events: &[Event]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in events {
        let mut kind = event.resource.clone();
        if !event.subresource.is_empty() {
            kind = format!("{kind}/{}", event.subresource);
        }
        if event.code >= 300 {
            kind = format!("{kind} refused ({})", event.code);
        }
        *counts.entry(kind).or_default() += 1;
    }
    counts
}
