//! Values, their schema and their documentation say the same.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use landbridge_tests::charts::chart;
use landbridge_tests::control_plane::repository;
use serde_json::Value;

/// Charts with a README of values. The others' names are checked for their versions only.
const DOCUMENTED: &[&str] = &["landbridge", "landbridge-connectivity", "landbridge-crds"];

/// Set it to write the READMEs anew.
const WRITE: &str = "LANDBRIDGE_WRITE_DOCS";

fn yaml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn charts_have_the_version_of_the_binary() {
    for entry in std::fs::read_dir(repository().join("charts")).unwrap() {
        let folder = entry.unwrap().path();
        let about = yaml(&folder.join("Chart.yaml"));
        for field in ["version", "appVersion"] {
            assert_eq!(
                about[field],
                env!("CARGO_PKG_VERSION"),
                "{}: {field}",
                folder.display()
            );
        }
    }
}

/// Nothing is taken that is not known, but where users put what Kubernetes knows.
#[test]
fn schemas_are_closed() {
    for name in DOCUMENTED {
        let text = std::fs::read_to_string(chart(name).join("values.schema.json")).unwrap();
        let schema: Value = serde_json::from_str(&text).unwrap();
        let mut open = Vec::new();
        closed("", &schema, &mut open);
        let allowed = ["affinity", "items", "global"];
        open.retain(|path: &String| !allowed.iter().any(|end| path.ends_with(&format!("/{end}"))));
        assert_eq!(open, [""; 0], "{name}");
    }
}

fn closed(path: &str, schema: &Value, open: &mut Vec<String>) {
    let Some(object) = schema.as_object() else {
        return;
    };
    if schema["type"] == "object" && schema["additionalProperties"].is_null() {
        open.push(path.to_owned());
    }
    for (key, value) in object {
        closed(&format!("{path}/{key}"), value, open);
    }
}

/// What a schema allows at `path` of a value.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let name = reference.strip_prefix("#/definitions/").expect("a definition");
            resolve(root, &root["definitions"][name])
        }
        None => schema,
    }
}

/// Every value is in the schema, and every value of the schema is in values.yaml with its default and a sentence; but for
/// what only a chart above sets, second names, and fields of list entries and quantities.
#[test]
fn values_and_schema_name_the_same() {
    for name in DOCUMENTED {
        let text = std::fs::read_to_string(chart(name).join("values.schema.json")).unwrap();
        let schema: Value = serde_json::from_str(&text).unwrap();
        let values = yaml(&chart(name).join("values.yaml"));
        let mut missing = BTreeSet::new();
        compare("", &schema, &schema, &values, &mut missing);
        missing.retain(|path| {
            let second = path.ends_with(".request")
                || path.ends_with(".ephemeral-storage")
                || path.starts_with("config.integration.connectivityProxy.serviceCredentials.");
            // The store and the operator have no limit of CPU.
            let absent = path.ends_with(".limits.cpu");
            !second && !absent && path != "enabled" && path != "global"
        });
        assert!(missing.is_empty(), "{name}: values.yaml lacks {missing:?}");
    }
}

fn compare(path: &str, root: &Value, schema: &Value, value: &Value, missing: &mut BTreeSet<String>) {
    let schema = resolve(root, schema);
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    for (key, below) in properties {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match value.get(key) {
            Some(value) => compare(&path, root, below, value, missing),
            None => {
                missing.insert(path);
            }
        }
    }
}

/// A value with its default and what values.yaml says of it.
struct Row {
    path: String,
    default: String,
    meaning: String,
}

/// Reads values.yaml as text, because a parser drops the comments. The rule is simple: `# -- ` and the lines of comment
/// after it are of the key that follows; a key is documented as a whole when it has a comment and its entries have none.
fn rows(text: &str, values: &Value) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut keys: Vec<(usize, String)> = Vec::new();
    let mut comment: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(start) = trimmed.strip_prefix("# -- ") {
            comment = Some(start.to_owned());
        } else if let (Some(rest), Some(known)) = (trimmed.strip_prefix("# "), comment.as_mut()) {
            known.push(' ');
            known.push_str(rest);
        } else if let Some((key, _)) = trimmed.split_once(':').filter(|_| !trimmed.starts_with('#')) {
            let indent = line.len() - trimmed.len();
            keys.retain(|(known, _)| *known < indent);
            keys.push((indent, key.to_owned()));
            let Some(meaning) = comment.take() else { continue };
            let parts: Vec<&str> = keys.iter().map(|(_, key)| key.as_str()).collect();
            let default = parts.iter().fold(values, |value, part| &value[part]);
            rows.push(Row {
                path: parts.join("."),
                default: default.to_string(),
                meaning,
            });
        } else if trimmed.is_empty() {
            comment = None;
        }
    }
    // A heading above documented entries is no value.
    let paths: Vec<String> = rows.iter().map(|row| row.path.clone()).collect();
    rows.retain(|row| {
        let below = format!("{}.", row.path);
        !paths.iter().any(|path| path.starts_with(&below))
    });
    rows
}

/// Every leaf is documented, itself or as part of something.
fn undocumented(path: &str, value: &Value, rows: &[Row], found: &mut Vec<String>) {
    if rows.iter().any(|row| row.path == path) {
        return;
    }
    match value.as_object().filter(|object| !object.is_empty()) {
        Some(object) => {
            for (key, value) in object {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                undocumented(&path, value, rows, found);
            }
        }
        None => found.push(path.to_owned()),
    }
}

#[test]
fn every_value_is_documented_and_the_readme_has_them_all() {
    for name in DOCUMENTED {
        let folder = chart(name);
        let text = std::fs::read_to_string(folder.join("values.yaml")).unwrap();
        let values = yaml(&folder.join("values.yaml"));
        let rows = rows(&text, &values);
        let mut found = Vec::new();
        undocumented("", &values, &rows, &mut found);
        assert!(found.is_empty(), "{name}: no comment in values.yaml: {found:?}");
        let mut table = String::from("| Value | Default | Meaning |\n|---|---|---|\n");
        for row in &rows {
            let escaped = row.meaning.replace('|', "\\|");
            writeln!(table, "| `{}` | `{}` | {escaped} |", row.path, row.default).unwrap();
        }
        let readme = folder.join("README.md");
        let before = std::fs::read_to_string(&readme).unwrap();
        let (head, rest) = before
            .split_once("<!-- values -->\n")
            .expect("a place for the values");
        let (_, tail) = rest
            .split_once("<!-- end of values -->\n")
            .expect("the end of the values");
        let after = format!("{head}<!-- values -->\n{table}<!-- end of values -->\n{tail}");
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&readme, &after).unwrap();
            continue;
        }
        assert!(
            before == after,
            "{} is out of date: {WRITE}=1 cargo test -p landbridge-tests --test charts values::",
            readme.display()
        );
    }
}

/// Dashboards and alerts show metrics that exist: registered under this name in the room of their prefix.
#[test]
fn dashboards_and_alerts_show_metrics_that_exist() {
    let folder = chart("landbridge").join("dashboards");
    let mut names = BTreeSet::new();
    for file in ["landbridge.json", "rules.yaml"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        names.extend(metrics(&text));
    }
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let rest = name.strip_prefix("landbridge_").unwrap();
        let rest = ["_total", "_bucket"]
            .iter()
            .find_map(|end| rest.strip_suffix(end))
            .unwrap_or(rest);
        let (room, end) = rest.split_once('_').unwrap();
        // Where a room registers under its own prefix, the prefix is not part of the text.
        let (folder, text) = match room {
            "proxy" | "resolver" | "control" => ("proxy/src", end),
            "operator" => ("operator/src", end),
            "tunnel" => ("tunnel/src", end),
            "store" => ("store/src", rest),
            "build" => continue,
            other => panic!("{name}: no room {other}"),
        };
        assert!(
            contains(&repository().join(folder), &format!("\"{text}\"")),
            "{name}: nothing in {folder} is called \"{text}\""
        );
    }
}

fn metrics(text: &str) -> BTreeSet<String> {
    let word = |character: char| character.is_ascii_lowercase() || character == '_';
    text.match_indices("landbridge_")
        .map(|(at, _)| {
            text[at..]
                .chars()
                .take_while(|character| word(*character))
                .collect()
        })
        .collect()
}

fn contains(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return contains(&path, text);
        }
        std::fs::read_to_string(&path).is_ok_and(|content| content.contains(text))
    })
}
