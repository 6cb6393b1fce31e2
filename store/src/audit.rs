//! The audit log: who changed what, as log events of a target of their own, so that they can be sent to a place of their
//! own. What was changed is told with its value before and after; values of secrets are replaced.

mod change;

use crate::auth::Caller;
use crate::db::{Action, Place};

pub(crate) use change::Change;

/// Target of the events; the filter `landbridge::audit=info` lets them through.
const TARGET: &str = "landbridge::audit";

/// Most characters of a user's name in an event. Such names come from identity providers.
const MAX_USER: usize = 200;

/// Who changes something.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Who<'a> {
    /// A client of the REST API, with the user it calls for.
    Client(&'a Caller),
}

impl<'a> From<&'a Caller> for Who<'a> {
    fn from(caller: &'a Caller) -> Self {
        Self::Client(caller)
    }
}

impl Who<'_> {
    fn word(self) -> &'static str {
        match self {
            Self::Client(_) => "client",
        }
    }

    fn client_id(&self) -> Option<&str> {
        match self {
            Self::Client(caller) => Some(&caller.client_id),
        }
    }

    fn user(&self) -> Option<String> {
        match self {
            Self::Client(caller) => Some(caller.user.as_ref()?.chars().take(MAX_USER).collect()),
        }
    }

    /// Whether the client's instance belongs to another tenant than the one it calls for.
    fn is_subscriber(self) -> bool {
        matches!(self, Self::Client(caller) if caller.provider_id != caller.subaccount_id)
    }
}

/// Whether what an event tells has come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done and is durable.
    Done,
    /// The database was lost before it could say.
    Unknown,
}

/// One change of one thing.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    pub(crate) who: Who<'a>,
    /// Where the thing is.
    pub(crate) place: &'a Place,
    /// What kind of thing it is: `destination`, `fragment`, `certificate`, ...
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    pub(crate) action: Action,
    /// What of the thing was changed.
    pub(crate) part: Part,
    pub(crate) outcome: Outcome,
    pub(crate) change: &'a Change,
}

/// What of a thing an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Its properties, thus the thing itself.
    Properties,
    /// Its labels.
    Labels,
}

impl Event<'_> {
    /// Writes the event. `before` and `after` are JSON objects of what was changed.
    pub(crate) fn log(&self) {
        let at = match (self.place.owner.as_str(), self.who.is_subscriber()) {
            ("", _) => "subaccount",
            (_, false) => "instance",
            (_, true) => "subscription",
        };
        let part = match self.part {
            Part::Properties => "properties",
            Part::Labels => "labels",
        };
        let outcome = match self.outcome {
            Outcome::Done => "done",
            Outcome::Unknown => "unknown",
        };
        // Not `level`: in JSON it would stand beside the level of the log line.
        tracing::info!(
            target: TARGET,
            by = self.who.word(),
            client_id = self.who.client_id(),
            user = self.who.user(),
            subaccount = self.place.subaccount_id,
            instance = Some(self.place.owner.as_str()).filter(|owner| !owner.is_empty()),
            at,
            kind = self.kind,
            name = self.name,
            action = self.action.as_str(),
            part,
            outcome,
            before = self.change.before(),
            after = self.change.after(),
            "audit"
        );
    }
}
