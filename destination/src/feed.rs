//! The change feed of a store, from the reader's side: what has changed, as it changes, so that nothing has to be asked
//! for again and again. Stores without one say so, and their users poll.

mod parser;

use std::time::Duration;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use landbridge_runtime::http_client::{BodyStream, CallError};
use serde::Deserialize;

use crate::client::StoreClient;
use crate::error::StoreError;
use parser::{Event, Parser};

/// Path of the feed below a store's address.
pub const PATH: &str = "landbridge/v1/events";

/// Silence after which a feed counts as dead: two of its heartbeats (10 s) and some.
pub const SILENCE: Duration = Duration::from_secs(25);

/// Names in one event at most; a longer burst comes as several.
const MAX_NAMES: usize = 1000;

/// Why there are no events, or no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// The store has no feed (404, 405, 501, or an answer that is no event stream): poll it.
    #[error("the store has no change feed; it is asked again from time to time instead")]
    Unsupported,
    /// The feed cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The feed broke off or went silent: open it again with the last number.
    #[error("the change feed of {server} ended: {reason}; it is opened again")]
    Ended {
        /// Which store.
        server: String,
        /// Why.
        reason: String,
    },
    /// What came is no event stream, or holds an event of more than 64 KiB.
    #[error(
        "the change feed of {server} cannot be read: {reason}; check what stands between here and the store"
    )]
    Unreadable {
        /// Which store.
        server: String,
        /// Why.
        reason: String,
    },
}

/// Something has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEvent {
    /// Number to go on from after a break; none as long as the store gave none.
    pub id: Option<u64>,
    /// What.
    pub change: FeedChange,
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedChange {
    /// Destinations, fragments or certificates of these names, without repetitions.
    Names(Vec<String>),
    /// Everything may have: always first when there was no number to go on from, or one that is too old.
    Reset,
}

/// An open feed.
#[derive(Debug)]
pub struct Feed {
    server: String,
    body: BodyStream,
    parser: Parser,
    last_id: Option<u64>,
}

impl StoreClient {
    /// Opens the change feed after the event with number `last_id`; without one it begins with a reset.
    ///
    /// # Errors
    /// See [`FeedError`].
    pub async fn changes(&self, last_id: Option<u64>) -> Result<Feed, FeedError> {
        let mut request = Request::get(self.address(PATH))
            .header(ACCEPT, "text/event-stream")
            .header(CACHE_CONTROL, "no-store");
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(bytes::Bytes::new()).map_err(|_| {
            FeedError::Store(StoreError::BadRequest {
                status: 400,
                reason: "the binding's uri cannot be called".to_owned(),
            })
        })?;
        let answer = self.open(request).await?;
        match answer.status() {
            StatusCode::OK if is_event_stream(&answer) => Ok(Feed {
                server: self.store_name(),
                body: answer.into_body(),
                parser: Parser::default(),
                last_id,
            }),
            StatusCode::OK
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::NOT_IMPLEMENTED => Err(FeedError::Unsupported),
            _ => Err(self.refusal(answer).await.into()),
        }
    }
}

fn is_event_stream(answer: &Response<BodyStream>) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let essence = kind.and_then(|kind| kind.split(|byte| *byte == b';').next());
    essence.is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
}

impl Feed {
    /// The next change, as soon as there is one; changes that have come together are told together.
    ///
    /// Dropping the returned future loses nothing.
    ///
    /// # Errors
    /// [`FeedError::Ended`] or [`FeedError::Unreadable`]; the feed is then of no use any more.
    pub async fn next(&mut self) -> Result<FeedEvent, FeedError> {
        loop {
            if let Some(event) = self.take()? {
                return Ok(event);
            }
            let piece = self
                .body
                .next(SILENCE)
                .await
                .map_err(|error| self.ended(&error))?;
            match piece {
                Some(piece) => self.parser.push(&piece),
                None => {
                    return Err(FeedError::Ended {
                        server: self.server.clone(),
                        reason: "the store closed it".to_owned(),
                    });
                }
            }
        }
    }

    /// Number of the last event, to go on from.
    pub fn last_id(&self) -> Option<u64> {
        self.last_id
    }

    /// What has come already, as one event.
    fn take(&mut self) -> Result<Option<FeedEvent>, FeedError> {
        let mut names: Vec<String> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut reset = false;
        while names.len() < MAX_NAMES {
            let event = self.parser.next().map_err(|error| FeedError::Unreadable {
                server: self.server.clone(),
                reason: error.to_string(),
            })?;
            let Some(event) = event else { break };
            self.last_id = event
                .id
                .as_deref()
                .and_then(|id| id.parse().ok())
                .or(self.last_id);
            match read(&event) {
                Some(FeedChange::Reset) => reset = true,
                Some(FeedChange::Names(changed)) => {
                    names.extend(changed.into_iter().filter(|name| seen.insert(name.clone())));
                }
                None => {}
            }
        }
        let change = match (reset, names.is_empty()) {
            (true, _) => FeedChange::Reset,
            (false, true) => return Ok(None),
            (false, false) => FeedChange::Names(names),
        };
        Ok(Some(FeedEvent {
            id: self.last_id,
            change,
        }))
    }

    fn ended(&self, error: &CallError) -> FeedError {
        let reason = if error.is_timeout() {
            format!("nothing came for {} s", SILENCE.as_secs())
        } else {
            error.to_string()
        };
        FeedError::Ended {
            server: self.server.clone(),
            reason,
        }
    }
}

/// What one event means; nothing when it is of a kind that this version does not know.
fn read(event: &Event) -> Option<FeedChange> {
    #[derive(Deserialize)]
    struct Change {
        name: String,
    }
    match event.kind.as_str() {
        "reset" => Some(FeedChange::Reset),
        // Asking for everything again is always right; missing a change never is.
        "change" => Some(match serde_json::from_str::<Change>(&event.data) {
            Ok(change) => FeedChange::Names(vec![change.name]),
            Err(_) => FeedChange::Reset,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
