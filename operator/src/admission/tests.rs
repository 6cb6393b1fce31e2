use axum::http::Request;
use landbridge_crds::check;
use landbridge_crds::{ServiceChannel, ServiceMapping};
use tower::ServiceExt as _;

use super::*;
use axum::body::to_bytes;
use axum::http::StatusCode;
use futures_util::FutureExt as _;
use serde_json::{Value, json};

fn answer(body: &[u8], view: &impl View) -> Result<Value, review::NotAReview> {
    let decided = review::decided(body, async |request| respond(&request, decide(&request, view)));
    decided.now_or_never().expect("nothing is waited for")
}
use crate::channels::controller::Directory;
use crate::channels::{ChannelOptions, Channels};
use crate::cluster::model::Managed;

/// One foreign Service, two instances, one channel.
struct Known(Directory);

impl View for Known {
    fn has_foreign_service(&self, namespace: &str, name: &str) -> bool {
        (namespace, name) == ("shop", "taken")
    }

    fn instances(&self) -> Option<Vec<String>> {
        Some(vec!["first".into(), "second".into()])
    }

    fn claimed(&self, channel: &Declared) -> Option<ChannelKey> {
        self.0.claimed(&self.0.claim_of(channel)?, &channel.key)
    }

    fn same_claim(&self, one: &Declared, other: &Declared) -> bool {
        self.0.claim_of(one) == self.0.claim_of(other)
    }

    fn objection(&self, channel: &Declared) -> Option<String> {
        self.0.objection(channel)
    }
}

fn known() -> Known {
    let directory = Directory::new(ChannelOptions::default(), Managed::All);
    directory.with(|table: &mut Channels| {
        table.services_listed();
        let resource: ServiceMapping =
            check::manifest(&json!({"metadata": {"name": "first"}, "spec": mapping("orders")})).unwrap();
        table.set(Declared::mapping(&resource), jiff::Timestamp::UNIX_EPOCH);
        let resource: ServiceChannel = check::manifest(
            &json!({"metadata": {"name": "double", "namespace": "shop"}, "spec": channel("orders")}),
        )
        .unwrap();
        table.set(Declared::channel(&resource), jiff::Timestamp::UNIX_EPOCH);
    });
    Known(directory)
}

fn mapping(service_id: &str) -> Value {
    json!({"type": "TCP", "serviceId": service_id, "internalAddress": "web.shop.svc:80"})
}

fn channel(service_id: &str) -> Value {
    json!({"type": "TCP", "serviceId": service_id, "serviceRef": {"name": "web", "port": 80}})
}

const DESTINATION: (&str, &str, &str) = ("destination.connectivity.api.sap", "v1", "Destination");
const CHANNEL: (&str, &str, &str) = ("connectivity.landbridge.dev", "v1alpha1", "ServiceChannel");
const MAPPING: (&str, &str, &str) = ("connectivityproxy.sap.com", "v1", "ServiceMapping");

fn object((group, version, kind): (&str, &str, &str), name: &str, spec: &Value) -> Value {
    json!({"apiVersion": format!("{group}/{version}"), "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn review((group, version, kind): (&str, &str, &str), operation: &str, new: Value, old: Value) -> Value {
    let namespace = if kind == "ServiceMapping" {
        Value::Null
    } else {
        json!("shop")
    };
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u-1", "kind": {"group": group, "version": version, "kind": kind},
        "resource": {"group": group, "version": version, "resource": "x"},
        "name": "n", "namespace": namespace, "operation": operation, "userInfo": {"username": "somebody"},
        "object": new, "oldObject": old, "dryRun": true}})
}

/// Refused with this text, or admitted with these warnings (their beginnings).
fn judged(review: &Value) -> (Option<String>, Vec<String>) {
    let answer = answer(review.to_string().as_bytes(), &known()).unwrap();
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    let response = &answer["response"];
    assert_eq!(response["uid"], "u-1");
    let refused =
        (response["allowed"] == false).then(|| response["status"]["message"].as_str().unwrap().to_owned());
    let warnings = response["warnings"].as_array().cloned().unwrap_or_default();
    (
        refused,
        warnings
            .iter()
            .map(|one| one.as_str().unwrap().to_owned())
            .collect(),
    )
}

fn created(kind: (&str, &str, &str), name: &str, spec: Value) -> (Option<String>, Vec<String>) {
    judged(&review(kind, "CREATE", object(kind, name, &spec), Value::Null))
}

#[test]
fn destinations_are_refused_only_for_what_is_surely_wrong() {
    let plain = json!({"destinationRef": {"name": "erp"}});
    assert_eq!(created(DESTINATION, "erp", plain.clone()), (None, Vec::new()));

    for name in ["erp.eu", "2erp", &"a".repeat(64)] {
        let (refused, _) = created(DESTINATION, name, plain.clone());
        assert!(
            refused.unwrap().contains("use at most 63 lower-case letters"),
            "{name}"
        );
    }
    let (refused, warnings) = created(DESTINATION, "taken", plain.clone());
    assert_eq!(refused, None, "it may be on its way out");
    assert!(
        warnings[0].contains("Service taken that Landbridge did not make"),
        "{warnings:?}"
    );

    let mut spec = plain;
    spec["destinationServiceInstanceName"] = json!("third");
    let (refused, warnings) = created(DESTINATION, "erp", spec.clone());
    assert_eq!(refused, None);
    assert!(
        warnings[0].contains("(known: first, second): correct or remove it"),
        "{warnings:?}"
    );
    spec["destinationServiceInstanceName"] = json!("second");
    assert_eq!(created(DESTINATION, "erp", spec), (None, Vec::new()));
}

#[test]
fn an_annotation_is_refused_where_it_is_brought_in() {
    let with = |value: Option<&str>| {
        let mut one = object(DESTINATION, "erp", &json!({"destinationRef": {"name": "erp"}}));
        if let Some(value) = value {
            one["metadata"]["annotations"] =
                json!({"transparent-proxy.connectivity.api.sap/tenant-subdomains": value});
        }
        one
    };
    let refused = |operation: &str, new: Option<&str>, old: Value| {
        judged(&review(DESTINATION, operation, with(new), old)).0
    };
    let text = refused("CREATE", Some("a,b"), Value::Null).unwrap();
    assert!(text.contains("must be a JSON list of strings"), "{text}");
    assert!(refused("UPDATE", Some("{}"), with(None)).is_some());
    assert_eq!(
        refused("UPDATE", Some("a,b"), with(Some("a,b"))),
        None,
        "an old mistake"
    );
    assert_eq!(refused("CREATE", Some("[\"a\"]"), Value::Null), None);
}

#[test]
fn duplicates_of_channels_are_refused_by_name() {
    let (refused, _) = created(MAPPING, "second", mapping("orders"));
    let text = refused.unwrap();
    assert!(
        text.contains("the ServiceChannel shop/double has the same")
            || text.contains("the ServiceMapping first"),
        "{text}"
    );
    let (refused, _) = created(CHANNEL, "mine", channel("orders"));
    assert!(refused.unwrap().contains("delete the other first"));
    assert_eq!(created(MAPPING, "second", mapping("invoices")).0, None);
    // Not against itself.
    let again = review(
        MAPPING,
        "UPDATE",
        object(MAPPING, "second", &mapping("invoices")),
        object(MAPPING, "second", &mapping("invoices")),
    );
    assert_eq!(judged(&again), (None, Vec::new()));
    // A duplicate that is there already can be mended, labelled and told.
    let old = object(CHANNEL, "double", &channel("orders"));
    let (refused, warnings) = judged(&review(CHANNEL, "UPDATE", old.clone(), old.clone()));
    assert_eq!(refused, None);
    assert!(
        warnings[0].contains("only the older of the two is served"),
        "{warnings:?}"
    );
    let away = review(
        CHANNEL,
        "UPDATE",
        object(CHANNEL, "double", &channel("else")),
        old.clone(),
    );
    assert_eq!(judged(&away).0, None);
    // And one cannot be made by a change.
    let into = review(
        CHANNEL,
        "UPDATE",
        object(CHANNEL, "mine", &channel("orders")),
        object(CHANNEL, "mine", &channel("else")),
    );
    assert!(judged(&into).0.is_some());
}

#[test]
fn a_missing_service_is_a_warning() {
    let (refused, warnings) = created(CHANNEL, "mine", channel("new"));
    assert_eq!(refused, None);
    assert!(
        warnings[0].contains("the namespace shop has no Service web: create it"),
        "{warnings:?}"
    );
}

#[test]
fn nobody_is_held_up() {
    let bad = object(DESTINATION, "erp.eu", &json!({"destinationRef": {"name": "erp"}}));
    let mut leaving = object(CHANNEL, "mine", &channel("orders"));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let pod = ("", "v1", "Pod");
    for review in [
        review(DESTINATION, "DELETE", Value::Null, bad.clone()),
        review(DESTINATION, "UPDATE", bad.clone(), bad),
        review(
            CHANNEL,
            "UPDATE",
            leaving,
            object(CHANNEL, "mine", &channel("else")),
        ),
        review(
            pod,
            "CREATE",
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}),
            Value::Null,
        ),
    ] {
        assert_eq!(judged(&review), (None, Vec::new()), "{review}");
    }
    // What cannot be read is admitted with a word about it.
    for review in [
        review(
            CHANNEL,
            "CREATE",
            object(CHANNEL, "odd", &json!({"type": "UDP"})),
            Value::Null,
        ),
        review(DESTINATION, "CREATE", json!({"apiVersion": 5}), Value::Null),
        review(DESTINATION, "SOMETHING", Value::Null, Value::Null),
    ] {
        let (refused, warnings) = judged(&review);
        assert_eq!(refused, None, "{review}");
        assert!(
            warnings[0].starts_with("Landbridge could not look at it"),
            "{warnings:?}"
        );
    }
    for body in ["", "[]", "{\"request\": {}}"] {
        assert!(answer(body.as_bytes(), &known()).is_err(), "{body}");
    }
}

#[tokio::test]
async fn the_router_answers_reviews_and_bounds_them() {
    let router = router(Arc::new(known()));
    let send = async |body: String| {
        let request = Request::post(PATH).body(Body::from(body)).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let bad = object(DESTINATION, "erp.eu", &json!({"destinationRef": {"name": "erp"}}));
    let (status, body) = send(review(DESTINATION, "CREATE", bad, Value::Null).to_string()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap()["response"]["allowed"],
        false
    );
    assert_eq!(send("nonsense".into()).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(
        send(" ".repeat(review::MAX_REVIEW + 1)).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
}

#[test]
fn the_configuration_asks_about_our_kinds_alone_and_does_not_insist() {
    let options = WebhookOptions {
        name: "landbridge".into(),
        target: Target::Service {
            namespace: "lb".into(),
            name: "landbridge-operator".into(),
            port: 443,
        },
        ca_bundle: b"PEM".to_vec(),
        fail_closed: false,
        install_namespace: "lb".into(),
    };
    let value = serde_json::to_value(configuration(&options)).unwrap();
    let webhook = &value["webhooks"][0];
    assert_eq!(webhook["failurePolicy"], "Ignore");
    assert_eq!(webhook["timeoutSeconds"], 5);
    assert_eq!(webhook["sideEffects"], "None");
    assert_eq!(webhook["clientConfig"]["service"]["path"], "/validate");
    assert_eq!(webhook["clientConfig"]["caBundle"], "UEVN");
    // What is being deleted passes even where it insists.
    assert_eq!(
        webhook["matchConditions"][0]["expression"],
        "!has(object.metadata.deletionTimestamp)"
    );
    let excluded = &webhook["namespaceSelector"]["matchExpressions"][0]["values"];
    assert_eq!(
        *excluded,
        json!(["kube-system", "kube-public", "kube-node-lease", "lb"])
    );
    let rules: Vec<_> = webhook["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            format!(
                "{}/{} {}",
                rule["apiGroups"][0], rule["resources"][0], rule["scope"]
            )
            .replace('"', "")
        })
        .collect();
    assert_eq!(
        rules,
        [
            "destination.connectivity.api.sap/destinations Namespaced",
            "connectivity.landbridge.dev/servicechannels Namespaced",
            "connectivityproxy.sap.com/servicemappings Cluster",
        ]
    );
    let url = WebhookOptions {
        target: Target::Url("https://127.0.0.1:9443/".into()),
        fail_closed: true,
        ..options
    };
    let value = serde_json::to_value(configuration(&url)).unwrap();
    assert_eq!(
        value["webhooks"][0]["clientConfig"]["url"],
        "https://127.0.0.1:9443/validate"
    );
    assert_eq!(value["webhooks"][0]["failurePolicy"], "Fail");
}
