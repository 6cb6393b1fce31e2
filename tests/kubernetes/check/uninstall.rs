//! Before an installation is removed, also with the rights of the guard in the chart.

use landbridge_tests::control_plane::ControlPlane;
use serde_json::json;

use super::Checked;

const UNINSTALL: [&str; 1] = ["--uninstall"];

/// The rights of the guard: to list what must be gone, and nothing else.
const GUARD: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: guard}
rules:
  - {apiGroups: [connectivity.landbridge.dev], resources: [servicechannels], verbs: [list]}
  - {apiGroups: [connectivityproxy.sap.com], resources: [servicemappings], verbs: [list]}
";

#[tokio::test]
async fn what_is_left_is_in_the_way() {
    let plane = ControlPlane::start().await;
    let shop = plane.namespace("left").await;
    let account = async |name: &str| {
        shop.kubectl(&["create", "serviceaccount", name]).await.success();
        plane.service_account(shop.name(), name).await
    };
    let (guard, nobody) = (account("guard").await, account("nobody").await);
    plane.kubectl_with(&["apply", "-f", "-"], GUARD).await.success();
    let subject = format!("--serviceaccount={}:guard", shop.name());
    let bind = [
        "create",
        "clusterrolebinding",
        "guard",
        "--clusterrole=guard",
        &subject,
    ];
    plane.kubectl(&bind).await.success();

    let clean = ["service-channels-left", "service-mappings-left"];
    let undefined = Checked::run(&plane.kubeconfig(), &UNINSTALL).await;
    assert_eq!(
        undefined.with("ok"),
        [&clean[..], &["destinations-left"]].concat()
    );
    undefined.must_say("ok", clean[0], "not even the definition", "");
    plane.apply_crds().await;
    let free = Checked::run(&guard, &UNINSTALL).await;
    assert_eq!(free.with("ok"), clean, "{free:?}");
    free.must_say(
        "skipped",
        "destinations-left",
        "no right to list Destinations",
        "",
    );
    let blind = Checked::run(&nobody, &UNINSTALL).await;
    assert_eq!(
        blind.with("failed"),
        clean,
        "a guard that cannot see does not open: {blind:?}"
    );
    blind.must_say(
        "failed",
        clean[0],
        "no right to list them: ",
        "right to list them",
    );

    let channel = |number: u32| {
        json!({
            "apiVersion": "connectivity.landbridge.dev/v1alpha1", "kind": "ServiceChannel",
            "metadata": {"name": format!("c{number}")},
            "spec": {"type": "TCP", "serviceId": format!("s{number}"), "serviceRef": {"name": "db", "port": 5432}},
        })
    };
    for number in 0..7 {
        shop.apply(&channel(number).to_string()).await.success();
    }
    let mapping = json!({
        "apiVersion": "connectivityproxy.sap.com/v1", "kind": "ServiceMapping", "metadata": {"name": "m"},
        "spec": {"type": "TCP", "serviceId": "other", "internalAddress": "db.shop:5432"},
    });
    plane
        .kubectl_with(&["apply", "-f", "-"], &mapping.to_string())
        .await
        .success();
    let destination = json!({"apiVersion": "destination.connectivity.api.sap/v1", "kind": "Destination",
        "metadata": {"name": "erp"}, "spec": {"destinationRef": {"name": "erp"}}});
    shop.apply(&destination.to_string()).await.success();
    let named = format!("7 left: {}/c0; ", shop.name());
    let held = Checked::run(&guard, &UNINSTALL).await;
    held.must_say(
        "failed",
        clean[0],
        &named,
        "kubectl delete servicechannels --all -A",
    );
    held.must_say("failed", clean[0], "c4 and 2 more", "");
    held.must_say(
        "failed",
        clean[1],
        "1 left: m",
        "kubectl delete servicemappings --all",
    );
    let all = Checked::run(&plane.kubeconfig(), &UNINSTALL).await;
    all.must_say(
        "failed",
        "destinations-left",
        "1 left: ",
        "kubectl delete destinations.destination.connectivity.api.sap --all -A",
    );
    let elsewhere = Checked::run(
        &plane.kubeconfig(),
        &["--uninstall", "--watch-namespace", "default"],
    )
    .await;
    assert_eq!(
        elsewhere.with("failed"),
        ["service-mappings-left"],
        "{elsewhere:?}"
    );

    // What the remedies say is what helps.
    let remedies: Vec<String> = all
        .checks
        .iter()
        .filter_map(|check| Some(check["remedy"].as_str()?.to_owned()))
        .collect();
    for remedy in remedies.iter().filter(|remedy| !remedy.is_empty()) {
        let command = remedy.split(" (").next().expect("a command");
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        plane.kubectl(&words).await.success();
    }
    let free = Checked::run(&plane.kubeconfig(), &UNINSTALL).await;
    assert_eq!((free.code, free.with("ok").len()), (Some(0), 3), "{free:?}");
}
