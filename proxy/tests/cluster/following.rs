//! The stream: heard, lost, wrong, and kept over a restart.

use bytes::Bytes;
use landbridge_destination::route::RouteKey;
use landbridge_destination::serve::{Delta, MAX_MESSAGE_BYTES, Message, SERVER_NAME};

use crate::eventually;
use crate::operator::{Identity, Mounts, Operator};
use crate::proxy::{Proxy, get, route, snapshot, workload};
use crate::store::{Store, target};

fn delta(version: u64, added: &str, removed: &str) -> Message {
    Message::Delta(Delta {
        version,
        routes: vec![route(added)],
        removed_routes: vec![RouteKey::new("shop", removed)],
        workloads: vec![workload("10.0.0.2", "dev")],
        removed_workloads: vec!["10.0.0.1".parse().unwrap()],
        ..Delta::default()
    })
}

#[tokio::test]
async fn what_the_operator_says_is_served() {
    let (identity, store) = (Identity::proper(), Store::start().await);
    store.put("erp", target("erp").await);
    let mounts = Mounts::new(&identity);
    let first = snapshot(
        4096,
        vec![route("erp"), route("old")],
        vec![workload("10.0.0.1", "shop")],
    );
    let operator = Operator::start(&identity, &[first]).await;
    let proxy = Proxy::start(operator.address, &mounts, &store);
    let erp = proxy.serves("erp").await;
    assert!(get("127.0.0.1", erp).await.ends_with("\r\n\r\nerp"));
    assert!(proxy.readiness.pending().is_empty());
    assert_eq!(proxy.metric("landbridge_control_connected"), Some(1.0));
    assert_eq!(proxy.metric("landbridge_control_snapshot_version"), Some(4096.0));
    assert!(
        proxy
            .metric("landbridge_control_snapshot_age_seconds")
            .is_some_and(|age| age < 60.0)
    );
    operator.say(&Message::Alive);
    operator.say(&delta(4099, "new", "old"));
    proxy.serves("new").await;
    assert_eq!(proxy.names(), ["erp", "new"]);
    assert_eq!(proxy.serves("erp").await, erp, "what stays the same stays open");
    let found = |address: &str| {
        proxy
            .workloads
            .find(address.parse().unwrap())
            .map(|found| found.namespace.clone())
    };
    assert_eq!(
        (found("10.0.0.1"), found("10.0.0.2")),
        (None, Some("dev".to_owned()))
    );
    assert_eq!(operator.opened(), 1);
    assert_eq!(operator.tokens()[0], "Bearer token-1");
}

#[tokio::test]
async fn without_an_operator_and_without_a_file_the_proxy_waits() {
    let (identity, store) = (Identity::proper(), Store::start().await);
    let mounts = Mounts::new(&identity);
    let operator = Operator::start(&identity, &[]).await;
    let address = operator.address;
    drop(operator);
    let proxy = Proxy::start(address, &mounts, &store);
    eventually("it tries again and again", || {
        proxy.metric("landbridge_control_reconnects_total") >= Some(2.0)
    })
    .await;
    assert_eq!(proxy.readiness.pending(), ["routes"]);
    assert_eq!(proxy.metric("landbridge_control_connected"), Some(0.0));
    let _operator = Operator::start_at(address, &identity, &[snapshot(1, Vec::new(), Vec::new())]).await;
    eventually("it is ready, though nothing is to be served", || {
        proxy.readiness.pending().is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_restarted_proxy_serves_what_it_heard_before() {
    let (identity, store) = (Identity::proper(), Store::start().await);
    let mounts = Mounts::new(&identity);
    let first = snapshot(1, vec![route("erp")], vec![workload("127.0.0.1", "shop")]);
    let operator = Operator::start(&identity, &[first]).await;
    let address = operator.address;
    let proxy = Proxy::start(address, &mounts, &store);
    proxy.serves("erp").await;
    operator.say(&delta(2, "new", "none"));
    proxy.serves("new").await;
    // An orderly stop saves at once; without one it takes a second.
    proxy.stop().await;
    drop(operator);

    let proxy = Proxy::start(address, &mounts, &store);
    proxy.serves("erp").await;
    assert_eq!(proxy.names(), ["erp", "new"]);
    assert!(proxy.readiness.pending().is_empty());
    assert!(proxy.workloads.find("127.0.0.1".parse().unwrap()).is_some());
    let later = snapshot(1, vec![route("other")], Vec::new());
    let _operator = Operator::start_at(address, &identity, &[later]).await;
    proxy.serves("other").await;
    assert_eq!(proxy.names(), ["other"]);
    // Killed now: the file is written by itself, a second after the change.
    eventually("the file is up to date", || {
        std::fs::read_to_string(mounts.state())
            .is_ok_and(|text| text.contains("other") && !text.contains("erp"))
    })
    .await;
}

#[tokio::test]
async fn an_unreadable_file_is_no_obstacle() {
    let (identity, store) = (Identity::proper(), Store::start().await);
    let mounts = Mounts::new(&identity);
    std::fs::write(mounts.state(), "{\"format\":1,").unwrap();
    let operator = Operator::start(&identity, &[snapshot(1, vec![route("erp")], Vec::new())]).await;
    let proxy = Proxy::start(operator.address, &mounts, &store);
    proxy.serves("erp").await;
}

#[tokio::test]
async fn an_operator_that_comes_back_is_heard_again() {
    let (identity, store) = (Identity::proper(), Store::start().await);
    let mounts = Mounts::new(&identity);
    let operator = Operator::start(&identity, &[snapshot(9000, vec![route("erp")], Vec::new())]).await;
    let address = operator.address;
    let proxy = Proxy::start(address, &mounts, &store);
    let erp = proxy.serves("erp").await;
    drop(operator);
    eventually("the loss is noticed", || {
        proxy.metric("landbridge_control_connected") == Some(0.0)
    })
    .await;
    assert_eq!(proxy.names(), ["erp"]);
    // Another process: its versions have nothing to do with those before.
    let operator =
        Operator::start_at(address, &identity, &[snapshot(5, vec![route("erp")], Vec::new())]).await;
    eventually("it is heard", || {
        proxy.metric("landbridge_control_connected") == Some(1.0)
    })
    .await;
    operator.say(&delta(6, "new", "none"));
    proxy.serves("new").await;
    assert_eq!(proxy.serves("erp").await, erp);
    operator.end_streams();
    eventually("an ended stream is opened again", || operator.opened() == 2).await;
}

#[tokio::test]
async fn messages_out_of_step_or_out_of_bounds_end_the_stream() {
    let (identity, store) = (Identity::proper(), Store::start().await);
    let mounts = Mounts::new(&identity);
    let operator = Operator::start(&identity, &[snapshot(10, vec![route("erp")], Vec::new())]).await;
    let proxy = Proxy::start(operator.address, &mounts, &store);
    proxy.serves("erp").await;
    operator.first(&[snapshot(20, vec![route("erp"), route("missed")], Vec::new())]);
    operator.say(&delta(10, "wrong", "none"));
    eventually("everything is asked for again", || operator.opened() == 2).await;
    proxy.serves("missed").await;
    operator.raw(Bytes::from_static(b"{\"type\":\"nothing\"}\n"));
    eventually("no message", || operator.opened() == 3).await;
    eventually("heard", || {
        proxy.metric("landbridge_control_connected") == Some(1.0)
    })
    .await;
    operator.raw(Bytes::from(vec![b'x'; MAX_MESSAGE_BYTES + 1]));
    eventually("too long a message", || operator.opened() == 4).await;
    assert_eq!(
        proxy.names(),
        ["erp", "missed"],
        "what was heard before is served on"
    );
}

#[tokio::test]
async fn only_the_real_operator_is_heard() {
    let (identity, store) = (Identity::proper(), Store::start().await);
    let stranger = Identity::proper();
    let mounts = Mounts::new(&stranger);
    let first = [snapshot(1, vec![route("erp")], Vec::new())];
    let operator = Operator::start(&identity, &first).await;
    let proxy = Proxy::start(operator.address, &mounts, &store);
    let tried = |times: f64| {
        let proxy = &proxy;
        move || proxy.metric("landbridge_control_reconnects_total") >= Some(times)
    };
    eventually("it is tried", tried(2.0)).await;
    assert!(operator.tokens().is_empty(), "a token is not for strangers");
    // The authority is replaced while the proxy runs.
    mounts.trust(&identity);
    proxy.serves("erp").await;

    let other_name = Identity::new("another-service");
    let mounts = Mounts::new(&other_name);
    let operator = Operator::start(&other_name, &first).await;
    let proxy = Proxy::start(operator.address, &mounts, &store);
    eventually("it is tried", || {
        proxy.metric("landbridge_control_reconnects_total") >= Some(2.0)
    })
    .await;
    assert!(
        operator.tokens().is_empty(),
        "its certificate is not for {SERVER_NAME}"
    );
}

#[tokio::test]
async fn tokens_are_read_anew() {
    let (identity, store) = (Identity::proper(), Store::start().await);
    let mounts = Mounts::new(&identity);
    let operator = Operator::start(&identity, &[snapshot(1, vec![route("erp")], Vec::new())]).await;
    let proxy = Proxy::start(operator.address, &mounts, &store);
    proxy.serves("erp").await;
    mounts.token("token-2");
    operator.say(&delta(2, "new", "none"));
    proxy.serves("new").await;
    let seen = |token: &str| operator.tokens().iter().filter(|seen| *seen == token).count();
    eventually("the next report has it", || seen("Bearer token-2") > 0).await;
    mounts.token("");
    operator.end_streams();
    eventually("without a token nothing is sent", || {
        proxy.metric("landbridge_control_reconnects_total") >= Some(3.0)
    })
    .await;
    assert_eq!(operator.opened(), 1);
    mounts.token("token-3");
    eventually("with the next it goes on", || operator.opened() == 2).await;
    assert!(seen("Bearer token-3") > 0);
}
