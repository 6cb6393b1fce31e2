//! Reads a configuration value by value, so that every mistake of a file is found in one run: a deserializer stops at
//! the first.

use landbridge_runtime::problems::Problems;
use serde_json::{Map, Value};

/// One table of the file. Values are taken out; what is left at the end is unknown.
pub(super) struct Table<'a> {
    path: String,
    map: Map<String, Value>,
    known: Vec<&'static str>,
    problems: &'a mut Problems,
}

impl<'a> Table<'a> {
    /// The whole file.
    pub(super) fn root(value: Value, problems: &'a mut Problems) -> Self {
        Self::new(String::new(), value, problems)
    }

    fn new(path: String, value: Value, problems: &'a mut Problems) -> Self {
        let map = match value {
            Value::Object(map) => map,
            other => {
                let field = if path.is_empty() { "configuration" } else { &path };
                problems.add(field, format!("must be a table, not {}", kind(&other)));
                Map::new()
            }
        };
        Self {
            path,
            map,
            known: Vec::new(),
            problems,
        }
    }

    /// Path of a value of this table, as it is shown to people.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Notes a mistake of one value.
    pub(super) fn problem(&mut self, key: &str, message: impl std::fmt::Display) {
        let path = self.path_of(key);
        self.problems.add(path, message);
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.map.remove(key).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let result = read(&value);
        if result.is_none() {
            self.problem(key, format!("must be {wanted}, not {}", kind(&value)));
        }
        result
    }

    /// An optional text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.typed(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// A text that must be there and not be empty.
    pub(super) fn required_text(&mut self, key: &'static str, example: &str) -> Option<String> {
        let present = self.map.get(key).is_some_and(|value| !value.is_null());
        let text = self.text(key);
        match text {
            Some(text) if !text.trim().is_empty() => Some(text),
            Some(_) => {
                self.problem(key, format!("must not be empty; for example {example}"));
                None
            }
            None => {
                if !present {
                    self.problem(key, format!("is missing; for example {example}"));
                }
                None
            }
        }
    }

    /// A text or a list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.typed(key, "a text or a list of texts", |value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect(),
            _ => None,
        })
    }

    /// A yes or no.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.typed(key, "true or false", Value::as_bool)
            .unwrap_or(default)
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, key: &'static str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let wanted = format!("a number from {} to {}", bounds.start(), bounds.end());
        let value = self.take(key)?;
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            // Ports are often quoted in YAML.
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let found = number.filter(|number| bounds.contains(number));
        if found.is_none() {
            let got = number.map_or_else(|| kind(&value).to_owned(), |number| number.to_string());
            self.problem(key, format!("must be {wanted}, not {got}"));
        }
        found
    }

    /// A port; `required` says whether it must be there.
    pub(super) fn port(&mut self, key: &'static str) -> Option<u16> {
        if self.map.get(key).is_none_or(Value::is_null) {
            self.known.push(key);
            self.map.remove(key);
            self.problem(key, "is missing; a port from 1 to 65535");
            return None;
        }
        self.number(key, 1..=65_535)
            .and_then(|port| u16::try_from(port).ok())
    }

    /// One of some words, in any case.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text));
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.problem(key, format!("must be one of {}, not {text:?}", words.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// Each table of a list.
    pub(super) fn tables(&mut self, key: &'static str, mut each: impl FnMut(Table<'_>)) -> usize {
        let items = match self.take(key) {
            None => return 0,
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.problem(key, format!("must be a list of tables, not {}", kind(&other)));
                return 0;
            }
        };
        let count = items.len();
        for (index, item) in items.into_iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(key));
            each(Table::new(path, item, self.problems));
        }
        count
    }

    /// A table, or an empty one.
    pub(super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(Table<'_>) -> T) -> T {
        let value = self.take(key).unwrap_or_else(|| Value::Object(Map::new()));
        let path = self.path_of(key);
        read(Table::new(path, value, self.problems))
    }

    /// Reports what nobody asked for.
    pub(super) fn finish(mut self) {
        let unknown: Vec<String> = self.map.keys().cloned().collect();
        for key in unknown {
            let hint = nearest(&key, &self.known).map(|known| format!("; did you mean {known}?"));
            let all = || format!("; known here: {}", self.known.join(", "));
            let hint = hint.unwrap_or_else(all);
            self.problem(&key, format!("is not known{hint}"));
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

/// The known name that was probably meant: at most a third of its letters differ.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let scored = known.iter().map(|name| (distance(key, name), *name));
    let (score, name) = scored.min_by_key(|(score, _)| *score)?;
    (score <= name.len().div_ceil(3)).then_some(name)
}

/// Letters to insert, remove or change (Levenshtein), ignoring case and separators.
fn distance(a: &str, b: &str) -> usize {
    let plain = |text: &str| -> Vec<u8> {
        text.bytes()
            .take(64)
            .filter(u8::is_ascii_alphanumeric)
            .map(|byte| byte.to_ascii_lowercase())
            .collect()
    };
    let (a, b) = (plain(a), plain(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_what_was_meant() {
        let known = ["virtual_host", "virtual_port", "internal_host"];
        assert_eq!(nearest("virtualHost", &known), Some("virtual_host"));
        assert_eq!(nearest("virtual_prot", &known), Some("virtual_port"));
        assert_eq!(nearest("colour", &known), None);
    }
}
