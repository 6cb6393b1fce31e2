use landbridge_destination::RouteState;
use landbridge_destination::serve::{Report, RouteReport};
use serde_json::json;

use super::*;
use crate::reach::Locations;
use crate::serve::hub::Hub;
use crate::workloads::{ProxyAccount, Seen};

const PORT: u16 = 10_000;

fn erp() -> RouteKey {
    RouteKey::new("shop", "erp")
}

struct World {
    proxies: Proxies,
    board: Arc<Board>,
    index: Arc<Index>,
    sequence: u64,
}

fn world() -> World {
    let board = Board::new();
    let account = ProxyAccount {
        namespace: "system".into(),
        service_account: "proxy".into(),
    };
    let index = Arc::new(Index::new(
        1,
        vec![account],
        Arc::new(Hub::new()),
        Arc::clone(&board),
    ));
    let proxies = Proxies::new(Arc::clone(&board), Arc::clone(&index));
    index.take(0, Seen::Restarted);
    World {
        proxies,
        board,
        index,
        sequence: 0,
    }
}

impl World {
    fn pod(&mut self, name: &str, address: &str, ready: bool) {
        self.seen(name, address, ready);
        self.proxies.refresh();
    }

    /// Seen by the watch; nobody has looked at it yet.
    fn seen(&mut self, name: &str, address: &str, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let pod = json!({
            "metadata": {"namespace": "system", "name": name, "uid": format!("uid-{name}")},
            "spec": {"serviceAccountName": "proxy", "nodeName": "n1"},
            "status": {"phase": "Running", "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": ready}]},
        });
        let pod = Box::new(serde_json::from_value(pod).unwrap());
        self.index.take(0, Seen::Present(pod));
    }

    fn report(&mut self, name: &str, states: Vec<RouteState>, draining: bool) {
        self.report_with(name, states, draining, None);
    }

    fn report_with(&mut self, name: &str, states: Vec<RouteState>, draining: bool, locations: Locations) {
        self.sequence += 1;
        let pod = PodId {
            namespace: "system".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
        };
        let routes = states.into_iter().map(|state| RouteReport { key: erp(), state });
        let report = Report {
            process: 1,
            sequence: self.sequence,
            whole: true,
            routes: routes.collect(),
            locations,
            draining,
            ..Report::default()
        };
        self.board.take(&pod, report, Instant::now()).unwrap();
    }

    /// Addresses with R(eady) and T(erminating).
    fn endpoints(&self, port: u16) -> Vec<String> {
        self.endpoints_with(port, &Reach::Anywhere)
    }

    fn endpoints_with(&self, port: u16, reach: &Reach) -> Vec<String> {
        let endpoints = self.proxies.endpoints(&erp(), port, reach).into_iter();
        let text = |one: ProxyEndpoint| {
            let ready = if one.ready { " R" } else { "" };
            let terminating = if one.terminating { " T" } else { "" };
            format!("{}{ready}{terminating}", one.address)
        };
        endpoints.map(text).collect()
    }
}

fn listening(port: u16) -> Vec<RouteState> {
    vec![RouteState::Listening(([0, 0, 0, 0], port).into())]
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_pods_that_listen_on_the_port() {
    let mut world = world();
    world.pod("a", "10.0.0.1", true);
    world.pod("b", "10.0.0.2", false);
    world.report("a", listening(PORT), false);
    world.report("b", listening(PORT), false);
    world.report("unknown", listening(PORT), false);
    assert_eq!(world.endpoints(PORT), ["10.0.0.1 R", "10.0.0.2"]);
    assert!(
        world.endpoints(PORT + 1).is_empty(),
        "another port is another destination"
    );
    world.report("a", listening(PORT), true);
    assert_eq!(world.endpoints(PORT), ["10.0.0.1 T", "10.0.0.2"], "it drains");
    world.report("b", vec![RouteState::Failed("port in use".into())], false);
    assert_eq!(world.endpoints(PORT), ["10.0.0.1 T"]);
    assert_eq!(
        world.proxies.failure(&erp()).unwrap(),
        "the proxy b says: port in use"
    );
    let (namespace, name) = ("system".to_owned(), "a".to_owned());
    world.index.take(0, Seen::Gone { namespace, name });
    world.proxies.refresh();
    assert!(world.endpoints(PORT).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_system_behind_a_firewall_is_called_where_its_connector_is() {
    let mut world = world();
    for (name, address) in [("gw", "10.0.0.1"), ("cp-0", "10.0.0.2"), ("cp-1", "10.0.0.3")] {
        world.pod(name, address, true);
    }
    let at = |locations: &[&str]| Some(locations.iter().map(|id| (*id).to_owned()).collect());
    let plant = Reach::Location("plant".into());
    world.report("gw", listening(PORT), false);
    assert_eq!(
        world.endpoints_with(PORT, &plant),
        ["10.0.0.1 R"],
        "it says what is missing"
    );
    world.report_with("cp-0", listening(PORT), false, at(&[]));
    world.report_with("cp-1", listening(PORT), false, at(&["", "hq"]));
    assert_eq!(
        world.endpoints_with(PORT, &plant),
        ["10.0.0.2 R", "10.0.0.3 R"],
        "a connector may come"
    );
    world.report_with("cp-0", listening(PORT), false, at(&["plant"]));
    assert_eq!(world.endpoints_with(PORT, &plant), ["10.0.0.2 R"]);
    assert_eq!(
        world.endpoints_with(PORT, &Reach::Location(String::new())),
        ["10.0.0.3 R"]
    );
    assert_eq!(
        world.endpoints_with(PORT, &Reach::AnyLocation),
        ["10.0.0.2 R", "10.0.0.3 R"]
    );
    assert_eq!(world.endpoints(PORT).len(), 3, "the Internet is everywhere");
    // The one that reaches it drains: new connections go to another one, its own are still its own.
    world.report_with("cp-0", listening(PORT), true, at(&["plant"]));
    assert_eq!(world.endpoints_with(PORT, &plant), ["10.0.0.2 T", "10.0.0.3 R"]);
}

/// Leading before the pods are listed: seen as an operator that emptied all EndpointSlices after a restart.
#[tokio::test(start_paused = true)]
async fn pods_that_are_listed_after_the_lead_are_waited_for() {
    let mut world = world();
    let start = Instant::now();
    world.proxies.refresh();
    world.proxies.lead(true, start);
    world.seen("a", "10.0.0.1", true);
    world.index.take(0, Seen::Listed);
    assert!(!world.proxies.settle(start), "it has not reported yet");
    world.report("a", listening(PORT), false);
    assert!(world.proxies.settle(start));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_waits_for_all_ready_pods_or_for_a_while() {
    let mut world = world();
    world.pod("a", "10.0.0.1", true);
    world.pod("b", "10.0.0.2", true);
    world.pod("starting", "10.0.0.3", false);
    assert!(!world.proxies.settle(Instant::now()), "it does not lead");
    let start = Instant::now();
    world.proxies.lead(true, start);
    world.report("a", listening(PORT), false);
    world.report("b", Vec::new(), false);
    assert!(!world.proxies.settle(start), "not all pods are known yet");
    world.index.take(0, Seen::Listed);
    assert!(world.proxies.settle(start) && world.proxies.settled());
    assert!(!world.proxies.settle(start), "told once");
    assert_eq!(world.proxies.settle_at(), None);

    // The next time one of them says nothing.
    world.board.clear();
    world.proxies.lead(false, start);
    assert!(!world.proxies.settled() && world.proxies.settle_at().is_none());
    world.proxies.lead(true, start);
    world.report("a", listening(PORT), false);
    assert!(!world.proxies.settle(start));
    assert_eq!(world.proxies.settle_at(), Some(start + SETTLE));
    assert!(!world.proxies.settle(start + SETTLE - Duration::from_millis(1)));
    assert!(world.proxies.settle(start + SETTLE));
}
