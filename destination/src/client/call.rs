//! What store answers and failed calls mean.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, ETAG, HeaderMap, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use landbridge_runtime::http_client::CallError;
use secrecy::ExposeSecret;
use serde::Deserialize;

use crate::error::StoreError;
use crate::levels::Level;
use crate::oauth::{AnswerError, Token};
use crate::properties::shorten;

/// Shortest pause before the one repetition, also when the server says 0 (seed L16708).
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause, chosen evenly below it (full jitter).
const PAUSE: Duration = Duration::from_millis(1000);

/// Longest `Retry-After` that is waited for; callers have deadlines of their own.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3);

/// The parts of an answer that matter.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) etag: Option<String>,
    pub(super) body: Bytes,
}

impl From<Response<Bytes>> for Answer {
    fn from(response: Response<Bytes>) -> Self {
        let etag = response
            .headers()
            .get(ETAG)
            .and_then(|etag| etag.to_str().ok())
            .map(str::to_owned);
        Self {
            status: response.status(),
            etag,
            body: response.into_body(),
        }
    }
}

/// The same request with our token.
pub(super) fn authorized(request: &Request<Bytes>, token: &Token) -> Result<Request<Bytes>, StoreError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.access_token.expose_secret()))
        .map_err(|_| StoreError::BadRequest {
            status: 400,
            reason: "our token cannot be sent".to_owned(),
        })?;
    value.set_sensitive(true);
    let mut request = request.clone();
    request.headers_mut().insert(AUTHORIZATION, value);
    Ok(request)
}

/// Whether the store asks to come back later: it is overloaded, or this client calls too often.
pub(super) fn says_wait(status: StatusCode) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS
}

/// How long to wait before the one repetition: as long as the server says (in seconds), else a random moment. `None`
/// when it says longer than callers wait: then it is not asked again.
pub(super) fn retry_pause(headers: &HeaderMap) -> Option<Duration> {
    let stated = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    match stated.map(Duration::from_secs) {
        Some(stated) => (stated <= LONGEST_RETRY_AFTER).then_some(stated.max(SHORTEST_PAUSE)),
        None => Some(SHORTEST_PAUSE + (PAUSE - SHORTEST_PAUSE).mul_f64(fastrand::f64())),
    }
}

/// What an answer that is no success means.
pub(super) fn failure(answer: &Answer, store: &str, name: &str, level: Option<Level>) -> StoreError {
    let reason = message(&answer.body);
    match answer.status {
        StatusCode::NOT_FOUND => StoreError::NotFound {
            name: name.to_owned(),
            level,
        },
        StatusCode::UNAUTHORIZED => StoreError::Unauthorized {
            server: store.to_owned(),
            reason,
        },
        StatusCode::FORBIDDEN => StoreError::Forbidden { reason },
        status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            StoreError::Unavailable {
                server: store.to_owned(),
                reason: format!("status {}: {reason}", status.as_u16()),
                retryable: status != StatusCode::NOT_IMPLEMENTED,
            }
        }
        status if status.is_client_error() => StoreError::BadRequest {
            status: status.as_u16(),
            reason,
        },
        status => StoreError::BadAnswer {
            server: store.to_owned(),
            reason: format!("status {}", status.as_u16()),
        },
    }
}

/// What a call without an answer means.
pub(super) fn from_call_error(error: &CallError, server: &str) -> StoreError {
    let (server, reason) = (server.to_owned(), error.to_string());
    match error {
        error if error.is_timeout() => StoreError::Timeout { server, reason },
        CallError::TooLarge { .. } => StoreError::BadAnswer { server, reason },
        // An address that is not allowed stays so; everything else of the network may pass.
        CallError::Dial(_) if !error.is_unsent() => StoreError::Unavailable {
            server,
            reason,
            retryable: false,
        },
        _ => StoreError::Unavailable {
            server,
            reason,
            retryable: true,
        },
    }
}

/// What the authorization server's refusal means.
pub(super) fn from_answer_error(error: &AnswerError, server: String) -> StoreError {
    let reason = error.to_string();
    match error {
        AnswerError::Refused {
            status: 400 | 401 | 403,
            ..
        } => StoreError::Unauthorized { server, reason },
        AnswerError::Refused { .. } => StoreError::Unavailable {
            server,
            reason,
            retryable: error.is_retryable(),
        },
        AnswerError::Unusable(_) => StoreError::BadAnswer { server, reason },
    }
}

/// The store's own words: `{"ErrorMessage": ...}` or plain text.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Error {
        #[serde(rename = "ErrorMessage")]
        message: String,
    }
    let text = match serde_json::from_slice::<Error>(body) {
        Ok(error) => error.message,
        Err(_) => String::from_utf8_lossy(body.get(..512).unwrap_or(body)).into_owned(),
    };
    match text.trim() {
        "" => "no reason given".to_owned(),
        text if text.starts_with('<') => "an HTML page instead of a reason".to_owned(),
        text if text.chars().count() <= 80 => shorten(text),
        text => text
            .chars()
            .take(400)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_neither_none_nor_too_long() {
        for (stated, expected) in [
            ("0", Some(100)),
            ("1", Some(1000)),
            ("3", Some(3000)),
            ("4", None),
        ] {
            let headers = [(RETRY_AFTER, HeaderValue::from_static(stated))];
            let pause = retry_pause(&headers.into_iter().collect());
            assert_eq!(pause, expected.map(Duration::from_millis), "{stated}");
        }
        for _ in 0..100 {
            let pause = retry_pause(&HeaderMap::new()).unwrap();
            assert!((SHORTEST_PAUSE..=PAUSE).contains(&pause), "{pause:?}");
        }
    }
}
