//! The schemas of the kinds, tidied, and the walk that holds a value against it.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::check::Mistake;
use crate::destination::Destination;
use crate::service_channel::ServiceChannel;
use crate::service_mapping::ServiceMapping;

pub(crate) static DESTINATION: LazyLock<Value> = LazyLock::new(spec_of::<Destination>);
pub(crate) static SERVICE_CHANNEL: LazyLock<Value> = LazyLock::new(spec_of::<ServiceChannel>);
pub(crate) static SERVICE_MAPPING: LazyLock<Value> = LazyLock::new(spec_of::<ServiceMapping>);

/// `properties.spec` of the schema; null only if the definition had no schema, which a test excludes.
fn spec_of<K: CustomResourceExt>() -> Value {
    let crd = serde_json::to_value(definition::<K>()).unwrap_or_default();
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
        .cloned()
        .unwrap_or_default()
}

/// Every keyword that [`walk`] obeys or that constrains nothing. A test compares them with the schema in use.
#[cfg(test)]
const KNOWN_KEYWORDS: &[&str] = &[
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-validations",
];

/// The custom resource definition of a kind.
///
/// The derived one lets every optional field be null. The API server drops a null that is not allowed, so that
/// `level: null` means what it says, while an allowed null would be kept and would count as set in the CEL rules.
pub(crate) fn definition<K: CustomResourceExt>() -> CustomResourceDefinition {
    let derived = K::crd();
    let Ok(mut value) = serde_json::to_value(&derived) else {
        return derived;
    };
    without_nulls(&mut value);
    serde_json::from_value(value).unwrap_or(derived)
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, inner| !(key == "nullable" && inner.is_boolean()));
            if let Some(Value::Array(choices)) = map.get_mut("enum") {
                choices.retain(|choice| !choice.is_null());
            }
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// Everything in `spec` that the schema does not allow, with paths that begin with `spec`.
pub(crate) fn mistakes(spec: &Value, schema: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    walk(spec, schema, "spec", &mut found);
    found
}

fn walk(value: &Value, schema: &Value, path: &str, found: &mut Vec<Mistake>) {
    let wanted = schema["type"].as_str().unwrap_or_default();
    match (wanted, value) {
        ("object", Value::Object(_)) => object(value, schema, path, found),
        ("array", Value::Array(items)) => array(items, schema, path, found),
        ("string", Value::String(text)) => string(text, schema, path, found),
        ("integer", Value::Number(number)) if number.is_i64() => {
            integer(number.as_i64(), schema, path, found)
        }
        ("boolean", Value::Bool(_)) => {}
        ("", Value::String(text)) if int_or_string(schema) => string(text, schema, path, found),
        ("", Value::Number(number)) if int_or_string(schema) && number.is_i64() => {
            integer(number.as_i64(), schema, path, found)
        }
        ("", _) if int_or_string(schema) => found.push(Mistake::new(path, "must be a number or a name")),
        _ => found.push(Mistake::new(path, wrong_type(wanted, value))),
    }
}

/// A type that the API server has besides those of JSON schemas.
fn int_or_string(schema: &Value) -> bool {
    schema["x-kubernetes-int-or-string"] == true
}

fn wrong_type(wanted: &str, value: &Value) -> String {
    let (is, hint) = match value {
        Value::Null => ("nothing", ""),
        Value::Bool(_) => ("a boolean", ": put it in quotes"),
        Value::Number(_) => ("a number", ": put it in quotes"),
        Value::String(_) => ("a string", ""),
        Value::Array(_) => ("a list", ""),
        Value::Object(_) => ("an object", ""),
    };
    match wanted {
        "string" => format!("must be a string, is {is}{hint}"),
        "integer" if value.is_string() => {
            "must be a whole number, is a string: write it without quotes".to_owned()
        }
        "integer" => format!("must be a whole number, is {is}"),
        "boolean" => format!("must be true or false, is {is}"),
        "array" => format!("must be a list, is {is}"),
        _ => format!("must be an object with fields, is {is}"),
    }
}

fn object(value: &Value, schema: &Value, path: &str, found: &mut Vec<Mistake>) {
    let (Some(fields), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else {
        return;
    };
    for required in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if fields.get(required).is_none_or(Value::is_null) {
            found.push(Mistake::new(
                &format!("{path}.{required}"),
                "is required and missing: add it",
            ));
        }
    }
    for (name, inner) in fields {
        let inner_path = format!("{path}.{name}");
        match properties.get(name) {
            // The API server drops it.
            Some(_) if inner.is_null() => {}
            Some(inner_schema) => walk(inner, inner_schema, &inner_path, found),
            None => {
                let same = properties.keys().find(|known| known.eq_ignore_ascii_case(name));
                let help = same.map_or_else(
                    || {
                        format!(
                            "known here are {}",
                            properties.keys().cloned().collect::<Vec<_>>().join(", ")
                        )
                    },
                    |known| format!("did you mean {known}?"),
                );
                found.push(Mistake::new(&inner_path, format!("unknown field: {help}")));
            }
        }
    }
}

fn array(items: &[Value], schema: &Value, path: &str, found: &mut Vec<Mistake>) {
    let (least, most) = (limit(schema, "minItems"), limit(schema, "maxItems"));
    if least.is_some_and(|least| items.len() < least) {
        found.push(Mistake::new(
            path,
            "must not be empty: add an entry, or remove the field",
        ));
    }
    if let Some(most) = most.filter(|most| items.len() > *most) {
        // The entries are not looked at: one message, however long the list is.
        found.push(Mistake::new(
            path,
            format!("has {} entries, at most {most} are allowed", items.len()),
        ));
        return;
    }
    for (index, item) in items.iter().enumerate() {
        walk(item, &schema["items"], &format!("{path}[{index}]"), found);
    }
}

fn string(text: &str, schema: &Value, path: &str, found: &mut Vec<Mistake>) {
    let length = text.chars().count();
    if limit(schema, "minLength").is_some_and(|least| length < least) {
        found.push(Mistake::new(path, "must not be empty"));
    } else if let Some(most) = limit(schema, "maxLength").filter(|most| length > *most) {
        found.push(Mistake::new(
            path,
            format!("has {length} characters, at most {most} are allowed"),
        ));
    } else if let Some(choices) = schema["enum"].as_array() {
        let choices: Vec<_> = choices.iter().filter_map(Value::as_str).collect();
        if !choices.contains(&text) {
            let shown: String = text.chars().take(64).collect();
            found.push(Mistake::new(
                path,
                format!("\"{shown}\" is not one of {}", choices.join(", ")),
            ));
        }
    }
}

fn integer(number: Option<i64>, schema: &Value, path: &str, found: &mut Vec<Mistake>) {
    let Some(number) = number else { return };
    // The schema carries its limits as floating-point numbers; all of ours are small.
    let bound = |name: &str| schema[name].as_f64().map(|limit| limit as i64);
    let (least, most) = (
        bound("minimum").unwrap_or(i64::MIN),
        bound("maximum").unwrap_or(i64::MAX),
    );
    if !(least..=most).contains(&number) {
        found.push(Mistake::new(path, format!("{number} is not in {least}..={most}")));
    }
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema[name]
        .as_u64()
        .and_then(|limit| usize::try_from(limit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [&'static Value; 3] {
        [&DESTINATION, &SERVICE_CHANNEL, &SERVICE_MAPPING]
    }

    fn keywords(schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
        let Some(map) = schema.as_object() else { return };
        for (key, inner) in map {
            visit(key, schema);
            match key.as_str() {
                "properties" => inner
                    .as_object()
                    .into_iter()
                    .flatten()
                    .for_each(|(_, part)| keywords(part, visit)),
                "items" => keywords(inner, visit),
                _ => {}
            }
        }
    }

    /// Otherwise a rule could hold in the cluster and be passed over here.
    #[test]
    fn every_keyword_of_the_schema_is_obeyed() {
        for spec in all() {
            assert_eq!(spec["type"], "object", "the definition has a schema");
            keywords(spec, &mut |keyword, schema| {
                assert!(KNOWN_KEYWORDS.contains(&keyword), "{keyword} in {schema}");
            });
        }
    }

    /// Lists and strings without a bound make the API server refuse CEL rules by their estimated cost.
    #[test]
    fn every_list_and_string_is_bounded() {
        let mut check = |keyword: &str, schema: &Value| {
            if keyword == "x-kubernetes-int-or-string" {
                assert!(limit(schema, "maxLength").is_some(), "{schema}");
            }
            if keyword == "type" {
                let bounded = match schema["type"].as_str() {
                    Some("array") => limit(schema, "maxItems").is_some(),
                    Some("string") => limit(schema, "maxLength").is_some() || schema["enum"].is_array(),
                    _ => true,
                };
                assert!(bounded, "{schema}");
            }
        };
        all().into_iter().for_each(|spec| keywords(spec, &mut check));
    }

    #[test]
    fn the_definitions_allow_no_null() {
        for crd in [
            definition::<Destination>(),
            definition::<ServiceChannel>(),
            definition::<ServiceMapping>(),
        ] {
            let text = serde_json::to_string(&crd).unwrap();
            assert!(!text.contains("nullable") && !text.contains("null"), "{text}");
        }
    }
}
