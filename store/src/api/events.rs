//! The change feed, `GET /landbridge/v1/events`: server-sent events (WHATWG HTML, section 9.2) with what was written in
//! the caller's tenant, so that proxies need not ask again and again.
//!
//! Event `change` says what and how, event `reset` that everything may have changed. Each has a number to go on from
//! (`Last-Event-ID` or `?after=`); without one, or with one that is too old or unknown, the first event is a `reset`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, HeaderMap};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::error::ApiError;
use crate::app::App;
use crate::auth::{Access, Area, At, Authenticated, Caller};
use crate::db::{DbError, EventRow};
use crate::metrics::OpenFeed;
use crate::records::RecordError;
use landbridge_runtime::shares::Share;

/// Where the feed is.
pub(crate) const PATH: &str = "/landbridge/v1/events";

/// A silent feed says that it lives this often, so that clients tell silence from a dead connection.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Events read from the database at a time; a feed of any length needs this much memory.
const PAGE: u32 = 256;

/// `GET /landbridge/v1/events`.
pub(crate) async fn events(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.require(Area::Configuration, At::Instance, Access::Read)?;
    let after = resume_point(&headers, query.as_deref())?;
    let share = app.feeds.take(&caller.subaccount_id);
    let share = share.ok_or_else(ApiError::too_many_feeds)?;
    let database = &app.storage.database;
    let numbers = database.event_numbers();
    // Before the status is sent, so that a broken database is a 503 and not a feed that ends at once.
    database.last_event().await.map_err(RecordError::from)?;
    let follower = Follower {
        _open: app.metrics.feed_opened(),
        until: Instant::now() + caller.remaining(),
        known: after,
        // Even without news the point to go on from has to be checked.
        look: true,
        page: Vec::new().into_iter(),
        numbers,
        caller,
        app,
        _share: share,
    };
    let stream = unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let feed = Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    let head = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((head, feed).into_response())
}

/// The number to go on from; `None` when the client has none, or one that is none of ours.
fn resume_point(headers: &HeaderMap, query: Option<&str>) -> Result<Option<i64>, ApiError> {
    let mut after = None;
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let number = value.parse().ok().filter(|number| *number >= 0);
        match (key.as_ref(), number) {
            ("after", Some(number)) => after = Some(number),
            ("after", None) => {
                return Err(ApiError::bad_request(
                    "after is no number; send the id of the last event, or leave it out",
                ));
            }
            _ => {
                return Err(ApiError::bad_request(
                    "The only option of this path is after; leave the others out",
                ));
            }
        }
    }
    match headers.get("last-event-id") {
        // What browsers and libraries send by themselves when they reconnect is the newer one.
        Some(value) if !value.is_empty() => Ok(value.to_str().ok().and_then(|text| text.parse().ok())),
        _ => Ok(after),
    }
}

/// What an event `change` says.
#[derive(Serialize)]
struct Change<'a> {
    kind: &'a str,
    name: &'a str,
    level: &'static str,
    action: &'a str,
}

fn change(row: &EventRow) -> Event {
    let level = if row.owner.is_empty() {
        "subaccount"
    } else {
        "instance"
    };
    let change = Change {
        kind: &row.kind,
        name: &row.name,
        level,
        action: &row.action,
    };
    let event = Event::default().id(row.id.to_string()).event("change");
    // Four texts always become JSON; a client takes an event that it cannot read as a reset.
    event.json_data(change).unwrap_or_else(|_| reset(row.id))
}

fn reset(number: i64) -> Event {
    Event::default().id(number.to_string()).event("reset").data("{}")
}

/// One open feed.
struct Follower {
    app: Arc<App>,
    caller: Arc<Caller>,
    numbers: watch::Receiver<i64>,
    /// Everything up to here has been told; `None`: nothing is known.
    known: Option<i64>,
    /// Whether there may be events to read.
    look: bool,
    page: std::vec::IntoIter<EventRow>,
    /// When the token ends.
    until: Instant,
    _open: OpenFeed,
    _share: Share<String>,
}

impl Follower {
    /// The next event; `None` when the store drains, the token has expired or the database fails. A client that does
    /// not read is not asked for more: then nothing is read here either.
    async fn next(&mut self) -> Option<Event> {
        let (app, until) = (Arc::clone(&self.app), self.until);
        tokio::select! {
            biased;
            () = app.ending.started() => None,
            () = sleep_until(until) => None,
            event = self.read() => event
                .inspect_err(|error| tracing::warn!(%error, "a change feed was cut off"))
                .ok(),
        }
    }

    async fn read(&mut self) -> Result<Event, DbError> {
        loop {
            if let Some(row) = self.page.next() {
                self.known = Some(row.id);
                return Ok(change(&row));
            }
            if !self.look {
                self.wait().await;
            }
            // Marked as seen before it is read: a write in between wakes again.
            let last = *self.numbers.borrow_and_update();
            let database = &self.app.storage.database;
            let rows = match self.known {
                Some(known) => {
                    let (tenant, instance) = (&self.caller.subaccount_id, &self.caller.instance_id);
                    database.events_after(tenant, instance, known, PAGE).await?
                }
                None => None,
            };
            let Some(rows) = rows else {
                let last = database.last_event().await?;
                (self.known, self.look) = (Some(last), true);
                return Ok(reset(last));
            };
            self.look = u32::try_from(rows.len()).is_ok_and(|count| count == PAGE);
            if rows.is_empty() {
                // What was written up to there is not for this caller.
                self.known = self.known.max(Some(last));
            }
            self.page = rows.into_iter();
        }
    }

    /// Waits until something was written, by anyone in any process: the store follows its database.
    async fn wait(&mut self) {
        // The database, which holds the other end, outlives this.
        let _ = self.numbers.changed().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_go_on_from() {
        for (header, query, expected) in [
            (None, None, Ok(None)),
            (None, Some("after=7"), Ok(Some(7))),
            (Some("9"), Some("after=7"), Ok(Some(9))),
            (Some(""), Some("after=7"), Ok(Some(7))),
            (Some("of another store"), Some("after=7"), Ok(None)),
            (None, Some("after=x"), Err(())),
            (None, Some("after=-1"), Err(())),
            (None, Some("since=1"), Err(())),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert("last-event-id", HeaderValue::from_static(value));
            }
            let found = resume_point(&headers, query).map_err(|_| ());
            assert_eq!(found, expected, "{header:?} {query:?}");
        }
    }
}
