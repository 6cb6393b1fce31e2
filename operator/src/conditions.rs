//! Conditions: three-valued answers, and how they become a status that changes only when something changed.

use landbridge_crds::conditions::{gateway_reasons, status};
use landbridge_crds::destination::Condition;
use serde::Serialize;

/// Longest message of a condition, in bytes; texts of other systems are part of some.
const MAX_MESSAGE: usize = 2_000;

/// Something worth telling about a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Normal or Warning.
    pub severity: Severity,
    /// The reason of the condition it is about.
    pub reason: String,
    /// Its message.
    pub message: String,
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Severity {
    /// As wanted.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Whether something holds, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holds {
    status: &'static str,
    reason: Option<&'static str>,
    message: String,
}

/// One condition before it has a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aspect {
    type_: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Holds {
    pub(crate) fn yes() -> Self {
        Self {
            status: status::TRUE,
            reason: None,
            message: String::new(),
        }
    }

    pub(crate) fn yes_because(reason: &'static str, message: &str) -> Self {
        Self {
            status: status::TRUE,
            reason: Some(reason),
            message: message.to_owned(),
        }
    }

    pub(crate) fn no(reason: &'static str, message: &str) -> Self {
        Self {
            status: status::FALSE,
            reason: Some(reason),
            message: message.to_owned(),
        }
    }

    pub(crate) fn unknown(reason: &'static str, message: &str) -> Self {
        Self {
            status: status::UNKNOWN,
            reason: Some(reason),
            message: message.to_owned(),
        }
    }

    /// False if one is, else unknown if one is, with the message of the first such.
    pub(crate) fn all<const N: usize>(parts: [&Self; N]) -> Self {
        for wanted in [status::FALSE, status::UNKNOWN] {
            if let Some(part) = parts.iter().find(|part| part.status == wanted) {
                let reason = Some(gateway_reasons::NOT_READY);
                return Self {
                    status: wanted,
                    reason,
                    message: part.message.clone(),
                };
            }
        }
        Self::yes()
    }

    pub(crate) fn is_no(&self) -> bool {
        self.status == status::FALSE
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.status == status::UNKNOWN
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Gives it a type; `usual` is the reason where none was given.
    pub(crate) fn named(self, type_: &'static str, usual: &'static str) -> Aspect {
        Aspect {
            type_,
            status: self.status,
            reason: self.reason.unwrap_or(usual),
            message: self.message,
        }
    }
}

/// The aspects as conditions. What did not change keeps its times: `lastTransitionTime` moves with the status alone,
/// `lastUpdateTime` with anything but the generation. An event is made for each change of a type in `tell`.
pub(crate) fn merge(
    previous: &[Condition],
    aspects: Vec<Aspect>,
    tell: &[&str],
    generation: Option<i64>,
    now: &str,
) -> (Vec<Condition>, Vec<Event>) {
    let mut events = Vec::new();
    let conditions = aspects
        .into_iter()
        .map(|aspect| {
            let before = previous.iter().find(|old| old.type_ == aspect.type_);
            let message = cut(aspect.message);
            let same_status = before.is_some_and(|old| old.status == aspect.status);
            let same = same_status
                && before.is_some_and(|old| old.reason == aspect.reason && old.message == message);
            if tell.contains(&aspect.type_) && !same && aspect.status != status::UNKNOWN {
                let severity = if aspect.status == status::TRUE {
                    Severity::Normal
                } else {
                    Severity::Warning
                };
                events.push(Event {
                    severity,
                    reason: aspect.reason.to_owned(),
                    message: message.clone(),
                });
            }
            let time = |kept: bool, old: fn(&Condition) -> &Option<String>| {
                before
                    .filter(|_| kept)
                    .and_then(|before| old(before).clone())
                    .or_else(|| Some(now.to_owned()))
            };
            Condition {
                type_: aspect.type_.to_owned(),
                status: aspect.status.to_owned(),
                reason: aspect.reason.to_owned(),
                message,
                last_update_time: time(same, |old| &old.last_update_time),
                last_transition_time: time(same_status, |old| &old.last_transition_time),
                observed_generation: generation,
            }
        })
        .collect();
    (conditions, events)
}

fn cut(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE)
            .rev()
            .find(|end| message.is_char_boundary(*end))
            .unwrap_or(0);
        message.truncate(end);
        message.push_str("...");
    }
    message
}
