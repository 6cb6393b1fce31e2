//! Whether what was remembered still holds.
//!
//! Every write moves a counter on, of which there are as many as it takes to make it unlikely that two names share one.
//! What is remembered carries the counter's value from before it was read: a write that happens while it is read makes it
//! void, whoever comes first. Writes of other processes are heard of by following the database's events; when that has
//! not worked for a while, nothing that is remembered counts.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use landbridge_runtime::shutdown::Shutdown;
use tokio::time::Instant;

use crate::db::{Changes, Database, DbError, Kind, Place};

/// Counters: 32 KiB.
const COUNTERS: usize = 4096;

/// How long what is remembered is used without having heard from the database. Its clients remember for minutes, so this
/// bridges a restart of the database and no more.
const DEAF: Duration = Duration::from_secs(10);

/// Counters of one store.
#[derive(Debug)]
pub(crate) struct Freshness {
    counters: Box<[AtomicU64]>,
    /// Moved on when everything may have changed.
    everything: AtomicU64,
    hasher: RandomState,
    origin: Instant,
    /// When the database was last heard, in milliseconds after `origin`, plus one; 0: never.
    heard: AtomicU64,
}

/// The state of the counters for one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    counter: u64,
    everything: u64,
}

impl Freshness {
    pub(crate) fn new() -> Self {
        Self {
            counters: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            everything: AtomicU64::new(0),
            hasher: RandomState::new(),
            origin: Instant::now(),
            heard: AtomicU64::new(0),
        }
    }

    /// The state for one name; `None` when nothing may be remembered.
    pub(crate) fn mark(&self, kind: Kind, place: &Place, name: &str) -> Option<Mark> {
        let heard = Duration::from_millis(self.heard.load(Ordering::Acquire).checked_sub(1)?);
        if self.origin.elapsed().saturating_sub(heard) > DEAF {
            return None;
        }
        Some(Mark {
            counter: self.counter(kind.as_str(), place, name).load(Ordering::Acquire),
            everything: self.everything.load(Ordering::Acquire),
        })
    }

    /// Something was written, or may have been.
    pub(crate) fn changed(&self, kind: Kind, place: &Place, name: &str) {
        self.moved_on(kind.as_str(), place, name);
    }

    /// Nothing that is remembered counts.
    pub(crate) fn everything_changed(&self) {
        self.everything.fetch_add(1, Ordering::AcqRel);
    }

    fn moved_on(&self, kind: &str, place: &Place, name: &str) {
        self.counter(kind, place, name).fetch_add(1, Ordering::AcqRel);
    }

    fn counter(&self, kind: &str, place: &Place, name: &str) -> &AtomicU64 {
        let hash = self.hasher.hash_one(Named { kind, place, name });
        // The modulus is far below what any platform counts to.
        &self.counters[(hash % COUNTERS as u64) as usize]
    }

    /// The database was heard: what was read before `since` holds but for these changes.
    fn heard(&self, since: Instant, changes: &Changes) {
        match changes {
            Changes::Of(events) => {
                for event in events {
                    let place = Place {
                        subaccount_id: event.subaccount_id.clone(),
                        owner: event.owner.clone(),
                    };
                    self.moved_on(&event.kind, &place, &event.name);
                }
            }
            Changes::Everything => self.everything_changed(),
        }
        let millis = since.saturating_duration_since(self.origin).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX - 1);
        self.heard.store(millis + 1, Ordering::Release);
    }
}

#[derive(Hash)]
struct Named<'a> {
    kind: &'a str,
    place: &'a Place,
    name: &'a str,
}

/// Follows the database until `shutdown` begins: hears of writes of other processes, wakes those who follow the change
/// feed, and keeps `freshness` true.
pub(crate) async fn follow(database: Database, freshness: Arc<Freshness>, shutdown: Shutdown) {
    let mut news = database.news();
    let mut known = None;
    let mut told = false;
    loop {
        match look(&database, &freshness, known).await {
            Ok(last) => {
                if std::mem::take(&mut told) {
                    tracing::info!("the database answers again");
                }
                known = Some(last);
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "the database does not answer; it is asked again and again");
                }
            }
        }
        tokio::select! {
            () = news.wait() => {}
            () = shutdown.started() => return,
        }
    }
}

async fn look(database: &Database, freshness: &Freshness, known: Option<i64>) -> Result<i64, DbError> {
    let since = Instant::now();
    let (last, changes) = match known {
        Some(known) => database.changes_after(known).await?,
        // Nothing was remembered before.
        None => (database.last_event().await?, Changes::Everything),
    };
    freshness.heard(since, &changes);
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::EventRow;

    fn heard(freshness: &Freshness, changes: &Changes) {
        freshness.heard(Instant::now(), changes);
    }

    fn event(place: &Place, name: &str) -> EventRow {
        EventRow {
            id: 1,
            subaccount_id: place.subaccount_id.clone(),
            owner: place.owner.clone(),
            kind: "destination".to_owned(),
            name: name.to_owned(),
            action: "updated".to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn marks_change_with_what_they_are_of() {
        let freshness = Freshness::new();
        let place = Place::subaccount("s");
        let mark = |name: &str| freshness.mark(Kind::Destination, &place, name);
        assert_eq!(
            mark("a"),
            None,
            "nothing is remembered before the database was heard"
        );
        heard(&freshness, &Changes::Everything);
        let before = mark("a").unwrap();
        heard(&freshness, &Changes::Of(Vec::new()));
        assert_eq!(mark("a"), Some(before));
        for change in [
            &|| freshness.changed(Kind::Destination, &place, "a"),
            &|| heard(&freshness, &Changes::Of(vec![event(&place, "a")])),
            &|| heard(&freshness, &Changes::Everything),
            &|| freshness.everything_changed(),
        ] as [&dyn Fn(); 4]
        {
            let before = mark("a");
            change();
            assert_ne!(mark("a"), before);
        }
        tokio::time::advance(DEAF + Duration::from_millis(2)).await;
        assert_eq!(mark("a"), None, "the database was not heard for long");
        heard(&freshness, &Changes::Of(Vec::new()));
        assert!(mark("a").is_some());
    }
}
