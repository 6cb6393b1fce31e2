//! Before an installation.

use landbridge_tests::control_plane::ControlPlane;
use landbridge_tests::process::run;
use serde_json::json;

use super::Checked;

#[tokio::test]
async fn a_cluster_with_nothing_installed() {
    let plane = ControlPlane::start().await;
    let admin = plane.kubeconfig();
    let system = plane.namespace("fit").await;
    let pre = ["--pre", "-n", system.name()];
    let good = Checked::run(&admin, &pre).await;
    assert_eq!((good.with("failed"), good.with("warning")), (vec![], vec![]));
    assert_eq!(good.with("skipped"), ["network-policies"]);
    good.must_say("ok", "kubernetes-version", "1.", "");

    let nowhere = Checked::run(&admin, &["--pre", "-n", "nowhere"]).await;
    nowhere.must_say(
        "warning",
        "namespace",
        "no namespace nowhere",
        "kubectl create namespace nowhere",
    );
    let extras = ["--cert-manager", "--vertical-autoscaler", "--prometheus"];
    let bare = Checked::run(&admin, &[&pre[..], &extras].concat()).await;
    assert_eq!(
        bare.with("failed"),
        ["cert-manager", "vertical-autoscaler", "prometheus-operator"]
    );
    bare.must_say(
        "failed",
        "cert-manager",
        "does not know it",
        "install cert-manager",
    );
    assert_eq!(bare.code, Some(1));

    // Somebody without rights is told so, of each thing.
    let nobody = plane.user("nobody", None);
    let checked = Checked::run(&nobody, &pre).await;
    checked.must_say(
        "failed",
        "rights",
        "you may not create serviceaccounts; patch serviceaccounts; ",
        "administrator",
    );
    checked.must_say("skipped", "destinations-definition", "nobody", "more rights");
    checked.must_say("skipped", "other-controllers", "nobody", "more rights");

    // Another product, and its definition.
    plane.apply_crds().await;
    let theirs = plane.namespace("theirs").await;
    let label = "transparent-proxy.connectivity.api.sap/component";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "manager", "labels": {label: "manager"}},
        "spec": {"containers": [{"name": "main", "image": "none"}]}});
    theirs.apply(&pod.to_string()).await.success();
    let name = "destinations.destination.connectivity.api.sap";
    plane
        .kubectl(&[
            "annotate",
            "crd",
            name,
            "meta.helm.sh/release-name=tp",
            "meta.helm.sh/release-namespace=sap",
        ])
        .await
        .success();
    let checked = Checked::run(&admin, &pre).await;
    let pod = format!("{}/manager", theirs.name());
    checked.must_say("warning", "other-controllers", &pod, "labelSelector");
    checked.must_say(
        "warning",
        "destinations-definition",
        "sap/tp owns it",
        "destinations.enabled=false",
    );
    checked.must_say("ok", "servicechannels-definition", "as this version has it", "");
    assert_eq!(checked.code, Some(0), "warnings fail nothing");
    let narrow = Checked::run(
        &admin,
        &[&pre[..], &["--watch-namespace", system.name()]].concat(),
    )
    .await;
    narrow.must_say("ok", "other-controllers", "nobody", "");
}

#[tokio::test]
async fn a_wrong_command_line_and_no_cluster() {
    for wrong in [
        &["check", "--nonsense"][..],
        &["check", "--pre", "--uninstall"],
        &["check", "--timeout", "0"],
        &["check", "--cert-manager"],
        &["check", "-o", "yaml"],
    ] {
        let ended = run(wrong).await;
        assert_eq!(ended.code, Some(64), "{wrong:?}: {ended:?}");
    }
    let folder = tempfile::TempDir::new().expect("a folder");
    let missing = Checked::run(&folder.path().join("none"), &[]).await;
    missing.must_say("failed", "api-server", "cannot be used", "--kubeconfig");
    let port = landbridge_tests::free_port();
    let kubeconfig = folder.path().join("away");
    let away = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("https://127.0.0.1:{port}")}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}]});
    std::fs::write(&kubeconfig, away.to_string()).expect("written");
    for phase in [&[][..], &["--pre"], &["--uninstall"]] {
        let checked = Checked::run(&kubeconfig, phase).await;
        checked.must_say("failed", "api-server", "refused", "kubectl cluster-info");
        assert_eq!(checked.checks.len(), 1, "{checked:?}");
    }
}
