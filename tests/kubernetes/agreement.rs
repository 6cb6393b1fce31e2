//! Every bad manifest is refused by the API server and by the check in Rust alike, and every good one is taken by both.
//!
//! The check in Rust speaks for the API server where there is none, and its text is what people read; this suite keeps
//! the two from drifting apart.

mod cases;

use http::Request;
use landbridge_crds::Destination;
use landbridge_crds::check::{self, Declared, Mistake};
use landbridge_crds::service_channel::ServiceChannel;
use landbridge_crds::service_mapping::ServiceMapping;
use landbridge_tests::control_plane::ControlPlane;
use serde_json::{Value, json};

/// What is expected of a manifest.
enum Expected {
    /// Taken by both.
    Good,
    /// Refused; the API server's text has this part.
    Refused(&'static str),
    /// Broken CEL rules alone: the API server says exactly what Rust says.
    Rules,
}

/// One manifest: metadata and specification.
struct Case {
    metadata: Value,
    spec: Value,
    expected: Expected,
}

/// Asks the API server as kubectl does, with unknown fields refused, and stores nothing.
async fn create(client: &kube::Client, path: &str, resource: &Value) -> Result<(), String> {
    let request = Request::post(format!("{path}?dryRun=All&fieldValidation=Strict"))
        .header("Content-Type", "application/json")
        .body(serde_json::to_vec(resource).expect("JSON"))
        .expect("a request");
    match client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(error) => panic!("{resource}: {error}"),
    }
}

async fn agree<K: Declared>(prefix: &str, cases: Vec<Case>) {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    let namespace = plane.namespace(prefix).await;
    let client = plane.client().await;
    let resource = K::api_resource();
    let place = if K::NAMESPACED {
        format!("/namespaces/{}", namespace.name())
    } else {
        String::new()
    };
    let path = format!("/apis/{}{place}/{}", resource.api_version, resource.plural);
    let mut wrong = Vec::new();
    for case in cases {
        let manifest = json!({"apiVersion": resource.api_version, "kind": resource.kind,
                              "metadata": case.metadata, "spec": case.spec});
        let server = create(&client, &path, &manifest).await;
        let rust = check::manifest::<K>(&manifest).map(drop);
        if let Some(reason) = disagreement(&case.expected, &server, &rust) {
            wrong.push(format!(
                "{manifest}\n  {reason}\n  API server: {server:?}\n  Rust: {rust:?}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} manifests:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn disagreement(
    expected: &Expected,
    server: &Result<(), String>,
    rust: &Result<(), Vec<Mistake>>,
) -> Option<String> {
    match (expected, server, rust) {
        (Expected::Good, Ok(()), Ok(())) => None,
        (Expected::Good, ..) => Some("must be taken by both".to_owned()),
        (_, Err(said), Err(mistakes)) => match expected {
            Expected::Refused(part) if !said.contains(part) => {
                Some(format!("the API server must say {part:?}"))
            }
            Expected::Rules => mistakes
                .iter()
                .find(|mistake| !said.contains(&mistake.message))
                .map(|mistake| format!("the API server must say {:?}", mistake.message)),
            _ => None,
        },
        _ => Some("must be refused by both".to_owned()),
    }
}

#[tokio::test]
async fn on_destinations() {
    agree::<Destination>("agree-dst", cases::destinations()).await;
}

#[tokio::test]
async fn on_service_channels() {
    agree::<ServiceChannel>("agree-sch", cases::channels()).await;
}

#[tokio::test]
async fn on_service_mappings() {
    agree::<ServiceMapping>("agree-map", cases::mappings()).await;
}

/// A mistake must stop `kubectl apply` too, with the text that names the fix, and the others of the file go on.
#[tokio::test]
async fn kubectl_shows_the_fix_and_applies_the_rest() {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    let namespace = plane.namespace("fix").await;
    let manifest = |name: &str, spec: Value| {
        json!({"apiVersion": "destination.connectivity.api.sap/v1", "kind": "Destination",
               "metadata": {"name": name}, "spec": spec})
    };
    let bad = manifest(
        "bad",
        json!({"destinationRef": {"name": "a"}, "fragmentRef": {"level": "instance"}}),
    );
    let typo = manifest(
        "typo",
        json!({"destinationRef": {"name": "a"}, "service": {"prot": 1}}),
    );
    let good = manifest("good", json!({"destinationRef": {"name": "a"}}));
    let said = namespace
        .apply(&format!("{bad}\n---\n{typo}\n---\n{good}\n"))
        .await
        .failure();
    assert!(said.contains("set name as well, or remove level"), "{said}");
    assert!(said.contains(r#"unknown field "spec.service.prot""#), "{said}");
    let names = namespace.kubectl(&["get", "dst", "-o", "name"]).await.success();
    assert_eq!(names.trim(), "destination.destination.connectivity.api.sap/good");
}
