use serde_json::json;

use super::*;
use crate::destination::{AccessScope, DestinationSpec, Level};

fn resource(spec: Value) -> Value {
    json!({"apiVersion": "destination.connectivity.api.sap/v1", "kind": "Destination",
           "metadata": {"name": "erp"}, "spec": spec})
}

fn with_trigger(trigger: Value) -> Value {
    json!({"destinationRef": {"name": "erp"},
           "actions": [{"name": "OAuth2JWTBearer", "secretRef": {"name": "s", "key": "k"}, "triggers": [trigger]}]})
}

fn mistakes(resource: &Value) -> Vec<String> {
    manifest::<Destination>(resource)
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_full_manifest_is_read() {
    let read: Destination = manifest(&resource(json!({
        "destinationRef": {"name": "erp", "level": "provider_instance"},
        "fragmentRef": {"name": "eu", "level": "subaccount", "optional": true},
        "chainRef": {"name": "c", "variables": [{"name": "v", "value": "1"}]},
        "destinationServiceInstanceName": "dest",
        "service": {"port": 8080},
        "accessControl": {"scope": "clusterWide"},
        "actions": with_trigger(json!({"name": "exactMatch", "matches": [
            {"destinationProperty": "p", "value": ""},
            {"destinationLabelKey": "l", "values": ["a", "b"]}]}))["actions"],
    })))
    .unwrap();
    assert_eq!(read.spec.destination_ref.level, Some(Level::ProviderInstance));
    assert_eq!(
        read.spec
            .fragment()
            .map(|(fragment, name)| (fragment.optional, name)),
        Some((true, "eu"))
    );
    assert_eq!(
        (read.spec.port(), read.spec.scope()),
        (Some(8080), Some(AccessScope::ClusterWide))
    );
    assert_eq!(read.spec.actions.map(|actions| actions.len()), Some(1));
}

#[test]
fn the_shortest_manifest_is_read_and_nulls_are_absent() {
    let read: Destination = manifest(&resource(json!({
        "destinationRef": {"name": "*", "level": null}, "fragmentRef": null, "service": {"port": null}})))
    .unwrap();
    assert!(read.spec.is_gateway());
    assert_eq!(read.spec.fragment_ref, None);
    assert_eq!(read.spec.port(), None);
    assert_eq!(
        DestinationSpec::named("*").destination_ref,
        read.spec.destination_ref
    );
}

#[test]
fn a_status_in_a_file_is_not_read() {
    let mut resource = resource(json!({"destinationRef": {"name": "erp"}}));
    resource["status"] = json!({"conditions": "nonsense"});
    assert_eq!(manifest::<Destination>(&resource).unwrap().status, None);
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let long = "x".repeat(201);
    let cases: Vec<(Value, &[&str])> = vec![
        (
            json!({}),
            &["spec.destinationRef: is required and missing: add it"],
        ),
        (
            json!("text"),
            &["spec: must be an object with fields, is a string"],
        ),
        (
            json!({"destinationRef": {}}),
            &["spec.destinationRef.name: is required and missing: add it"],
        ),
        (
            json!({"destinationRef": {"name": ""}}),
            &["spec.destinationRef.name: must not be empty"],
        ),
        (
            json!({"destinationRef": {"name": long}}),
            &["spec.destinationRef.name: has 201 characters, at most 200 are allowed"],
        ),
        (
            json!({"destinationRef": {"name": 7}}),
            &["spec.destinationRef.name: must be a string, is a number: put it in quotes"],
        ),
        (
            json!({"destinationRef": {"name": "a", "level": "Subaccount"}}),
            &[
                "spec.destinationRef.level: \"Subaccount\" is not one of subaccount, instance, provider_subaccount, \
               provider_instance",
            ],
        ),
        (
            json!({"destinationref": {"name": "a"}}),
            &[
                "spec.destinationRef: is required and missing: add it",
                "spec.destinationref: unknown field: did you mean destinationRef?",
            ],
        ),
        (
            json!({"destinationRef": {"name": "a"}, "service": {"port": 0, "prot": 1}}),
            &[
                "spec.service.port: 0 is not in 1..=65535",
                "spec.service.prot: unknown field: known here are port",
            ],
        ),
        (
            json!({"destinationRef": {"name": "a"}, "service": {"port": "80"}}),
            &["spec.service.port: must be a whole number, is a string: write it without quotes"],
        ),
        (
            json!({"destinationRef": {"name": "a"}, "service": {"port": 80.5}}),
            &["spec.service.port: must be a whole number, is a number"],
        ),
        (
            json!({"destinationRef": {"name": "a"}, "accessControl": {"scope": "everyone"}}),
            &["spec.accessControl.scope: \"everyone\" is not one of clusterWide, namespaced"],
        ),
        (
            json!({"destinationRef": {"name": "a"}, "fragmentRef": {"level": "instance", "optional": "yes"}}),
            &[
                "spec.fragmentRef.optional: must be true or false, is a string",
                "spec.fragmentRef: level is the level of a named fragment: set name as well, or remove level",
            ],
        ),
        (
            json!({"destinationRef": {"name": "a"}, "chainRef": {"name": "c", "variables": [{"name": "v"}]}}),
            &["spec.chainRef.variables[0].value: is required and missing: add it"],
        ),
        (
            json!({"destinationRef": {"name": "a"}, "actions": [{"name": "OAuth2JWTBearer",
                   "secretRef": {"name": "s", "key": "k"}, "triggers": []}]}),
            &["spec.actions[0].triggers: must not be empty: add an entry, or remove the field"],
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(mistakes(&resource(spec.clone())), expected, "{spec}");
    }
}

#[test]
fn metadata_is_held_to_the_rules_of_kubernetes() {
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({}), &["metadata.name: is required and missing"]),
        (json!({"name": 5}), &["metadata.name: must be a string"]),
        (
            json!({"name": "Erp"}),
            &["metadata.name: \"Erp\" cannot be a name"],
        ),
        (
            json!({"name": "erp."}),
            &["metadata.name: \"erp.\" cannot be a name"],
        ),
        (
            json!({"name": "erp", "namespace": "a.b"}),
            &["metadata.namespace: must be a string of at most 63"],
        ),
        (
            json!({"name": "erp", "labels": {"a": true}}),
            &["metadata.labels.a: must be a string"],
        ),
        (
            json!({"name": "erp", "annotations": []}),
            &["metadata.annotations: must be an object"],
        ),
        (
            json!({"name": "erp.eu-1", "namespace": "7", "labels": {"a": "b"}}),
            &[],
        ),
    ];
    for (metadata, expected) in cases {
        let found = mistakes(&json!({"metadata": metadata, "spec": {"destinationRef": {"name": "a"}}}));
        assert_eq!(found.len(), expected.len(), "{metadata}: {found:?}");
        assert!(
            found
                .iter()
                .zip(expected)
                .all(|(found, start)| found.starts_with(start)),
            "{found:?}"
        );
    }
    assert_eq!(
        mistakes(&json!({"metadata": {"name": "a"}})).len(),
        1,
        "a missing spec is a mistake"
    );
}

#[test]
fn service_names_begin_with_a_letter() {
    for (name, good) in [
        ("erp", true),
        ("erp-2", true),
        ("2erp", false),
        ("erp.eu", false),
        ("-e", false),
        ("", false),
    ] {
        assert_eq!(is_service_name(name), good, "{name}");
    }
    assert!(is_service_name(&"a".repeat(63)) && !is_service_name(&"a".repeat(64)));
}

/// Specifications that are right by the schema, and how many of the CEL rules each breaks.
fn rule_cases() -> Vec<(Value, usize)> {
    let pair = |pair: Value| with_trigger(json!({"name": "exactMatch", "matches": [pair]}));
    vec![
        (
            json!({"destinationRef": {"name": "a"}, "fragmentRef": {"name": "f", "level": "instance"}}),
            0,
        ),
        (
            json!({"destinationRef": {"name": "a"}, "fragmentRef": {"name": "f"}}),
            0,
        ),
        (json!({"destinationRef": {"name": "a"}, "fragmentRef": {}}), 0),
        (
            json!({"destinationRef": {"name": "a"}, "fragmentRef": {"level": "instance"}}),
            1,
        ),
        (
            with_trigger(json!({"name": "exist", "destinationProperties": ["p"]})),
            0,
        ),
        (
            with_trigger(json!({"name": "exist", "destinationLabelKeys": ["l"]})),
            0,
        ),
        (with_trigger(json!({"name": "exist"})), 1),
        (
            with_trigger(json!({"name": "exist", "matches": [{"destinationProperty": "p", "value": "v"}]})),
            2,
        ),
        (with_trigger(json!({"name": "exactMatch"})), 1),
        (
            with_trigger(json!({"name": "exactMatch", "destinationProperties": ["p"]})),
            2,
        ),
        (
            with_trigger(json!({"name": "exactMatch", "destinationLabelKeys": ["l"],
                                "matches": [{"destinationProperty": "p", "value": "v"}]})),
            1,
        ),
        (pair(json!({"destinationProperty": "p", "value": "v"})), 0),
        (pair(json!({"destinationLabelKey": "l", "values": ["v"]})), 0),
        (pair(json!({})), 1),
        (pair(json!({"destinationProperty": "p"})), 1),
        (pair(json!({"destinationLabelKey": "l"})), 1),
        (pair(json!({"value": "v"})), 2),
        (pair(json!({"destinationProperty": "p", "values": ["v"]})), 2),
        (
            pair(
                json!({"destinationProperty": "p", "value": "v", "destinationLabelKey": "l", "values": ["v"]}),
            ),
            1,
        ),
    ]
}

#[test]
fn rules_in_rust_count_what_is_expected() {
    for (spec, expected) in rule_cases() {
        let found = mistakes(&resource(spec.clone()));
        assert_eq!(found.len(), expected, "{spec}: {found:?}");
    }
}

/// The definition's own CEL rules, run by an interpreter: same verdict, same message as the Rust form.
#[test]
fn rules_in_cel_say_the_same() {
    for (spec, _) in rule_cases() {
        let in_rust: Vec<_> = manifest::<Destination>(&resource(spec.clone()))
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|one| one.message)
            .collect();
        let in_cel = kube::core::cel::validate_cel_schema::<DestinationSpec>(&spec, None);
        let text = in_cel.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert_eq!(in_cel.is_err(), !in_rust.is_empty(), "{spec}: {text}");
        for message in in_rust {
            assert!(
                text.contains(&message),
                "{message:?} is not in {text:?} for {spec}"
            );
        }
    }
}

mod channels;
