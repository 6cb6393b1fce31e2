//! Who may call what. The node's network ignores NetworkPolicies, so what holds here is what the proxies enforce.

use landbridge_tests::eventually;
use serde_json::{Value, json};

use crate::world::{BACKENDS, OTHER, SHOP, client, world};

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
    world.pod_ready(OTHER, "host").await;
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
    let open = eventually("an answer", async || curl("http://open.shop/").await).await;
    assert!(open.starts_with("HTTP/1.1 200"), "{open}");
    let closed = eventually("an answer", async || curl("http://closed.shop/").await).await;
    assert!(closed.starts_with("HTTP/1.1 403"), "{closed}");
    world
        .kubectl(&["delete", "pod", "host", "-n", OTHER, "--wait=false"])
        .await
        .success();
}

/// The admission webhook, called by this API server over the Service of the operator.
#[tokio::test]
async fn what_cannot_work_is_told_when_it_is_applied() {
    let world = world().await;
    let apply = ["apply", "-n", BACKENDS, "-f", "-"];
    // There is a Service of this name that is somebody else's. It may be on its way out, so this is a warning.
    let taken = json!({
        "apiVersion": "destination.connectivity.api.sap/v1", "kind": "Destination",
        "metadata": {"name": "echo"}, "spec": {"destinationRef": {"name": "x"}},
    });
    let applied = world.cluster.kubectl_with(&apply, &taken.to_string()).await;
    assert!(
        applied.code == Some(0) && applied.stderr.contains("Warning:"),
        "{applied:?}"
    );
    assert!(applied.stderr.contains("Service"), "{applied:?}");
    world
        .kubectl(&["delete", "dst", "echo", "-n", BACKENDS, "--timeout=60s"])
        .await
        .success();
    world
        .kubectl(&["get", "service", "echo", "-n", BACKENDS])
        .await
        .success();

    // Two of one service id can never both work.
    let channel = |name: &str| {
        json!({
            "apiVersion": "connectivity.landbridge.dev/v1alpha1", "kind": "ServiceChannel", "metadata": {"name": name},
            "spec": {"type": "TCP", "serviceId": "twice", "serviceRef": {"name": "echo", "port": 80}},
        })
        .to_string()
    };
    world.apply(BACKENDS, &channel("first")).await;
    let refused = eventually("the second one is refused", async || {
        let second = world.cluster.kubectl_with(&apply, &channel("second")).await;
        if second.code == Some(0) {
            world
                .kubectl(&[
                    "delete",
                    "servicechannel",
                    "second",
                    "-n",
                    BACKENDS,
                    "--timeout=60s",
                ])
                .await
                .success();
            return Err(format!("it was taken: {}", second.stderr));
        }
        Ok(second.stderr)
    })
    .await;
    assert!(
        refused.contains("denied the request") && refused.contains("first"),
        "{refused}"
    );
    world
        .kubectl(&[
            "delete",
            "servicechannel",
            "first",
            "-n",
            BACKENDS,
            "--timeout=60s",
        ])
        .await
        .success();
}
