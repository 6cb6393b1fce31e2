//! Sidecars in pods: the real API server asks, controllers make pods, and what cannot have a sidecar stays as it is.

mod proof;

use kube::api::ListParams;
use landbridge_tests::operator::{Installation, OperatorProcess, Workspace};
use landbridge_tests::{eventually, free_port};
use serde_json::{Value, json};

const INJECT: &str = "connectivity.landbridge.dev/inject";
const SKIPPED: &str = "connectivity.landbridge.dev/injection-skipped";
const IMAGE: &str = "registry.example/landbridge:1";

/// An installation that puts sidecars into pods.
struct Site {
    installation: Installation,
    operator: OperatorProcess,
}

impl Site {
    async fn start(prefix: &str, more: &[&str]) -> Self {
        let installation = Installation::new(prefix).await;
        let port = free_port();
        let (listen, url) = (format!("127.0.0.1:{port}"), format!("https://127.0.0.1:{port}"));
        let mut options = vec!["--webhook-listen", &listen, "--webhook-url", &url];
        options.extend(["--inject", "on", "--inject-image", IMAGE]);
        options.extend(more);
        let operator = installation.operator("operator", &options).await;
        operator.until_leading().await;
        Self {
            installation,
            operator,
        }
    }

    /// A namespace of the installation with these labels.
    async fn namespace(&self, prefix: &str, labels: &[&str]) -> Workspace {
        let workspace = self.installation.workspace(prefix).await;
        if !labels.is_empty() {
            let mut arguments = vec!["label", "namespace", workspace.name()];
            arguments.extend(labels);
            self.installation.plane.kubectl(&arguments).await.success();
        }
        workspace
    }

    /// Waits until the API server asks about the pods of a namespace that has opted in.
    async fn until_asking(&self, workspace: &Workspace) {
        eventually("the API server asks", async || {
            let pod = pod("first", &json!({}), &json!({}));
            let made = create(workspace, &pod, &["--dry-run=server"]).await;
            let made = made.map_err(|(_, error)| error)?;
            is_injected(&made).then_some(()).ok_or_else(|| made.to_string())
        })
        .await;
    }
}

fn pod(name: &str, metadata: &Value, spec: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": "shop:1",
            "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}}}]}});
    for (part, more) in [("metadata", metadata), ("spec", spec)] {
        let part = pod[part].as_object_mut().expect("an object");
        part.extend(more.as_object().expect("an object").clone());
    }
    pod
}

/// What is stored, or the exit code and what the API server says instead; warnings are in the annotation `said`.
async fn create(
    workspace: &Workspace,
    object: &Value,
    more: &[&str],
) -> Result<Value, (Option<i32>, String)> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), object.to_string()).expect("written");
    let path = file.path().to_str().expect("a path");
    let mut arguments = vec!["create", "-f", path, "-o", "json"];
    arguments.extend(more);
    let ended = workspace.namespace.kubectl(&arguments).await;
    if ended.code != Some(0) {
        return Err((ended.code, ended.stderr));
    }
    let mut made: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    made["said"] = json!(ended.stderr);
    Ok(made)
}

async fn created(workspace: &Workspace, object: &Value) -> Value {
    let made = create(workspace, object, &[]).await;
    made.unwrap_or_else(|(code, error)| panic!("{code:?}: {error}"))
}

fn names(pod: &Value) -> Vec<&str> {
    let first = pod.pointer("/spec/initContainers").and_then(Value::as_array);
    let first = first.into_iter().flatten();
    first.map(|one| one["name"].as_str().expect("a name")).collect()
}

fn is_injected(pod: &Value) -> bool {
    names(pod).starts_with(&["landbridge-redirect", "landbridge-proxy"])
}

/// Reason, note and kind of the object of the Events about `name`.
async fn told(workspace: &Workspace, name: &str) -> Vec<(String, String, String)> {
    let events = workspace
        .events
        .list(&ListParams::default())
        .await
        .expect("a list");
    let about = |event: &k8s_openapi::api::events::v1::Event| {
        event
            .regarding
            .as_ref()
            .and_then(|about| about.name.clone())
            .is_some_and(|about| about == name)
    };
    let ours = |event: &k8s_openapi::api::events::v1::Event| {
        event.reporting_controller.as_deref() == Some("connectivity.landbridge.dev/operator")
    };
    events
        .into_iter()
        .filter(|event| about(event) && ours(event))
        .map(|event| {
            let kind = event.regarding.and_then(|about| about.kind);
            (
                event.reason.unwrap_or_default(),
                event.note.unwrap_or_default(),
                kind.unwrap_or_default(),
            )
        })
        .collect()
}

/// Waits until people were told this of `name`; returns note and kind.
async fn until_told(workspace: &Workspace, name: &str, reason: &str) -> (String, String) {
    eventually(&format!("{reason} is told of {name}"), async || {
        let told = told(workspace, name).await;
        let found = told.iter().find(|(one, ..)| one == reason);
        found
            .map(|(_, note, kind)| (note.clone(), kind.clone()))
            .ok_or_else(|| format!("{told:?}"))
    })
    .await
}

/// The pods that a controller has made, at least one.
async fn pods_of(workspace: &Workspace, app: &str) -> Vec<Value> {
    let selected = format!("app={app}");
    eventually(&format!("{app} has pods"), async || {
        let arguments = ["get", "pods", "-l", &selected, "-o", "json"];
        let list = workspace.namespace.kubectl(&arguments).await.success();
        let list: Value = serde_json::from_str(&list).map_err(|error| error.to_string())?;
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        if pods.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(pods)
        }
    })
    .await
}

fn template(app: &str, restart: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"restartPolicy": restart,
        "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 2000}, "shareProcessNamespace": true,
        "imagePullSecrets": [{"name": "theirs"}], "initContainers": [{"name": "migrate", "image": "migrate:1"}],
        "containers": [{"name": "main", "image": "shop:1"}]}})
}

fn controllers() -> Vec<(&'static str, Value)> {
    let of = |app: &str, group: &str, kind: &str, more: Value| {
        let mut object = json!({"apiVersion": group, "kind": kind, "metadata": {"name": app}, "spec": {
            "selector": {"matchLabels": {"app": app}}, "template": template(app, "Always")}});
        let spec = object["spec"].as_object_mut().expect("an object");
        spec.extend(more.as_object().expect("an object").clone());
        object
    };
    let job = json!({"template": template("job", "Never"), "backoffLimit": 0});
    vec![
        ("web", of("web", "apps/v1", "Deployment", json!({"replicas": 2}))),
        (
            "db",
            of(
                "db",
                "apps/v1",
                "StatefulSet",
                json!({"replicas": 1, "serviceName": "db"}),
            ),
        ),
        (
            "job",
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": job}),
        ),
    ]
}

#[tokio::test]
async fn controllers_make_pods_with_sidecars_within_quotas() {
    let site = Site::start("inject", &["--inject-pull-secret", "landbridge-pull"]).await;
    let mark = site.installation.plane.audit_mark();
    let shop = site
        .namespace("inject-shop", &[&format!("{INJECT}=enabled")])
        .await;
    site.until_asking(&shop).await;
    let rules = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "all"}, "spec": {"hard": {
            "requests.cpu": "10", "limits.cpu": "20", "requests.memory": "10Gi", "limits.memory": "20Gi"}}},
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "each"}, "spec": {"limits": [
            {"type": "Container", "default": {"cpu": "1", "memory": "64Mi"}, "max": {"cpu": "2", "memory": "1Gi"}}]}}]});
    shop.namespace.apply(&rules.to_string()).await.success();
    for (app, object) in controllers() {
        shop.namespace.apply(&object.to_string()).await.success();
        for pod in pods_of(&shop, app).await {
            assert_eq!(
                names(&pod),
                ["landbridge-redirect", "landbridge-proxy", "migrate"],
                "{app}"
            );
            let proxy = &pod["spec"]["initContainers"][1];
            assert_eq!(proxy["restartPolicy"], "Always", "a Job ends without it");
            assert_eq!(proxy["image"], IMAGE);
            assert_eq!(
                proxy["resources"]["requests"],
                json!({"cpu": "10m", "memory": "24Mi"})
            );
            let authority = proxy["env"][0]["value"].as_str().unwrap_or_default();
            assert!(authority.contains("BEGIN CERTIFICATE"), "{proxy}");
            assert_eq!(
                pod["spec"]["imagePullSecrets"],
                json!([{"name": "theirs"}, {"name": "landbridge-pull"}])
            );
            let status = &pod["metadata"]["annotations"]["connectivity.landbridge.dev/injected"];
            let status: Value = serde_json::from_str(status.as_str().unwrap_or_default()).expect("JSON");
            assert_eq!(status["image"], IMAGE);
            let owner = &pod["metadata"]["ownerReferences"][0];
            let owner_name = owner["name"].as_str().expect("an owner");
            let (note, kind) = until_told(&shop, owner_name, "Injected").await;
            assert!(
                note.contains(IMAGE) && owner["kind"] == kind.as_str(),
                "{kind}: {note}"
            );
        }
    }
    let web = pods_of(&shop, "web").await;
    let owner = web[0]["metadata"]["ownerReferences"][0]["name"]
        .as_str()
        .expect("a name");
    let told = told(&shop, owner).await;
    assert_eq!(told.len(), 1, "one Event for all pods of an owner: {told:?}");
    assert_eq!(site.operator.forbidden(&site.installation.plane, mark), []);
    let injected = "landbridge_operator_injections_total{outcome=\"injected\"}";
    assert!(
        site.operator
            .metric(injected)
            .await
            .is_some_and(|count| count >= 4.0)
    );
}

#[tokio::test]
async fn pods_say_whether_they_want_it_and_others_are_not_asked_about() {
    let site = Site::start("wish", &[]).await;
    let on = site.namespace("wish-on", &[&format!("{INJECT}=enabled")]).await;
    let off = site.namespace("wish-off", &[]).await;
    site.until_asking(&on).await;
    let label = |value: &str| json!({"labels": {INJECT: value}});
    let annotation = |value: &str| json!({"annotations": {INJECT: value}});
    let cases = [
        (&on, "plain", json!({}), true),
        (&on, "no-label", label("false"), false),
        (&on, "no-annotation", annotation("false"), false),
        (&off, "plain", json!({}), false),
        (&off, "yes-label", label("true"), true),
        (&off, "yes-annotation", annotation("true"), true),
    ];
    for (workspace, name, metadata, injected) in cases {
        let made = created(workspace, &pod(name, &metadata, &json!({}))).await;
        assert_eq!(is_injected(&made), injected, "{name}: {made}");
        assert_eq!(made["metadata"]["annotations"].get(SKIPPED), None, "{name}");
    }
    until_told(&off, "yes-label", "Injected").await;
    // A pod that never comes to be is not told of.
    let dry = create(&on, &pod("dry", &json!({}), &json!({})), &["--dry-run=server"]).await;
    assert!(is_injected(&dry.expect("admitted")));
    // Bad amounts cost the amount.
    let amounts = json!({"annotations": {"connectivity.landbridge.dev/proxy-cpu-limit": "much",
        "connectivity.landbridge.dev/proxy-memory-limit": "1Gi"}});
    let made = created(&on, &pod("amounts", &amounts, &json!({}))).await;
    assert!(
        made["said"]
            .as_str()
            .is_some_and(|said| said.contains("\"much\" is no quantity")),
        "{made}"
    );
    let limits = &made["spec"]["initContainers"][1]["resources"]["limits"];
    assert_eq!(limits, &json!({"cpu": "1", "memory": "1Gi"}));
    until_told(&on, "amounts", "Injected").await;
    assert_eq!(told(&on, "dry").await, []);
    // Of another installation, or of none: not ours to change.
    let foreign = Workspace::create(&site.installation.plane, "wish-foreign", None).await;
    let made = created(&foreign, &pod("yes", &label("true"), &json!({}))).await;
    assert!(!is_injected(&made), "{made}");
}

#[tokio::test]
async fn what_cannot_have_it_is_created_all_the_same_with_the_reason() {
    let site = Site::start("skip", &[]).await;
    let enforced = "pod-security.kubernetes.io/enforce=restricted";
    let inject = format!("{INJECT}=enabled");
    let open = site.namespace("skip-open", &[&inject]).await;
    let tight = site.namespace("skip-tight", &[&inject, enforced]).await;
    site.until_asking(&open).await;
    let mut spec = template("web", "Always")["spec"].clone();
    spec["securityContext"] =
        json!({"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}});
    let safe = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    spec["initContainers"][0]["securityContext"] = safe.clone();
    spec["containers"][0]["securityContext"] = safe;
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec}}});
    tight.namespace.apply(&deployment.to_string()).await.success();
    let made = pods_of(&tight, "web").await.remove(0);
    assert_eq!(names(&made), ["migrate"]);
    let owner = made["metadata"]["ownerReferences"][0]["name"]
        .as_str()
        .expect("a name");
    let (note, kind) = until_told(&tight, owner, "InjectionSkipped").await;
    assert_eq!(kind, "ReplicaSet");
    assert!(
        note.contains("\"restricted\", which forbids the NET_ADMIN"),
        "{note}"
    );
    assert!(note.contains("through the gateways"), "{note}");

    let cases = [
        ("host", json!({"hostNetwork": true}), "remove hostNetwork"),
        (
            "uid",
            json!({"securityContext": {"runAsUser": 2102}}),
            "the container main runs as uid 2102",
        ),
        ("dns", json!({"dnsPolicy": "Default"}), "dnsPolicy is Default"),
    ];
    for (name, spec, part) in cases {
        let made = created(&open, &pod(name, &json!({}), &spec)).await;
        assert!(!is_injected(&made), "{name}");
        let said = made["said"].as_str().unwrap_or_default();
        assert!(
            said.contains("Warning: no Landbridge sidecar") && said.contains(part),
            "{said}"
        );
        let kept = made["metadata"]["annotations"][SKIPPED]
            .as_str()
            .unwrap_or_default();
        assert!(kept.contains(part), "{kept}");
        let (note, kind) = until_told(&open, name, "InjectionSkipped").await;
        assert!(kind == "Pod" && note.contains(part), "{kind}: {note}");
    }
}

#[tokio::test]
async fn without_the_webhook_pods_start_without_sidecars() {
    let mut site = Site::start("away", &[]).await;
    let shop = site.namespace("away-shop", &[&format!("{INJECT}=enabled")]).await;
    site.until_asking(&shop).await;
    site.operator.process.kill().await;
    let made = created(&shop, &pod("alone", &json!({}), &json!({}))).await;
    assert!(!is_injected(&made), "{made}");
    site.operator.restart().await;
    site.until_asking(&shop).await;
}
