//! Failed requests: a status and `{"ErrorMessage": "..."}`, with the literal texts clients match on.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::auth::{Access, Area, At, READ, WRITE, scope};
use crate::db::DbError;
use crate::records::RecordError;
use crate::tokens::TokenTrouble;

/// What client libraries compare 404 answers with.
const NOT_FOUND: &str = "Configuration with the specified name was not found";

/// An error answer.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    header: Option<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            header: None,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, NOT_FOUND)
    }

    /// Not in the words for a destination: clients take those for "there is none" and go on without it.
    pub(crate) fn no_fragment(name: &str) -> Self {
        let name: String = name.chars().take(200).collect();
        let message = format!(
            "There is no fragment named {name} where it is looked for; create it, correct X-fragment-name, or send \
             X-fragment-optional: true"
        );
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn duplicate() -> Self {
        Self::new(StatusCode::CONFLICT, "Duplicate key")
    }

    pub(crate) fn changed() -> Self {
        let text = "It was changed since it was read; read it again and repeat the change";
        Self::new(StatusCode::PRECONDITION_FAILED, text)
    }

    pub(crate) fn overloaded() -> Self {
        Self::unavailable("The store is overloaded; try again in a moment")
    }

    pub(crate) fn too_often() -> Self {
        let text =
            "This client calls too often; wait as Retry-After says, and keep what was answered for a while";
        let mut error = Self::new(StatusCode::TOO_MANY_REQUESTS, text);
        error.header = Some((RETRY_AFTER, HeaderValue::from_static("1")));
        error
    }

    pub(crate) fn too_many_uploads() -> Self {
        Self::unavailable(
            "Too many bodies are on their way; send them one after the other and try again in a moment",
        )
    }

    pub(crate) fn too_many_feeds() -> Self {
        Self::unavailable(
            "Too many change feeds are open for this subaccount; close some, or ask for the destinations instead",
        )
    }

    pub(crate) fn unavailable(message: &str) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, message);
        error.header = Some((RETRY_AFTER, HeaderValue::from_static("1")));
        error
    }

    /// RFC 6750 section 3: without a token no error code, with a bad one `invalid_token`.
    pub(crate) fn unauthorized(had_token: bool) -> Self {
        let (message, challenge) = if had_token {
            (
                "The token is not valid here or has expired; fetch a new one from /oauth/token",
                "Bearer realm=\"landbridge-store\", error=\"invalid_token\"",
            )
        } else {
            (
                "Send a token of this store as Authorization: Bearer; /oauth/token gives one",
                "Bearer realm=\"landbridge-store\"",
            )
        };
        let mut error = Self::new(StatusCode::UNAUTHORIZED, message);
        error.header = Some((WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        error
    }

    pub(crate) fn forbidden(area: Area, at: At, access: Access) -> Self {
        let (wide, challenge) = match access {
            Access::Read => (
                READ,
                "Bearer realm=\"landbridge-store\", error=\"insufficient_scope\", scope=\"destination.read\"",
            ),
            Access::Write => (
                WRITE,
                "Bearer realm=\"landbridge-store\", error=\"insufficient_scope\", scope=\"destination.write\"",
            ),
        };
        let message = format!("The token lacks the scope {wide} or {}", scope(area, at, access));
        let mut error = Self::new(StatusCode::FORBIDDEN, message);
        error.header = Some((WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        error
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "ErrorMessage": self.message }))).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<TokenTrouble> for ApiError {
    fn from(trouble: TokenTrouble) -> Self {
        match trouble {
            TokenTrouble::BadRequest(message) => Self::bad_request(message),
            TokenTrouble::TooManyWaits => Self::unavailable(
                "Too many calls of this subaccount wait for token services; check those that are slow and try again in a \
                 moment",
            ),
        }
    }
}

/// The client is told that it is not its fault; what to do is in the log, for the administrator.
impl From<RecordError> for ApiError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Database(DbError::NoParent) => Self::new(
                StatusCode::FORBIDDEN,
                "The subaccount of this token does not exist any more",
            ),
            RecordError::Database(DbError::Unstorable { .. }) => {
                Self::bad_request("A text has a NUL character; leave it out")
            }
            RecordError::Database(error @ DbError::Busy { .. }) => {
                tracing::warn!(%error, "request refused");
                Self::unavailable("The store is busy; try again in a moment")
            }
            RecordError::Database(error @ (DbError::Full { .. } | DbError::ReadOnly { .. })) => {
                tracing::error!(%error, "request refused, nothing was changed");
                Self::unavailable("The store cannot write at the moment; nothing was changed")
            }
            error => {
                tracing::error!(%error, "request failed");
                Self::unavailable("The store cannot reach its data at the moment")
            }
        }
    }
}
