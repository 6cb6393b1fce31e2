use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

/// Namespaces as memory has them, and as the API server has; who was asked about.
#[derive(Default)]
struct Known {
    memory: Vec<(&'static str, NamespaceLabels)>,
    truth: Vec<(&'static str, NamespaceLabels)>,
    asked: Arc<Mutex<Vec<String>>>,
}

fn labels(opted_in: bool, enforce: Option<&str>) -> NamespaceLabels {
    NamespaceLabels {
        opted_in,
        enforce: enforce.map(str::to_owned),
    }
}

fn find(all: &[(&'static str, NamespaceLabels)], name: &str) -> Option<NamespaceLabels> {
    let found = all.iter().find(|(known, _)| *known == name);
    found.map(|(_, labels)| labels.clone())
}

impl View for Known {
    fn known(&self, namespace: &str) -> Option<NamespaceLabels> {
        find(&self.memory, namespace)
    }

    async fn ask(&self, namespace: &str) -> Option<NamespaceLabels> {
        self.asked.lock().push(namespace.to_owned());
        find(&self.truth, namespace)
    }

    fn authority(&self) -> Bytes {
        Bytes::from_static(b"pem")
    }
}

fn known() -> Known {
    Known {
        memory: vec![
            ("shop", labels(true, None)),
            ("plain", labels(false, None)),
            ("tight", labels(true, Some("restricted"))),
            ("late", labels(false, None)),
        ],
        truth: vec![
            ("late", labels(true, None)),
            ("new", labels(true, None)),
            ("plain", labels(false, None)),
        ],
        asked: Arc::default(),
    }
}

fn app(view: Known) -> Router {
    router(Arc::new(Injector {
        options: decide::tests::options(),
        view,
        metrics: InjectionMetrics::default(),
    }))
}

async fn post(app: &Router, body: String) -> (StatusCode, Value) {
    let request = Request::post(PATH).body(Body::from(body)).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn review(namespace: &str, pod: &Value, dry_run: bool) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"}, "namespace": namespace, "operation": "CREATE",
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"}, "object": pod,
        "dryRun": dry_run}})
}

fn pod(metadata: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
           "spec": {"containers": [{"name": "main", "image": "shop:1"}]}})
}

/// What is answered, with the patch read and applied.
async fn answered(app: &Router, namespace: &str, pod: &Value) -> (Value, Vec<String>) {
    let (status, answer) = post(app, review(namespace, pod, false).to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let response = &answer["response"];
    assert_eq!(
        (&response["uid"], &response["allowed"]),
        (&json!("u-1"), &json!(true))
    );
    let mut after = pod.clone();
    if let Some(patch) = response["patch"].as_array() {
        assert_eq!(response["patchType"], "JSONPatch");
        let bytes: Vec<u8> = patch
            .iter()
            .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
            .collect();
        json_patch::patch(
            &mut after,
            &serde_json::from_slice::<json_patch::Patch>(&bytes).unwrap(),
        )
        .unwrap();
    } else if let Some(patch) = response["patch"].as_str() {
        let patch: json_patch::Patch = serde_json::from_slice(&decoded(patch)).unwrap();
        json_patch::patch(&mut after, &patch).unwrap();
    }
    let warnings = response["warnings"].as_array().cloned().unwrap_or_default();
    let warnings = warnings
        .iter()
        .map(|one| one.as_str().unwrap().to_owned())
        .collect();
    (after, warnings)
}

fn decoded(text: &str) -> Vec<u8> {
    // ByteString is the type that Kubernetes has for this.
    let bytes: k8s_openapi::ByteString = serde_json::from_value(json!(text)).unwrap();
    bytes.0
}

fn is_injected(pod: &Value) -> bool {
    let first = pod.pointer("/spec/initContainers/0/name");
    let second = pod.pointer("/spec/initContainers/1/name");
    assert_eq!(first.is_some(), second.is_some());
    first.is_some_and(|name| name == REDIRECT_CONTAINER) && second.is_some_and(|name| name == PROXY_CONTAINER)
}

#[tokio::test]
async fn a_second_question_changes_nothing() {
    let app = app(known());
    let (once, warnings) = answered(&app, "shop", &pod(json!({"generateName": "web-"}))).await;
    assert!(is_injected(&once) && warnings.is_empty(), "{once}");
    let (twice, warnings) = answered(&app, "shop", &once).await;
    assert_eq!((twice, warnings), (once, vec![]));
}

#[tokio::test]
async fn a_reason_is_a_warning_and_stays_in_the_pod() {
    let app = app(known());
    let (once, warnings) = answered(&app, "tight", &pod(json!({"name": "web"}))).await;
    assert!(!is_injected(&once));
    let [warning] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert!(
        warning.starts_with("no Landbridge sidecar: its namespace enforces Pod Security \"restricted\"")
            && warning.ends_with(GATEWAYS)
            && warning.len() <= 256,
        "{} {warning}",
        warning.len()
    );
    let said = once["metadata"]["annotations"][SKIPPED].as_str().unwrap();
    let said: Value = serde_json::from_str(said).unwrap();
    assert!(warning.ends_with(said["reason"].as_str().unwrap()), "{said}");
    let (twice, _) = answered(&app, "tight", &once).await;
    assert_eq!(twice, once);
}

#[tokio::test]
async fn the_api_server_is_asked_only_where_memory_does_not_explain_the_question() {
    let view = known();
    let asked = Arc::clone(&view.asked);
    let app = app(view);
    let yes = json!({"name": "web", "labels": {INJECT: "true"}});
    let no = json!({"name": "web", "labels": {INJECT: "false"}});
    let plain = json!({"name": "web"});
    let cases = [
        ("shop", &plain, true, false),
        ("late", &plain, true, true),
        ("new", &plain, true, true),
        ("plain", &plain, false, true),
        ("plain", &yes, true, false),
        ("new", &yes, true, true),
        ("gone", &yes, false, true),
        ("gone", &no, false, false),
    ];
    for (namespace, metadata, injected, questions) in cases {
        asked.lock().clear();
        let (after, _) = answered(&app, namespace, &pod(metadata.clone())).await;
        assert_eq!(is_injected(&after), injected, "{namespace} {metadata}");
        assert_eq!(!asked.lock().is_empty(), questions, "{namespace} {metadata}");
    }
}

#[tokio::test]
async fn no_pod_is_refused_whatever_it_looks_like() {
    let app = app(known());
    let broken = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": "none"}});
    let (after, warnings) = answered(&app, "shop", &broken).await;
    assert_eq!(after, broken);
    assert!(warnings[0].contains("cannot be read"), "{warnings:?}");
    for change in [
        json!({"operation": "UPDATE"}),
        json!({"subResource": "ephemeralcontainers"}),
        json!({"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}}),
    ] {
        let mut review = review("shop", &pod(json!({"name": "web"})), false);
        let request = review["request"].as_object_mut().unwrap();
        request.extend(change.as_object().unwrap().clone());
        let (status, answer) = post(&app, review.to_string()).await;
        assert_eq!(
            (status, &answer["response"]["allowed"]),
            (StatusCode::OK, &json!(true)),
            "{change}"
        );
        assert_eq!(answer["response"].get("patch"), None, "{change}");
    }
    let (status, _) = post(&app, "{}".to_owned()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}
