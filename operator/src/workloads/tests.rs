use serde_json::{Value, json};

use super::*;
use crate::serve::hub::Audience;

fn pod(namespace: &str, name: &str, changes: Value) -> Box<SlimPod> {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": namespace, "name": name, "uid": format!("uid-of-{name}"), "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:status": {}}}],
            "labels": {"app": "shop"}
        },
        "spec": {"serviceAccountName": "default", "nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [
            {"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}]}
    });
    merge(&mut pod, changes);
    Box::new(serde_json::from_value(pod).unwrap())
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, changes) => *into = changes,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(address: &str) -> Value {
    json!({"status": {"podIPs": [{"ip": address}]}})
}

fn account() -> ProxyAccount {
    ProxyAccount {
        namespace: "landbridge".into(),
        service_account: "proxy".into(),
    }
}

fn table() -> Table {
    let mut table = Table::new(1, vec![account()]);
    table.take(0, Seen::Restarted);
    table
}

fn put(table: &mut Table, pod: Box<SlimPod>) -> Vec<(IpAddr, Option<String>)> {
    told(table.take(0, Seen::Present(pod)))
}

fn remove(table: &mut Table, namespace: &str, name: &str) -> Vec<(IpAddr, Option<String>)> {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    told(table.take(0, Seen::Gone { namespace, name }))
}

fn told(changes: Changes) -> Vec<(IpAddr, Option<String>)> {
    let text = |caller: Caller| format!("{}/{}", caller.namespace, caller.service_account);
    let mut told: Vec<_> = changes
        .addresses
        .into_iter()
        .map(|(address, caller)| (address, caller.map(text)))
        .collect();
    told.sort();
    told
}

fn owner(address: &str, owner: &str) -> (IpAddr, Option<String>) {
    (ip(address), Some(owner.to_owned()))
}

#[test]
fn only_what_is_needed_is_kept_of_a_pod() {
    let pod = pod("a", "p", json!({}));
    assert_eq!(pod.metadata.managed_fields, None);
    assert_eq!(pod.metadata.labels, None);
    assert_eq!(pod.metadata.resource_version.as_deref(), Some("1"));
    assert!(pod.is_ready() && !pod.has_ended());
    let bare: SlimPod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
    assert!(!bare.is_ready() && bare.addresses() == [None, None]);
}

#[test]
fn an_address_has_an_owner_while_its_pod_runs() {
    let mut table = table();
    let none = json!({"status": {"phase": "Pending", "podIPs": []}});
    assert_eq!(put(&mut table, pod("a", "p", none)), []);
    assert_eq!(
        put(&mut table, pod("a", "p", json!({}))),
        [owner("10.0.0.1", "a/default")]
    );
    assert_eq!(put(&mut table, pod("a", "p", json!({}))), [], "the same again");
    let both = json!({"status": {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}, {"ip": "not one"}]}});
    assert_eq!(
        put(&mut table, pod("a", "p", both)),
        [owner("fd00::1", "a/default")]
    );
    let other = json!({"spec": {"serviceAccountName": "robot"}});
    assert_eq!(
        put(&mut table, pod("a", "p", other)),
        [owner("10.0.0.1", "a/robot"), (ip("fd00::1"), None)]
    );
    let ended = json!({"status": {"phase": "Succeeded"}});
    assert_eq!(put(&mut table, pod("a", "p", ended)), [(ip("10.0.0.1"), None)]);
    assert_eq!(remove(&mut table, "a", "p"), []);
    assert_eq!(table.size(), (0, 0));
}

#[test]
fn the_nodes_address_is_nobodys() {
    let mut table = table();
    assert_eq!(
        put(&mut table, pod("a", "p", json!({"spec": {"hostNetwork": true}}))),
        []
    );
    assert_eq!(table.caller(ip("10.0.0.1")), None);
}

#[test]
fn a_reused_address_belongs_to_the_newest_running_pod() {
    let new = || json!({"metadata": {"creationTimestamp": "2026-02-01T00:00:00Z"}});
    for new_is_seen_first in [false, true] {
        let mut table = table();
        if new_is_seen_first {
            put(&mut table, pod("b", "new", new()));
            assert_eq!(
                put(&mut table, pod("a", "old", json!({}))),
                [],
                "the old one is late"
            );
        } else {
            put(&mut table, pod("a", "old", json!({})));
            assert_eq!(
                put(&mut table, pod("b", "new", new())),
                [owner("10.0.0.1", "b/default")]
            );
        }
        assert_eq!(
            remove(&mut table, "a", "old"),
            [],
            "the end of the old one changes nothing"
        );
        assert_eq!(remove(&mut table, "b", "new"), [(ip("10.0.0.1"), None)]);
        assert_eq!(table.size(), (0, 0));
    }
    let mut table = table();
    put(&mut table, pod("a", "old", json!({})));
    put(&mut table, pod("b", "new", new()));
    assert_eq!(
        remove(&mut table, "b", "new"),
        [owner("10.0.0.1", "a/default")],
        "back to who still runs"
    );
}

#[test]
fn a_new_list_forgets_what_it_does_not_name() {
    let mut table = Table::new(2, Vec::new());
    table.take(0, Seen::Restarted);
    table.take(0, Seen::Present(pod("a", "stays", at("10.0.0.1"))));
    table.take(0, Seen::Present(pod("a", "goes", at("10.0.0.2"))));
    table.take(0, Seen::Listed);
    assert!(!table.is_listed(), "the second watch is missing");
    table.take(1, Seen::Restarted);
    table.take(1, Seen::Present(pod("b", "other", at("10.0.0.3"))));
    table.take(1, Seen::Listed);
    assert!(table.is_listed());

    table.take(0, Seen::Restarted);
    assert_eq!(
        told(table.take(0, Seen::Present(pod("a", "stays", at("10.0.0.1"))))),
        []
    );
    // The list broke off and begins anew; nothing is forgotten because of that.
    table.take(0, Seen::Restarted);
    table.take(0, Seen::Present(pod("a", "stays", at("10.0.0.1"))));
    assert_eq!(told(table.take(0, Seen::Listed)), [(ip("10.0.0.2"), None)]);
    assert_eq!(table.size(), (2, 2), "the other watch's pod stays");
    assert_eq!(
        told(table.take(0, Seen::Listed)),
        [],
        "without a list nothing is forgotten"
    );
}

#[test]
fn proxies_are_known_with_what_endpoints_need() {
    let proxy = |changes: Value| {
        let mut all = json!({"spec": {"serviceAccountName": "proxy"}});
        merge(&mut all, changes);
        pod("landbridge", "proxy-0", all)
    };
    let mut table = table();
    assert!(
        !table
            .take(0, Seen::Present(pod("a", "p", at("10.0.0.9"))))
            .proxies
    );
    assert!(table.take(0, Seen::Present(proxy(json!({})))).proxies);
    let [known] = &table.proxies()[..] else { panic!() };
    assert_eq!(
        (known.id.uid.as_str(), known.addresses.as_slice()),
        ("uid-of-proxy-0", &[ip("10.0.0.1")][..])
    );
    assert!(known.ready && !known.terminating && known.node.as_deref() == Some("n1"));
    assert!(
        !table
            .take(
                0,
                Seen::Present(proxy(json!({"metadata": {"resourceVersion": "2"}})))
            )
            .proxies
    );

    let ends =
        json!({"metadata": {"deletionTimestamp": "2026-01-02T00:00:00Z"}, "status": {"conditions": []}});
    assert!(table.take(0, Seen::Present(proxy(ends))).proxies);
    assert!(table.proxies()[0].terminating && !table.proxies()[0].ready);

    let again = table.take(0, Seen::Present(proxy(json!({"metadata": {"uid": "another"}}))));
    assert_eq!(again.gone.len(), 1, "a new pod of the same name");
    assert_eq!(again.gone[0].uid, "uid-of-proxy-0");
    let host = table.take(
        0,
        Seen::Present(proxy(
            json!({"metadata": {"uid": "another"}, "spec": {"hostNetwork": true}}),
        )),
    );
    assert_eq!(
        told(host),
        [(ip("10.0.0.1"), None)],
        "no connection is ascribed to the node's address"
    );
    assert_eq!(
        table.proxies()[0].addresses,
        [ip("10.0.0.1")],
        "but endpoints need it"
    );
    let gone = table.take(
        0,
        Seen::Gone {
            namespace: "landbridge".into(),
            name: "proxy-0".into(),
        },
    );
    assert!(gone.proxies && gone.gone[0].uid == "another");
    assert_eq!(table.proxies(), []);
}

#[test]
fn hub_and_board_hear_of_it() {
    let (hub, board) = (Arc::new(Hub::new()), Board::new());
    let index = Index::new(1, vec![account()], Arc::clone(&hub), Arc::clone(&board));
    let (listed, ticks) = (index.listed(), index.proxy_ticks());
    index.take(0, Seen::Restarted);
    index.take(0, Seen::Present(pod("a", "p", json!({}))));
    assert!(!*listed.borrow() && !ticks.has_changed().unwrap());
    index.take(
        0,
        Seen::Present(pod(
            "landbridge",
            "proxy-0",
            json!({"spec": {"serviceAccountName": "proxy"}, "status": {"podIPs": [{"ip": "10.0.0.2"}]}}),
        )),
    );
    index.take(0, Seen::Listed);
    assert!(*listed.borrow() && ticks.has_changed().unwrap());
    assert_eq!(hub.size().3, 2);
    assert_eq!(
        index.caller(ip("10.0.0.1")).map(|caller| caller.namespace),
        Some(Arc::from("a"))
    );

    let id = index.proxies()[0].id.clone();
    let report = landbridge_destination::serve::Report {
        process: 1,
        sequence: 1,
        whole: true,
        ..Default::default()
    };
    board.take(&id, report, tokio::time::Instant::now()).unwrap();
    index.take(
        0,
        Seen::Gone {
            namespace: "landbridge".into(),
            name: "proxy-0".into(),
        },
    );
    assert_eq!(board.read(|reports| reports.pods().count()), 0);
    hub.complete();
    let told = hub.tell(&mut hub.subscribe(Audience::All));
    let text = String::from_utf8(told.lines[0].to_vec()).unwrap();
    assert!(text.contains("10.0.0.1") && !text.contains("10.0.0.2"), "{text}");
}

/// What a pod costs, as documented at the table. Run alone: `cargo test -p landbridge-operator --lib -- --ignored`.
#[test]
#[ignore = "measures the memory of the whole process, so nothing else may run"]
fn a_pod_costs_little() {
    const PODS: u32 = 200_000;
    let resident = || landbridge_runtime::metrics::resident_bytes().unwrap();
    let mut table = table();
    let mut one = pod("a", "p", json!({}));
    let before = resident();
    for number in 0..PODS {
        let bytes = number.to_be_bytes();
        one.metadata.name = Some(format!("deployment-7c5d8f9b6d-{number:05}"));
        one.metadata.namespace = Some(format!("team-{}", number % 100));
        one.status.pod_ips[0].ip = IpAddr::from([10, bytes[1], bytes[2], bytes[3]]).to_string();
        table.take(0, Seen::Present(one.clone()));
    }
    let each = (resident() - before) / u64::from(PODS);
    assert_eq!(table.size(), (PODS as usize, PODS as usize));
    assert!(each < 400, "{each} bytes each");
}
