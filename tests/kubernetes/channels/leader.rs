//! Which replica writes to the resources of channels.

use super::*;

#[tokio::test]
async fn only_a_leader_writes_and_a_new_one_writes_nothing_that_is_there() {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    let namespace = plane.namespace("leaders").await;
    namespace
        .apply(&format!(
            "{}\n---\n{}\n",
            service("web", 80),
            channel("orders", "orders")
        ))
        .await
        .success();
    let address = format!("web.{}.svc:80", namespace.name());
    let orders = key(&namespace, "orders");

    let first = Running::start(&plane, namespace.name(), false, false).await;
    first
        .offered("every replica serves", &[("orders", &address)])
        .await;
    let object = object_of(&namespace).await.expect("the channel");
    assert_eq!((summary(&object).as_str(), first.writes("")), ("", 0));
    first.leading.send_replace(true);
    first.hold(&orders, Some(&["", "berlin"]));
    until_conditions(
        &namespace,
        "sch",
        "orders",
        "Ready=True/Ready Reachable=True/Held",
    )
    .await;
    eventually("the finalizer", async || {
        let object = object_of(&namespace).await?;
        if object["metadata"]["finalizers"].is_array() {
            Ok(())
        } else {
            Err(object.to_string())
        }
    })
    .await;
    first.stop().await;
    let before = object_of(&namespace).await.expect("the channel");

    let second = Running::start(&plane, namespace.name(), false, true).await;
    second.offered("the next one", &[("orders", &address)]).await;
    second.hold(&orders, Some(&["", "berlin"]));
    // Something that it has to write: what was there before it was looked at as well by then.
    namespace
        .apply(&channel("later", "later").to_string())
        .await
        .success();
    second.hold(&key(&namespace, "later"), Some(&[]));
    until_conditions(&namespace, "sch", "later", "Ready=True/Ready").await;
    let after = object_of(&namespace).await.expect("the channel");
    assert_eq!(
        after["metadata"]["resourceVersion"],
        before["metadata"]["resourceVersion"]
    );

    // A status edited by hand is restored.
    let edit =
        json!([{"op": "replace", "path": "/status/conditions/0/status", "value": "False"}]).to_string();
    namespace
        .kubectl(&[
            "patch",
            "sch",
            "orders",
            "--subresource=status",
            "--type=json",
            "-p",
            &edit,
        ])
        .await
        .success();
    let restored = eventually("the status as it was", async || {
        let object = object_of(&namespace).await?;
        if object["status"] == before["status"] {
            Ok(object)
        } else {
            Err(object["status"].to_string())
        }
    })
    .await;
    assert_ne!(
        restored["metadata"]["resourceVersion"],
        before["metadata"]["resourceVersion"]
    );
    second.stop().await;
}
