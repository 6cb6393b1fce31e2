//! The notes name every value that is set and cannot have an effect.
//!
//! Helm shows notes only with a cluster; here the same text is rendered as a manifest, in a copy of the chart.

use std::path::Path;

use landbridge_tests::charts::{chart, helm, manifests, template};
use landbridge_tests::control_plane::repository;
use serde_json::Value;
use tempfile::TempDir;

/// A copy of the chart with a manifest that holds the notes, and one that holds the table.
fn copy() -> TempDir {
    let folder = TempDir::with_prefix("landbridge-chart-").unwrap();
    copy_folder(&chart("landbridge"), folder.path());
    let manifest = "apiVersion: v1\nkind: Said\nmetadata: {name: notes}\nnotes: {{ include \"landbridge.notes\" . | quote }}\n\
                    table: {{ include \"landbridge.withoutEffect\" . | fromYamlArray | toJson }}\n";
    std::fs::write(folder.path().join("templates/said.yaml"), manifest).unwrap();
    folder
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn said(folder: &Path, options: &[&str]) -> Value {
    let manifests = template(folder, "lb", "system", options).unwrap();
    manifests
        .into_iter()
        .find(|manifest| manifest["kind"] == "Said")
        .expect("what the notes say")
}

fn notes(folder: &Path, options: &[&str]) -> String {
    said(folder, options)["notes"].as_str().unwrap().to_owned()
}

#[test]
fn defaults_have_nothing_to_remark() {
    let folder = copy();
    let notes = notes(folder.path(), &[]);
    assert!(
        !notes.contains("To know") && !notes.contains("without effect"),
        "{notes}"
    );
    assert!(
        notes.contains(
            "kubectl create secret generic destination-service-key -n system --from-file=service_key=key.json"
        ),
        "{notes}"
    );
    assert!(notes.contains("landbridge check -n system"), "{notes}");
}

#[test]
fn every_value_without_effect_is_named_when_it_is_set() {
    let folder = copy();
    let table = said(folder.path(), &[])["table"].clone();
    let rows = table.as_array().unwrap();
    assert!(rows.len() > 20, "{}", rows.len());
    let values = std::fs::read_to_string(chart("landbridge").join("values.yaml")).unwrap();
    let values: Value = serde_saphyr::from_str(&values).unwrap();
    for row in rows {
        let path = row["path"].as_str().unwrap();
        let default = path.split('.').fold(&values, |value, part| &value[part]);
        // The second name of requests has no value of its own.
        assert!(
            *default == row["default"] || path.ends_with(".request"),
            "{path} has another default in values.yaml"
        );
        let change = format!("{path}={}", another(path, &row["default"]));
        let notes = notes(folder.path(), &["--set-json", &change]);
        let expected = format!(
            "{path} is set, without effect: {}",
            row["because"].as_str().unwrap()
        );
        assert!(notes.contains(&expected), "{change}: {notes}");
    }
}

/// A value that the schema takes and that is not the default.
fn another(path: &str, default: &Value) -> String {
    match default {
        _ if path == "config.tenantMode" => "\"shared\"".to_owned(),
        Value::Bool(value) => (!value).to_string(),
        Value::Number(value) => (value.as_u64().unwrap() + 1).to_string(),
        Value::Array(_) => "[503]".to_owned(),
        Value::Object(_) if path.contains("serviceCredentials") => "{\"secretName\": \"another\"}".to_owned(),
        Value::Object(_) | Value::Null => "{\"cpu\": \"7\"}".to_owned(),
        _ => "\"another\"".to_owned(),
    }
}

#[test]
fn what_is_different_from_what_a_name_says_is_told() {
    let folder = copy();
    let both = "deployment.autoscaling.http.horizontal.enabled=true,deployment.autoscaling.tcp.horizontal.enabled=true";
    let instance = "config.integration.destinationService.instances";
    let regional = format!(
        "{instance}[0].name=a,{instance}[0].serviceCredentials.secretName=s,\
         {instance}[0].associateWith.connectivityProxy.locallyConfiguredRegionId=eu10"
    );
    for (options, expected) in [
        (
            "config.security.communication.internal.certManager.issuerRef.name=mine",
            "set certManager.enabled to use the issuer",
        ),
        (both, "they are the same pods"),
        (regional.as_str(), "associateWith of a is set, without effect"),
        (
            "config.integration.destinationService.serviceCredentials.secretNamespace=operations",
            "The Secret operations/destination-service-key is copied to system/landbridge-copy-destination-service-key",
        ),
        (
            "deployment.image.repository=sapse",
            "that of another product: the image sapse/landbridge:",
        ),
        ("operator.watchNamespace=shop", "there is no admission webhook"),
        (
            "operator.networkPolicies=false",
            "The operator writes no NetworkPolicies",
        ),
        (
            "config.managedNamespacesMode=labelSelector",
            "transparent-proxy.connectivity.api.sap/namespace=system",
        ),
        (
            "store.enabled=true",
            "landbridge-store-0 -- landbridge store put -",
        ),
        (
            "store.enabled=true,store.tls.secretName=t",
            "only when a public authority signed its certificate",
        ),
        (
            "store.enabled=true,store.database.urlSecret.name=d,store.keySecret.name=k,store.replicas=2",
            "deploy/landbridge-store -- landbridge store put -",
        ),
        (
            "node.enabled=true",
            "kubectl label namespace system pod-security.kubernetes.io/enforce=privileged",
        ),
        (
            "sidecar.enabled=true",
            "kubectl label namespace NAME connectivity.landbridge.dev/inject=enabled",
        ),
    ] {
        let notes = notes(folder.path(), &["--set", options]);
        assert!(notes.contains(expected), "{options}: {notes}");
    }
    let notes = notes(folder.path(), &["--set", "store.enabled=true"]);
    assert!(!notes.contains("create secret"), "the chart makes it: {notes}");
}

/// The whole published guide, migrated: what has no effect is told, and nothing else.
#[test]
fn a_migrated_file_is_told_what_to_leave_out() {
    let folder = copy();
    let file = repository().join("tests/charts/landbridge/published-defaults.yaml");
    let notes = notes(folder.path(), &["--values", file.to_str().unwrap()]);
    let remarks: Vec<&str> = notes
        .lines()
        .filter_map(|line| line.strip_prefix("- ")?.split(' ').next())
        .collect();
    assert_eq!(
        remarks,
        [
            "config.integration.connectivityProxy.connectionTimeoutSeconds",
            "config.integration.connectivityProxy.serviceName",
        ],
        "{notes}"
    );
}

#[test]
fn the_definitions_say_what_was_left_out() {
    let folder = TempDir::with_prefix("landbridge-chart-").unwrap();
    copy_folder(&chart("landbridge-crds"), folder.path());
    let templates = folder.path().join("templates");
    let text = std::fs::read_to_string(templates.join("NOTES.txt")).unwrap();
    std::fs::write(
        templates.join("said.yaml"),
        format!("{{{{- define \"said\" }}}}{text}{{{{ end }}}}kind: Said\nnotes: {{{{ include \"said\" . | quote }}}}\n"),
    )
    .unwrap();
    let rendered = |options: &[&str]| {
        let folder = folder.path().to_str().unwrap();
        let text = helm(&[&["template", "crds", folder], options].concat(), &[]).unwrap();
        manifests(&text).unwrap()
    };
    let all = rendered(&[]);
    assert_eq!(
        all.iter()
            .filter(|one| one["kind"] == "CustomResourceDefinition")
            .count(),
        3
    );
    let some = rendered(&["--set", "serviceMappings.enabled=false,keep=false"]);
    assert_eq!(
        some.iter()
            .filter(|one| one["kind"] == "CustomResourceDefinition")
            .count(),
        2
    );
    let notes = some.iter().find(|one| one["kind"] == "Said").unwrap()["notes"]
        .as_str()
        .unwrap();
    assert!(
        notes.contains("WARNING: servicemappings.connectivityproxy.sap.com was left out"),
        "{notes}"
    );
    assert!(notes.contains("keep is false"), "{notes}");
}
