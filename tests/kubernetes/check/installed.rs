//! An installation, and what can go wrong with it.

use landbridge_tests::control_plane::ControlPlane;
use landbridge_tests::free_port;
use landbridge_tests::process::{binary, run};
use serde_json::json;

use super::Checked;
use super::site::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_and_what_goes_wrong_with_it() {
    let plane = ControlPlane::start().await;
    let mut site = Site::start(&plane).await;
    site.until_well().await;
    let well = site.check().await;
    assert_eq!(well.with("warning"), ["connectors-connected"], "{well:#?}");
    assert_eq!(well.with("skipped"), [""; 0], "{well:#?}");
    well.must_say(
        "warning",
        "connectors-connected",
        "no connector",
        "landbridge tunnel create-token",
    );
    well.must_say("ok", "versions", env!("CARGO_PKG_VERSION"), "");
    well.must_say("ok", "operator-ready", "1 of 1", "");
    well.must_say("ok", "proxies-connected", "1 report", "");

    plugin(&site).await;
    definitions(&site).await;
    keys(&site).await;
    webhook(&site).await;
    resources(&site).await;
    rights(&site).await;
    proxies(&mut site).await;
    operator(&mut site).await;
    interception(&site).await;
}

/// As text, through kubectl.
async fn plugin(site: &Site) {
    let folder = site.installation.path("plugins");
    std::fs::create_dir(&folder).expect("a folder");
    std::os::unix::fs::symlink(binary(), folder.join("kubectl-landbridge")).expect("a link");
    let path = format!("{}:{}", folder.display(), site.plane().tools().display());
    let kubectl = site.plane().tools().join("kubectl");
    let asked = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(&kubectl);
        command
            .args(arguments)
            .env("PATH", &path)
            .env("KUBECONFIG", site.kubeconfig());
        let output = command.output().await.expect("kubectl starts");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let system = site.installation.system.name();
    let (code, text) = asked(&["landbridge", "check", "-n", system]).await;
    assert_eq!(code, Some(0), "{text}");
    let lines = [
        "kubernetes\n  ✓ the API server answers: Kubernetes v1.",
        "\nproxies\n  ✓ the proxies run: 1 of 1 are ready",
        "  ! a connector is connected: no connector is connected\n      start the connector",
        "\nAll is well: ",
    ];
    for line in lines {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
    let (code, text) = asked(&["landbridge", "check", "-n", "nowhere"]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("\nSomething is wrong: "), "{text}");
    let (_, text) = asked(&["landbridge", "explain", "--help"]).await;
    assert!(text.contains("Usage: kubectl landbridge explain"), "{text}");
}

async fn definitions(site: &Site) {
    let name = "servicemappings.connectivityproxy.sap.com";
    site.plane().kubectl(&["delete", "crd", name]).await.success();
    let (entry, remedy) = (
        "servicemappings-definition",
        "landbridge crds | kubectl apply --server-side -f -",
    );
    site.until(("failed", entry, "the cluster has no ServiceMapping", remedy))
        .await;
    let crds = run(&["crds"]).await.stdout;
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    site.plane().kubectl_with(&apply, &crds).await.success();
    site.until(("ok", entry, "", "")).await;

    let patch = json!([{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/fragmentRef"}]);
    let crd = "destinations.destination.connectivity.api.sap";
    let patched = ["patch", "crd", crd, "--type=json", "-p", &patch.to_string()];
    site.plane().kubectl(&patched).await.success();
    site.until((
        "warning",
        "destinations-definition",
        "of another version than",
        "--force-conflicts",
    ))
    .await;
    site.plane().kubectl_with(&apply, &crds).await.success();
    site.until(("ok", "destinations-definition", "", "")).await;
}

async fn keys(site: &Site) {
    let system = site.installation.system.name();
    site.kubectl(&["delete", "secret", "destination-service"]).await;
    let missing = format!("default: the Secret {system}/destination-service (key key.json) does not exist");
    let remedy =
        format!("kubectl create secret generic destination-service -n {system} --from-file=key.json=");
    site.until(("failed", "service-key", &missing, &remedy)).await;
    site.until(("failed", "store-reachable", "default: ", "kubectl logs"))
        .await;
    site.installation
        .put_key("{\"clientid\": \"a\", \"clientsecret\": \"hush\"}")
        .await;
    site.until(("failed", "service-key", "url", &remedy)).await;
    let checked = site.check().await;
    assert!(!format!("{checked:?}").contains("hush"), "{checked:?}");
    site.installation.put_key("{}").await;
    site.kubectl(&[
        "patch",
        "secret",
        "destination-service",
        "--type=json",
        "-p",
        r#"[{"op": "remove", "path": "/data/key.json"}]"#,
    ])
    .await;
    site.until(("failed", "service-key", "has no key key.json", &remedy))
        .await;
    site.installation
        .put_key(&site.installation.store.key().await)
        .await;
    site.until_well().await;
}

async fn webhook(site: &Site) {
    let name = format!("landbridge-{}", site.installation.system.name());
    let url = async |url: &str| {
        let patch = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": url}]);
        let kind = "validatingwebhookconfiguration";
        let patch = ["patch", kind, &name, "--type=json", "-p", &patch.to_string()];
        site.plane().kubectl(&patch).await.success();
    };
    url(&format!("https://127.0.0.1:{}/validate", free_port())).await;
    site.until(("failed", "webhook-answers", "was admitted", "port 9443"))
        .await;
    url(&format!("{}/validate", site.webhook)).await;
    site.until(("ok", "webhook-answers", "refused", "")).await;
    let (_, bundle) = (
        "",
        json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]),
    );
    let patch = [
        "patch",
        "validatingwebhookconfiguration",
        &name,
        "--type=json",
        "-p",
        &bundle.to_string(),
    ];
    site.plane().kubectl(&patch).await.success();
    site.until((
        "failed",
        "webhook-registered",
        "has not filled it",
        "kubectl logs",
    ))
    .await;
    site.plane()
        .kubectl(&["delete", "validatingwebhookconfiguration", &name])
        .await
        .success();
    site.until((
        "failed",
        "webhook-registered",
        "there is no ValidatingWebhookConfiguration",
        "kubectl logs",
    ))
    .await;
}

async fn resources(site: &Site) {
    let workspace = site.installation.workspace("checked").await;
    workspace.declare_named("nowhere").await;
    let named = format!("1 of 1 are not: {}/nowhere (", workspace.name());
    site.until(("warning", "destinations-available", &named, "landbridge explain"))
        .await;
    site.until(("warning", "destinations-available", "NotFound: ", ""))
        .await;
    let channel = json!({
        "apiVersion": "connectivity.landbridge.dev/v1alpha1", "kind": "ServiceChannel", "metadata": {"name": "db"},
        "spec": {"type": "TCP", "serviceId": "db", "serviceRef": {"name": "nothing", "port": 5432}},
    });
    workspace.namespace.apply(&channel.to_string()).await.success();
    let named = format!("{}/db (", workspace.name());
    site.until((
        "warning",
        "service-channels-ready",
        &named,
        "kubectl describe sch",
    ))
    .await;
}

/// Who may see little is told little, and nothing wrong.
async fn rights(site: &Site) {
    let nobody = site.plane().user("nobody", None);
    let checked = Checked::run(&nobody, &site.options()).await;
    assert_eq!(checked.with("failed"), [""; 0], "{checked:#?}");
    checked.must_say("skipped", "operator-ready", "nobody", "more rights");
    checked.must_say("skipped", "destinations-available", "nobody", "");
    assert_eq!(checked.with("ok"), ["api-server", "kubernetes-version"]);
}

async fn proxies(site: &mut Site) {
    site.ready("proxy", false).await;
    let describe = format!("kubectl describe pod -n {}", site.installation.system.name());
    site.until(("failed", "proxies-ready", "0 of 1 are ready", &describe))
        .await;
    site.proxy.kill().await;
    site.until(("failed", "proxies-connected", "0 report", "kubectl logs"))
        .await;
    site.until(("failed", "connectors-connected", "", "9494")).await;
    site.kubectl(&["delete", "pod", "proxy", "--now"]).await;
    site.until((
        "failed",
        "proxies-ready",
        "there are no proxy pods",
        "kubectl get deployment landbridge-proxy",
    ))
    .await;
}

async fn operator(site: &mut Site) {
    site.kubectl(&["delete", "configmap", "landbridge-ca"]).await;
    let remedy = "kubectl logs";
    site.until((
        "failed",
        "trusted-authorities",
        "no ConfigMap landbridge-ca",
        remedy,
    ))
    .await;
    site.operator.process.kill().await;
    site.until(("failed", "operator-works", "", "9494")).await;
    site.until(("failed", "operator-lease", "does not renew it", remedy))
        .await;
    site.ready(&site.pod, false).await;
    site.until((
        "failed",
        "operator-ready",
        "0 of 1 replicas are ready",
        "kubectl describe pod",
    ))
    .await;
    site.kubectl(&[
        "delete",
        "deployment",
        "landbridge-operator",
        "--cascade=foreground",
    ])
    .await;
    site.until((
        "failed",
        "operator-ready",
        "there is no Deployment",
        "helm install",
    ))
    .await;
}

/// Proxies of nodes and sidecars, where they are switched on.
async fn interception(site: &Site) {
    let labels = json!({"app.kubernetes.io/name": "landbridge"});
    let workload = |kind: &str, name: &str, args: &[&str]| {
        let container = json!({"name": "operator", "image": "none", "args": args});
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
        json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": labels}, "template": template}})
    };
    let well = site.check().await;
    assert!(!format!("{well:?}").contains("nodes-ready"), "{well:#?}");
    assert!(!format!("{well:?}").contains("injection-"), "{well:#?}");
    let system = &site.installation.system;
    let nodes = workload("DaemonSet", "landbridge-node", &["proxy"]);
    system.apply(&nodes.to_string()).await.success();
    // There are no nodes here.
    site.until(("warning", "nodes-ready", "no node", "node.nodeSelector"))
        .await;
    let operator = workload("Deployment", "landbridge-operator", &["operator", "--inject=on"]);
    system.apply(&operator.to_string()).await.success();
    site.until((
        "failed",
        "injection-registered",
        "there is no MutatingWebhookConfiguration landbridge-",
        "kubectl logs",
    ))
    .await;
    site.until(("ok", "injection-namespaces", "0 have opted in", ""))
        .await;
    let webhook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": format!("landbridge-{}", system.name())}});
    system.apply(&webhook.to_string()).await.success();
    site.until((
        "failed",
        "injection-registered",
        "has not filled it",
        "kubectl logs",
    ))
    .await;
    for (level, opted_in) in [
        ("restricted", "enabled"),
        ("privileged", "true"),
        ("baseline", "no"),
    ] {
        let name = format!("with-{level}");
        site.kubectl(&["create", "namespace", &name]).await;
        let level = format!("pod-security.kubernetes.io/enforce={level}");
        let wish = format!("connectivity.landbridge.dev/inject={opted_in}");
        site.kubectl(&["label", "namespace", &name, &level, &wish]).await;
    }
    site.until((
        "warning",
        "injection-namespaces",
        "1 of 2 enforce a level that forbids sidecars: with-restricted: restricted",
        "kubectl label namespace NAME",
    ))
    .await;
}
