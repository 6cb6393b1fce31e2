//! What sidecars hear and keep.

use landbridge_destination::route::RouteKey;
use landbridge_destination::selector::DestinationSelector;

use super::*;
use crate::store::{guarded, target};

#[tokio::test]
async fn a_sidecar_calls_what_the_gateway_finds() {
    let routes = || vec![namespaced("erp"), route("open")];
    let scene = Scene::new(routes()).await;
    scene.store.put("erp", target("erp").await);
    scene
        .store
        .put_tokens("open", guarded("the-token").await, 3600, &["the-token"]);
    let sidecar = scene.sidecar("shop", routes()).await;
    let (erp, open) = (
        sidecar.proxy().serves("erp").await,
        sidecar.proxy().serves("open").await,
    );
    for _ in 0..5 {
        assert_eq!(call(erp).await, (200, None, "erp".to_owned()));
        assert_eq!(call(open).await, (200, None, "the-token".to_owned()));
    }
    assert_eq!((scene.store.asked("erp"), scene.store.asked("open")), (1, 1));
    let gateway = scene.gateway.proxy();
    assert_eq!(
        gateway.metric("landbridge_sidecars_connections"),
        Some(1.0),
        "one for everything"
    );
    assert_eq!(
        sidecar.proxy().metric("landbridge_gateway_link_dials_total"),
        Some(1.0)
    );
}

#[tokio::test]
async fn a_sidecar_of_another_namespace_is_refused() {
    let routes = || vec![namespaced("erp")];
    let scene = Scene::new(routes()).await;
    scene.store.put("erp", target("erp").await);
    // Its operator is wrong to tell it: the gateway decides.
    let foreign = scene.sidecar("dev", routes()).await;
    let (status, code, body) = call(foreign.proxy().serves("erp").await).await;
    assert_eq!((status, code.as_deref()), (403, Some("caller-forbidden")));
    for part in [
        "in namespace 'dev'",
        "from namespace 'shop' only",
        "accessControl.scope: clusterWide",
    ] {
        assert!(body.contains(part), "{body}");
    }
    assert_eq!(scene.store.asked("erp"), 0, "nothing is looked up for it");
    let own = scene.sidecar("shop", routes()).await;
    assert_eq!(call(own.proxy().serves("erp").await).await.0, 200);
}

#[tokio::test]
async fn failures_are_those_of_the_gateway() {
    let routes = || vec![route("missing"), route("any"), route("tunnel")];
    let mut known = routes();
    known[1].selector = DestinationSelector::named("*");
    let scene = Scene::new(known).await;
    scene.store.put_on_premise("tunnel");
    let sidecar = scene.sidecar("shop", routes()).await;
    for (name, status, code) in [
        ("missing", 502, "destination-not-found"),
        ("any", 503, "carried-by-gateway"),
        ("tunnel", 503, "carried-by-gateway"),
    ] {
        let here = call(sidecar.proxy().serves(name).await).await;
        assert_eq!((here.0, here.1.as_deref()), (status, Some(code)), "{here:?}");
        if name == "missing" {
            assert_eq!(here, call(scene.gateway.proxy().serves(name).await).await);
        }
    }
}

#[tokio::test]
async fn what_is_kept_is_used_while_gateways_are_away_but_no_token_beyond_its_end() {
    let routes = || vec![route("erp"), route("short")];
    let mut scene = Scene::new(routes()).await;
    scene.store.put("erp", target("erp").await);
    // 30 s are kept in hand.
    scene
        .store
        .put_tokens("short", guarded("the-token").await, 34, &["the-token"]);
    let sidecar = scene.sidecar("shop", routes()).await;
    let (erp, short) = (
        sidecar.proxy().serves("erp").await,
        sidecar.proxy().serves("short").await,
    );
    assert_eq!(call(erp).await.2, "erp");
    assert_eq!(call(short).await.2, "the-token");
    scene.gateway.proxy.take().unwrap().stop().await;
    assert_eq!(call(erp).await.2, "erp");
    let ended = async {
        loop {
            let (status, code, body) = call(short).await;
            if status != 200 {
                break (status, code, body);
            }
        }
    };
    let (status, code, body) = tokio::time::timeout(std::time::Duration::from_secs(60), ended)
        .await
        .unwrap();
    assert_eq!(
        (status, code.as_deref()),
        (503, Some("gateway-unavailable")),
        "{body}"
    );
    assert_eq!(call(erp).await.2, "erp", "what does not end is still used");

    // Back again at the same place: found by itself.
    let listener = TcpListener::bind(scene.resolve).await.unwrap();
    scene.gateway.start(Role::Gateway(&scene.store, Some(listener)));
    until(short, "the-token").await;
}

#[tokio::test]
async fn a_refused_token_is_renewed_through_the_gateway() {
    let routes = || vec![route("erp")];
    let scene = Scene::new(routes()).await;
    scene
        .store
        .put_tokens("erp", guarded("new").await, 3600, &["old", "new"]);
    let sidecar = scene.sidecar("shop", routes()).await;
    let erp = sidecar.proxy().serves("erp").await;
    assert_eq!(
        call(erp).await,
        (200, None, "new".to_owned()),
        "renewed and sent again"
    );
    assert_eq!(scene.store.asked("erp"), 2);
    // Another sidecar gets the good one at once.
    let other = scene.sidecar("dev", routes()).await;
    assert_eq!(call(other.proxy().serves("erp").await).await.2, "new");
    assert_eq!(scene.store.asked("erp"), 2);
}

#[tokio::test]
async fn a_token_that_no_renewal_helps_is_not_renewed_for_ever() {
    let routes = || vec![route("erp")];
    let scene = Scene::new(routes()).await;
    scene
        .store
        .put_tokens("erp", guarded("never").await, 3600, &["wrong"]);
    let sidecar = scene.sidecar("shop", routes()).await;
    let erp = sidecar.proxy().serves("erp").await;
    for _ in 0..20 {
        assert_eq!(call(erp).await.0, 401);
    }
    assert!(scene.store.asked("erp") <= 8, "{}", scene.store.asked("erp"));
}

#[tokio::test]
async fn a_change_is_seen_even_before_the_gateway_hears_of_it() {
    let routes = || vec![route("erp"), route("later")];
    let scene = Scene::new(routes()).await;
    let (old, new) = (target("old").await, target("new").await);
    scene.store.put("erp", old);
    scene.store.put("later", old);
    let sidecar = scene.sidecar("shop", routes()).await;
    let (erp, later) = (
        sidecar.proxy().serves("erp").await,
        sidecar.proxy().serves("later").await,
    );
    until(erp, "old").await;
    until(scene.gateway.proxy().serves("later").await, "old").await;
    scene.store.put("erp", new);
    scene.store.put("later", new);
    sidecar.changed("erp");
    until(erp, "new").await;
    assert_eq!(scene.store.asked("erp"), 2);
    // First used after the change: what the gateway kept from before will not do.
    assert_eq!(call(later).await.2, "new");
}

#[tokio::test]
async fn many_sidecars_share_one_question() {
    let routes = || vec![route("erp")];
    let scene = Scene::new(routes()).await;
    let (old, new) = (target("old").await, target("new").await);
    scene.store.put("erp", old);
    let mut sidecars = Vec::new();
    for _ in 0..4 {
        let sidecar = scene.sidecar("shop", routes()).await;
        let address = sidecar.proxy().serves("erp").await;
        until(address, "old").await;
        sidecars.push((sidecar, address));
    }
    assert_eq!(scene.store.asked("erp"), 1);
    scene.store.put("erp", new);
    let held = scene.store.hold();
    for (sidecar, _) in &sidecars {
        sidecar.changed("erp");
    }
    eventually("the store is asked", || scene.store.asked("erp") == 2).await;
    let waiting = "landbridge_resolver_coalesced_total";
    // The one that flies may not be young enough for those who heard later; they share the next one.
    eventually("the others wait", || {
        scene.gateway.proxy().metric(waiting) == Some(3.0)
    })
    .await;
    drop(held);
    for (_, address) in &sidecars {
        until(*address, "new").await;
    }
    let asked = scene.store.asked("erp");
    assert!((2..=5).contains(&asked), "{asked}");
}

#[tokio::test]
async fn a_store_that_is_away_takes_nothing_from_sidecars() {
    let routes = || vec![route("erp")];
    let scene = Scene::new(routes()).await;
    let (old, new) = (target("old").await, target("new").await);
    scene.store.put("erp", old);
    let sidecar = scene.sidecar("shop", routes()).await;
    let erp = sidecar.proxy().serves("erp").await;
    until(erp, "old").await;
    scene.store.broken(true);
    scene.store.put("erp", new);
    sidecar.changed("erp");
    let outdated = r#"landbridge_sidecars_answers_total{outcome="outdated"}"#;
    let gateway = scene.gateway.proxy();
    eventually("the gateway says what there is", || {
        gateway.metric(outdated).is_some()
    })
    .await;
    assert_eq!(call(erp).await.2, "old");
    scene.store.broken(false);
    until(erp, "new").await;
}

#[tokio::test]
async fn a_route_that_the_gateway_does_not_know_yet_is_waited_for() {
    let scene = Scene::new(vec![route("erp")]).await;
    scene.store.put("erp", target("erp").await);
    scene.store.put("new", target("new").await);
    let sidecar = scene.sidecar("shop", vec![route("new")]).await;
    let new = sidecar.proxy().serves("new").await;
    let calling = tokio::spawn(call(new));
    let failed = r#"landbridge_sidecars_answers_total{outcome="failed"}"#;
    eventually("it was asked for", || {
        scene.gateway.proxy().metric(failed).is_some()
    })
    .await;
    scene
        .gateway
        .operator
        .say(&snapshot(2, vec![route("erp"), route("new")], Vec::new()));
    assert_eq!(calling.await.unwrap().2, "new");
    let key = RouteKey::new("shop", "new");
    assert!(scene.gateway.proxy().routes.borrow().get(&key).is_some());
}
