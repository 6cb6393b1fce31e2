//! Pods whose redirection was not proven: told of, and evicted where that is wanted.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use landbridge_tests::eventually;
use landbridge_tests::operator::{Installation, Workspace};
use landbridge_tests::pods::Pods;
use serde_json::{Value, json};

use super::{created, pod, pods_of, until_told};

/// As a pod looks that this installation has put a sidecar into.
fn injected(system: &str, app: &str) -> (Value, Value) {
    let note = json!({"image": "lb:1", "version": "0", "installation": system}).to_string();
    let metadata =
        json!({"labels": {"app": app}, "annotations": {"connectivity.landbridge.dev/injected": note}});
    let sidecar =
        json!({"initContainers": [{"name": "landbridge-proxy", "image": "lb:1", "restartPolicy": "Always"}]});
    (metadata, sidecar)
}

/// A `ReplicaSet` of one such pod; its name.
async fn replicated(workspace: &Workspace, system: &str, app: &str) -> String {
    let (metadata, sidecar) = injected(system, app);
    let mut template = pod(app, &metadata, &sidecar);
    template["metadata"]
        .as_object_mut()
        .expect("an object")
        .remove("name");
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": app}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"app": app}},
        "template": {"metadata": template["metadata"], "spec": template["spec"]}}});
    created(workspace, &set).await;
    let made = pods_of(workspace, app).await.remove(0);
    made["metadata"]["name"].as_str().expect("a name").to_owned()
}

/// The sidecar of a pod has ended once more.
async fn fails(pods: &Pods, name: &str, restarts: u32) {
    let status = json!({"phase": "Running", "initContainerStatuses": [{"name": "landbridge-proxy", "image": "lb:1",
        "imageID": "", "ready": false, "started": false, "restartCount": restarts,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 95, "reason": "Error"}}}]});
    pods.status(name, &status).await;
}

#[tokio::test]
async fn pods_whose_redirection_failed_are_reported_and_if_wanted_evicted() {
    let installation = Installation::new("proof").await;
    let mark = installation.plane.audit_mark();
    let operator = installation
        .operator("operator", &["--unproven-pods", "delete"])
        .await;
    operator.until_leading().await;
    let shop = installation.workspace("proof-shop").await;
    let system = installation.system.name();
    let pods = Pods::of(&installation.plane, &shop.namespace).await;
    let api: Api<Pod> = Api::namespaced(installation.plane.client().await, shop.name());

    // Nobody would make another: told, and left.
    let (metadata, sidecar) = injected(system, "bare");
    created(&shop, &pod("bare", &metadata, &sidecar)).await;
    fails(&pods, "bare", 1).await;
    let (note, kind) = until_told(&shop, "bare", "RedirectionNotProven").await;
    assert!(
        kind == "Pod" && note.contains("kubectl logs bare -c landbridge-proxy"),
        "{note}"
    );

    // A budget that forbids it is respected.
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "all"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    shop.namespace.apply(&budget.to_string()).await.success();
    let web = replicated(&shop, system, "web").await;
    fails(&pods, &web, 1).await;
    until_told(&shop, &web, "RedirectionNotProven").await;
    eventually("the budget is respected", async || {
        let held = operator
            .metric("landbridge_operator_unproven_pods_total{action=\"held\"}")
            .await;
        held.filter(|count| *count >= 1.0)
            .map(drop)
            .ok_or_else(|| format!("{held:?}"))
    })
    .await;
    assert!(api.get_opt(&web).await.expect("an answer").is_some());

    shop.namespace.kubectl(&["delete", "pdb", "all"]).await.success();
    let mut restarts = 1;
    eventually("the pod is evicted with one of its next tries", async || {
        let Some(pod) = api.get_opt(&web).await.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        if pod.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        restarts += 1;
        fails(&pods, &web, restarts).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        Err(format!("{restarts} restarts"))
    })
    .await;
    assert!(api.get_opt("bare").await.expect("an answer").is_some());
    assert_eq!(operator.forbidden(&installation.plane, mark), []);
}
