//! Two installations in one cluster, each with the namespaces that carry its label.

use landbridge_operator::cluster::NAMESPACE_LABEL;

use super::*;

async fn installation(plane: &ControlPlane, name: &str) -> Running {
    let managed = Managed::labelled(NAMESPACE_LABEL, name);
    Running::run(plane, None, managed, false, true).await
}

async fn belongs_to(plane: &ControlPlane, namespace: &Namespace, installation: &str) {
    let label = format!("{NAMESPACE_LABEL}={installation}");
    plane
        .kubectl(&["label", "--overwrite", "namespace", namespace.name(), &label])
        .await
        .success();
}

async fn declare(namespace: &Namespace) -> String {
    namespace
        .apply(&format!(
            "{}\n---\n{}\n",
            service("web", 80),
            channel("orders", "orders")
        ))
        .await
        .success();
    format!("web.{}.svc:80", namespace.name())
}

async fn until_finalizers(namespace: &Namespace, expected: Value) {
    eventually(&format!("finalizers {expected}"), async || {
        let finalizers = object_of(namespace).await?["metadata"]["finalizers"].clone();
        if finalizers == expected {
            Ok(())
        } else {
            Err(finalizers.to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn each_installation_writes_to_channels_of_its_own_namespaces_alone() {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    let (a, b) = (plane.namespace("ours").await, plane.namespace("theirs").await);
    let (one, two) = (format!("{}-one", a.name()), format!("{}-two", a.name()));
    belongs_to(&plane, &a, &one).await;
    belongs_to(&plane, &b, &two).await;
    let (address_a, address_b) = (declare(&a).await, declare(&b).await);
    let (first, second) = (installation(&plane, &one).await, installation(&plane, &two).await);

    // The same claim twice, but not in the same installation.
    first.offered("its own", &[("orders", &address_a)]).await;
    second.offered("its own", &[("orders", &address_b)]).await;
    let ours = json!(["connectivity.landbridge.dev/channel"]);
    let (key_a, key_b) = (key(&a, "orders"), key(&b, "orders"));
    first.hold(&key_a, Some(&["", "berlin"]));
    until_conditions(&a, "sch", "orders", "Ready=True/Ready Reachable=True/Held").await;
    until_finalizers(&a, ours.clone()).await;
    let before = object_of(&a).await.expect("the channel");
    // Something that the other one has to write: it has looked at this one as well by then.
    second.hold(&key_b, Some(&[]));
    until_conditions(&b, "sch", "orders", "Ready=True/Ready Reachable=False/NotHeld").await;
    let after = object_of(&a).await.expect("the channel");
    assert_eq!(
        after["metadata"]["resourceVersion"],
        before["metadata"]["resourceVersion"]
    );

    // A namespace changes hands.
    b.kubectl(&["delete", "sch", "orders"]).await.success();
    second.offered("nothing any more", &[]).await;
    belongs_to(&plane, &a, &two).await;
    first.offered("withdrawn", &[]).await;
    second.offered("taken over", &[("orders", &address_a)]).await;
    eventually("the finalizer is taken back", async || {
        match first.writes("Finalizer") {
            few @ (0 | 1) => Err(format!("{few} writes")),
            _ => Ok(()),
        }
    })
    .await;
    until_finalizers(&a, Value::Null).await;
    let written = first.writes("");
    second.hold(&key_a, Some(&[""]));
    until_conditions(&a, "sch", "orders", "Reachable=False/PartlyHeld").await;
    until_finalizers(&a, ours).await;
    a.kubectl(&["delete", "sch", "orders", "--wait=false"])
        .await
        .success();
    until_conditions(&a, "sch", "orders", "Programmed=False/Deleting").await;
    second.hold(&key_a, Some(&[]));
    gone(&a, "orders").await;
    assert_eq!(first.writes(""), written, "it is the other one's now");
    first.stop().await;
    second.stop().await;
}
