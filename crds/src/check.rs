//! What the API server would refuse, said without one: the schema, and the rules that the definition carries as CEL.
//!
//! A test runs the CEL rules themselves over the same cases, so that the two cannot drift apart.

use std::fmt;

use kube::CustomResourceExt;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::destination::Destination;
use crate::service_channel::ServiceChannel;
use crate::service_mapping::ServiceMapping;
use crate::{channel_rules, schema};

/// One thing that is wrong with a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where, for instance `spec.actions[0].triggers[1].name`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Mistake {
    pub(crate) fn new(path: &str, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

/// A kind of resource that manifests declare.
pub trait Declared: CustomResourceExt + DeserializeOwned {
    /// What to add where `spec` is missing.
    const SPEC_HELP: &'static str;
    /// What the name of the resource is for.
    const NAME_HELP: &'static str;
    /// Whether it belongs to a namespace; else one that is named is passed over, as kubectl does.
    const NAMESPACED: bool;

    /// The schema of `spec`.
    fn spec_schema() -> &'static Value;

    /// The mistakes that the CEL rules of the definition find in `spec`.
    fn rules(spec: &Value) -> Vec<Mistake>;
}

impl Declared for Destination {
    const SPEC_HELP: &'static str = "add spec.destinationRef.name";
    const NAME_HELP: &'static str = "it is the host name that workloads call";
    const NAMESPACED: bool = true;

    fn spec_schema() -> &'static Value {
        &schema::DESTINATION
    }

    fn rules(spec: &Value) -> Vec<Mistake> {
        rules(spec)
    }
}

impl Declared for ServiceChannel {
    const SPEC_HELP: &'static str = "add spec.type, spec.serviceId and spec.serviceRef";
    const NAME_HELP: &'static str = "choose any, it is not what on-premise clients name";
    const NAMESPACED: bool = true;

    fn spec_schema() -> &'static Value {
        &schema::SERVICE_CHANNEL
    }

    fn rules(spec: &Value) -> Vec<Mistake> {
        let mut found = Vec::new();
        channel_rules::common(spec, &mut found);
        channel_rules::channel(spec, &mut found);
        found
    }
}

impl Declared for ServiceMapping {
    const SPEC_HELP: &'static str = "add spec.type, spec.serviceId and spec.internalAddress";
    const NAME_HELP: &'static str = "choose any, it is not what on-premise clients name";
    const NAMESPACED: bool = false;

    fn spec_schema() -> &'static Value {
        &schema::SERVICE_MAPPING
    }

    fn rules(spec: &Value) -> Vec<Mistake> {
        let mut found = Vec::new();
        channel_rules::common(spec, &mut found);
        found
    }
}

/// Reads a whole resource (`apiVersion` and `kind` are the caller's to look at).
///
/// # Errors
/// Every mistake there is, in the order of the schema, and never an empty list.
pub fn manifest<K: Declared>(resource: &Value) -> Result<K, Vec<Mistake>> {
    const KNOWN: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    let mut found = metadata::<K>(&resource["metadata"]);
    match &resource["spec"] {
        Value::Null => found.push(Mistake::new(
            "spec",
            format!("is required and missing: {}", K::SPEC_HELP),
        )),
        spec => {
            found.extend(schema::mistakes(spec, K::spec_schema()));
            found.extend(K::rules(spec));
        }
    }
    found.extend(
        resource
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| !KNOWN.contains(&name.as_str()))
            .map(|(name, _)| {
                Mistake::new(
                    name,
                    "unknown field: belongs below spec, is the indentation right?",
                )
            }),
    );
    if !found.is_empty() {
        return Err(found);
    }
    // The status is Landbridge's own to write: whatever a file says there is not read.
    let mut resource = resource.clone();
    if let Some(fields) = resource.as_object_mut() {
        fields.retain(|name, value| name != "status" && !value.is_null());
        remove_nulls(fields);
    }
    serde_json::from_value(resource).map_err(|error| vec![Mistake::new("", error.to_string())])
}

fn remove_nulls(fields: &mut serde_json::Map<String, Value>) {
    fields.retain(|_, value| !value.is_null());
    for value in fields.values_mut() {
        match value {
            Value::Object(inner) => remove_nulls(inner),
            Value::Array(items) => items
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(remove_nulls),
            _ => {}
        }
    }
}

fn metadata<K: Declared>(metadata: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    match &metadata["name"] {
        Value::String(name) if is_subdomain(name) => {}
        Value::String(name) => found.push(Mistake::new(
            "metadata.name",
            format!(
                "\"{}\" cannot be a name: use at most 253 lower-case letters, digits, '-' and '.', with a letter or \
                 digit at both ends of every part",
                name.chars().take(64).collect::<String>()
            ),
        )),
        Value::Null => found.push(Mistake::new(
            "metadata.name",
            format!("is required and missing: {}", K::NAME_HELP),
        )),
        _ => found.push(Mistake::new("metadata.name", "must be a string: put it in quotes")),
    }
    match &metadata["namespace"] {
        Value::Null => {}
        _ if !K::NAMESPACED => {}
        Value::String(namespace) if is_label(namespace) => {}
        _ => found.push(Mistake::new(
            "metadata.namespace",
            "must be a string of at most 63 lower-case letters, digits and '-', with a letter or digit at both ends",
        )),
    }
    for kind in ["labels", "annotations"] {
        match &metadata[kind] {
            Value::Null => {}
            Value::Object(entries) => found.extend(
                entries
                    .iter()
                    .filter(|(_, value)| !value.is_string())
                    .map(|(key, _)| {
                        Mistake::new(
                            &format!("metadata.{kind}.{key}"),
                            "must be a string: put it in quotes",
                        )
                    }),
            ),
            _ => found.push(Mistake::new(
                &format!("metadata.{kind}"),
                "must be an object with string values",
            )),
        }
    }
    found
}

/// A DNS label as in RFC 1123, at most 63 characters.
pub fn is_label(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= 63
        && text.bytes().all(|byte| alphanumeric(&byte) || byte == b'-')
        && text.as_bytes().first().is_some_and(alphanumeric)
        && text.as_bytes().last().is_some_and(alphanumeric)
}

/// A name that a Service can have: a DNS label that begins with a letter (RFC 1035).
pub fn is_service_name(text: &str) -> bool {
    is_label(text) && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
}

fn is_subdomain(text: &str) -> bool {
    // Kubernetes bounds the whole, not the parts.
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(part)
}

/// The CEL rules of `Destination`. On untyped values, so that a mistake elsewhere hides none of these.
fn rules(spec: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    if has(&spec["fragmentRef"], "level") && !has(&spec["fragmentRef"], "name") {
        found.push(Mistake::new(
            "spec.fragmentRef",
            "level is the level of a named fragment: set name as well, or remove level",
        ));
    }
    for (action_index, action) in items(&spec["actions"]).enumerate() {
        for (trigger_index, trigger) in items(&action["triggers"]).enumerate() {
            let path = format!("spec.actions[{action_index}].triggers[{trigger_index}]");
            trigger_rules(trigger, &path, &mut found);
            for (index, pair) in items(&trigger["matches"]).enumerate() {
                match_rules(pair, &format!("{path}.matches[{index}]"), &mut found);
            }
        }
    }
    found
}

fn trigger_rules(trigger: &Value, path: &str, found: &mut Vec<Mistake>) {
    let names_keys = has(trigger, "destinationProperties") || has(trigger, "destinationLabelKeys");
    match trigger["name"].as_str() {
        Some("exist") => {
            if !names_keys {
                found.push(Mistake::new(
                    path,
                    "the trigger exist needs destinationProperties, destinationLabelKeys or both",
                ));
            }
            if has(trigger, "matches") {
                found.push(Mistake::new(
                    path,
                    "matches belongs to the trigger exactMatch: remove it, or change name",
                ));
            }
        }
        Some("exactMatch") => {
            if !has(trigger, "matches") {
                found.push(Mistake::new(path, "the trigger exactMatch needs matches"));
            }
            if names_keys {
                found.push(Mistake::new(
                    path,
                    "destinationProperties and destinationLabelKeys belong to the trigger exist: remove them, or \
                     change name",
                ));
            }
        }
        _ => {}
    }
}

fn match_rules(pair: &Value, path: &str, found: &mut Vec<Mistake>) {
    let (property, label) = (has(pair, "destinationProperty"), has(pair, "destinationLabelKey"));
    if property == label {
        found.push(Mistake::new(
            path,
            "a match names either destinationProperty or destinationLabelKey",
        ));
    }
    if property != has(pair, "value") {
        found.push(Mistake::new(
            path,
            "destinationProperty and value belong together",
        ));
    }
    if label != has(pair, "values") {
        found.push(Mistake::new(
            path,
            "destinationLabelKey and values belong together",
        ));
    }
}

/// CEL's `has()`: the API server has dropped nulls before it runs.
pub(crate) fn has(value: &Value, field: &str) -> bool {
    value.get(field).is_some_and(|inner| !inner.is_null())
}

pub(crate) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests;
