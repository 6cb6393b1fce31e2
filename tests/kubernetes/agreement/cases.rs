//! The manifests. The same as in the tests of `crds`, where the texts of the check in Rust are looked at.

use serde_json::{Value, json};

use super::Case;
use super::Expected::{self, Good, Refused, Rules};

fn case(spec: Value, expected: Expected) -> Case {
    Case {
        metadata: json!({"name": "erp"}),
        spec,
        expected,
    }
}

fn with(mut base: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().expect("an object") {
        base[name] = value.clone();
    }
    base
}

fn destination(changes: Value) -> Value {
    with(json!({"destinationRef": {"name": "a"}}), changes)
}

fn trigger(trigger: Value) -> Value {
    destination(json!({"actions": [
        {"name": "OAuth2JWTBearer", "secretRef": {"name": "s", "key": "k"}, "triggers": [trigger]}]}))
}

/// Of a `Destination`.
pub(super) fn destinations() -> Vec<Case> {
    let mut cases = destination_schema();
    cases.extend(destination_rules());
    cases.extend(metadata().into_iter().map(|(metadata, expected)| Case {
        metadata,
        spec: destination(json!({})),
        expected,
    }));
    cases
}

fn destination_schema() -> Vec<Case> {
    let reference = |reference: Value| json!({"destinationRef": reference});
    let service = |service: Value| destination(json!({"service": service}));
    let full = json!({
        "destinationRef": {"name": "erp", "level": "provider_instance"},
        "fragmentRef": {"name": "eu", "level": "subaccount", "optional": true},
        "chainRef": {"name": "c", "variables": [{"name": "v", "value": "1"}]},
        "destinationServiceInstanceName": "dest",
        "service": {"port": 8080},
        "accessControl": {"scope": "clusterWide"},
        "actions": trigger(json!({"name": "exactMatch", "matches": [
            {"destinationProperty": "p", "value": ""},
            {"destinationLabelKey": "l", "values": ["a", "b"]}]}))["actions"],
    });
    let nulls = json!({"destinationRef": {"name": "*", "level": null}, "fragmentRef": null, "service": {"port": null}});
    let many = json!({"destinationRef": {"name": "a"}, "actions": vec![full["actions"][0].clone(); 17]});
    vec![
        case(full, Good),
        case(nulls, Good),
        case(destination(json!({})), Good),
        case(json!({}), Refused("spec.destinationRef: Required value")),
        case(json!("text"), Refused("spec")),
        case(
            reference(json!({})),
            Refused("spec.destinationRef.name: Required value"),
        ),
        case(
            reference(json!({"name": ""})),
            Refused("spec.destinationRef.name"),
        ),
        case(reference(json!({"name": "x".repeat(200)})), Good),
        case(
            reference(json!({"name": "x".repeat(201)})),
            Refused("may not be more than 200"),
        ),
        // Characters are counted, not bytes.
        case(reference(json!({"name": "\u{e9}".repeat(200)})), Good),
        case(
            reference(json!({"name": 7})),
            Refused("spec.destinationRef.name in body must be of type string"),
        ),
        case(
            reference(json!({"name": "a", "level": "Subaccount"})),
            Refused(r#""subaccount", "instance", "provider_subaccount", "provider_instance""#),
        ),
        case(
            json!({"destinationref": {"name": "a"}}),
            Refused(r#"unknown field "spec.destinationref""#),
        ),
        case(
            service(json!({"port": 0})),
            Refused("should be greater than or equal to 1"),
        ),
        case(
            service(json!({"port": 65536})),
            Refused("should be less than or equal to 65535"),
        ),
        case(service(json!({"port": 65535})), Good),
        case(
            service(json!({"prot": 1})),
            Refused(r#"unknown field "spec.service.prot""#),
        ),
        case(
            service(json!({"port": "80"})),
            Refused("spec.service.port in body must be of type integer"),
        ),
        case(
            service(json!({"port": 80.5})),
            Refused("spec.service.port in body must be of type"),
        ),
        case(
            destination(json!({"accessControl": {"scope": "everyone"}})),
            Refused(r#""clusterWide", "namespaced""#),
        ),
        case(
            destination(json!({"fragmentRef": {"level": "instance", "optional": "yes"}})),
            Refused("spec.fragmentRef.optional in body must be of type boolean"),
        ),
        case(
            destination(json!({"chainRef": {"name": "c", "variables": [{"name": "v"}]}})),
            Refused("spec.chainRef.variables[0].value: Required value"),
        ),
        case(
            destination(
                json!({"actions": [{"name": "OAuth2JWTBearer", "secretRef": {"name": "s", "key": "k"},
                                            "triggers": []}]}),
            ),
            Refused("spec.actions[0].triggers"),
        ),
        case(many, Refused("must have at most 16 items")),
    ]
}

fn destination_rules() -> Vec<Case> {
    let pair = |pair: Value| trigger(json!({"name": "exactMatch", "matches": [pair]}));
    let property = json!([{"destinationProperty": "p", "value": "v"}]);
    let both = json!({"destinationProperty": "p", "value": "v", "destinationLabelKey": "l", "values": ["v"]});
    vec![
        case(
            destination(json!({"fragmentRef": {"name": "f", "level": "instance"}})),
            Good,
        ),
        case(destination(json!({"fragmentRef": {}})), Good),
        case(destination(json!({"fragmentRef": {"level": "instance"}})), Rules),
        case(
            trigger(json!({"name": "exist", "destinationProperties": ["p"]})),
            Good,
        ),
        case(
            trigger(json!({"name": "exist", "destinationLabelKeys": ["l"]})),
            Good,
        ),
        case(trigger(json!({"name": "exist"})), Rules),
        case(trigger(json!({"name": "exist", "matches": property})), Rules),
        case(trigger(json!({"name": "exactMatch"})), Rules),
        case(
            trigger(json!({"name": "exactMatch", "destinationProperties": ["p"]})),
            Rules,
        ),
        case(
            trigger(json!({"name": "exactMatch", "destinationLabelKeys": ["l"], "matches": property})),
            Rules,
        ),
        case(pair(json!({"destinationProperty": "p", "value": "v"})), Good),
        case(pair(json!({"destinationLabelKey": "l", "values": ["v"]})), Good),
        case(pair(json!({})), Rules),
        case(pair(json!({"destinationProperty": "p"})), Rules),
        case(pair(json!({"destinationLabelKey": "l"})), Rules),
        case(pair(json!({"value": "v"})), Rules),
        case(pair(json!({"destinationProperty": "p", "values": ["v"]})), Rules),
        case(pair(both), Rules),
    ]
}

fn metadata() -> Vec<(Value, Expected)> {
    vec![
        (json!({}), Refused("name or generateName is required")),
        (json!({"name": 5}), Refused("ObjectMeta.name of type string")),
        (
            json!({"name": "Erp"}),
            Refused("metadata.name: Invalid value: \"Erp\""),
        ),
        (
            json!({"name": "erp."}),
            Refused("metadata.name: Invalid value: \"erp.\""),
        ),
        (
            json!({"name": "a".repeat(254)}),
            Refused("metadata.name: Invalid value"),
        ),
        (
            json!({"name": "erp", "labels": {"a": true}}),
            Refused("ObjectMeta.labels of type string"),
        ),
        (
            json!({"name": "erp", "annotations": []}),
            Refused("ObjectMeta.annotations of type map"),
        ),
        (json!({"name": "erp.eu-1", "labels": {"a": "b"}}), Good),
    ]
}

fn channel(changes: Value) -> Value {
    with(
        json!({"type": "TCP", "serviceId": "orders", "serviceRef": {"name": "web", "port": 80}}),
        changes,
    )
}

/// Of a `ServiceChannel`.
pub(super) fn channels() -> Vec<Case> {
    let port = |port: Value| channel(json!({"serviceRef": {"name": "web", "port": port}}));
    let named = |name: &str| channel(json!({"serviceRef": {"name": name, "port": 80}}));
    let local = |kind: &str, port: i32| channel(json!({"type": kind, "connector": {"localPort": port}}));
    let mut cases = vec![
        case(channel(json!({})), Good),
        case(
            channel(json!({"type": "K8S", "locationIds": ["", "berlin-1"], "subaccountId": "s"})),
            Good,
        ),
        case(port(json!("http")), Good),
        case(port(json!(65535)), Good),
        case(port(json!(0)), Refused("spec.serviceRef.port")),
        case(port(json!(65536)), Refused("spec.serviceRef.port")),
        case(port(json!("")), Refused("spec.serviceRef.port")),
        case(port(json!(true)), Refused("spec.serviceRef.port")),
        case(
            channel(json!({"type": "UDP"})),
            Refused(r#""TCP", "RFC", "HANA", "K8S""#),
        ),
        case(
            channel(json!({"serviceRef": {"name": "web"}})),
            Refused("spec.serviceRef.port: Required value"),
        ),
        case(
            channel(json!({"connector": {"localPort": 70000}})),
            Refused("spec.connector.localPort"),
        ),
        case(
            channel(json!({"connector": {"localPort": 80, "connections": 0}})),
            Refused("spec.connector.connections"),
        ),
        case(
            channel(json!({"serviceID": "a"})),
            Refused(r#"unknown field "spec.serviceID""#),
        ),
        case(channel(json!({"internalAddress": "web:80"})), Rules),
        case(json!({"type": "TCP", "serviceId": "orders"}), Rules),
        case(channel(json!({"serviceId": "space:inst:guid:guid"})), Good),
        case(channel(json!({"serviceId": "host/service"})), Rules),
        case(channel(json!({"serviceId": "two words"})), Rules),
        case(channel(json!({"locationIds": []})), Good),
        case(channel(json!({"locationIds": ["a b", "c/d"]})), Rules),
    ];
    cases.extend(["web-2", "w"].map(|name| case(named(name), Good)));
    cases.extend(["web.shop", "Web", "web-", "2web"].map(|name| case(named(name), Rules)));
    let ports = [
        ("RFC", 3300),
        ("RFC", 3399),
        ("RFC", 4899),
        ("HANA", 30115),
        ("HANA", 39915),
        ("TCP", 1),
    ];
    cases.extend(ports.map(|(kind, port)| case(local(kind, port), Good)));
    let ports = [("RFC", 3400), ("RFC", 80), ("HANA", 30015), ("HANA", 30116)];
    cases.extend(ports.map(|(kind, port)| case(local(kind, port), Rules)));
    cases
}

fn mapping(changes: Value) -> Value {
    with(
        json!({"type": "TCP", "serviceId": "orders", "internalAddress": "web.shop.svc:80"}),
        changes,
    )
}

/// Of a `ServiceMapping`.
pub(super) fn mappings() -> Vec<Case> {
    let address = |address: &&str| mapping(json!({"internalAddress": address}));
    // The published sample (seed L32653-32661, L32704).
    let sample = mapping(json!({"type": "RFC", "subaccountId": "s", "tenantId": "t",
                                "locationIds": ["locationId1", "locationId2", ""]}));
    let mut cases = vec![
        case(sample, Good),
        case(mapping(json!({"type": "HANA"})), Refused(r#""RFC", "TCP""#)),
        case(
            json!({"type": "TCP", "serviceId": "a"}),
            Refused("spec.internalAddress: Required value"),
        ),
        case(mapping(json!({"serviceId": ""})), Refused("spec.serviceId")),
        case(mapping(json!({"serviceId": "a/b"})), Rules),
        case(mapping(json!({"locationIds": ["a b"]})), Rules),
        case(address(&"a:"), Refused("spec.internalAddress")),
    ];
    let good = ["web:1", "web.shop.svc:65535", "10.0.0.1:443", "[fd00::1]:80"];
    cases.extend(good.iter().map(|text| case(address(text), Good)));
    let bad = [
        "web.shop",
        "http://web:80",
        "web:0",
        "web:65536",
        "web:080",
        "web:80/path",
        "fd00::1:80",
        ":80 ",
    ];
    cases.extend(bad.iter().map(|text| case(address(text), Rules)));
    cases
}
