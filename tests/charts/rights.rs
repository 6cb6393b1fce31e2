//! The rights that the chart gives to the operator are those that the suites run it under.

use std::collections::BTreeSet;

use landbridge_tests::charts::{chart, template};
use landbridge_tests::control_plane::repository;
use serde_json::Value;

/// Every single right: namespace of the role (empty: of the cluster), group, resource, name, verb.
type Rights = BTreeSet<(String, String, String, String, String)>;

fn rights(role: &Value, namespace: &str, found: &mut Rights) {
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    for rule in role["rules"].as_array().expect("rules") {
        let mut names = texts(&rule["resourceNames"]);
        if names.is_empty() {
            names.push(String::new());
        }
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for name in &names {
                    for verb in texts(&rule["verbs"]) {
                        let one = (
                            namespace.to_owned(),
                            group.clone(),
                            resource.clone(),
                            name.clone(),
                            verb,
                        );
                        found.insert(one);
                    }
                }
            }
        }
    }
}

/// Those of examples/rbac, with the Secret that the chart has.
fn proven(files: &[(&str, &str)]) -> Rights {
    let mut found = Rights::new();
    for (file, namespace) in files {
        let path = repository().join("examples/rbac").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("[destination-service]", "[destination-service-key]");
        let role: Value = serde_saphyr::from_str(&text).unwrap();
        rights(&role, namespace, &mut found);
    }
    found
}

/// Those that the chart's bindings really give to the operator's account.
fn given(options: &[&str]) -> Rights {
    let manifests = template(&chart("landbridge"), "lb", "system", options).unwrap();
    let mut found = Rights::new();
    for binding in &manifests {
        let kind = binding["kind"].as_str().unwrap();
        let Some(role_kind) = kind.strip_suffix("Binding") else {
            continue;
        };
        let subjects = binding["subjects"].as_array().unwrap();
        assert_eq!(subjects.len(), 1);
        assert_eq!(
            subjects[0]["name"], "landbridge-operator",
            "nobody else has rights"
        );
        assert_eq!(subjects[0]["namespace"], "system");
        let namespace = binding["metadata"]["namespace"].as_str().unwrap_or_default();
        let role = manifests.iter().find(|role| {
            role["kind"] == role_kind
                && role["metadata"]["name"] == binding["roleRef"]["name"]
                && role["metadata"]["namespace"] == binding["metadata"]["namespace"]
        });
        rights(role.expect("the role of a binding"), namespace, &mut found);
    }
    found
}

fn assert_same(given: &Rights, proven: &Rights) {
    let missing: Vec<_> = proven.difference(given).collect();
    let more: Vec<_> = given.difference(proven).collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "the chart lacks {missing:?} and has {more:?} too much"
    );
}

#[test]
fn of_the_whole_cluster() {
    assert_same(
        &given(&[]),
        &proven(&[("cluster.yaml", ""), ("install.yaml", "system")]),
    );
}

#[test]
fn of_sidecars() {
    let mut files = vec![
        ("cluster.yaml", ""),
        ("install.yaml", "system"),
        ("injection.yaml", ""),
    ];
    assert_same(&given(&["--set", "sidecar.enabled=true"]), &proven(&files));
    files.push(("eviction.yaml", ""));
    let delete = "sidecar.enabled=true,sidecar.unprovenPods=delete";
    assert_same(&given(&["--set", delete]), &proven(&files));
}

/// Proxies of nodes have none, and the operator needs none for them.
#[test]
fn of_nodes() {
    assert_same(
        &given(&["--set", "node.enabled=true"]),
        &proven(&[("cluster.yaml", ""), ("install.yaml", "system")]),
    );
}

#[test]
fn of_one_namespace() {
    let expected = proven(&[
        ("install.yaml", "system"),
        ("pods.yaml", "system"),
        ("namespaced.yaml", "shop"),
        ("token-review.yaml", ""),
    ]);
    assert_same(&given(&["--set", "operator.watchNamespace=shop"]), &expected);
}

#[test]
fn only_the_service_keys_that_are_named_can_be_read() {
    let path = "config.integration.destinationService.instances";
    let values = format!(
        "{path}[0].name=a,{path}[0].serviceCredentials.secretName=one,{path}[1].name=b,{path}[1].serviceCredentials.secretName=two"
    );
    let named: BTreeSet<String> = given(&["--set", &values])
        .into_iter()
        .filter(|(_, _, resource, _, verb)| resource == "secrets" && verb == "watch")
        .map(|(_, _, _, name, _)| name)
        .collect();
    assert_eq!(named, ["one".to_owned(), "two".to_owned()].into());
}
