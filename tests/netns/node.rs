//! A proxy on the node: what its pods notice of its coming and going, and of what others do to its rules.

use std::net::SocketAddr;
use std::sync::Arc;

use landbridge_destination::{Route, RouteKey};
use landbridge_tests::eventually;
use landbridge_tests::interception::{
    Beside, Family, KubeProxy, Mode, Options, Wiring, World, carry_out, delta, entry, total,
};
use landbridge_tests::netns::Netns;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scenarios::{GET, REFUSED, another_service_gets_its_address};
use crate::steady::Steady;

async fn world() -> World {
    World::start(Options::of(Mode::Node)).await
}

fn plain(world: &World) -> SocketAddr {
    entry("plain").frontend(world.options.family)
}

/// Whether this proxy has served a call that is made now.
async fn serves(world: &World, proxy: &Beside) -> bool {
    let before = proxy.samples().await;
    let outcome = carry_out(&world.shop, plain(world), GET).await;
    assert_eq!(outcome["status"], json!(200), "{outcome}");
    let served = delta(&before, &proxy.samples().await);
    total(&served, "tp_received_requests") > 0.0
}

async fn until_it_serves(world: &World, proxy: &Beside) {
    eventually(&format!("{} serves", proxy.name()), async || {
        if serves(world, proxy).await {
            Ok(())
        } else {
            Err(proxy.process.log())
        }
    })
    .await;
}

fn has_table(namespace: &Netns) -> bool {
    let listed = namespace.output("nft", &["list", "table", "inet", "landbridge"], "");
    listed.code == Some(0)
}

/// Nothing of it is left: no table, no rule of routing, no route.
async fn nothing_left(namespace: &Netns) {
    eventually("everything is taken away", async || {
        let mut left = Vec::new();
        if has_table(namespace) {
            left.push("the table".to_owned());
        }
        for family in ["-4", "-6"] {
            let rules = namespace.sh(&format!("ip {family} rule"));
            left.extend(
                rules
                    .lines()
                    .filter(|line| line.contains("0x1b2"))
                    .map(str::to_owned),
            );
            // A table that is empty is not there.
            let routes = namespace.output("ip", &[family, "route", "show", "table", "20411"], "");
            left.extend(routes.stdout.lines().map(str::to_owned));
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(left.join("\n"))
        }
    })
    .await;
}

/// A connection to the echo, that has carried a word.
async fn talk(pod: &Netns, address: SocketAddr) -> TcpStream {
    pod.run(async move {
        let mut stream = TcpStream::connect(address).await.expect("it is served");
        say(&mut stream).await.expect("it answers");
        stream
    })
    .await
}

async fn say(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"a word").await?;
    let mut back = [0; 6];
    stream.read_exact(&mut back).await?;
    assert_eq!(&back, b"a word");
    Ok(())
}

async fn say_again(pod: &Netns, mut stream: TcpStream) -> TcpStream {
    pod.run(async move {
        say(&mut stream).await.expect("it is still carried");
        stream
    })
    .await
}

#[tokio::test]
async fn killed_its_pods_are_served_by_the_gateways_and_then_by_the_next_one() {
    let mut world = world().await;
    until_it_serves(&world, &world.beside[0]).await;
    world.beside[0].process.kill().await;
    // At once, and with all the rules where they were.
    for _ in 0..5 {
        let before = world.gateway_samples().await;
        let outcome = carry_out(&world.shop, plain(&world), GET).await;
        assert_eq!(outcome["status"], json!(200), "{outcome}");
        let served = delta(&before, &world.gateway_samples().await);
        assert_eq!(total(&served, "tp_received_requests"), 1.0);
    }
    assert!(has_table(&world.network.node));
    let mut next = world.start_node(2).await;
    until_it_serves(&world, &next).await;
    next.process.terminate();
    assert!(next.process.wait().await.success(), "{}", next.process.log());
    nothing_left(&world.network.node).await;
    assert_eq!(
        carry_out(&world.shop, plain(&world), GET).await["status"],
        json!(200)
    );
}

#[tokio::test]
async fn calls_go_on_while_it_starts_is_replaced_and_ends() {
    let world = World::without_proxies(Options::of(Mode::Node)).await;
    let steady = [
        Steady::start(&world.shop, plain(&world)),
        Steady::start(&world.dev, plain(&world)),
    ];
    let echo = entry("echo").frontend(world.options.family);
    let before = talk(&world.shop, echo).await;
    let mut first = world.start_node(1).await;
    until_it_serves(&world, &first).await;
    let by_first = talk(&world.shop, echo).await;
    // What a gateway has begun, it goes on with.
    let before = say_again(&world.shop, before).await;

    let mut second = world.start_node(2).await;
    first.process.terminate();
    until_it_serves(&world, &second).await;
    for one in &steady {
        one.more().await;
    }
    // What the first one has begun, it ends.
    let by_first = say_again(&world.shop, by_first).await;
    assert!(first.process.ended().is_none(), "it waits for its connections");
    drop(by_first);
    assert!(first.process.wait().await.success(), "{}", first.process.log());
    assert!(has_table(&world.network.node), "it is the second one's");
    until_it_serves(&world, &second).await;

    second.process.terminate();
    assert!(second.process.wait().await.success(), "{}", second.process.log());
    nothing_left(&world.network.node).await;
    drop(say_again(&world.shop, before).await);
    for one in &steady {
        one.more().await;
        one.unharmed("a node's proxy starts, is replaced and ends");
    }
}

#[tokio::test]
async fn rules_that_somebody_deletes_are_repaired_and_those_of_others_stay() {
    let world = world().await;
    until_it_serves(&world, &world.beside[0]).await;
    let others = || world.network.node.sh("nft -s list table ip nat");
    let before = others();
    let repairs = async || world.beside[0].number("landbridge_redirect_repairs_total").await;
    assert_eq!(repairs().await, 0.0);
    for (time, damage) in [
        "nft delete table inet landbridge",
        "nft flush table inet landbridge",
        "ip rule del fwmark 0x1b2",
        "ip route flush table 20411",
    ]
    .iter()
    .enumerate()
    {
        world.network.node.sh(damage);
        eventually(&format!("`{damage}` is repaired"), async || {
            if repairs().await > time as f64 {
                Ok(())
            } else {
                Err(world.beside[0].process.log())
            }
        })
        .await;
        until_it_serves(&world, &world.beside[0]).await;
    }
    assert_eq!(others(), before);
}

#[tokio::test]
async fn an_address_that_another_service_gets_is_left_to_it() {
    let world = world().await;
    until_it_serves(&world, &world.beside[0]).await;
    another_service_gets_its_address(&world, "plain").await;
}

#[tokio::test]
async fn five_thousand_destinations() {
    const MORE: u16 = 5_000;
    let world = world().await;
    let model = entry("plain").route(world.options.family);
    let address = |number: u16| SocketAddr::new(world.options.family.cluster_ip(1_000 + number), 80);
    let routes: Vec<_> = (0..MORE)
        .map(|number| {
            Arc::new(Route {
                key: RouteKey::new("shop", format!("more-{number}")),
                port: 21_000 + number,
                frontends: vec![address(number)],
                ..Route::clone(&model)
            })
        })
        .collect();
    let keys: Vec<_> = routes.iter().map(|route| route.key.clone()).collect();
    let entries = async |least: f64, most: f64| {
        eventually("the kernel's set follows", async || {
            let entries = world.beside[0].number("landbridge_redirect_entries").await;
            if (least..=most).contains(&entries) {
                Ok(entries)
            } else {
                Err(format!("{entries} entries: {}", world.beside[0].process.log()))
            }
        })
        .await
    };
    let few = entries(1.0, 100.0).await;
    let steady = Steady::start(&world.shop, plain(&world));
    world.operator.hub.set_routes(routes, Vec::new());
    entries(few + f64::from(MORE), few + f64::from(MORE)).await;
    // kube-proxy knows nothing of them here: nobody but the node's proxy can have answered.
    for number in [0, MORE / 2, MORE - 1] {
        let outcome = carry_out(&world.shop, address(number), GET).await;
        assert_eq!(outcome["status"], json!(200), "{number}: {outcome}");
    }
    world.operator.hub.set_routes(Vec::new(), keys);
    entries(few, few).await;
    steady.more().await;
    steady.unharmed("the set grows by 5 000 and shrinks again");
}

#[tokio::test]
async fn pods_on_a_bridge_whose_packets_no_filter_sees_are_served_on_the_node() {
    let world = World::start(Options {
        mode: Mode::Node,
        family: Family::V4,
        wiring: Wiring::Bridge,
        kube_proxy: KubeProxy::Iptables,
    })
    .await;
    world
        .network
        .node
        .sh("for name in iptables ip6tables; do [ ! -e /proc/sys/net/bridge/bridge-nf-call-$name ] || echo 0 > /proc/sys/net/bridge/bridge-nf-call-$name; done");
    until_it_serves(&world, &world.beside[0]).await;
    let steady = Steady::start(&world.shop, plain(&world));
    steady.more().await;
    steady.unharmed("pods on a bridge");
}

#[tokio::test]
async fn operator_and_store_may_be_away() {
    let mut world = world().await;
    until_it_serves(&world, &world.beside[0]).await;
    let steady = Steady::start(&world.shop, plain(&world));
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
    until_it_serves(&world, &world.beside[0]).await;
}

#[tokio::test]
async fn who_calls_the_port_itself_is_refused() {
    let world = world().await;
    let node = world.network.node.clone();
    // Each process has a port of its own; the rules name it.
    let rules = node.sh("nft list table inet landbridge");
    let port = rules.split("tproxy ip to 127.0.0.1:").nth(1);
    let port = port.and_then(|rest| rest.split_ascii_whitespace().next());
    let port: u16 = port.expect("a port").parse().expect("a number");
    for address in ["127.0.0.1", "::1"] {
        let address = SocketAddr::new(address.parse().expect("an address"), port);
        let outcome = carry_out(&node, address, GET).await;
        assert!(outcome.get("failed").is_some(), "{address}: {outcome}");
    }
    // Nobody but this machine can even try.
    let from_a_pod = SocketAddr::new(world.options.family.pod(1), port);
    let outcome = carry_out(&world.shop, from_a_pod, GET).await;
    assert!(outcome.get("failed").is_some(), "{outcome}");
    let refused = world.beside[0].number(REFUSED).await;
    assert_eq!(refused, 2.0);
    until_it_serves(&world, &world.beside[0]).await;
}

#[tokio::test]
async fn without_net_admin_it_says_what_to_do() {
    let world = World::without_proxies(Options::of(Mode::Node)).await;
    let (status, log) = world.node_without_net_admin().await;
    assert!(!status.success());
    assert!(log.contains("NET_ADMIN"), "{log}");
    assert!(!has_table(&world.network.node));
    assert_eq!(
        carry_out(&world.shop, plain(&world), GET).await["status"],
        json!(200)
    );
}
