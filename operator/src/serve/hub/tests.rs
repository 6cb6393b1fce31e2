use landbridge_destination::channel::ChannelKind;
use landbridge_destination::serve::{Delta, Message, Whole, Workload};
use landbridge_destination::{DestinationSelector, RouteProtocol};

use super::*;

fn route(namespace: &str, name: &str, scope: Scope, port: u16) -> Arc<Route> {
    Arc::new(Route {
        key: RouteKey::new(namespace, name),
        selector: DestinationSelector::named(name),
        protocol: RouteProtocol::Http,
        port,
        scope,
        generation: 1,
        frontends: Vec::new(),
    })
}

fn key(namespace: &str, name: &str) -> RouteKey {
    RouteKey::new(namespace, name)
}

fn caller(namespace: &str) -> Caller {
    Caller {
        namespace: Arc::from(namespace),
        service_account: Arc::from("default"),
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn channel(name: &str, port: u16) -> Channel {
    Channel {
        key: ChannelKey {
            namespace: None,
            name: name.to_owned(),
        },
        kind: ChannelKind::Tcp,
        service_id: name.to_owned(),
        subaccount: None,
        tenant: None,
        location_ids: Vec::new(),
        address: format!("db:{port}"),
        connector: None,
        generation: 1,
    }
}

fn told(hub: &Hub, cursor: &mut Cursor) -> Vec<Message> {
    let told = hub.tell(cursor);
    assert!(!told.lost);
    let parse = |line: &Bytes| {
        assert_eq!(line.last(), Some(&b'\n'));
        serde_json::from_slice(line).unwrap()
    };
    told.lines.iter().map(parse).collect()
}

fn snapshot(messages: Vec<Message>) -> Whole {
    match <[Message; 1]>::try_from(messages) {
        Ok([Message::Snapshot(whole)]) => whole,
        other => panic!("no snapshot alone: {other:?}"),
    }
}

fn delta(messages: Vec<Message>) -> Delta {
    match <[Message; 1]>::try_from(messages) {
        Ok([Message::Delta(delta)]) => delta,
        other => panic!("no delta alone: {other:?}"),
    }
}

fn names(routes: &[Route]) -> Vec<String> {
    routes.iter().map(|route| route.key.to_string()).collect()
}

fn namespace(name: &str) -> Audience {
    Audience::Namespace(Arc::from(name))
}

fn hub() -> Hub {
    let hub = Hub::new();
    hub.set_routes(
        vec![
            route("a", "own", Scope::Namespaced, 1),
            route("b", "own", Scope::Namespaced, 2),
            route("b", "open", Scope::ClusterWide, 3),
        ],
        Vec::new(),
    );
    hub.set_channels(vec![channel("hana", 30015)]);
    hub.set_workloads(vec![
        (address(1), Some(caller("a"))),
        (address(2), Some(caller("b"))),
    ]);
    hub.complete();
    hub
}

#[test]
fn says_nothing_before_it_knows_everything() {
    let hub = Hub::new();
    hub.set_routes(vec![route("a", "own", Scope::Namespaced, 1)], Vec::new());
    let mut cursor = hub.subscribe(Audience::All);
    assert_eq!(told(&hub, &mut cursor), []);
    assert!(!hub.is_complete());
    hub.complete();
    assert_eq!(names(&snapshot(told(&hub, &mut cursor)).routes), ["a/own"]);
}

#[test]
fn each_sees_what_it_may() {
    let hub = hub();
    let cases = [
        (
            Audience::All,
            vec!["a/own", "b/open", "b/own"],
            1,
            vec![address(1), address(2)],
        ),
        (namespace("a"), vec!["a/own", "b/open"], 0, vec![address(1)]),
        (namespace("b"), vec!["b/open", "b/own"], 0, vec![address(2)]),
        (namespace("c"), vec!["b/open"], 0, vec![]),
    ];
    for (audience, routes, channels, addresses) in cases {
        let mut cursor = hub.subscribe(audience.clone());
        let whole = snapshot(told(&hub, &mut cursor));
        assert_eq!(names(&whole.routes), routes, "{audience:?}");
        assert_eq!(whole.channels.len(), channels, "{audience:?}");
        let mut seen: Vec<_> = whole.workloads.iter().map(|workload| workload.address).collect();
        seen.sort_unstable();
        assert_eq!(seen, addresses, "{audience:?}");
        assert_eq!(told(&hub, &mut cursor), [], "told once");
    }
}

#[test]
fn a_change_is_told_once_and_only_if_it_is_one() {
    let hub = hub();
    let mut cursor = hub.subscribe(Audience::All);
    let before = snapshot(told(&hub, &mut cursor)).version;
    let ticks = hub.ticks();
    hub.set_routes(
        vec![route("a", "own", Scope::Namespaced, 1)],
        vec![key("x", "unknown")],
    );
    hub.set_channels(vec![channel("hana", 30015)]);
    hub.set_workloads(vec![(address(1), Some(caller("a"))), (address(9), None)]);
    assert!(!ticks.has_changed().unwrap(), "nothing was different");
    assert_eq!(told(&hub, &mut cursor), []);

    hub.set_routes(
        vec![route("a", "own", Scope::Namespaced, 7)],
        vec![key("b", "own")],
    );
    hub.set_channels(vec![channel("rfc", 3300)]);
    hub.set_workloads(vec![(address(1), None), (address(3), Some(caller("c")))]);
    assert!(ticks.has_changed().unwrap());
    let delta = delta(told(&hub, &mut cursor));
    assert!(delta.version > before);
    assert_eq!(
        (names(&delta.routes), delta.routes[0].port),
        (vec!["a/own".to_owned()], 7)
    );
    assert_eq!(delta.removed_routes, [key("b", "own")]);
    assert_eq!(delta.channels, [channel("rfc", 3300)]);
    assert_eq!(delta.removed_channels, [channel("hana", 1).key]);
    let expected = Workload {
        address: address(3),
        namespace: "c".into(),
        service_account: "default".into(),
    };
    assert_eq!(delta.workloads, [expected]);
    assert_eq!(delta.removed_workloads, [address(1)]);
}

#[test]
fn many_changes_of_one_key_are_one() {
    let hub = hub();
    let mut cursor = hub.subscribe(Audience::All);
    told(&hub, &mut cursor);
    for port in 100..200 {
        hub.set_routes(vec![route("a", "own", Scope::Namespaced, port)], Vec::new());
    }
    let last = delta(told(&hub, &mut cursor));
    assert_eq!((last.routes.len(), last.routes[0].port), (1, 199));

    hub.set_routes(vec![route("a", "brief", Scope::Namespaced, 5)], Vec::new());
    hub.set_routes(Vec::new(), vec![key("a", "brief")]);
    assert_eq!(told(&hub, &mut cursor), [], "what came and went is no news");
}

#[test]
fn who_saw_nothing_hears_of_no_removal() {
    let hub = hub();
    let mut a = hub.subscribe(namespace("a"));
    let mut b = hub.subscribe(namespace("b"));
    told(&hub, &mut a);
    told(&hub, &mut b);

    hub.set_routes(Vec::new(), vec![key("b", "own")]);
    hub.set_workloads(vec![(address(2), None)]);
    hub.set_channels(Vec::new());
    assert_eq!(told(&hub, &mut a), []);
    let gone = delta(told(&hub, &mut b));
    assert_eq!(
        (gone.removed_routes, gone.removed_workloads),
        (vec![key("b", "own")], vec![address(2)])
    );
    assert_eq!(gone.removed_channels, []);

    // From the cluster to its namespace: gone for the others.
    hub.set_routes(vec![route("b", "open", Scope::Namespaced, 3)], Vec::new());
    assert_eq!(delta(told(&hub, &mut a)).removed_routes, [key("b", "open")]);
    assert_eq!(names(&delta(told(&hub, &mut b)).routes), ["b/open"]);

    // An address that moves from one namespace to another.
    hub.set_workloads(vec![(address(1), Some(caller("b")))]);
    assert_eq!(delta(told(&hub, &mut a)).removed_workloads, [address(1)]);
    assert_eq!(delta(told(&hub, &mut b)).workloads.len(), 1);
}

#[test]
fn who_falls_behind_gets_a_snapshot() {
    let hub = hub();
    let mut cursor = hub.subscribe(Audience::All);
    told(&hub, &mut cursor);
    let flip = |port: u16| hub.set_routes(vec![route("a", "own", Scope::Namespaced, port)], Vec::new());
    let changes = u16::try_from(log::KEPT).unwrap();
    (0..changes).for_each(|change| flip(1000 + change));
    assert_eq!(delta(told(&hub, &mut cursor)).routes[0].port, 1000 + changes - 1);
    (0..=changes).for_each(|change| flip(20_000 + change));
    let whole = snapshot(told(&hub, &mut cursor));
    assert_eq!(whole.routes.len(), 3);
    assert_eq!(whole.routes[0].port, 20_000 + changes);
}

#[test]
fn the_leader_is_named() {
    let hub = hub();
    let first = SocketAddr::from(([10, 1, 1, 1], 7443));
    hub.leader(Some(first));
    let mut cursor = hub.subscribe(Audience::All);
    assert_eq!(snapshot(told(&hub, &mut cursor)).leader, Some(first));
    let ticks = hub.ticks();
    hub.leader(Some(first));
    assert!(!ticks.has_changed().unwrap());
    hub.leader(None);
    assert!(ticks.has_changed().unwrap());
    assert_eq!(told(&hub, &mut cursor), [Message::Leader { address: None }]);
    let mut late = hub.subscribe(Audience::All);
    assert_eq!(
        snapshot(told(&hub, &mut late)).leader,
        None,
        "no old snapshot is given again"
    );
}

fn store_change(instance: Option<&str>, names: Option<&[&str]>) -> StoreChange {
    StoreChange {
        instance: instance.map(str::to_owned),
        names: names.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
    }
}

#[test]
fn changes_in_stores_are_summed_up() {
    let hub = hub();
    let mut cursor = hub.subscribe(namespace("c"));
    told(&hub, &mut cursor);
    hub.store_changed(store_change(None, Some(&["crm"])));
    hub.store_changed(store_change(None, Some(&["erp", "crm"])));
    hub.store_changed(store_change(Some("other"), None));
    let mut messages = told(&hub, &mut cursor);
    messages.sort_by_key(|message| format!("{message:?}"));
    let expected = [
        Message::StoreChanged(store_change(None, Some(&["crm", "erp"]))),
        Message::StoreChanged(store_change(Some("other"), None)),
    ];
    assert_eq!(messages, expected);
    assert_eq!(told(&hub, &mut cursor), []);
    hub.store_changed(store_change(None, Some(&["hr"])));
    assert_eq!(
        told(&hub, &mut cursor),
        [Message::StoreChanged(store_change(None, Some(&["hr"])))]
    );

    // More names than are remembered: anything may have changed.
    for number in 0..2000 {
        hub.store_changed(store_change(None, Some(&[&format!("d{number}")])));
    }
    assert_eq!(
        told(&hub, &mut cursor),
        [Message::StoreChanged(store_change(None, None))]
    );

    // More instances than are remembered: the stream has to end, nothing is kept back silently.
    for number in 0..100 {
        hub.store_changed(store_change(Some(&format!("i{number}")), None));
    }
    assert!(hub.tell(&mut cursor).lost);
}

fn ten_thousand() -> Hub {
    let hub = Hub::new();
    let routes = (0..10_000u16).map(|number| {
        let scope = if number % 2 == 0 {
            Scope::ClusterWide
        } else {
            Scope::Namespaced
        };
        route(
            &format!("team-{}", number % 100),
            &format!("destination-{number}"),
            scope,
            10_000 + number,
        )
    });
    hub.set_routes(routes.collect(), Vec::new());
    let pods = (0..10_000u32).map(|number| (IpAddr::from(number.to_be_bytes()), Some(caller("team-1"))));
    hub.set_workloads(pods.collect());
    hub.complete();
    hub
}

#[test]
fn ten_thousand_routes_for_fifty_proxies_are_written_once() {
    let hub = ten_thousand();
    let mut cursors: Vec<_> = (0..50).map(|_| hub.subscribe(Audience::All)).collect();
    let mut lines = Vec::new();
    for cursor in &mut cursors {
        lines.extend(hub.tell(cursor).lines);
    }
    assert_eq!(lines.len(), 50);
    assert!(
        lines.iter().all(|line| line.as_ptr() == lines[0].as_ptr()),
        "one text for all"
    );
    let whole: Message = serde_json::from_slice(&lines[0]).unwrap();
    assert_eq!(snapshot(vec![whole]).routes.len(), 10_000);
    drop(lines);

    hub.set_routes(
        vec![route("team-1", "destination-1", Scope::Namespaced, 9)],
        Vec::new(),
    );
    let lines: Vec<_> = cursors
        .iter_mut()
        .flat_map(|cursor| hub.tell(cursor).lines)
        .collect();
    assert!(lines.len() == 50 && lines.iter().all(|line| line.as_ptr() == lines[0].as_ptr()));
    assert!(
        lines[0].len() < 512,
        "one route is told, not all: {}",
        lines[0].len()
    );
}

#[test]
fn namespaces_see_their_part_of_ten_thousand() {
    let hub = ten_thousand();
    let mut cursor = hub.subscribe(namespace("team-1"));
    let whole = snapshot(told(&hub, &mut cursor));
    assert_eq!((whole.routes.len(), whole.workloads.len()), (5_100, 10_000));
    let foreign = |route: &&Route| route.scope == Scope::Namespaced && route.key.namespace != "team-1";
    assert_eq!(whole.routes.iter().find(foreign), None);
}

#[test]
fn what_is_too_long_for_one_line_is_told_in_several() {
    use landbridge_destination::serve::MAX_MESSAGE_BYTES;
    let hub = Hub::new();
    let long = "n".repeat(200);
    let account: Arc<str> = Arc::from("s".repeat(250));
    let pods = (0..120_000u32).map(|number| {
        let caller = Caller {
            namespace: Arc::from(long.as_str()),
            service_account: Arc::clone(&account),
        };
        (IpAddr::from(number.to_be_bytes()), Some(caller))
    });
    let mut early = hub.subscribe(Audience::All);
    hub.set_routes(vec![route("a", "own", Scope::Namespaced, 1)], Vec::new());
    hub.set_workloads(pods.collect());
    hub.complete();
    let lines = hub.tell(&mut early).lines;
    assert!(lines.len() > 2 && lines.iter().all(|line| line.len() <= MAX_MESSAGE_BYTES));
    let (mut version, mut pods) = (0, 0);
    for (index, line) in lines.iter().enumerate() {
        let (next, workloads) = match serde_json::from_slice(line).unwrap() {
            Message::Snapshot(whole) if index == 0 => {
                assert_eq!(whole.routes.len(), 1);
                (whole.version, whole.workloads.len())
            }
            Message::Delta(delta) if index > 0 => (delta.version, delta.workloads.len()),
            other => panic!("{other:?}"),
        };
        assert!(next > version);
        version = next;
        pods += workloads;
    }
    assert_eq!((pods, version), (120_000, hub.size().0));
}
