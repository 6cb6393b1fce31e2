//! What goes wrong before the first pod is ready.

use serde_json::json;

use super::page::{row, said};
use super::trial::{Trial, namespace, release, remove, rollout, says, scale, shell, trial, until};
use crate::world::{SYSTEM, World};

/// Both are of the definitions, which the whole cluster shares.
#[tokio::test]
async fn without_definitions_operators_wait_and_go_on_by_themselves() {
    let Trial { world, .. } = trial().await;
    let kept = [
        "crd/destinations.destination.connectivity.api.sap",
        "crd/servicechannels.connectivity.landbridge.dev",
        "crd/servicemappings.connectivityproxy.sap.com",
    ];
    let uninstall = ["uninstall", "landbridge-crds", "-n", SYSTEM];
    world.helm(&uninstall).await.success();
    world
        .kubectl(&[&["delete", "--timeout=60s"][..], &kept].concat())
        .await
        .success();
    definitions_missing(world).await;
    definition_of_another_release(world).await;
    rollout(world, SYSTEM, "deployment/landbridge-operator").await;
}

async fn definitions_missing(world: &World) {
    let row = row("definitions-missing");
    let operator = "deployment/landbridge-operator";
    scale(world, SYSTEM, operator, 0).await;
    let gone = [
        "wait",
        "--for=delete",
        "pod",
        "-l",
        "app.kubernetes.io/component=operator",
        "-n",
        SYSTEM,
        "--timeout=60s",
    ];
    world.kubectl(&gone).await.success();
    scale(world, SYSTEM, operator, 1).await;
    says(world, &row, 0, &row.look(&[])).await;
    let ready = "kubectl get deployment landbridge-operator -n landbridge-system -o jsonpath='{.status.readyReplicas}'";
    assert_eq!(shell(world, ready).await.success(), "");
}

async fn definition_of_another_release(world: &World) {
    let row = row("definition-of-another-release");
    let by_hand = "landbridge crds | kubectl create -f -";
    shell(world, by_hand).await.success();
    let install = [
        "install",
        "landbridge-crds",
        "charts/landbridge-crds",
        "-n",
        SYSTEM,
    ];
    let refused = world.helm(&install).await.failure();
    row.is_in(1, &refused);
    let seen = shell(world, &row.look(&[])).await.success();
    assert!(!seen.contains("meta.helm.sh/release-name"), "{seen}");
    row.advises("--take-ownership");
    world
        .helm(&[&install[..], &["--take-ownership"]].concat())
        .await
        .success();
}

/// A network of storage is what a cluster may lack: nothing gives the claim a volume.
#[tokio::test]
async fn without_a_storage_class_the_pod_stays_pending() {
    let Trial { world, .. } = trial().await;
    let row = row("no-volume");
    namespace(world, "volumes").await;
    let values = "config.servers.businessDataTunnel.externalHost=tunnel.example.com,persistence.size=2Gi";
    release(world, "landbridge-connectivity", "volumes", values)
        .await
        .success();
    let state = "kubectl get pods -n volumes --no-headers";
    let pods = until(world, state, row.text(1)).await;
    row.is_in(0, &pods);
    says(world, &row, 2, "kubectl describe pods -n volumes").await;
    let classes = said(&shell(world, &row.look(&[])).await);
    assert!(classes.contains("No resources found"), "{classes}");

    row.advises("persistence.storageClassName");
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "of-a-class"},
        "spec": {"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
            "hostPath": {"path": world.cluster.folder().join("of-a-class"), "type": "DirectoryOrCreate"}},
    });
    world.apply("", &volume.to_string()).await;
    let remedy = row.remedy(&[("landbridge-system", "volumes")]);
    shell(world, &remedy).await.success();
    let class = format!("{values},persistence.storageClassName=local");
    release(world, "landbridge-connectivity", "volumes", &class)
        .await
        .success();
    // The next thing that it waits for is its configuration, so that it has a node.
    until(world, state, "ContainerCreating").await;
    remove(world, "volumes", &["landbridge-connectivity"]).await;
    world
        .kubectl(&["delete", "pv", "of-a-class", "--wait=false"])
        .await
        .success();
}
