//! Redirection in a pod's network namespace, with connections.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use landbridge_redirect::kernel::remove;
use landbridge_redirect::proof::{ProofError, ProofListener, Token, prove};
use landbridge_redirect::settings::Family;
use landbridge_redirect::{INTERCEPT_PORT, OWN_MARK, Settings};
use tokio::net::TcpListener;

use crate::namespace::{Pod, alone, sh};
use crate::proxy::{Server, call_marked, hello, local, original, serve};
use crate::tool::{applied, destinations};

/// This namespace is a pod, the other one what it calls: 10.9.0.2 and fd09::2, which are also its way out.
async fn world() -> (Pod, Vec<Server>) {
    let outside = Pod::new();
    sh(&format!(
        "ip link add eth0 type veth peer name eth1 netns {}
        ip addr add 10.9.0.1/24 dev eth0; ip addr add fd09::1/64 dev eth0 nodad; ip link set eth0 up
        ip route add default via 10.9.0.2; ip -6 route add default via fd09::2",
        outside.id()
    ));
    outside.sh(
        "ip addr add 10.9.0.2/24 dev eth1; ip addr add fd09::2/64 dev eth1 nodad; ip link set eth1 up
        ip route add default via 10.9.0.1; ip -6 route add default via fd09::1",
    );
    let mut servers = Vec::new();
    for address in ["10.9.0.2:80", "10.9.0.2:81", "[fd09::2]:80"] {
        let listener = outside.run(async move { std_listener(address) }).await;
        servers.push(serve(TcpListener::from_std(listener).unwrap(), "outside", local));
    }
    (outside, servers)
}

fn std_listener(address: &str) -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

async fn proxy() -> Vec<Server> {
    let mut servers = Vec::new();
    for family in ["127.0.0.1", "[::1]"] {
        let listener = TcpListener::bind(format!("{family}:{INTERCEPT_PORT}"))
            .await
            .unwrap();
        servers.push(serve(listener, "proxy", original));
    }
    servers
}

#[test]
fn destinations_come_to_the_proxy_with_the_address_they_were_meant_for() {
    alone(
        "sidecar::destinations_come_to_the_proxy_with_the_address_they_were_meant_for",
        || async {
            let (_outside, _servers) = world().await;
            let _proxy = proxy().await;
            assert_eq!(hello("10.9.0.2:80").await, "outside 10.9.0.2:80");
            let settings = Settings::sidecar(Some(2102), Vec::new());
            applied(&settings, "", &destinations(&["10.9.0.2:80", "[fd09::2]:80"])).await;
            assert_eq!(hello("10.9.0.2:80").await, "proxy 10.9.0.2:80");
            assert_eq!(hello("[fd09::2]:80").await, "proxy [fd09::2]:80");
            // Another port of the same address is none of ours.
            assert_eq!(hello("10.9.0.2:81").await, "outside 10.9.0.2:81");
            // The proxy's own connections, by mark and by user.
            let own = call_marked("10.9.0.2:80", OWN_MARK).await.unwrap();
            assert_eq!(own.hello, "outside 10.9.0.2:80");
            if let Some(own) = hello_as(2102, "10.9.0.2", 80) {
                assert_eq!(own, "outside 10.9.0.2:80");
            }
            if let Some(other) = hello_as(2103, "10.9.0.2", 80) {
                assert_eq!(other, "proxy 10.9.0.2:80");
            }
            remove(None).await.unwrap();
            assert_eq!(hello("10.9.0.2:80").await, "outside 10.9.0.2:80");
        },
    );
}

/// Who answers this user; nothing where the namespace has no other users (rootless).
fn hello_as(user: u32, host: &str, port: u16) -> Option<String> {
    let script = format!("exec 3<>/dev/tcp/{host}/{port}; head -n 1 <&3");
    let output = Command::new("setpriv")
        .args([
            &format!("--reuid={user}"),
            "--clear-groups",
            "timeout",
            "20",
            "bash",
            "-c",
            &script,
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    (output.status.success() && !said.is_empty()).then_some(said)
}

#[test]
fn whole_networks_are_redirected_and_loopback_is_not() {
    alone(
        "sidecar::whole_networks_are_redirected_and_loopback_is_not",
        || async {
            let (_outside, _servers) = world().await;
            let _proxy = proxy().await;
            let neighbour = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let beside = neighbour.local_addr().unwrap();
            let _neighbour = serve(neighbour, "container", local);
            let networks = ["0.0.0.0/0", "fd09::/64"]
                .map(|text| text.parse().unwrap())
                .to_vec();
            applied(&Settings::sidecar(None, networks), "", &destinations(&[])).await;
            assert_eq!(hello("10.9.0.2:81").await, "proxy 10.9.0.2:81");
            assert_eq!(hello("[fd09::2]:80").await, "proxy [fd09::2]:80");
            assert_eq!(hello(&beside.to_string()).await, format!("container {beside}"));
            let own = call_marked("10.9.0.2:81", OWN_MARK).await.unwrap();
            assert_eq!(own.hello, "outside 10.9.0.2:81");
        },
    );
}

#[test]
fn only_what_is_redirected_is_proven() {
    alone("sidecar::only_what_is_redirected_is_proven", || async {
        let (_outside, _servers) = world().await;
        let settings = Settings::sidecar(Some(2102), Vec::new());
        let token = Token::random();
        let listener = ProofListener::bind(&settings.mode, settings.port).unwrap();
        let limit = Duration::from_secs(20);
        let with_listener = async |limit: Duration| {
            tokio::select! {
                proven = prove(&token, limit) => proven,
                () = listener.serve(&token) => panic!("it ended"),
            }
        };
        let nothing = with_listener(Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(nothing, ProofError::NotRedirected { .. }), "{nothing}");
        applied(&settings, "", &destinations(&[])).await;
        assert_eq!(with_listener(limit).await.unwrap().families, Family::ALL);
        // Only one family has a way out: that one is proven.
        sh("ip -6 route del default");
        assert_eq!(with_listener(limit).await.unwrap().families, [Family::V4]);
        sh("ip route del default; ip -6 route add default via fd09::2");
        assert_eq!(with_listener(limit).await.unwrap().families, [Family::V6]);
        sh("ip -6 route del default");
        let none = with_listener(limit).await.unwrap_err();
        assert!(matches!(none, ProofError::NoRoute), "{none}");
    });
}

#[test]
fn another_process_on_the_port_is_no_proof() {
    alone("sidecar::another_process_on_the_port_is_no_proof", || async {
        let (_outside, _servers) = world().await;
        let settings = Settings::sidecar(None, Vec::new());
        applied(&settings, "", &destinations(&[])).await;
        let _somebody = proxy().await;
        // It says something, less than a token, and waits.
        let error = prove(&Token::random(), Duration::from_secs(2)).await.unwrap_err();
        assert!(matches!(error, ProofError::OtherProcess { .. }), "{error}");
        let in_use = ProofListener::bind(&settings.mode, settings.port).unwrap_err();
        let expected: SocketAddr = ([127, 0, 0, 1], INTERCEPT_PORT).into();
        assert_eq!(
            in_use.to_string(),
            format!("somebody listens on {expected} already")
        );
    });
}
