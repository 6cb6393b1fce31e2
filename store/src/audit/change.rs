//! What a write changed, fit to be logged: without secrets, and of bounded size.

use landbridge_destination::DestinationConfig;
use landbridge_destination::properties::is_secret_key;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::db::Kind;
use crate::records::Label;

/// Most bytes of either side, as JSON. Up to 10 000 log lines wait in memory, and up to 1000 come from one call.
const MAX_SIDE: usize = 2048;

/// Most characters of a property's name.
const MAX_KEY: usize = 80;

/// Most characters of a value.
const MAX_VALUE: usize = 200;

/// What stands for a secret.
const HIDDEN: &str = "[hidden]";

/// What was changed, before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    before: String,
    after: String,
}

impl Change {
    /// The properties that differ between two versions of a thing; `None` when there is no such version.
    pub(crate) fn between<T: Serialize>(kind: Kind, before: Option<&T>, after: Option<&T>) -> Self {
        changed(&object(before), &object(after), |key, value| {
            shown(kind, key, value)
        })
    }

    /// All properties of a new version, when the one before cannot be read.
    pub(crate) fn unreadable<T: Serialize>(kind: Kind, after: Option<&T>) -> Self {
        Self {
            before: r#"{"...":"it was damaged and could not be read"}"#.to_owned(),
            ..Self::between(kind, None, after)
        }
    }

    /// The labels that differ.
    pub(crate) fn of_labels(before: &[Label], after: &[Label]) -> Self {
        let object = |labels: &[Label]| {
            let pairs = labels.iter();
            pairs
                .map(|label| (label.key.clone(), label.values.clone().into()))
                .collect()
        };
        changed(&object(before), &object(after), |_, value| text(value))
    }

    /// A JSON object with the values before.
    pub(crate) fn before(&self) -> &str {
        &self.before
    }

    /// A JSON object with the values after.
    pub(crate) fn after(&self) -> &str {
        &self.after
    }
}

/// Both sides of what differs, as far as there is room.
fn changed(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    shown: impl Fn(&str, &Value) -> String,
) -> Change {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let differing = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value));
    let keys = differing.map(|(key, _)| key).chain(gone);
    let (mut sides, mut room, mut left_out) = ([Map::new(), Map::new()], [MAX_SIDE; 2], 0_usize);
    for key in keys {
        let entry = [before, after].map(|side| {
            side.get(key)
                .map(|value| Value::from(cut(&shown(key, value), MAX_VALUE)))
        });
        let name = cut(key, MAX_KEY);
        // As JSON, in which a character may take six bytes; quotes of the key, colon and comma included.
        let key_size = Value::from(name.as_str()).to_string().len() + 2;
        let sizes = entry.each_ref().map(|value| {
            value
                .as_ref()
                .map_or(0, |value| value.to_string().len() + key_size)
        });
        // Two long names with the same beginning: the second one counts as left out.
        let fits = (0..2).all(|side| sizes[side] <= room[side] && !sides[side].contains_key(&name));
        if !fits {
            left_out += 1;
            continue;
        }
        for (side, value) in entry.into_iter().enumerate() {
            room[side] -= sizes[side];
            if let Some(value) = value {
                sides[side].insert(name.clone(), value);
            }
        }
    }
    let [before, after] = sides.map(|mut side| {
        if left_out > 0 {
            side.insert("...".to_owned(), format!("{left_out} more").into());
        }
        Value::Object(side).to_string()
    });
    Change { before, after }
}

fn object<T: Serialize>(thing: Option<&T>) -> Map<String, Value> {
    match thing.map(serde_json::to_value) {
        Some(Ok(Value::Object(properties))) => properties,
        _ => Map::new(),
    }
}

/// A value as it may be seen.
fn shown(kind: Kind, key: &str, value: &Value) -> String {
    let hidden = match kind {
        Kind::Destination | Kind::Fragment | Kind::Issuer => is_secret_key(key),
        // Their content is keys; what may be seen of them is named, so that nothing new slips through.
        Kind::Certificate | Kind::Trust => !matches!(key, "Name" | "Type" | "name" | "common_name"),
    };
    if hidden {
        return HIDDEN.to_owned();
    }
    // Passwords in URLs.
    let alone: DestinationConfig = [(key, text(value))].into_iter().collect();
    alone.without_secrets().get(key).unwrap_or(HIDDEN).to_owned()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn between(kind: Kind, before: Value, after: Value) -> (Value, Value) {
        let version = |value: Value| Some(value).filter(|value| !value.is_null());
        let change = Change::between(kind, version(before).as_ref(), version(after).as_ref());
        let read = |side: &str| serde_json::from_str(side).unwrap();
        (read(change.before()), read(change.after()))
    }

    #[test]
    fn what_differs_is_told_without_secrets() {
        for (kind, before, after, shown_before, shown_after) in [
            (
                Kind::Destination,
                json!(null),
                json!({"Name": "d", "User": "u", "Password": "hunter2"}),
                json!({}),
                json!({"Name": "d", "User": "u", "Password": "[hidden]"}),
            ),
            // What stays the same is not told, also when it is secret; a changed secret is told as such.
            (
                Kind::Destination,
                json!({"Name": "d", "URL": "http://a", "Password": "hunter2", "clientSecret": "old", "x": "1"}),
                json!({"Name": "d", "URL": "http://b", "Password": "hunter2", "clientSecret": "new", "y": "2"}),
                json!({"URL": "http://a", "clientSecret": "[hidden]", "x": "1"}),
                json!({"URL": "http://b", "clientSecret": "[hidden]", "y": "2"}),
            ),
            (
                Kind::Fragment,
                json!({"FragmentName": "f", "URL": "https://u:hunter2@host/p", "URL.headers.Authorization": "x"}),
                json!(null),
                json!({"FragmentName": "f", "URL": "https://host/p", "URL.headers.Authorization": "[hidden]"}),
                json!({}),
            ),
            (
                Kind::Certificate,
                json!({"Name": "k.p12", "Content": "aGk="}),
                json!({"Name": "k.p12", "Content": "aGs=", "whatever": "hunter2"}),
                json!({"Content": "[hidden]"}),
                json!({"Content": "[hidden]", "whatever": "[hidden]"}),
            ),
            (
                Kind::Issuer,
                json!(null),
                json!({"name": "idp", "audiences": ["a"], "client_secret": "hunter2"}),
                json!({}),
                json!({"name": "idp", "audiences": "[\"a\"]", "client_secret": "[hidden]"}),
            ),
        ] {
            let change = between(kind, before, after);
            assert_eq!(change, (shown_before, shown_after));
        }
    }

    #[test]
    fn a_change_of_a_password_in_a_url_is_a_change() {
        let version = |password: &str| json!({"URL": format!("http://u:{password}@h")});
        let shown = json!({"URL": "http://h"});
        let change = between(Kind::Destination, version("one"), version("two"));
        assert_eq!(change, (shown.clone(), shown));
    }

    #[test]
    fn events_are_bounded() {
        let many = |value: &str| {
            let pairs = (0..2000).map(|number| (format!("{number}{}", "k".repeat(500)), value.into()));
            Value::Object(pairs.collect())
        };
        // Control characters take six bytes each.
        let (long, nasty) = (many(&"x".repeat(100_000)), many(&"\u{1}".repeat(1000)));
        let change = Change::between(Kind::Destination, Some(&long), Some(&nasty));
        for side in [change.before(), change.after()] {
            assert!((200..MAX_SIDE + 40).contains(&side.len()), "{}", side.len());
            assert!(side.contains(" more\""), "{side}");
            serde_json::from_str::<Value>(side).unwrap();
        }
    }

    #[test]
    fn labels_are_compared_by_key() {
        let label = |key: &str, values: &[&str]| Label {
            key: key.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let change = Change::of_labels(
            &[label("a", &["1"]), label("b", &["1"])],
            &[label("a", &["1"]), label("b", &["1", "2"])],
        );
        assert_eq!(change.before(), r#"{"b":"[\"1\"]"}"#);
        assert_eq!(change.after(), r#"{"b":"[\"1\",\"2\"]"}"#);
    }

    #[test]
    fn damage_is_told() {
        let change = Change::unreadable(Kind::Destination, Some(&json!({"Name": "d"})));
        assert!(change.before().contains("damaged") && change.after() == r#"{"Name":"d"}"#);
    }
}
