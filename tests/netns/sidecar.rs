//! A proxy in the pod: what the application notices of its coming and going, and of that of all others.

use std::net::SocketAddr;

use landbridge_tests::eventually;
use landbridge_tests::interception::{Mode, Options, Outcome, World, carry_out, delta, entry, total};
use serde_json::json;

use crate::scenarios::{GET, REFUSED, another_service_gets_its_address};
use crate::steady::Steady;

/// What `validate-redirect` and a sidecar end with when nothing is redirected.
const NOT_PROVEN: Option<i32> = Some(95);

async fn world() -> World {
    World::start(Options::of(Mode::Sidecar)).await
}

async fn call(world: &World, to: &str) -> Outcome {
    carry_out(&world.shop, entry(to).frontend(world.options.family), GET).await
}

async fn works(world: &World, to: &str) {
    let outcome = call(world, to).await;
    assert_eq!(outcome["status"], json!(200), "{to}: {outcome}");
}

async fn beside_serves(world: &World, to: &str) -> bool {
    let sidecar = world.beside(&world.shop).expect("a sidecar");
    let before = sidecar.samples().await;
    works(world, to).await;
    total(&delta(&before, &sidecar.samples().await), "tp_received_requests") > 0.0
}

#[tokio::test]
async fn gateways_may_be_away_for_what_is_known() {
    let mut world = world().await;
    works(&world, "plain").await;
    works(&world, "basic").await;
    let steady = Steady::start(&world.shop, entry("plain").frontend(world.options.family));
    world.gateway.kill().await;
    steady.more().await;
    steady.unharmed("the gateway is away");
    assert_eq!(
        call(&world, "basic").await["body"]["headers"]["authorization"][0],
        json!("Basic Y2xlcms6YSBzZWNyZXQ=")
    );
    // What is not known is passed on: no other answer than without a sidecar.
    let unknown = call(&world, "headers").await;
    assert!(unknown["failed"].is_string(), "{unknown}");
    world.restart_gateway().await;
    eventually("what was not known is answered again", async || {
        let outcome = call(&world, "headers").await;
        if outcome["status"] == json!(200) {
            Ok(())
        } else {
            Err(outcome.to_string())
        }
    })
    .await;
    steady.unharmed("the gateway comes back");
}

#[tokio::test]
async fn operator_and_store_may_be_away() {
    let mut world = world().await;
    works(&world, "plain").await;
    let steady = Steady::start(&world.shop, entry("plain").frontend(world.options.family));
    let shutdown = world.operator.shutdown.clone();
    world
        .network
        .node
        .run(async move { shutdown.drain(std::time::Duration::from_secs(5)).await })
        .await;
    steady.more().await;
    world.store_process.kill().await;
    steady.more().await;
    steady.unharmed("operator and store are away");
    assert!(beside_serves(&world, "plain").await);
}

#[tokio::test]
async fn killed_it_is_missed_until_it_is_back_and_proven() {
    let mut world = world().await;
    works(&world, "plain").await;
    world.beside[0].process.kill().await;
    // Its rules lead to nobody; the kubelet starts the container again.
    let outcome = call(&world, "plain").await;
    assert!(
        outcome["failed"]
            .as_str()
            .is_some_and(|text| text.contains("refused")),
        "{outcome}"
    );
    // What only gateways serve does not pass it.
    works(&world, "erp").await;
    world.beside[0] = world.start_sidecar_alone("shop", &world.shop).await;
    assert!(beside_serves(&world, "plain").await);
    assert_eq!(world.beside[0].number("landbridge_redirect_proven").await, 1.0);
}

#[tokio::test]
async fn asked_to_end_it_ends_well() {
    let mut world = world().await;
    works(&world, "plain").await;
    world.beside[0].process.terminate();
    let status = world.beside[0].process.wait().await;
    assert!(status.success(), "{}", world.beside[0].process.log());
}

#[tokio::test]
async fn the_proof_tells_whether_connections_arrive() {
    let world = World::without_proxies(Options::of(Mode::Sidecar)).await;
    let validate = ["validate-redirect".to_owned()];
    let nothing = world.landbridge(&world.shop, &validate);
    assert_eq!(nothing.code, NOT_PROVEN, "{nothing:?}");
    // It says what to do.
    assert!(nothing.stderr.contains("landbridge redirect show"), "{nothing:?}");
    let (status, log) = world.sidecar_without_rules(&world.dev).await;
    assert_eq!(status.code(), NOT_PROVEN, "{log}");
    let sidecar = world.start_sidecar("shop", &world.shop).await;
    let proven = world.landbridge(&world.shop, &validate);
    assert_eq!(proven.code, Some(0), "{proven:?}");
    drop(sidecar);
}

#[tokio::test]
async fn a_container_with_the_proxys_user_goes_to_the_gateways() {
    let world = world().await;
    let address = entry("plain").frontend(world.options.family);
    // The shell of every Debian; an application with the user of the sidecar.
    let script = format!(
        "exec 3<>/dev/tcp/{}/{}; printf 'GET / HTTP/1.1\\r\\nhost: plain\\r\\nconnection: close\\r\\n\\r\\n' >&3; cat <&3",
        address.ip(),
        address.port()
    );
    let before = world.gateway_samples().await;
    let words = ["--reuid", "2102", "--clear-groups", "bash", "-c", &script];
    let said = world.shop.output("setpriv", &words, "");
    assert!(said.stdout.starts_with("HTTP/1.1 200 OK"), "{said:?}");
    let served = delta(&before, &world.gateway_samples().await);
    assert_eq!(total(&served, "tp_received_requests"), 1.0);
    assert!(beside_serves(&world, "plain").await);
}

#[tokio::test]
async fn an_address_that_another_service_gets_is_left_to_it() {
    let world = world().await;
    works(&world, "plain").await;
    // The pod's rules still name it; the sidecar passes it on.
    another_service_gets_its_address(&world, "plain").await;
}

#[tokio::test]
async fn who_calls_the_port_itself_is_refused() {
    let world = world().await;
    for address in ["127.0.0.1:20411", "[::1]:20411"] {
        let outcome = carry_out(&world.shop, address.parse().expect("an address"), GET).await;
        assert!(outcome.get("failed").is_some(), "{address}: {outcome}");
    }
    let refused = world.beside[0].number(REFUSED).await;
    assert_eq!(refused, 2.0);
    let from_another_pod = SocketAddr::new(world.options.family.pod(2), 20411);
    let outcome = carry_out(&world.dev, from_another_pod, GET).await;
    assert!(
        outcome["failed"]
            .as_str()
            .is_some_and(|text| text.contains("refused")),
        "{outcome}"
    );
    works(&world, "plain").await;
}

#[tokio::test]
async fn a_pod_that_starts_while_the_operator_is_away_goes_to_the_gateways() {
    let world = World::without_proxies(Options::of(Mode::Sidecar)).await;
    let shutdown = world.operator.shutdown.clone();
    world
        .network
        .node
        .run(async move { shutdown.drain(std::time::Duration::from_secs(5)).await })
        .await;
    let applied = world.redirect("shop", &world.shop);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert!(applied.stderr.contains("gateway"), "{applied:?}");
    works(&world, "plain").await;
    works(&world, "basic").await;
}

#[tokio::test]
async fn without_net_admin_the_tool_says_what_to_do() {
    let world = World::without_proxies(Options::of(Mode::Sidecar)).await;
    let applied = world.redirect_powerless("shop", &world.shop);
    assert!(applied.code.is_some_and(|code| code != 0), "{applied:?}");
    assert!(applied.stderr.contains("NET_ADMIN"), "{applied:?}");
    works(&world, "plain").await;
}

#[tokio::test]
async fn applied_again_nothing_changes_and_removed_nothing_is_left() {
    let world = world().await;
    let others = "table ip others { chain c { type filter hook output priority 0; tcp dport 9 drop; }\n}";
    world.shop.nft(others);
    let table = || world.shop.sh("nft -s list table inet landbridge");
    let before = table();
    let again = world.redirect("shop", &world.shop);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(table(), before);
    assert!(beside_serves(&world, "plain").await);
    let removed = world.landbridge(&world.shop, &["redirect".to_owned(), "remove".to_owned()]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    let left = world.shop.sh("nft -s list ruleset");
    assert!(
        left.contains("table ip others") && !left.contains("landbridge"),
        "{left}"
    );
    // By the gateways.
    assert!(!beside_serves(&world, "plain").await);
}
