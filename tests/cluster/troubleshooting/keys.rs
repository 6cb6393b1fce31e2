//! The service key: not there, under another name, malformed, refused. In a namespace of its own, with an installation for
//! that namespace alone.

use serde_json::Value;

use super::page::row;
use super::trial::{
    Trial, condition, declared, folder, namespace, release, remove, rollout, says, service_key, shell, trial,
    until,
};
use crate::world::World;

const KEYS: &str = "keys";
const PROXIES: &str = "deployment/landbridge-proxy";
const VALUES: &str = "operator.watchNamespace=keys,operator.replicas=1";

#[tokio::test]
async fn service_keys_that_cannot_be_used() {
    let Trial { world, .. } = trial().await;
    let key = service_key(world).await;
    namespace(world, KEYS).await;
    release(world, "landbridge", KEYS, VALUES).await.success();
    missing(world, &key).await;
    malformed(world, &key).await;
    refused_by_the_service(world, &key).await;
    under_another_name(world, &key).await;
    remove(world, KEYS, &["landbridge"]).await;
}

fn without_secret(key: &str) -> String {
    let mut key: Value = serde_json::from_str(key).expect("JSON");
    key.as_object_mut().expect("an object").remove("clientsecret");
    key.to_string()
}

fn with_secret(key: &str, secret: &str) -> String {
    let mut key: Value = serde_json::from_str(key).expect("JSON");
    key["clientsecret"] = secret.into();
    key.to_string()
}

/// The reader's file.
fn write(world: &World, key: &str) {
    std::fs::write(folder(world).join("key.json"), key).expect("a file");
}

/// Makes the Secret anew from the reader's file, with the command of the page.
async fn anew(world: &World) {
    let create = row("service-key-missing").remedy(&[("landbridge-system", KEYS)]);
    let anew =
        format!("{create} --dry-run=client -o yaml | kubectl apply --server-side --force-conflicts -f -");
    shell(world, &anew).await.success();
}

async fn missing(world: &World, key: &str) {
    let row = row("service-key-missing");
    says(world, &row, 1, &row.look(&[("landbridge-system", KEYS)])).await;
    let pods = "kubectl get pods -n keys -l app.kubernetes.io/component=proxy --no-headers";
    says(world, &row, 0, pods).await;
    // The remedy, with a key that leads to the next row.
    write(world, &without_secret(key));
    let create = row.remedy(&[("landbridge-system", KEYS)]);
    shell(world, &create).await.success();
}

async fn malformed(world: &World, key: &str) {
    let row = row("service-key-malformed");
    // By themselves: nobody has touched the pods.
    says(world, &row, 0, &row.look(&[("landbridge-system", KEYS)])).await;
    write(world, key);
    anew(world).await;
    rollout(world, KEYS, PROXIES).await;
}

async fn refused_by_the_service(world: &World, key: &str) {
    let row = row("key-not-usable");
    write(world, &with_secret(key, "wrong"));
    anew(world).await;
    world.apply(KEYS, &declared("later").to_string()).await;
    let condition = condition(KEYS, "later");
    says(world, &row, 0, &condition).await;
    let look = row.look(&[]);
    assert!(until(world, &look, "later").await.contains(row.text(0)));
    let status = "kubectl get --raw /api/v1/namespaces/keys/services/landbridge-operator:9494/proxy/status";
    let shown = until(
        world,
        status,
        "\"destination-service/default\":{\"Status\":\"critical\"",
    )
    .await;
    assert!(shown.contains("invalid_client"), "{shown}");
    write(world, key);
    anew(world).await;
    // It is read again, and the destination service answers: it has none of that name.
    until(
        world,
        &condition,
        "ConfigurationError-ReferencedDestination-NotFound",
    )
    .await;
}

async fn under_another_name(world: &World, key: &str) {
    let row = row("service-key-under-another-name");
    write(world, key);
    let create = "kubectl create secret generic other -n keys --from-file=credentials=key.json";
    shell(world, create).await.success();
    let service = "config.integration.destinationService.serviceCredentials";
    let other = format!("{service}.secretName=other");
    release(world, "landbridge", KEYS, &other).await.success();
    let pods = "kubectl describe pods --show-events -n keys -l app.kubernetes.io/component=proxy";
    says(world, &row, 0, pods).await;
    let look = row.look(&[("landbridge-system", KEYS), ("destination-service-key", "other")]);
    let names = shell(world, &look).await.success();
    assert!(names.contains("credentials:"), "{names}");
    row.advises("serviceCredentials.secretKey");
    let named = format!("{service}.secretKey=credentials");
    release(world, "landbridge", KEYS, &named).await.success();
    rollout(world, KEYS, PROXIES).await;
}
