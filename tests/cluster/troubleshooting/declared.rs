//! What a `Destination` says, or does not say.

use serde_json::json;

use super::page::row;
use super::trial::{Trial, condition, declared, namespace, says, shell, trial, until};
use crate::world::{SHOP, SYSTEM};

#[tokio::test]
async fn a_destination_that_is_not_in_the_store() {
    let Trial { world, .. } = trial().await;
    let row = row("destination-not-found");
    world.apply(SHOP, &declared("absent").to_string()).await;
    says(world, &row, 0, &condition(SHOP, "absent")).await;
    says(world, &row, 0, &row.look(&[("erp", "absent")])).await;
    let answer = world.curl_until(SHOP, &["http://absent/"], row.text(1)).await;
    assert!(answer.starts_with(&row.status()), "{answer}");
    world.internet(SHOP, "absent").await;
    world.curl_until(SHOP, &["http://absent/"], "200 OK").await;
}

#[tokio::test]
async fn a_namespace_that_the_installation_does_not_look_after() {
    let Trial { world, .. } = trial().await;
    let row = row("namespace-not-managed");
    namespace(world, "unlabelled").await;
    world.apply("unlabelled", &declared("nobody").to_string()).await;
    // One that is looked after has its status by now: this one is not waiting for its turn.
    world.apply(SHOP, &declared("somebody").to_string()).await;
    until(world, &condition(SHOP, "somebody"), "ConfigurationError").await;
    let status = "kubectl get dst nobody -n unlabelled -o jsonpath='{.status}'";
    assert_eq!(shell(world, status).await.success(), "");
    let look = row.look(&[("shop", "unlabelled")]);
    let labels = shell(world, &look).await.success();
    assert!(!labels.contains(SYSTEM), "{labels}");
    let label = row.remedy(&[("shop", "unlabelled")]);
    shell(world, &label).await.success();
    until(world, &condition("unlabelled", "nobody"), "ConfigurationError").await;
    let delete = ["delete", "namespace", "unlabelled", "--wait=false"];
    world.kubectl(&delete).await.success();
}

#[tokio::test]
async fn a_mistake_that_the_webhook_refuses() {
    let Trial { world, .. } = trial().await;
    let row = row("refused-by-webhook");
    let tenants = "transparent-proxy.connectivity.api.sap/tenant-subdomains";
    let mut mistaken = declared("mistaken");
    mistaken["metadata"]["annotations"] = json!({tenants: "not a list"});
    let apply = ["apply", "-n", SHOP, "-f", "-"];
    let refused = world
        .cluster
        .kubectl_with(&apply, &mistaken.to_string())
        .await
        .failure();
    row.is_in(1, &refused);
    assert!(refused.contains(tenants), "{refused}");
    let corrected = declared("mistaken").to_string();
    world.cluster.kubectl_with(&apply, &corrected).await.success();
}
