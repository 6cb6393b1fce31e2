//! Changes of the store: what is kept of it does not outlive them.

use std::net::SocketAddr;
use std::time::Duration;

use landbridge_destination::serve::{Message, StoreChange};

use crate::eventually;
use crate::operator::{Identity, Mounts, Operator};
use crate::proxy::{Proxy, get, route, snapshot};
use crate::store::{Store, target};

struct Scene {
    operator: Operator,
    identity: Identity,
    proxy: Proxy,
    store: Store,
    _mounts: Mounts,
}

async fn scene() -> Scene {
    let (identity, store) = (Identity::proper(), Store::start().await);
    let mounts = Mounts::new(&identity);
    let routes = vec![route("erp"), route("crm")];
    let operator = Operator::start(&identity, &[snapshot(1, routes, Vec::new())]).await;
    let proxy = Proxy::start(operator.address, &mounts, &store);
    Scene {
        operator,
        identity,
        proxy,
        store,
        _mounts: mounts,
    }
}

fn changed(names: Option<&[&str]>) -> Message {
    Message::StoreChanged(StoreChange {
        instance: None,
        names: names.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
    })
}

async fn until(address: SocketAddr, answer: &str) {
    let limit = async {
        while !get("127.0.0.1", address)
            .await
            .ends_with(&format!("\r\n\r\n{answer}"))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(25), limit).await.is_ok(),
        "never {answer}"
    );
}

#[tokio::test]
async fn a_change_is_asked_for_before_anyone_calls() {
    let scene = scene().await;
    let (old, new) = (target("old").await, target("new").await);
    scene.store.put("erp", old);
    scene.store.put("crm", old);
    let (erp, crm) = (scene.proxy.serves("erp").await, scene.proxy.serves("crm").await);
    until(erp, "old").await;
    until(crm, "old").await;
    assert_eq!((scene.store.asked("erp"), scene.store.asked("crm")), (1, 1));
    scene.store.put("erp", new);
    scene.operator.say(&changed(Some(&["erp", "something-else"])));
    eventually("it is asked for by itself", || scene.store.asked("erp") == 2).await;
    until(erp, "new").await;
    assert_eq!(
        (scene.store.asked("erp"), scene.store.asked("crm")),
        (2, 1),
        "the others are left alone"
    );
    // Anything may have changed: asked for when it is used, not all at once.
    scene.store.put("crm", new);
    scene.operator.say(&changed(None));
    until(crm, "new").await;
    assert_eq!(scene.store.asked("crm"), 2);
}

#[tokio::test]
async fn a_destination_that_was_missing_is_found_at_once() {
    let scene = scene().await;
    let erp = scene.proxy.serves("erp").await;
    assert!(get("127.0.0.1", erp).await.contains("destination-not-found"));
    scene.store.put("erp", target("new").await);
    assert!(
        get("127.0.0.1", erp).await.contains("destination-not-found"),
        "remembered for a while"
    );
    scene.operator.say(&changed(Some(&["erp"])));
    until(erp, "new").await;
}

#[tokio::test]
async fn an_answer_from_before_the_change_does_not_stay() {
    let scene = scene().await;
    let (old, new) = (target("old").await, target("new").await);
    scene.store.put("erp", old);
    let erp = scene.proxy.serves("erp").await;
    let held = scene.store.hold();
    let first = tokio::spawn(async move { get("127.0.0.1", erp).await });
    eventually("the store is asked", || scene.store.asked("erp") == 1).await;
    // The answer is on its way, and it is the old one. The change is heard while it is.
    scene.store.put("erp", new);
    scene.operator.say(&changed(Some(&["erp"])));
    let heard = || scene.proxy.metric("landbridge_resolver_outdated_total") == Some(1.0);
    eventually("the change is heard", heard).await;
    drop(held);
    assert!(
        first.await.unwrap().ends_with("\r\n\r\nold"),
        "it was asked for before"
    );
    until(erp, "new").await;
    assert_eq!(scene.store.asked("erp"), 2);
}

#[tokio::test]
async fn a_store_that_fails_after_a_change_takes_nothing_away() {
    let scene = scene().await;
    scene.store.put("erp", target("old").await);
    let erp = scene.proxy.serves("erp").await;
    until(erp, "old").await;
    scene.store.broken(true);
    scene.operator.say(&changed(Some(&["erp"])));
    eventually("it is asked for", || scene.store.asked("erp") == 2).await;
    for _ in 0..20 {
        assert!(get("127.0.0.1", erp).await.ends_with("\r\n\r\nold"));
    }
    assert!(
        scene.store.asked("erp") <= 4,
        "a broken store is not flooded: {}",
        scene.store.asked("erp")
    );
}

#[tokio::test]
async fn what_may_have_been_missed_is_asked_for_again() {
    let scene = scene().await;
    scene.store.put("erp", target("old").await);
    let erp = scene.proxy.serves("erp").await;
    until(erp, "old").await;
    let address = scene.operator.address;
    drop(scene.operator);
    eventually("the loss is noticed", || {
        scene.proxy.metric("landbridge_control_connected") == Some(0.0)
    })
    .await;
    scene.store.put("erp", target("new").await);
    let routes = vec![route("erp"), route("crm")];
    let _operator = Operator::start_at(address, &scene.identity, &[snapshot(1, routes, Vec::new())]).await;
    until(erp, "new").await;
    assert_eq!(scene.store.asked("erp"), 2);
}
