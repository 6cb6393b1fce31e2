//! Labels: keys with values each, by which lists are filtered (later API).

#![expect(
    dead_code,
    reason = "find calls read labels; no call of the API changes them yet"
)]

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{RecordError, Records, Stored};
use crate::db::{LabelRow, Place, Written};

/// Most labels of one thing.
const MAX_LABELS: usize = 50;
/// Most values of one label.
const MAX_VALUES: usize = 50;
/// Longest key or value, in characters.
const MAX_LENGTH: usize = 63;

/// A label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Label {
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
}

/// Labels that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LabelProblem {
    #[error("there are more than {MAX_LABELS} labels; send fewer")]
    TooMany,
    #[error("label {0} comes twice; put its values together")]
    Twice(String),
    #[error("label {0} has no value, or more than {MAX_VALUES}")]
    Values(String),
    #[error(
        "a label's key or value is empty, longer than {MAX_LENGTH} characters, or has a control character"
    )]
    Text,
}

/// Checks what a client sent.
pub(crate) fn check_labels(labels: &[Label]) -> Result<(), LabelProblem> {
    if labels.len() > MAX_LABELS {
        return Err(LabelProblem::TooMany);
    }
    let text = |text: &str| {
        !text.is_empty() && text.chars().count() <= MAX_LENGTH && !text.chars().any(char::is_control)
    };
    let mut keys = std::collections::HashSet::new();
    for label in labels {
        if !text(&label.key) || !label.values.iter().all(|value| text(value)) {
            return Err(LabelProblem::Text);
        }
        if label.values.is_empty() || label.values.len() > MAX_VALUES {
            return Err(LabelProblem::Values(label.key.clone()));
        }
        if !keys.insert(label.key.as_str()) {
            return Err(LabelProblem::Twice(label.key.clone()));
        }
    }
    Ok(())
}

/// One pair for each value.
pub(super) fn flat(labels: &[Label]) -> Vec<(String, String)> {
    labels
        .iter()
        .flat_map(|label| {
            label
                .values
                .iter()
                .map(|value| (label.key.clone(), value.clone()))
        })
        .collect()
}

/// Labels by the name of what has them; `rows` are sorted by name and label.
fn grouped(rows: Vec<LabelRow>) -> HashMap<String, Vec<Label>> {
    let mut all: HashMap<String, Vec<Label>> = HashMap::new();
    for LabelRow { name, label, value } in rows {
        let labels = all.entry(name).or_default();
        match labels.last_mut() {
            Some(last) if last.key == label => last.values.push(value),
            _ => labels.push(Label {
                key: label,
                values: vec![value],
            }),
        }
    }
    all
}

impl<T: Stored> Records<T> {
    /// Labels of everything in a place, by name.
    pub(crate) async fn all_labels(&self, place: &Place) -> Result<HashMap<String, Vec<Label>>, RecordError> {
        Ok(grouped(self.storage.database.labels(T::KIND, place).await?))
    }

    /// Labels of one thing; none when there is no such thing.
    pub(crate) async fn labels(&self, place: &Place, name: &str) -> Result<Vec<Label>, RecordError> {
        let rows = self.storage.database.labels_of(T::KIND, place, name).await?;
        Ok(grouped(rows).remove(name).unwrap_or_default())
    }

    /// Gives a thing these labels in place of those it has.
    pub(crate) async fn set_labels(
        &self,
        place: &Place,
        name: &str,
        labels: &[Label],
    ) -> Result<Written, RecordError> {
        Ok(self.exchange_labels(place, name, labels).await?.0)
    }

    /// As [`set_labels`](Self::set_labels); the labels that it had come back.
    pub(super) async fn exchange_labels(
        &self,
        place: &Place,
        name: &str,
        labels: &[Label],
    ) -> Result<(Written, Vec<Label>), RecordError> {
        let pairs = flat(labels);
        let replaced = self.storage.database.replace_labels(T::KIND, place, name, &pairs);
        let (written, rows) = replaced.await?;
        Ok((written, grouped(rows).remove(name).unwrap_or_default()))
    }

    /// Names of what has one of these values of a label, sorted.
    pub(crate) async fn labelled(
        &self,
        place: &Place,
        key: &str,
        values: &[String],
    ) -> Result<Vec<String>, RecordError> {
        let mut names = Vec::new();
        for value in values {
            names.extend(self.storage.database.labelled(T::KIND, place, key, value).await?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(key: &str, values: &[&str]) -> Label {
        Label {
            key: key.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }
    }

    #[test]
    fn what_is_kept_comes_back() {
        let labels = [label("a", &["1", "2"]), label("b", &["1"])];
        assert_eq!(check_labels(&labels), Ok(()));
        let rows = flat(&labels).into_iter().map(|(label, value)| LabelRow {
            name: "n".to_owned(),
            label,
            value,
        });
        assert_eq!(grouped(rows.collect())["n"], labels);
    }

    #[test]
    fn bad_labels_are_refused() {
        let long = "x".repeat(MAX_LENGTH + 1);
        for (labels, problem) in [
            (vec![label("", &["1"])], LabelProblem::Text),
            (vec![label("a", &["\n"])], LabelProblem::Text),
            (vec![label(&long, &["1"])], LabelProblem::Text),
            (vec![label("a", &[])], LabelProblem::Values("a".to_owned())),
            (
                vec![label("a", &["1"]), label("a", &["2"])],
                LabelProblem::Twice("a".to_owned()),
            ),
            (vec![label("a", &["1"]); MAX_LABELS + 1], LabelProblem::TooMany),
        ] {
            assert_eq!(check_labels(&labels), Err(problem));
        }
    }
}
