//! No operator is there.

use super::page::{row, said};
use super::trial::{HELD, Trial, declared, rollout, scale, shell, trial, until};
use crate::world::{BACKENDS, SHOP, SYSTEM, World};

const OPERATOR: &str = "deployment/landbridge-operator";
const UNINSTALL: &str = include_str!("../../../docs/how-to/uninstall.md");

#[tokio::test]
async fn what_waits_for_an_operator() {
    let Trial { world, .. } = trial().await;
    world.apply(BACKENDS, &super::uninstalling::channel(HELD)).await;
    let finalizer = "kubectl get servicechannel held -n backends -o jsonpath='{.metadata.finalizers}'";
    until(world, finalizer, "connectivity.landbridge.dev/channel").await;
    scale(world, SYSTEM, OPERATOR, 0).await;
    let selector = "app.kubernetes.io/component=operator";
    let gone = [
        "wait",
        "--for=delete",
        "pod",
        "-l",
        selector,
        "-n",
        SYSTEM,
        "--timeout=60s",
    ];
    world.kubectl(&gone).await.success();
    webhook_unreachable(world).await;
    channel_stays(world).await;
    scale(world, SYSTEM, OPERATOR, 1).await;
    rollout(world, SYSTEM, OPERATOR).await;
    let apply = ["apply", "-n", SHOP, "-f", "-"];
    landbridge_tests::eventually("it is applied", async || {
        let ended = world
            .cluster
            .kubectl_with(&apply, &declared("unchecked").to_string())
            .await;
        if ended.code == Some(0) {
            Ok(())
        } else {
            Err(said(&ended))
        }
    })
    .await;
}

async fn webhook_unreachable(world: &World) {
    let row = row("webhook-unreachable");
    let apply = ["apply", "-n", SHOP, "-f", "-"];
    let unchecked = declared("unchecked").to_string();
    let refused = world.cluster.kubectl_with(&apply, &unchecked).await.failure();
    row.is_in(1, &refused);
    let none = shell(world, &row.look(&[])).await;
    assert!(none.stderr.contains("No resources found"), "{none:?}");
}

async fn channel_stays(world: &World) {
    let row = row("channel-stays");
    let delete = ["delete", "servicechannel", HELD, "-n", BACKENDS, "--wait=false"];
    world.kubectl(&delete).await.success();
    let channels = shell(world, &row.look(&[])).await.success();
    assert!(channels.contains(HELD), "{channels}");
    let patch = UNINSTALL
        .split('`')
        .find(|span| span.starts_with("kubectl patch servicechannel"))
        .expect("the remedy of the page about uninstalling");
    let patch = patch.replace("NAMESPACE", BACKENDS).replace("NAME", HELD);
    shell(world, &patch).await.success();
    let left = shell(world, &row.look(&[])).await;
    assert!(!left.stdout.contains(HELD), "{left:?}");
}
