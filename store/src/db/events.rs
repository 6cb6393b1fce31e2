//! The change feed as kept: written in the transaction of the change itself, cut off at its old end.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::connection::{Pools, Transaction, execute, read, read_within};
use super::postgres::{self, Listener};
use super::{Database, DbError, EventRow, Kind, Place};

/// Events kept per tenant. A client that was away for longer is told that everything may have changed.
pub const KEPT_EVENTS: i64 = 10_000;

/// How often SQLite is looked at for writes of other processes. One look takes some 0.1 ms.
const LOOK: Duration = Duration::from_millis(250);

/// Events read at a time by whoever keeps copies; when there are more, nothing that is kept counts any more.
const READ: i64 = 1000;

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

/// What an event is about.
pub(super) struct Subject<'a> {
    pub(super) kind: Kind,
    pub(super) place: &'a Place,
    pub(super) name: &'a str,
}

/// What was written by anybody since a number, for whoever keeps copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// These things.
    Of(Vec<EventRow>),
    /// More than can be told.
    Everything,
}

/// Returns when there may be news of other processes.
#[derive(Debug)]
pub struct News(Option<Listener>);

impl News {
    /// Waits for them: a quarter of a second on SQLite, until they are announced on PostgreSQL, or a second.
    pub async fn wait(&mut self) {
        match &mut self.0 {
            Some(listener) => listener.news().await,
            None => sleep(LOOK).await,
        }
    }
}

/// Takes the next numbers of events; the last one.
async fn take_numbers(transaction: &mut Transaction, count: i64) -> Result<i64, DbError> {
    let (last,): (i64,) = read_within!(
        transaction,
        fetch_one,
        "UPDATE counters SET value = value + $1 WHERE name = 'events' RETURNING value",
        [count]
    )?;
    Ok(last)
}

/// Notes changes in one place; the number of the last event, if there is any.
pub(super) async fn note(
    transaction: &mut Transaction,
    action: Action,
    subjects: &[Subject<'_>],
) -> Result<Option<i64>, DbError> {
    let Some(first) = subjects.first() else {
        return Ok(None);
    };
    let count = i64::try_from(subjects.len()).unwrap_or(i64::MAX);
    let last = take_numbers(transaction, count).await?;
    for (id, subject) in (last - count + 1..).zip(subjects) {
        execute!(
            transaction,
            "INSERT INTO events (id, subaccount_id, owner, kind, name, action) VALUES ($1, $2, $3, $4, $5, $6)",
            [
                id,
                &subject.place.subaccount_id,
                &subject.place.owner,
                subject.kind.as_str(),
                subject.name,
                action.as_str()
            ]
        )?;
    }
    cut_off(transaction, &first.place.subaccount_id).await?;
    announce_to_others(transaction, last).await?;
    Ok(Some(last))
}

async fn announce_to_others(transaction: &mut Transaction, last: i64) -> Result<(), DbError> {
    match transaction {
        Transaction::Postgres(transaction) => postgres::announce(transaction, last).await,
        Transaction::Sqlite(_) => Ok(()),
    }
}

/// Deletes what is beyond the limit. The walk to the limit reads the index only, some 0.2 ms; a commit takes more.
async fn cut_off(transaction: &mut Transaction, subaccount_id: &str) -> Result<(), DbError> {
    let oldest: Option<(i64,)> = read_within!(
        transaction,
        fetch_optional,
        "SELECT id FROM events WHERE subaccount_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2",
        [subaccount_id, KEPT_EVENTS]
    )?;
    let Some((oldest,)) = oldest else {
        return Ok(());
    };
    execute!(
        transaction,
        "DELETE FROM events WHERE subaccount_id = $1 AND id <= $2",
        [subaccount_id, oldest]
    )?;
    raise_floor(transaction, subaccount_id, oldest).await
}

async fn raise_floor(transaction: &mut Transaction, subaccount_id: &str, floor: i64) -> Result<(), DbError> {
    execute!(
        transaction,
        "INSERT INTO event_floors (subaccount_id, floor) VALUES ($1, $2) \
         ON CONFLICT (subaccount_id) DO UPDATE SET floor = excluded.floor",
        [subaccount_id, floor]
    )?;
    Ok(())
}

/// Tells the followers of a tenant, and whoever keeps copies, that everything of it may have changed.
pub(super) async fn note_everything(
    transaction: &mut Transaction,
    subaccount_id: &str,
) -> Result<i64, DbError> {
    // A number without an event: whoever keeps copies sees the gap.
    let last = take_numbers(transaction, 1).await?;
    raise_floor(transaction, subaccount_id, last).await?;
    announce_to_others(transaction, last).await?;
    Ok(last)
}

impl Database {
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

    /// Gives up all events, so that a full database has room for a deletion again. Every client is told that
    /// everything may have changed.
    pub(super) async fn forget_events(&self) -> Result<(), DbError> {
        let mut transaction = self.begin().await?;
        execute!(&mut transaction, "DELETE FROM events", [])?;
        execute!(
            &mut transaction,
            "UPDATE event_floors SET floor = (SELECT value FROM counters WHERE name = 'events') \
             WHERE subaccount_id = ''",
            []
        )?;
        transaction.commit().await?;
        tracing::warn!("the database is full: the change feed was emptied to make room for a deletion");
        Ok(())
    }

    /// The next events after number `after` that concern a tenant and one of its instances, oldest first; `None` when
    /// the feed does not reach back that far, or never had that number.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn events_after(
        &self,
        subaccount_id: &str,
        instance_id: &str,
        after: i64,
        limit: u32,
    ) -> Result<Option<Vec<EventRow>>, DbError> {
        let events = read!(
            self,
            fetch_all,
            "SELECT id, subaccount_id, owner, kind, name, action FROM events \
             WHERE subaccount_id = $1 AND id > $2 AND owner IN ('', $3) ORDER BY id LIMIT $4",
            [subaccount_id, after, instance_id, i64::from(limit)]
        )?;
        // Read after the events: whatever was cut off in between is then noticed, at worst once too often.
        let (floor, last): (i64, i64) = read!(
            self,
            fetch_one,
            "SELECT (SELECT MAX(floor) FROM event_floors WHERE subaccount_id IN ('', $1)), \
             (SELECT value FROM counters WHERE name = 'events')",
            [subaccount_id]
        )?;
        Ok((floor..=last).contains(&after).then_some(events))
    }

    /// Number of the last event of all tenants, also when another process has written it.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn last_event(&self) -> Result<i64, DbError> {
        let (last,): (i64,) = read!(
            self,
            fetch_one,
            "SELECT value FROM counters WHERE name = 'events'",
            []
        )?;
        self.announce(Some(last));
        Ok(last)
    }

    /// What anybody has written after number `known`, and the number to go on from.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn changes_after(&self, known: i64) -> Result<(i64, Changes), DbError> {
        let last = self.last_event().await?;
        if last == known {
            return Ok((last, Changes::Of(Vec::new())));
        }
        let events: Vec<EventRow> = read!(
            self,
            fetch_all,
            "SELECT id, subaccount_id, owner, kind, name, action FROM events \
             WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3",
            [known, last, READ]
        )?;
        // Numbers have no gaps: one that is missing was cut off, or stands for more than one thing.
        let complete = i64::try_from(events.len()).is_ok_and(|count| last.checked_sub(known) == Some(count));
        Ok(if complete {
            (last, Changes::Of(events))
        } else {
            (last, Changes::Everything)
        })
    }

    /// Waits for writes of other processes.
    pub fn news(&self) -> News {
        News(match &self.pools {
            Pools::Postgres(pool) => Some(Listener::new(pool.clone())),
            Pools::Sqlite { .. } => None,
        })
    }

    /// Hears the number of the last event as far as it is known here: after writes of this process, and whenever
    /// [`last_event`](Self::last_event) was asked.
    pub fn event_numbers(&self) -> watch::Receiver<i64> {
        self.last_event.subscribe()
    }
}
