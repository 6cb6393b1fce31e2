//! Labels: keys with values each, by which lists are filtered (later API).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{RecordError, Records, Stored};
use crate::db::{LabelRow, Place};

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

/// What became of the labels of a thing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Relabelled {
    /// They are changed.
    Done {
        /// Those it had.
        before: Vec<Label>,
        /// Those it has.
        after: Vec<Label>,
    },
    /// There is no such thing.
    Missing,
    /// It keeps those it has.
    Refused(LabelProblem),
}

/// What is done to labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum LabelAction {
    /// Values are added to those of a label.
    #[serde(rename = "ADD")]
    Add,
    /// Values are taken away; without values, the label is. Both names are in use (later API).
    #[serde(rename = "REMOVE", alias = "DELETE")]
    Remove,
}

/// The labels after an action. What is there already is added once, and what is not there is not missed.
pub(crate) fn changed_labels(before: &[Label], action: LabelAction, given: &[Label]) -> Vec<Label> {
    let mut labels = before.to_vec();
    for Label { key, values } in given {
        let position = labels.iter().position(|label| label.key == *key);
        match (action, position.and_then(|position| labels.get_mut(position))) {
            (LabelAction::Add, Some(label)) => {
                label.values.extend(values.iter().cloned());
                label.values.sort_unstable();
                label.values.dedup();
            }
            (LabelAction::Add, None) => labels.push(Label {
                key: key.clone(),
                values: values.clone(),
            }),
            (LabelAction::Remove, Some(label)) => {
                let all = values.is_empty();
                label.values.retain(|value| !all && !values.contains(value));
            }
            (LabelAction::Remove, None) => {}
        }
    }
    labels.retain(|label| action == LabelAction::Add || !label.values.is_empty());
    labels
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
    /// Labels of one thing; none when there is no such thing.
    pub(crate) async fn labels(&self, place: &Place, name: &str) -> Result<Vec<Label>, RecordError> {
        let rows = self.storage.database.labels_of(T::KIND, place, name).await?;
        Ok(grouped(rows).remove(name).unwrap_or_default())
    }

    /// Changes the labels of a thing; no other write comes between what `change` sees and what it says.
    pub(super) async fn relabel(
        &self,
        place: &Place,
        name: &str,
        change: impl Fn(&[Label]) -> Result<Vec<Label>, LabelProblem> + Send + Sync,
    ) -> Result<Relabelled, RecordError> {
        let mut relabelled = Relabelled::Missing;
        let mut exchange = |rows: Vec<LabelRow>| {
            let before = grouped(rows).remove(name).unwrap_or_default();
            let after = change(&before).and_then(|after| check_labels(&after).map(|()| after));
            match after {
                Ok(after) => {
                    let pairs = flat(&after);
                    relabelled = Relabelled::Done { before, after };
                    Some(pairs)
                }
                Err(problem) => {
                    relabelled = Relabelled::Refused(problem);
                    None
                }
            }
        };
        let database = &self.storage.database;
        database
            .change_labels(T::KIND, place, name, &mut exchange)
            .await?;
        Ok(relabelled)
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
    fn actions_add_and_take_away() {
        let before = [label("a", &["1", "2"]), label("b", &["1"])];
        for (action, given, expected) in [
            (
                LabelAction::Add,
                vec![label("a", &["0", "2"]), label("c", &["x"])],
                vec![
                    label("a", &["0", "1", "2"]),
                    label("b", &["1"]),
                    label("c", &["x"]),
                ],
            ),
            (
                LabelAction::Remove,
                vec![label("a", &["1", "9"]), label("b", &["1"]), label("z", &["1"])],
                vec![label("a", &["2"])],
            ),
            (
                LabelAction::Remove,
                vec![label("a", &[])],
                vec![label("b", &["1"])],
            ),
        ] {
            assert_eq!(changed_labels(&before, action, &given), expected);
        }
        // Nothing that could not be set can be added.
        let bad = changed_labels(&before, LabelAction::Add, &[label("c", &[])]);
        assert_eq!(check_labels(&bad), Err(LabelProblem::Values("c".to_owned())));
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
