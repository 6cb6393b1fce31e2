//! `ServiceChannel` and `ServiceMapping`: what is read, what is refused, and that CEL and Rust agree.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::*;
use crate::service_channel::{ChannelType, ServiceChannelSpec};
use crate::service_mapping::{MappingType, ServiceMappingSpec};

fn declared(spec: &Value) -> Value {
    json!({"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec})
}

fn found<K: Declared>(spec: &Value) -> Vec<String> {
    manifest::<K>(&declared(spec))
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn with(mut base: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        base[name] = value.clone();
    }
    base
}

fn to_service(changes: Value) -> Value {
    with(
        json!({"type": "TCP", "serviceId": "orders", "serviceRef": {"name": "web", "port": 80}}),
        changes,
    )
}

fn mapping(changes: Value) -> Value {
    with(
        json!({"type": "TCP", "serviceId": "orders", "internalAddress": "web.shop.svc:80"}),
        changes,
    )
}

#[test]
fn full_and_short_manifests_are_read() {
    let full = to_service(json!({
        "type": "RFC", "subaccountId": "s", "tenantId": "t", "locationIds": ["", "berlin-1"],
        "serviceRef": {"name": "web", "port": "http"}, "connector": {"localPort": 3300}}));
    let read: ServiceChannel = manifest(&declared(&full)).unwrap();
    let (reference, connector) = (read.spec.service_ref.unwrap(), read.spec.connector.unwrap());
    assert_eq!(reference.port, IntOrString::String("http".into()));
    assert_eq!(
        (connector.local_port, connector.connections, connector.enabled),
        (3300, 1, true)
    );
    assert_eq!(read.spec.type_, ChannelType::Rfc);

    let read: ServiceChannel = manifest(&declared(&to_service(json!({"type": "K8S"})))).unwrap();
    assert_eq!(
        (read.spec.type_, read.spec.service_ref.unwrap().port),
        (ChannelType::K8s, IntOrString::Int(80))
    );

    // The sample of the seed (L32653-32661, L32704); kubectl passes over a namespace where there is none.
    let sample = mapping(json!({"type": "RFC", "subaccountId": "s", "tenantId": "t",
                                "locationIds": ["locationId1", "locationId2", ""]}));
    let read: ServiceMapping = manifest(&declared(&sample)).unwrap();
    assert_eq!(read.spec.type_, MappingType::Rfc);
    assert_eq!(read.spec.location_ids.unwrap().len(), 3);
}

#[test]
fn the_schema_names_every_mistake() {
    let cases: Vec<(Value, &[&str])> = vec![
        (
            json!({"type": "UDP", "serviceId": "a", "serviceRef": {"name": "web", "port": 0}}),
            &[
                "spec.type: \"UDP\" is not one of TCP, RFC, HANA, K8S",
                "spec.serviceRef.port: 0 is not in 1..=65535",
            ],
        ),
        (
            to_service(json!({"serviceRef": {"name": "web"}})),
            &["spec.serviceRef.port: is required and missing: add it"],
        ),
        (
            to_service(json!({"serviceRef": {"name": "web", "port": true}})),
            &["spec.serviceRef.port: must be a number or a name"],
        ),
        (
            to_service(json!({"serviceRef": {"name": "web", "port": ""}})),
            &["spec.serviceRef.port: must not be empty"],
        ),
        (
            to_service(json!({"connector": {"localPort": 70000, "connections": 0}})),
            &[
                "spec.connector.localPort: 70000 is not in 1..=65535",
                "spec.connector.connections: 0 is not in 1..=100",
            ],
        ),
        (
            to_service(json!({"serviceID": "a"})),
            &["spec.serviceID: unknown field: did you mean serviceId?"],
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(found::<ServiceChannel>(&spec), expected, "{spec}");
    }
    assert_eq!(
        found::<ServiceMapping>(&mapping(json!({"type": "HANA"}))),
        ["spec.type: \"HANA\" is not one of RFC, TCP"]
    );
    let bare = json!({"metadata": {"name": "a"}});
    let missing = manifest::<ServiceChannel>(&bare).unwrap_err();
    assert!(missing[0].message.contains("spec.serviceRef"), "{missing:?}");
}

/// Specifications that are right by the schema, and how many of the CEL rules each breaks.
fn channel_cases() -> Vec<(Value, usize)> {
    let address = |address: &str| {
        let spec = to_service(json!({"internalAddress": address}));
        let mut spec = spec.as_object().unwrap().clone();
        spec.remove("serviceRef");
        Value::Object(spec)
    };
    let port = |kind: &str, port: i32| to_service(json!({"type": kind, "connector": {"localPort": port}}));
    let named = |name: &str| to_service(json!({"serviceRef": {"name": name, "port": 80}}));
    let mut cases = vec![
        (to_service(json!({})), 0),
        (to_service(json!({"internalAddress": "web:80"})), 1),
        (json!({"type": "TCP", "serviceId": "orders"}), 1),
        (to_service(json!({"serviceId": "space:inst:guid:guid"})), 0),
        (to_service(json!({"serviceId": "host/service"})), 1),
        (to_service(json!({"serviceId": "two words"})), 1),
        (to_service(json!({"locationIds": ["", "a-b.c_d~1"]})), 0),
        (to_service(json!({"locationIds": []})), 0),
        (to_service(json!({"locationIds": ["a b", "c/d"]})), 1),
        (named("web-2"), 0),
        (named("w"), 0),
        (named("web.shop"), 1),
        (named("Web"), 1),
        (named("web-"), 1),
        (named("2web"), 1),
    ];
    cases.extend(
        [
            "web:1",
            "web.shop.svc:65535",
            "10.0.0.1:443",
            "[fd00::1]:80",
            "a_b:9999",
        ]
        .map(|good| (address(good), 0)),
    );
    cases.extend(
        [
            "web",
            "web:0",
            "web:080",
            "web:65536",
            "web:+1",
            "http://web:80",
            "web:80/path",
            ":80",
            "fd00::1",
            "a b:80",
            "[]:80",
        ]
        .map(|bad| (address(bad), 1)),
    );
    cases.extend([3300, 3399, 4800, 4899].map(|good| (port("RFC", good), 0)));
    cases.extend([3299, 3400, 4900, 80].map(|bad| (port("RFC", bad), 1)));
    cases.extend([30115, 32215, 39915].map(|good| (port("HANA", good), 0)));
    cases.extend([30015, 30116, 40015, 80].map(|bad| (port("HANA", bad), 1)));
    cases.extend(["TCP", "K8S"].map(|kind| (port(kind, 9), 0)));
    cases
}

/// The definition's own CEL rules, run by an interpreter: same verdict, same message as the Rust form.
#[test]
fn rules_in_cel_say_the_same() {
    for (spec, expected) in channel_cases() {
        let in_rust = manifest::<ServiceChannel>(&declared(&spec))
            .err()
            .unwrap_or_default();
        assert_eq!(in_rust.len(), expected, "{spec}: {in_rust:?}");
        agree(
            &spec,
            &in_rust,
            kube::core::cel::validate_cel_schema::<ServiceChannelSpec>(&spec, None),
        );
        if spec.get("internalAddress").is_some() && spec.get("serviceRef").is_none() {
            let in_rust = manifest::<ServiceMapping>(&declared(&spec))
                .err()
                .unwrap_or_default();
            assert_eq!(in_rust.len(), expected, "{spec}: {in_rust:?}");
            agree(
                &spec,
                &in_rust,
                kube::core::cel::validate_cel_schema::<ServiceMappingSpec>(&spec, None),
            );
        }
    }
}

fn agree<E: std::fmt::Display>(spec: &Value, in_rust: &[Mistake], in_cel: Result<(), E>) {
    let text = in_cel.as_ref().err().map(ToString::to_string).unwrap_or_default();
    assert_eq!(in_cel.is_err(), !in_rust.is_empty(), "{spec}: {text}");
    for Mistake { message, .. } in in_rust {
        assert!(
            text.contains(message),
            "{message:?} is not in {text:?} for {spec}"
        );
    }
}
