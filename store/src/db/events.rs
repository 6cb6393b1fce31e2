//! The change feed as kept: written in the transaction of the change itself, cut off at its old end.

use sqlx::{Sqlite, Transaction};

use super::sqlite::version;
use super::{DbError, DestinationRow, EventRow, Place, SqliteDatabase, Written};

/// Events kept per tenant. A client that was away for longer is told that everything may have changed.
pub const KEPT_EVENTS: i64 = 10_000;

/// What happened to something of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is new.
    Created,
    /// It was replaced.
    Updated,
    /// It is gone.
    Deleted,
}

impl Action {
    /// The word in the feed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// Whose destination an event is about.
pub(super) struct Subject<'a> {
    pub(super) subaccount_id: &'a str,
    pub(super) owner: &'a str,
    pub(super) name: &'a str,
}

impl<'a> From<&'a DestinationRow> for Subject<'a> {
    fn from(row: &'a DestinationRow) -> Self {
        Self {
            subaccount_id: &row.subaccount_id,
            owner: &row.owner,
            name: &row.name,
        }
    }
}

/// Notes changes of one tenant's destinations; the number of the last event, if there is any.
pub(super) async fn note(
    transaction: &mut Transaction<'static, Sqlite>,
    action: Action,
    subjects: &[Subject<'_>],
) -> Result<Option<i64>, DbError> {
    let mut last = None;
    for subject in subjects {
        let insert = "INSERT INTO events (subaccount_id, owner, kind, name, action) \
                      VALUES (?, ?, 'destination', ?, ?)";
        let done = sqlx::query(insert)
            .bind(subject.subaccount_id)
            .bind(subject.owner)
            .bind(subject.name)
            .bind(action.as_str())
            .execute(&mut **transaction)
            .await?;
        last = Some((done.last_insert_rowid(), subject.subaccount_id));
    }
    let Some((id, subaccount_id)) = last else {
        return Ok(None);
    };
    cut_off(transaction, subaccount_id).await?;
    Ok(Some(id))
}

/// Deletes what is beyond the limit. The walk to the limit reads the index only, some 0.2 ms; a commit takes more.
async fn cut_off(transaction: &mut Transaction<'static, Sqlite>, subaccount_id: &str) -> Result<(), DbError> {
    let oldest: Option<i64> =
        sqlx::query_scalar("SELECT id FROM events WHERE subaccount_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?")
            .bind(subaccount_id)
            .bind(KEPT_EVENTS)
            .fetch_optional(&mut **transaction)
            .await?;
    let Some(oldest) = oldest else {
        return Ok(());
    };
    sqlx::query("DELETE FROM events WHERE subaccount_id = ? AND id <= ?")
        .bind(subaccount_id)
        .bind(oldest)
        .execute(&mut **transaction)
        .await?;
    sqlx::query(
        "INSERT INTO event_floors (subaccount_id, floor) VALUES (?, ?) \
         ON CONFLICT (subaccount_id) DO UPDATE SET floor = excluded.floor",
    )
    .bind(subaccount_id)
    .bind(oldest)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

impl SqliteDatabase {
    /// Wakes those who follow the change feed.
    pub(super) fn announce(&self, last: Option<i64>) {
        if let Some(last) = last {
            self.last_event.send_if_modified(|known| {
                let news = *known < last;
                *known = last.max(*known);
                news
            });
        }
    }

    pub(super) async fn delete_and_note(
        &self,
        place: &Place,
        name: &str,
        expected: Option<&str>,
    ) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        let state = version(&mut transaction, place, name, expected).await?;
        let mut last = None;
        if state == Written::Done {
            sqlx::query("DELETE FROM destinations WHERE subaccount_id = ? AND owner = ? AND name = ?")
                .bind(&place.subaccount_id)
                .bind(&place.owner)
                .bind(name)
                .execute(&mut *transaction)
                .await?;
            let subject = Subject {
                subaccount_id: &place.subaccount_id,
                owner: &place.owner,
                name,
            };
            last = note(&mut transaction, Action::Deleted, &[subject]).await?;
        }
        transaction.commit().await?;
        self.announce(last);
        Ok(state)
    }

    /// Gives up all events, so that a full database has room for a deletion again. Every client is told that
    /// everything may have changed.
    pub(super) async fn forget_events(&self) -> Result<(), DbError> {
        let mut transaction = self.begin().await?;
        sqlx::query("DELETE FROM events")
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "UPDATE event_floors SET floor = (SELECT seq FROM sqlite_sequence WHERE name = 'events') \
             WHERE subaccount_id = ''",
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        tracing::warn!("the database is full: the change feed was emptied to make room for a deletion");
        Ok(())
    }

    pub(super) async fn read_events(
        &self,
        subaccount_id: &str,
        instance_id: &str,
        after: i64,
        limit: u32,
    ) -> Result<Option<Vec<EventRow>>, DbError> {
        let events = sqlx::query_as(
            "SELECT id, owner, kind, name, action FROM events \
             WHERE subaccount_id = ?1 AND id > ?2 AND owner IN ('', ?3) ORDER BY id LIMIT ?4",
        )
        .bind(subaccount_id)
        .bind(after)
        .bind(instance_id)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        // Read after the events: whatever was cut off in between is then noticed, at worst once too often.
        let (floor, last): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT MAX(floor) FROM event_floors WHERE subaccount_id IN ('', ?)), \
             (SELECT seq FROM sqlite_sequence WHERE name = 'events')",
        )
        .bind(subaccount_id)
        .fetch_one(&self.readers)
        .await?;
        Ok((floor..=last).contains(&after).then_some(events))
    }

    pub(super) async fn read_last_event(&self) -> Result<i64, DbError> {
        let last: i64 = sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
            .fetch_one(&self.readers)
            .await?;
        self.announce(Some(last));
        Ok(last)
    }
}
