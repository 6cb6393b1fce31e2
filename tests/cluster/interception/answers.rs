//! One table of calls, made by applications of every mode.

use serde_json::Value;

use super::world::{INJECTED, Modes, in_both};
use crate::world::{OTHER, SHOP};

/// What is called, from the same namespace (`{own}`) or another one (`{other}`), and the first line of the answer.
const CALLS: [(&str, &str); 5] = [
    ("http://erp/orders?year=2026", "HTTP/1.1 200 OK"),
    ("http://open/", "HTTP/1.1 200 OK"),
    ("http://open.{other}/", "HTTP/1.1 200 OK"),
    ("http://erp.{other}/", "HTTP/1.1 403 Forbidden"),
    ("http://erp.{own}/missing", "HTTP/1.1 200 OK"),
];

/// What may differ: who answered, and when.
const CHANGING: [&str; 4] = ["date:", "x-request-id:", "content-length:", "via:"];

/// What an application of `own` is answered, without what changes from call to call.
async fn answers(modes: &Modes, own: &str, other: &str) -> Vec<String> {
    let mut answers = Vec::new();
    for (url, status) in CALLS {
        let url = url.replace("{own}", own).replace("{other}", other);
        let answer = modes.world.curl_until(own, &[&url], status).await;
        assert!(
            answer.starts_with(status),
            "{:?} {own} {url}: {answer}",
            modes.kube_proxy
        );
        answers.push(stable(&answer).replace(own, "OWN").replace(other, "OTHER"));
    }
    answers
}

fn stable(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let kept = head.lines().filter(|line| {
        !CHANGING
            .iter()
            .any(|name| line.to_ascii_lowercase().starts_with(name))
    });
    let mut text: Vec<String> = kept.map(str::to_owned).collect();
    match serde_json::from_str::<Value>(body) {
        Ok(mut asked) => {
            for name in ["x-request-id", "via", "x-forwarded-for", "forwarded"] {
                asked["client"] = Value::Null;
                if let Some(headers) = asked["headers"].as_object_mut() {
                    headers.remove(name);
                }
            }
            text.push(asked.to_string());
        }
        Err(_) => text.push(body.to_owned()),
    }
    text.join("\n")
}

#[tokio::test]
async fn every_mode_answers_the_same() {
    in_both(async |modes| {
        let kube_proxy = modes.kube_proxy;
        let (node, sidecar, gateways) = (
            modes.served_on_node().await,
            modes.served_by_sidecar().await,
            modes.answered_by_gateways().await,
        );
        let of_node = answers(modes, SHOP, INJECTED).await;
        assert!(
            modes.served_on_node().await > node,
            "{kube_proxy:?}: the node's proxy"
        );
        let of_sidecar = answers(modes, INJECTED, SHOP).await;
        assert!(
            modes.served_by_sidecar().await > sidecar,
            "{kube_proxy:?}: the sidecar"
        );
        assert_eq!(of_node, of_sidecar, "{kube_proxy:?}");
        let after = modes.answered_by_gateways().await;
        // What a sidecar must not use is not told to it, so the gateway refuses that.
        assert!(
            after - gateways <= 2,
            "{kube_proxy:?}: {gateways} to {after} by gateways"
        );
        assert!(
            of_node[0].contains("Basic bWU6czNjcmV0") && of_node[0].contains("\"x-name\":\"erp\""),
            "{of_node:?}"
        );
        // The gateways themselves, without anything in between.
        modes.upgrade("node.enabled=false").await;
        let of_gateway = answers(modes, SHOP, INJECTED).await;
        assert!(modes.answered_by_gateways().await >= after + 4, "{kube_proxy:?}");
        assert_eq!(of_node, of_gateway, "{kube_proxy:?}");
        modes.upgrade("node.enabled=true").await;
    })
    .await;
}

#[tokio::test]
async fn bytes_go_both_ways_in_every_mode() {
    in_both(async |modes| {
        for namespace in [SHOP, INJECTED] {
            let command = "printf 'hello\\n' | curl -s -m 3 telnet://line:7000 || true";
            let said = landbridge_tests::eventually("an answer", async || {
                let ended = modes.world.exec(namespace, &["sh", "-c", command]).await;
                if ended.stdout.contains("hello") {
                    Ok(ended.stdout)
                } else {
                    Err(ended.stderr)
                }
            })
            .await;
            assert!(said.contains("hello"), "{namespace}: {said}");
        }
    })
    .await;
}

/// Another namespace may not use it, whoever is in between.
#[tokio::test]
async fn a_stranger_is_refused_by_the_nodes_proxy() {
    in_both(async |modes| {
        let answer = modes.world.curl_until(OTHER, &["http://erp.shop/"], "403").await;
        assert!(
            answer.contains("caller-forbidden") || answer.contains("accessControl.scope"),
            "{answer}"
        );
    })
    .await;
}

/// What is declared while pods run is called at once: taken on the node, and left to the gateways by a sidecar, whose rules
/// are those of its start.
#[tokio::test]
async fn what_is_declared_later_is_answered_at_once() {
    in_both(async |modes| {
        let world = &modes.world;
        for namespace in [SHOP, INJECTED] {
            world.internet(namespace, "late").await;
        }
        let (node, sidecar) = (modes.served_on_node().await, modes.served_by_sidecar().await);
        world.curl_until(SHOP, &["http://late/"], "200 OK").await;
        world.curl_until(INJECTED, &["http://late/"], "200 OK").await;
        assert!(modes.served_on_node().await > node, "{:?}", modes.kube_proxy);
        assert_eq!(modes.served_by_sidecar().await, sidecar, "{:?}", modes.kube_proxy);
    })
    .await;
}
