//! Files of manifests, as `kubectl apply -f` takes them, read into `Destination` resources.
//!
//! A mistake costs the one resource it is in: the other documents of the file and all other files keep working.

use std::fmt;
use std::sync::Arc;

use landbridge_crds::Destination;
use landbridge_crds::check::{self, Mistake};
use landbridge_crds::destination::DEFAULT_NAMESPACE;
use landbridge_destination::RouteKey;
use serde::Serialize;
use serde_json::Value;

mod document;
mod set;

pub use set::{MAX_DESTINATIONS, ManifestSet};

use document::Node;

/// The only form of the resource that exists.
const API_VERSION: &str = "destination.connectivity.api.sap/v1";
const KIND: &str = "Destination";

/// One resource, and where it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// Namespace (filled in) and name.
    pub key: RouteKey,
    /// The resource, with its namespace filled in and without a status.
    pub resource: Destination,
    /// File it is declared in.
    pub file: Arc<str>,
    /// Line its document begins at, from 1.
    pub line: u64,
}

/// One mistake in a manifest: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManifestProblem {
    /// File, as it is named in the folder.
    pub file: String,
    /// Line, from 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Path of the field, for instance `spec.service.port`; empty when it is the whole document or file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for ManifestProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(formatter, ": {}", self.field)?;
        }
        write!(formatter, ": {}", self.message)
    }
}

/// A resource of another kind, passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// File it is in.
    pub file: String,
    /// Line its document begins at, from 1.
    pub line: u64,
    /// `apiVersion` and kind.
    pub kind: String,
}

/// Everything that one file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The destinations without a mistake.
    pub destinations: Vec<Declared>,
    /// The mistakes of all others.
    pub problems: Vec<ManifestProblem>,
    /// Resources of other kinds.
    pub skipped: Vec<Skipped>,
}

/// Reads a file, YAML (any number of documents) or JSON, by the end of its name.
pub fn parse(file: &str, bytes: &[u8]) -> Parsed {
    let mut reader = Reader {
        file: file.into(),
        parsed: Parsed::default(),
    };
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let line = 1 + bytes[..error.valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            reader.problem(Some(line as u64), "", "is not UTF-8 text: save the file in UTF-8");
            return reader.parsed;
        }
    };
    let trees = if file.ends_with(".json") {
        vec![document::json(text)]
    } else {
        document::yaml(text)
    };
    for tree in trees {
        match tree {
            Ok(node) if node.value().is_null() => {}
            Ok(node) => reader.resource(&node, ""),
            Err(error) => reader.problem(error.line, "", error.message),
        }
    }
    reader.parsed
}

struct Reader {
    file: Arc<str>,
    parsed: Parsed,
}

impl Reader {
    /// `prefix` is the path of the resource inside its document: empty, or `items[3]` within a list.
    fn resource(&mut self, node: &Node, prefix: &str) {
        let value = node.value();
        let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if !value.is_object() {
            return self.problem(
                Some(node.line()),
                prefix,
                "is no resource: apiVersion, kind, metadata, spec",
            );
        }
        for (field, given) in [("apiVersion", api_version), ("kind", kind)] {
            if given.is_empty() {
                self.problem(
                    Some(node.line()),
                    &join(prefix, field),
                    "is required and missing: is this a manifest?",
                );
            }
        }
        if api_version.is_empty() || kind.is_empty() {
            return;
        }
        if kind == "List" || kind == "DestinationList" {
            return self.list(node, prefix);
        }
        if kind != KIND && !(kind.eq_ignore_ascii_case(KIND) && api_version == API_VERSION) {
            let (file, line) = (self.file.to_string(), node.line());
            let kind = format!("{api_version} {kind}");
            return self.parsed.skipped.push(Skipped { file, line, kind });
        }
        for (field, given, known) in [("kind", kind, KIND), ("apiVersion", api_version, API_VERSION)] {
            if given != known {
                let message = format!("\"{given}\" is not known here: a {KIND} has the {field} {known}");
                return self.problem(node.lines().of(field), &join(prefix, field), message);
            }
        }
        self.destination(node, &value, prefix);
    }

    fn destination(&mut self, node: &Node, value: &Value, prefix: &str) {
        match check::manifest(value) {
            Ok(resource) => self.declared(resource, node.line()),
            Err(mistakes) => {
                let lines = node.lines();
                for Mistake { path, message } in mistakes {
                    self.problem(lines.of(&path), &join(prefix, &path), message);
                }
            }
        }
    }

    fn list(&mut self, node: &Node, prefix: &str) {
        let field = join(prefix, "items");
        match node.items("items") {
            Some(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.resource(item, &format!("{field}[{index}]"));
                }
            }
            None => self.problem(Some(node.line()), &field, "a list must have items"),
        }
    }

    fn declared(&mut self, mut resource: Destination, line: u64) {
        let namespace = resource
            .metadata
            .namespace
            .get_or_insert_with(|| DEFAULT_NAMESPACE.to_owned())
            .clone();
        let name = resource.metadata.name.clone().unwrap_or_default();
        let key = RouteKey::new(namespace, name);
        self.parsed.destinations.push(Declared {
            key,
            resource,
            file: self.file.clone(),
            line,
        });
    }

    fn problem(&mut self, line: Option<u64>, field: &str, message: impl Into<String>) {
        let (file, field) = (self.file.to_string(), field.to_owned());
        self.parsed.problems.push(ManifestProblem {
            file,
            line,
            field,
            message: message.into(),
        });
    }
}

fn join(prefix: &str, path: &str) -> String {
    match (prefix, path) {
        ("", path) => path.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, path) => format!("{prefix}.{path}"),
    }
}

#[cfg(test)]
mod tests;
