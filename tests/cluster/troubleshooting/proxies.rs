//! Proxies that the operator does not know, or that are not there; in a namespace of its own.

use serde_json::json;

use super::page::row;
use super::trial::{
    Trial, condition, declared, namespace, release, remove, rollout, says, scale, service_key, shell, trial,
    until,
};
use crate::world::World;

const APART: &str = "apart";
const SUFFIXED: &str = "statefulset/landbridge-connectivity-west";

/// A release of the connectivity proxies with a suffix, for which no operator is there at first.
#[tokio::test]
async fn proxies_without_an_operator_that_knows_them() {
    let Trial { world, .. } = trial().await;
    let key = service_key(world).await;
    namespace(world, APART).await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "destination-service-key"},
        "stringData": {"service_key": key}});
    world.apply(APART, &secret.to_string()).await;
    let values = "chart.nameSuffix=west,persistence.enabled=false,ingress.enabled=false";
    release(world, "landbridge-connectivity", APART, values)
        .await
        .success();
    authority_missing(world).await;
    unknown_account(world).await;
    none(world).await;
    name_taken(world).await;
    remove(world, APART, &["landbridge-connectivity", "landbridge"]).await;
}

async fn authority_missing(world: &World) {
    let row = row("authority-missing");
    let pods = "kubectl describe pods -n apart";
    says(world, &row, 1, pods).await;
    says(world, &row, 0, "kubectl get pods -n apart --no-headers").await;
    let none = shell(world, &row.look(&[("landbridge-system", APART)])).await;
    assert!(none.stderr.contains("No resources found"), "{none:?}");
    let values = "operator.watchNamespace=apart,operator.replicas=1,proxy.enabled=false";
    release(world, "landbridge", APART, values).await.success();
    until(world, "kubectl get pods -n apart --no-headers", "Running").await;
}

async fn unknown_account(world: &World) {
    let row = row("unknown-account");
    says(world, &row, 1, &row.look(&[("landbridge-system", APART)])).await;
    world.apply(APART, &declared("erp").to_string()).await;
    // Of the store, so that nothing but proxies is missing.
    world
        .put(
            &json!({"Name": "erp", "Type": "HTTP", "URL": "http://echo.backends.svc.cluster.local",
            "ProxyType": "Internet", "Authentication": "NoAuthentication"}),
        )
        .await;
    says(world, &row, 0, &condition(APART, "erp")).await;
    row.advises("operator.proxyAccounts");
    let account = "operator.proxyAccounts={apart/landbridge-connectivity-west}";
    release(world, "landbridge", APART, account).await.success();
    rollout(world, APART, SUFFIXED).await;
    until(world, &condition(APART, "erp"), "ConfigurationSuccessful").await;
}

async fn none(world: &World) {
    let row = row("no-proxies");
    scale(world, APART, SUFFIXED, 0).await;
    let condition = condition(APART, "erp");
    let said = says(world, &row, 1, &condition).await;
    row.is_in(0, &said);
    let pods = shell(world, &row.look(&[("landbridge-system", APART)])).await;
    assert!(!pods.stdout.contains("1/1"), "{pods:?}");
    scale(world, APART, SUFFIXED, 1).await;
    until(world, &condition, "ConfigurationSuccessful").await;
}

async fn name_taken(world: &World) {
    let row = row("name-taken");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "theirs"},
        "spec": {"ports": [{"port": 80}]}});
    world.apply(APART, &service.to_string()).await;
    let mut destination = declared("theirs");
    destination["spec"]["destinationRef"]["name"] = "erp".into();
    world.apply(APART, &destination.to_string()).await;
    let condition = condition(APART, "theirs");
    says(world, &row, 0, &condition).await;
    let look = row.look(&[("erp", "theirs"), ("shop", APART)]);
    shell(world, &look).await.success();
    let delete = ["delete", "service", "theirs", "-n", APART];
    world.kubectl(&delete).await.success();
    until(world, &condition, "ConfigurationSuccessful").await;
}
