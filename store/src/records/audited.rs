//! Writes that are told in the audit log. What was there before is read under the lock of writers: no other write can
//! come between it and what replaced it.

use super::labels::{LabelProblem, Relabelled};
use super::{Label, New, RecordError, Records, Stored};
use crate::audit::{Change, Event, Outcome, Part, Who};
use crate::db::{Action, DbError, Place, Written};

/// The things of one kind, as somebody changes them.
#[derive(Debug)]
pub(crate) struct Audited<'a, T> {
    records: &'a Records<T>,
    who: Who<'a>,
}

/// What one thing of a write is told with, once it is known that it was written.
struct Note {
    name: String,
    change: Option<Change>,
}

impl<T: Stored> Records<T> {
    /// The same writes, each told in the audit log.
    pub(crate) fn by<'a>(&'a self, who: impl Into<Who<'a>>) -> Audited<'a, T> {
        Audited {
            records: self,
            who: who.into(),
        }
    }

    fn change(&self, parts: [&str; 3], before: &[u8], after: Option<&T>) -> Change {
        match self.content(parts, before) {
            Ok(before) => Change::between(T::KIND, Some(&before), after),
            // What is damaged can still be replaced and deleted.
            Err(_) => Change::unreadable(T::KIND, after),
        }
    }
}

impl<T: Stored> Audited<'_, T> {
    /// See [`Records::create`].
    pub(crate) async fn create(
        &self,
        place: &Place,
        things: Vec<New<T>>,
    ) -> Result<Vec<(Written, String)>, RecordError> {
        let created = |new: &New<T>| Note {
            name: new.value.name().to_owned(),
            change: Some(Change::between(T::KIND, None, Some(&new.value))),
        };
        let notes: Vec<_> = things.iter().map(created).collect();
        let labelled = |new: &New<T>| Note {
            name: new.value.name().to_owned(),
            change: Some(&new.labels)
                .filter(|labels| !labels.is_empty())
                .map(|labels| Change::of_labels(&[], labels)),
        };
        let labels: Vec<_> = things.iter().map(labelled).collect();
        let written = self.records.create(place, things).await;
        self.tell(place, Action::Created, Part::Properties, &notes, &written);
        self.tell(place, Action::Created, Part::Labels, &labels, &written);
        written
    }

    /// See [`Records::replace`].
    pub(crate) async fn replace(
        &self,
        place: &Place,
        things: Vec<New<T>>,
        expected: Option<&str>,
    ) -> Result<Vec<(Written, String)>, RecordError> {
        let mut notes: Vec<_> = things.iter().map(|new| not_seen(new.value.name())).collect();
        let mut seen = |index: usize, sealed: &[u8]| {
            if let (Some(note), Some(new)) = (notes.get_mut(index), things.get(index)) {
                let parts = [place.subaccount_id.as_str(), &place.owner, &note.name];
                note.change = Some(self.records.change(parts, sealed, Some(&new.value)));
            }
        };
        let written = self
            .records
            .replace_seen(place, &things, expected, &mut seen)
            .await;
        self.tell(place, Action::Updated, Part::Properties, &notes, &written);
        written
    }

    /// See [`Records::delete`].
    pub(crate) async fn delete(
        &self,
        place: &Place,
        name: &str,
        expected: Option<&str>,
    ) -> Result<Written, RecordError> {
        let mut note = not_seen(name);
        let mut seen = |_: usize, sealed: &[u8]| {
            let parts = [place.subaccount_id.as_str(), &place.owner, name];
            note.change = Some(self.records.change(parts, sealed, None));
        };
        let deleted = self
            .records
            .delete_seen(place, name, expected, &mut seen)
            .await
            .map(|written| vec![(written, String::new())]);
        self.tell(place, Action::Deleted, Part::Properties, &[note], &deleted);
        // One was asked for, so one comes back.
        Ok(deleted?.pop().map_or(Written::Missing, |(written, _)| written))
    }

    /// Changes the labels of a thing; no other write comes between what `change` sees and what it says.
    pub(crate) async fn relabel(
        &self,
        place: &Place,
        name: &str,
        change: impl Fn(&[Label]) -> Result<Vec<Label>, LabelProblem> + Send + Sync,
    ) -> Result<Relabelled, RecordError> {
        let relabelled = self.records.relabel(place, name, change).await?;
        if let Relabelled::Done { before, after } = &relabelled {
            let note = Note {
                name: name.to_owned(),
                change: Some(Change::of_labels(before, after)),
            };
            let written = Ok(vec![(Written::Done, String::new())]);
            self.tell(place, Action::Updated, Part::Labels, &[note], &written);
        }
        Ok(relabelled)
    }

    /// Tells what was written. When the database was lost, nobody knows whether it was: what may have been is told too.
    fn tell(
        &self,
        place: &Place,
        action: Action,
        part: Part,
        notes: &[Note],
        written: &Result<Vec<(Written, String)>, RecordError>,
    ) {
        let lost = matches!(written, Err(RecordError::Database(DbError::Unreachable { .. })));
        for (index, note) in notes.iter().enumerate() {
            let done = written
                .as_ref()
                .is_ok_and(|written| matches!(written.get(index), Some((Written::Done, _))));
            let (Some(change), true) = (&note.change, done || lost) else {
                continue;
            };
            let outcome = if done { Outcome::Done } else { Outcome::Unknown };
            Event {
                who: self.who,
                place,
                kind: T::KIND.as_str(),
                name: &note.name,
                action,
                part,
                outcome,
                change,
            }
            .log();
        }
    }
}

/// What is not seen was not there to be changed.
fn not_seen(name: &str) -> Note {
    Note {
        name: name.to_owned(),
        change: None,
    }
}
