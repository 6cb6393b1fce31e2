//! JSON schemas made of what the API server says of its own resources, for kubeconform.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use landbridge_tests::charts::kubeconform_program;
use landbridge_tests::control_plane::ControlPlane;
use landbridge_tests::eventually;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// Definitions that must be there: those of custom resources appear a moment after these.
const LAST: &[&str] = &[
    "Certificate",
    "PodMonitor",
    "ServiceMonitor",
    "PrometheusRule",
    "VerticalPodAutoscaler",
    "VirtualService",
];

/// A schema for each kind that the server has.
pub async fn write(plane: &ControlPlane) -> TempDir {
    let definitions = eventually("the server describes all kinds", async || {
        let text = plane.kubectl(&["get", "--raw", "/openapi/v2"]).await.success();
        let mut all: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let Value::Object(definitions) = all["definitions"].take() else {
            return Err("no definitions".to_owned());
        };
        let there = |kind: &&&str| {
            definitions
                .values()
                .any(|one| kinds(one).any(|(_, _, name)| name == **kind))
        };
        match LAST.iter().find(|kind| !there(kind)) {
            Some(kind) => Err(format!("no {kind} yet")),
            None => Ok(definitions),
        }
    })
    .await;
    let strict: Map<String, Value> = definitions
        .into_iter()
        .map(|(name, definition)| (name, strict(definition)))
        .collect();
    let folder = TempDir::with_prefix("landbridge-schemas-").unwrap();
    for (name, definition) in &strict {
        for (group, version, kind) in kinds(definition) {
            let mut needed = BTreeMap::new();
            closure(name, &strict, &mut needed);
            let schema = json!({"$ref": format!("#/definitions/{name}"), "definitions": needed});
            // What kubeconform takes for the group of `apiVersion: v1`.
            let group = if group.is_empty() { version } else { group };
            let file = format!("{}_{group}_{version}.json", kind.to_lowercase());
            std::fs::write(folder.path().join(file), schema.to_string()).unwrap();
        }
    }
    folder
}

/// What kubeconform says of manifests.
pub fn check(schemas: &Path, manifests: &[Value]) -> Result<(), String> {
    let location = format!(
        "{}/{{{{.ResourceKind}}}}_{{{{.Group}}}}_{{{{.ResourceAPIVersion}}}}.json",
        schemas.display()
    );
    let mut child = Command::new(kubeconform_program())
        .args(["-strict", "-summary", "-schema-location", &location, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubeconform starts");
    let documents: Vec<String> = manifests.iter().map(Value::to_string).collect();
    let mut input = child.stdin.take().expect("its input");
    input.write_all(documents.join("\n---\n").as_bytes()).unwrap();
    drop(input);
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    let all = format!("{} resources found", manifests.len());
    let counted = said.contains(&all) || (manifests.len() == 1 && said.contains("1 resource found"));
    if ended.status.success() && counted && said.contains("Skipped: 0") {
        Ok(())
    } else {
        Err(said)
    }
}

/// Group, version and kind that a definition is of.
fn kinds(definition: &Value) -> impl Iterator<Item = (&str, &str, &str)> {
    let list = definition["x-kubernetes-group-version-kind"].as_array();
    let text = |one: &'_ Value| -> Option<()> { one.as_str().map(|_| ()) };
    list.into_iter().flatten().filter_map(move |one| {
        text(&one["kind"])?;
        Some((
            one["group"].as_str()?,
            one["version"].as_str()?,
            one["kind"].as_str()?,
        ))
    })
}

/// With nothing beside what is described, and with numbers where the server takes them for texts.
fn strict(definition: Value) -> Value {
    match definition {
        Value::Object(mut object) => {
            let either = object.get("format") == Some(&json!("int-or-string"))
                || object.get("x-kubernetes-int-or-string") == Some(&json!(true))
                || object
                    .get("description")
                    .and_then(Value::as_str)
                    .is_some_and(|text| text.starts_with("Quantity is a fixed-point representation"));
            if either {
                return json!({"type": ["string", "number"]});
            }
            let described = object.get("properties").is_some_and(Value::is_object);
            let open = object.contains_key("additionalProperties")
                || object.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
            if described && !open && object.get("type") == Some(&json!("object")) {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(
                object
                    .into_iter()
                    .map(|(key, value)| (key, strict(value)))
                    .collect(),
            )
        }
        Value::Array(list) => Value::Array(list.into_iter().map(strict).collect()),
        other => other,
    }
}

/// A definition with all that it refers to.
fn closure(name: &str, all: &Map<String, Value>, needed: &mut BTreeMap<String, Value>) {
    let Some(definition) = all.get(name).filter(|_| !needed.contains_key(name)) else {
        return;
    };
    needed.insert(name.to_owned(), definition.clone());
    references(definition, &mut |name| closure(name, all, needed));
}

fn references(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::Object(object) => {
            let reference = object.get("$ref").and_then(Value::as_str);
            if let Some(name) = reference.and_then(|text| text.strip_prefix("#/definitions/")) {
                found(name);
            }
            for value in object.values() {
                references(value, found);
            }
        }
        Value::Array(list) => {
            for value in list {
                references(value, found);
            }
        }
        _ => {}
    }
}
