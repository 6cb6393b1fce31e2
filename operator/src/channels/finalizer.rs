//! When a deleted resource has to wait: only while a connector holds its channel, and never for long.

use jiff::{SignedDuration, Timestamp};

/// How long a deleted resource waits for connectors at most, so that a namespace can be deleted while they are away.
pub const GIVE_UP: SignedDuration = SignedDuration::from_secs(60);

/// How long nobody must have held a channel before its finalizer goes: a connector that comes back within that time
/// costs no write.
pub const LINGER: SignedDuration = SignedDuration::from_secs(60);

/// What is to happen to the finalizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finalizer {
    /// Nothing.
    Keep,
    /// It is to be added.
    Add,
    /// It is to be removed.
    Remove,
}

/// Whether a connector holds the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// At least one does.
    Yes,
    /// None does.
    No,
    /// The proxies have not told yet.
    Unknown,
}

/// Everything the rule depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation {
    /// Whether our finalizer is on the resource.
    pub(super) present: bool,
    /// When the deletion was asked for.
    pub(super) deleted: Option<Timestamp>,
    /// Whether the resource says that it may go.
    pub(super) skip: bool,
    /// Who holds it.
    pub(super) held: Held,
    /// Since when nobody is known to hold it.
    pub(super) unheld_since: Timestamp,
    /// Now.
    pub(super) now: Timestamp,
}

/// The rule, and when it has to be asked again if nothing happens.
pub(super) fn decide(situation: Situation) -> (Finalizer, Option<Timestamp>) {
    let Situation {
        present,
        deleted,
        skip,
        held,
        unheld_since,
        now,
    } = situation;
    let wait_until = |time: Timestamp| {
        if now < time {
            (Finalizer::Keep, Some(time))
        } else {
            (Finalizer::Remove, None)
        }
    };
    match (present, deleted) {
        (true, _) if skip => (Finalizer::Remove, None),
        (true, Some(_)) if held == Held::No => (Finalizer::Remove, None),
        (true, Some(deleted)) => wait_until(deleted.saturating_add(GIVE_UP).unwrap_or(deleted)),
        (true, None) if held == Held::Yes => (Finalizer::Keep, None),
        (true, None) => wait_until(unheld_since.saturating_add(LINGER).unwrap_or(unheld_since)),
        // The API server takes no new finalizer for a resource that is being deleted.
        (false, None) if held == Held::Yes && !skip => (Finalizer::Add, None),
        (false, _) => (Finalizer::Keep, None),
    }
}

/// What the rule depends on for a resource that is not ours to look after.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    /// Whether a finalizer of ours, or of another installation, is on it.
    pub(super) present: bool,
    /// Whether it was ours to look after a moment ago, so that the finalizer is ours.
    pub(super) released: bool,
    /// When the deletion was asked for.
    pub(super) deleted: Option<Timestamp>,
    /// Now.
    pub(super) now: Timestamp,
}

/// The rule for those. All installations call the finalizer the same, and one that was restarted does not know which
/// were its own: so another's is removed too, but only when its owner would have given up long ago. Otherwise what was
/// left by one that is no more could never be deleted.
pub(super) fn leave(left: Left) -> (Finalizer, Option<Timestamp>) {
    let Left {
        present,
        released,
        deleted,
        now,
    } = left;
    match deleted {
        _ if !present => (Finalizer::Keep, None),
        _ if released => (Finalizer::Remove, None),
        None => (Finalizer::Keep, None),
        Some(deleted) => {
            let time = deleted.saturating_add(GIVE_UP * 2).unwrap_or(deleted);
            if now < time {
                (Finalizer::Keep, Some(time))
            } else {
                (Finalizer::Remove, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn is_there_only_while_somebody_holds_the_channel() {
        use Finalizer::{Add, Keep, Remove};
        use Held::{No, Unknown, Yes};
        // present, deleted at, skip, held, unheld since, now: what happens, asked again at
        let cases = [
            (false, None, false, No, 0, 0, Keep, None),
            (false, None, false, Unknown, 0, 0, Keep, None),
            (false, None, false, Yes, 0, 0, Add, None),
            (false, None, true, Yes, 0, 0, Keep, None),
            (false, Some(0), false, Yes, 0, 0, Keep, None),
            (true, None, false, Yes, 0, 1000, Keep, None),
            (true, None, false, No, 10, 20, Keep, Some(70)),
            (true, None, false, No, 10, 70, Remove, None),
            (true, None, false, Unknown, 0, 59, Keep, Some(60)),
            (true, None, true, Yes, 0, 0, Remove, None),
            (true, Some(0), false, Yes, 0, 59, Keep, Some(60)),
            (true, Some(0), false, Yes, 0, 60, Remove, None),
            (true, Some(0), false, Unknown, 0, 1, Keep, Some(60)),
            (true, Some(0), false, No, 0, 0, Remove, None),
            (true, Some(0), true, Yes, 0, 0, Remove, None),
        ];
        for (present, deleted, skip, held, since, now, expected, again) in cases {
            let situation = Situation {
                present,
                deleted: deleted.map(at),
                skip,
                held,
                unheld_since: at(since),
                now: at(now),
            };
            assert_eq!(decide(situation), (expected, again.map(at)), "{situation:?}");
        }
    }

    #[test]
    fn of_another_installation_is_removed_only_when_that_one_is_gone() {
        use Finalizer::{Keep, Remove};
        // present, released, deleted at, now: what happens, asked again at
        let cases = [
            (false, false, None, 0, Keep, None),
            (false, true, Some(0), 1000, Keep, None),
            (true, false, None, 1000, Keep, None),
            (true, true, None, 0, Remove, None),
            (true, true, Some(0), 0, Remove, None),
            (true, false, Some(0), 119, Keep, Some(120)),
            (true, false, Some(0), 120, Remove, None),
        ];
        for (present, released, deleted, now, expected, again) in cases {
            let left = Left {
                present,
                released,
                deleted: deleted.map(at),
                now: at(now),
            };
            assert_eq!(leave(left), (expected, again.map(at)), "{left:?}");
        }
    }
}
