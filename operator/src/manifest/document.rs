//! Text into trees that remember their lines.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

/// A text that is not well formed.
#[derive(Debug)]
pub(super) struct Malformed {
    pub(super) line: Option<u64>,
    pub(super) message: String,
}

/// One value and the line it begins at.
#[derive(Debug)]
pub(super) struct Node {
    line: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
    Scalar(Value),
}

/// Lines by path.
pub(super) struct Lines(HashMap<String, u64>);

impl Lines {
    /// Line of a path like `spec.actions[0].name`; of what is left of it when its end does not exist.
    pub(super) fn of(&self, mut path: &str) -> Option<u64> {
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

/// One tree per document. The text is cut at the document markers first, so that a mistake ends its own document
/// only; YAML forbids such a line inside any value (YAML 1.2.2 section 9.1.2), hence the cut is exact.
pub(super) fn yaml(text: &str) -> Vec<Result<Node, Malformed>> {
    documents(text)
        .into_iter()
        .filter(|(_, document)| {
            // Comments and directives alone are no document.
            document.lines().any(|line| {
                let line = line.trim_start();
                let rest = line.strip_prefix("---").unwrap_or(line).trim_start();
                !rest.is_empty() && !rest.starts_with('#') && !rest.starts_with('%') && rest.trim() != "..."
            })
        })
        .map(|(first_line, document)| {
            // The parser keeps counting from 1 in every document.
            let offset = first_line - 1;
            serde_saphyr::from_str::<Spanned<Content>>(document)
                .map(|root| node(root, offset))
                .map_err(|error| {
                    let line = error.location().map(|location| location.line() + offset);
                    let message = error.without_snippet().to_string();
                    Malformed {
                        line,
                        message: format!("is not well-formed YAML: {}", without_place(&message)),
                    }
                })
        })
        .collect()
}

/// JSON is read by its own parser: YAML's rules on tabs and duplicate keys differ in details.
pub(super) fn json(text: &str) -> Result<Node, Malformed> {
    let value: Value = serde_json::from_str(text).map_err(|error| Malformed {
        line: Some(error.line() as u64),
        message: format!("is not well-formed JSON: {error}"),
    })?;
    // Nearly all JSON is YAML, and then the lines are known. Only the lines are taken from there.
    let lines = serde_saphyr::from_str::<Spanned<Content>>(text)
        .map(|root| node(root, 0))
        .ok();
    Ok(match lines {
        Some(node) if node.value() == value => node,
        _ => Node {
            line: 1,
            content: Content::from(value),
        },
    })
}

fn documents(text: &str) -> Vec<(u64, &str)> {
    let mut found = Vec::new();
    let (mut start, mut start_line, mut position) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let marker = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        if marker && position > start {
            found.push((start_line, &text[start..position]));
            (start, start_line) = (position, index as u64 + 1);
        }
        position += line.len();
    }
    found.push((start_line, &text[start..]));
    found
}

/// The parser's messages end with a place that counts from the start of the document; ours is told separately.
fn without_place(message: &str) -> &str {
    let first = message.lines().next().unwrap_or_default();
    first.find(" at line ").map_or(first, |end| &first[..end])
}

fn node(spanned: Spanned<Content>, offset: u64) -> Node {
    let mut content = spanned.value;
    content.shift(offset);
    Node {
        line: spanned.referenced.line() + offset,
        content,
    }
}

impl Content {
    fn shift(&mut self, offset: u64) {
        let shift = |node: &mut Node| {
            node.line += offset;
            node.content.shift(offset);
        };
        match self {
            Self::Map(entries) => entries.iter_mut().for_each(|(_, node)| shift(node)),
            Self::List(items) => items.iter_mut().for_each(shift),
            Self::Scalar(_) => {}
        }
    }
}

impl From<Value> for Content {
    fn from(value: Value) -> Self {
        let node = |value| Node {
            line: 1,
            content: Self::from(value),
        };
        match value {
            Value::Object(map) => Self::Map(map.into_iter().map(|(key, value)| (key, node(value))).collect()),
            Value::Array(items) => Self::List(items.into_iter().map(node).collect()),
            scalar => Self::Scalar(scalar),
        }
    }
}

impl Node {
    /// Line of the value, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The value without its lines.
    pub(super) fn value(&self) -> Value {
        match &self.content {
            Content::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, node)| (key.clone(), node.value()))
                    .collect::<Map<_, _>>(),
            ),
            Content::List(items) => Value::Array(items.iter().map(Self::value).collect()),
            Content::Scalar(value) => value.clone(),
        }
    }

    /// The entries of a list field.
    pub(super) fn items(&self, field: &str) -> Option<&[Self]> {
        let Content::Map(entries) = &self.content else {
            return None;
        };
        match entries
            .iter()
            .find(|(key, _)| key == field)
            .map(|(_, node)| &node.content)
        {
            Some(Content::List(items)) => Some(items),
            _ => None,
        }
    }

    /// The lines of all fields. Made once per resource that has mistakes.
    pub(super) fn lines(&self) -> Lines {
        let mut lines = HashMap::new();
        self.collect("", &mut lines);
        Lines(lines)
    }

    fn collect(&self, path: &str, lines: &mut HashMap<String, u64>) {
        let children: Vec<(String, &Self)> = match &self.content {
            Content::Map(entries) if path.is_empty() => {
                entries.iter().map(|(key, node)| (key.clone(), node)).collect()
            }
            Content::Map(entries) => entries
                .iter()
                .map(|(key, node)| (format!("{path}.{key}"), node))
                .collect(),
            Content::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, node)| (format!("{path}[{index}]"), node))
                .collect(),
            Content::Scalar(_) => Vec::new(),
        };
        for (path, node) in children {
            node.collect(&path, lines);
            lines.insert(path, node.line);
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let mut inner = node(access.next_value::<Spanned<Content>>()?, 0);
            // The line of the field is what one looks for, not that of the value below it.
            inner.line = key.referenced.line();
            entries.push((key.value, inner));
        }
        Ok(Content::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Spanned<Content>>()? {
            items.push(node(item, 0));
        }
        Ok(Content::List(items))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }
}
