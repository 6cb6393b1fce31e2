//! The same answers, decisions and counts, whoever serves.

use landbridge_tests::eventually;
use landbridge_tests::interception::{
    Family, KubeProxy, Mode, Options, Outcome, Targets, Wiring, World, carry_out, entry,
};
use serde_json::json;

use crate::scenarios::{Caller, GET, Result, SCENARIOS, perform};

/// All scenarios in one world, and what changes in the store while it runs.
async fn all(options: Options) -> (Vec<Result>, [Outcome; 2]) {
    let world = World::start(options).await;
    let mut results = Vec::new();
    for scenario in SCENARIOS {
        let result = perform(&world, scenario).await;
        let expected = server(&options, scenario.from, scenario.to);
        assert_eq!(result.served_by, [expected], "{options:?}: {}", scenario.name);
        results.push(result);
    }
    (results, [changed(&world).await, removed(&world).await])
}

/// Who serves a call.
fn server(options: &Options, from: Caller, to: &str) -> &'static str {
    let entry = entry(to);
    let beside = match options.mode {
        Mode::Gateway => false,
        // The kernel cannot hand over what passes a bridge's filter, and says no word of it: the gateways serve.
        Mode::Node => !entry.only_gateways() && options.wiring == Wiring::Ptp,
        // Its rules name what the pod may use.
        Mode::Sidecar => !entry.only_gateways() && (from == Caller::Shop || entry.is_open()),
    };
    if beside { "beside" } else { "gateway" }
}

/// The destination leads elsewhere from now on.
async fn changed(world: &World) -> Outcome {
    let address = entry("changed").frontend(world.options.family);
    assert_eq!(carry_out(&world.shop, address, GET).await["status"], json!(200));
    let mut destination = entry("changed")
        .destination(world.options.family)
        .expect("the store has it");
    let other = std::net::SocketAddr::new(world.options.family.outside(), Targets::OTHER);
    destination["URL"] = format!("http://{other}").into();
    world.put(destination).await;
    eventually("the change is in the next calls", async || {
        let outcome = carry_out(&world.shop, address, GET).await;
        if outcome["body"] == "the other one" {
            Ok(outcome)
        } else {
            Err(outcome.to_string())
        }
    })
    .await
}

/// The store has it no more.
async fn removed(world: &World) -> Outcome {
    let address = entry("removed").frontend(world.options.family);
    assert_eq!(carry_out(&world.shop, address, GET).await["status"], json!(200));
    world.delete("removed").await;
    eventually("it is gone for the next calls", async || {
        let outcome = carry_out(&world.shop, address, GET).await;
        if outcome["code"] == "destination-not-found" {
            Ok(outcome)
        } else {
            Err(outcome.to_string())
        }
    })
    .await
}

/// The table in two worlds that differ only in who serves.
async fn alike(beside: Mode, family: Family, wiring: Wiring, kube_proxy: KubeProxy) {
    let world = |mode| {
        all(Options {
            mode,
            family,
            wiring,
            kube_proxy,
        })
    };
    let (gateway, beside) = tokio::join!(world(Mode::Gateway), world(beside));
    for (one, other) in gateway.0.iter().zip(&beside.0) {
        assert_eq!(one.outcome, other.outcome, "{}", one.name);
        assert_eq!(one.counted, other.counted, "{}", one.name);
    }
    assert_eq!(gateway.1, beside.1, "what changed in the store");
}

macro_rules! alike {
    ($($name:ident: $mode:ident, $family:ident, $wiring:ident, $kube_proxy:ident;)+) => {$(
        #[tokio::test]
        async fn $name() {
            alike(Mode::$mode, Family::$family, Wiring::$wiring, KubeProxy::$kube_proxy).await;
        }
    )+};
}

alike! {
    sidecar_on_a_cable_of_its_own: Sidecar, V4, Ptp, Iptables;
    sidecar_on_a_bridge: Sidecar, V4, Bridge, Nftables;
    sidecar_with_ipv6_alone: Sidecar, V6, Ptp, Nftables;
    node_with_cables: Node, V4, Ptp, Nftables;
    node_with_a_bridge: Node, V4, Bridge, Iptables;
    node_with_ipv6_alone: Node, V6, Ptp, Iptables;
}
