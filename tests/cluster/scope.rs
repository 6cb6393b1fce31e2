//! Who may call what. The node's network ignores NetworkPolicies, so what holds here is what the proxies enforce.

use serde_json::{Value, json};

use crate::world::{OTHER, SHOP, client, world};

#[tokio::test]
async fn a_namespaced_destination_is_refused_from_another_namespace() {
    let world = world().await;
    world.internet(SHOP, "private").await;
    world.curl_until(SHOP, &["http://private/"], "200 OK").await;
    let refused = world.curl(OTHER, &["http://private.shop/"]).await;
    assert!(
        refused.starts_with("HTTP/1.1 403") && refused.contains("caller-forbidden"),
        "{refused}"
    );
    assert!(
        refused.contains("set accessControl.scope: clusterWide"),
        "{refused}"
    );

    world
        .declare(
            SHOP,
            "private",
            json!({"accessControl": {"scope": "clusterWide"}}),
        )
        .await;
    world.curl_until(OTHER, &["http://private.shop/"], "200 OK").await;
}

/// A pod of the node's own network has the node's address, which may be anybody's.
#[tokio::test]
async fn a_pod_of_the_host_network_may_call_what_is_open_to_all_only() {
    let world = world().await;
    world.internet(SHOP, "closed").await;
    world.internet(SHOP, "open").await;
    world
        .declare(SHOP, "open", json!({"accessControl": {"scope": "clusterWide"}}))
        .await;
    let mut pod: Value = serde_json::from_str(&client()).unwrap();
    pod["metadata"]["name"] = "host".into();
    pod["spec"]["hostNetwork"] = true.into();
    pod["spec"]["dnsPolicy"] = "ClusterFirstWithHostNet".into();
    world.apply(OTHER, &pod.to_string()).await;
    world
        .kubectl(&[
            "wait",
            "--for=condition=Ready",
            "pod/host",
            "-n",
            OTHER,
            "--timeout=60s",
        ])
        .await
        .success();
    let curl = async |url: &str| {
        let command = [
            "exec", "-n", OTHER, "host", "--", "curl", "-s", "-i", "-m", "20", url,
        ];
        let ended = world.kubectl(&command).await;
        if ended.code == Some(0) {
            Ok(ended.stdout)
        } else {
            Err(ended.stderr)
        }
    };
    let open = landbridge_tests::eventually("an answer", async || curl("http://open.shop/").await).await;
    assert!(open.starts_with("HTTP/1.1 200"), "{open}");
    let closed = landbridge_tests::eventually("an answer", async || curl("http://closed.shop/").await).await;
    assert!(closed.starts_with("HTTP/1.1 403"), "{closed}");
    world
        .kubectl(&["delete", "pod", "host", "-n", OTHER, "--wait=false"])
        .await
        .success();
}

/// The admission webhook, called by this API server over the Service of the operator.
#[tokio::test]
async fn what_cannot_work_is_refused_when_it_is_applied() {
    let world = world().await;
    let bad = json!({
        "apiVersion": "destination.connectivity.api.sap/v1", "kind": "Destination",
        "metadata": {"name": "echo"}, "spec": {"destinationRef": {"name": "x"}},
    });
    // There is a Service of this name that is somebody else's.
    let apply = ["apply", "-n", crate::world::BACKENDS, "-f", "-"];
    let refused = world
        .cluster
        .kubectl_with(&apply, &bad.to_string())
        .await
        .failure();
    assert!(refused.contains("echo"), "{refused}");
}
