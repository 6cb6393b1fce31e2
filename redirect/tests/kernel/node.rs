//! Redirection on a node, with pods on the other ends of cables, a rule that stands for kube-proxy and a gateway.

use std::time::Duration;

use landbridge_redirect::plan::{Features, plan};
use landbridge_redirect::proof::{ProofListener, Token, prove};
use landbridge_redirect::settings::Family;
use landbridge_redirect::{Destinations, INTERCEPT_PORT, Settings};
use tokio::net::TcpListener;

use crate::namespace::{Pod, alone, bridge_filter, sh};
use crate::proxy::{Server, call_marked, hello, hello_from, local, serve, transparent};
use crate::tool::{applied, destinations, nft};

/// What stands for a Service's address.
const SERVICE: [&str; 2] = ["10.96.0.1:80", "[fd96::1]:80"];

struct World {
    pod: Pod,
    _gateway: Pod,
    _servers: Vec<Server>,
}

/// This namespace is the node. `join` is how the pod is joined to it (its device there is eth0).
async fn world(join: &str) -> World {
    let (pod, gateway) = (Pod::new(), Pod::new());
    sh(&join.replace("POD", &pod.id().to_string()));
    pod.sh(
        "ip addr add 10.9.0.2/24 dev eth0; ip addr add fd09::2/64 dev eth0 nodad; ip link set eth0 up
        ip route add default via 10.9.0.1; ip -6 route add default via fd09::1",
    );
    sh(&format!(
        "ip link add gw type veth peer name eth0 netns {}
        ip addr add 10.8.0.1/24 dev gw; ip addr add fd08::1/64 dev gw nodad; ip link set gw up
        ip route add default via 10.8.0.2; ip -6 route add default via fd08::2
        echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        gateway.id()
    ));
    gateway.sh(
        "ip addr add 10.8.0.2/24 dev eth0; ip addr add fd08::2/64 dev eth0 nodad; ip link set eth0 up
        ip route add default via 10.8.0.1; ip -6 route add default via fd08::1",
    );
    nft("table inet kube-proxy {
      chain prerouting {
        type nat hook prerouting priority -100
        ip daddr 10.96.0.1 tcp dport 80 dnat ip to 10.8.0.2:8080
        ip6 daddr fd96::1 tcp dport 80 dnat ip6 to [fd08::2]:8080
      }
      chain input { type filter hook input priority 0; ct state invalid drop; }
    }");
    let mut servers = Vec::new();
    for address in ["10.8.0.2:8080", "[fd08::2]:8080"] {
        let listener = gateway
            .run(async move {
                let listener = std::net::TcpListener::bind(address).unwrap();
                listener.set_nonblocking(true).unwrap();
                listener
            })
            .await;
        servers.push(serve(TcpListener::from_std(listener).unwrap(), "gateway", local));
    }
    World {
        pod,
        _gateway: gateway,
        _servers: servers,
    }
}

/// A cable between node and pod, as `ptp` lays it.
const CABLE: &str = "ip link add pod type veth peer name eth0 netns POD
    ip addr add 10.9.0.1/24 dev pod; ip addr add fd09::1/64 dev pod nodad; ip link set pod up";

/// A bridge in the node, as `bridge` and flannel make it.
const BRIDGE: &str = "ip link add cni0 type bridge; ip link add pod type veth peer name eth0 netns POD
    ip link set pod master cni0 up
    ip addr add 10.9.0.1/24 dev cni0; ip addr add fd09::1/64 dev cni0 nodad; ip link set cni0 up";

fn proxy() -> [Server; 2] {
    ["127.0.0.1", "[::1]"].map(|ip| serve(transparent(&format!("{ip}:{INTERCEPT_PORT}")), "node", local))
}

fn services() -> Destinations {
    destinations(&SERVICE)
}

#[test]
fn pods_reach_the_proxy_of_their_node_and_the_gateway_without_it() {
    alone(
        "node::pods_reach_the_proxy_of_their_node_and_the_gateway_without_it",
        || async {
            let world = world(CABLE).await;
            assert_eq!(hello_from(&world.pod, SERVICE[0]).await, "gateway 10.8.0.2:8080");
            let proxy = proxy();
            let with_gateway = destinations(&[SERVICE[0], SERVICE[1], "10.8.0.2:8080"]);
            applied(&Settings::node(), "abc", &with_gateway).await;
            for service in SERVICE {
                assert_eq!(hello_from(&world.pod, service).await, format!("node {service}"));
            }
            // The node's own connections, the proxy's among them, never pass here.
            assert_eq!(hello("10.8.0.2:8080").await, "gateway 10.8.0.2:8080");
            assert_eq!(
                hello_from(&world.pod, "10.8.0.2:8080").await,
                "node 10.8.0.2:8080"
            );
            // Nobody listens: no black hole.
            for server in proxy {
                server.stop().await;
            }
            assert_eq!(hello_from(&world.pod, SERVICE[0]).await, "gateway 10.8.0.2:8080");
            assert_eq!(hello_from(&world.pod, SERVICE[1]).await, "gateway [fd08::2]:8080");
        },
    );
}

#[test]
fn pods_on_a_bridge_reach_the_proxy_only_where_the_bridge_leaves_packets_alone() {
    alone(
        "node::pods_on_a_bridge_reach_the_proxy_only_where_the_bridge_leaves_packets_alone",
        || async {
            let world = world(BRIDGE).await;
            let _proxy = proxy();
            applied(&Settings::node(), "abc", &services()).await;
            assert_eq!(hello_from(&world.pod, SERVICE[0]).await, "node 10.96.0.1:80");
            if !bridge_filter(true) {
                // This kernel has no br_netfilter, and so never the problem.
                return;
            }
            applied(&Settings::node(), "abc", &services()).await;
            for (service, gateway) in [
                (SERVICE[0], "gateway 10.8.0.2:8080"),
                (SERVICE[1], "gateway [fd08::2]:8080"),
            ] {
                assert_eq!(hello_from(&world.pod, service).await, gateway);
            }
        },
    );
}

/// One connection, held by the pod while the set of destinations changes.
async fn kept_while_the_set_shrinks(features: Features) {
    let world = world(CABLE).await;
    let _proxy = proxy();
    // Routing, and the rules of a kernel that has everything.
    applied(&Settings::node(), "abc", &services()).await;
    let rules = |to: &Destinations| plan(&Settings::node(), "abc", to, features).to_string();
    nft(&format!("delete table inet landbridge\n{}", rules(&services())));
    for (service, gateway) in [
        (SERVICE[0], "gateway 10.8.0.2:8080"),
        (SERVICE[1], "gateway [fd08::2]:8080"),
    ] {
        nft(&format!("delete table inet landbridge\n{}", rules(&services())));
        let (opened, shrunk) = (
            tokio::sync::oneshot::channel(),
            tokio::sync::oneshot::channel::<()>(),
        );
        let inside = world.pod.run(async move {
            let mut call = call_marked(service, 0).await.unwrap();
            assert_eq!(call.hello, format!("node {service}"));
            assert!(call.still_works().await);
            opened.0.send(()).unwrap();
            shrunk.1.await.unwrap();
            call.still_works().await
        });
        let outside = async {
            opened.1.await.unwrap();
            nft(&format!(
                "delete table inet landbridge\n{}",
                rules(&Destinations::new())
            ));
            assert_eq!(hello_from(&world.pod, service).await, gateway);
            shrunk.0.send(()).unwrap();
        };
        let (still_works, ()) = tokio::join!(inside, outside);
        assert!(still_works, "{service}");
    }
}

#[test]
fn a_connection_is_kept_while_the_set_shrinks() {
    alone("node::a_connection_is_kept_while_the_set_shrinks", || async {
        kept_while_the_set_shrinks(Features::default()).await;
    });
}

#[test]
fn a_connection_is_kept_without_nft_socket_too() {
    alone("node::a_connection_is_kept_without_nft_socket_too", || async {
        let features = Features {
            socket: false,
            ..Features::default()
        };
        kept_while_the_set_shrinks(features).await;
    });
}

#[test]
fn a_node_proves_for_itself() {
    alone("node::a_node_proves_for_itself", || async {
        let _world = world(CABLE).await;
        let settings = Settings::node();
        let token = Token::random();
        let listener = ProofListener::bind(&settings.mode, settings.port).unwrap();
        applied(&settings, "abc", &services()).await;
        let with_listener = async |limit: Duration| {
            tokio::select! {
                proven = prove(&token, limit) => proven,
                () = listener.serve(&token) => panic!("it ended"),
            }
        };
        let proven = with_listener(Duration::from_secs(20)).await.unwrap();
        assert_eq!(proven.families, Family::ALL);
        // Without its routing the rules alone prove nothing.
        sh("ip rule del priority 90");
        assert!(with_listener(Duration::from_millis(500)).await.is_err());
    });
}
