//! An uninstallation that is refused.

use serde_json::json;

use super::company::LOCATION;
use super::page::row;
use super::trial::{Trial, connected, shell, trial, until};
use crate::world::{BACKENDS, SYSTEM, World};

const RELEASE: &str = "landbridge-connectivity";

/// A service of the cluster, for somebody in the company.
pub fn channel(name: &str) -> String {
    json!({
        "apiVersion": "connectivity.landbridge.dev/v1alpha1", "kind": "ServiceChannel",
        "metadata": {"name": name},
        "spec": {"type": "TCP", "serviceId": name, "locationIds": [LOCATION], "serviceRef": {"name": "echo", "port": 80}},
    })
    .to_string()
}

#[tokio::test]
async fn an_uninstallation_while_a_channel_is_there() {
    let Trial { world, .. } = trial().await;
    channels_left(world).await;
    half_uninstalled(world).await;
    let delete = [
        "delete",
        "servicechannel",
        "left",
        "-n",
        BACKENDS,
        "--timeout=60s",
    ];
    world.kubectl(&delete).await.success();
    connected(world, "trial").await;
}

async fn channels_left(world: &World) {
    let row = row("channels-left");
    world.apply(BACKENDS, &channel("left")).await;
    let uninstall = ["uninstall", RELEASE, "-n", SYSTEM, "--timeout", "60s"];
    let refused = world.helm(&uninstall).await.failure();
    row.is_in(1, &refused);
    let log = until(world, &row.look(&[]), "left").await;
    assert!(log.contains("ServiceChannel"), "{log}");
}

async fn half_uninstalled(world: &World) {
    let row = row("half-uninstalled");
    let upgrade = [
        "upgrade",
        RELEASE,
        "charts/landbridge-connectivity",
        "-n",
        SYSTEM,
        "--reuse-values",
    ];
    let refused = world.helm(&upgrade).await.failure();
    row.is_in(1, &refused);
    let history = shell(world, &row.look(&[])).await.success();
    let last = history.lines().last().expect("a revision");
    let revision = last.split_whitespace().next().expect("a number");
    let rollback = row.remedy(&[("REVISION", revision)]);
    shell(world, &rollback).await.success();
    world.helm(&upgrade).await.success();
}
