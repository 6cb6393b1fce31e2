//! Errors of RFC 6749 section 5.2.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::auth::idp::IdpError;
use crate::auth::limiter::WINDOW;
use crate::auth::refresh::NotValid;
use crate::auth::tenant::TenantError;
use crate::auth::token::SignError;
use crate::auth::users::UserTokenError;
use crate::db::DbError;
use crate::records::RecordError;

/// An error answer.
#[derive(Debug)]
pub(super) struct OAuthError {
    status: StatusCode,
    code: &'static str,
    description: String,
    /// What would work, where the client or the bearer is not known.
    challenge: Option<&'static str>,
}

const BASIC: &str = "Basic realm=\"landbridge-store\"";

impl OAuthError {
    pub(super) fn new(code: &'static str, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            description: description.into(),
            challenge: None,
        }
    }

    pub(super) fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The client tried Basic: an unknown grant is told with the challenge, too.
    pub(super) fn challenged(self, basic: bool) -> Self {
        let challenge = self
            .challenge
            .or((basic && self.code == "unsupported_grant_type").then_some(BASIC));
        Self { challenge, ..self }
    }

    pub(super) fn bad_client(challenge: bool) -> Self {
        // The same words whether the client, the secret or the certificate is wrong.
        let description = "unknown client or wrong secret or certificate; use the credentials of a service key as they were printed";
        Self {
            challenge: challenge.then_some(BASIC),
            ..Self::new("invalid_client", description).status(StatusCode::UNAUTHORIZED)
        }
    }

    /// RFC 6750 section 3.1, where a user token stands for the client.
    pub(super) fn bad_bearer(description: impl Into<String>) -> Self {
        Self {
            challenge: Some("Bearer realm=\"landbridge-store\", error=\"invalid_token\""),
            ..Self::new("invalid_token", description).status(StatusCode::UNAUTHORIZED)
        }
    }

    pub(super) fn invalid_request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    pub(super) fn invalid_grant(description: impl Into<String>) -> Self {
        Self::new("invalid_grant", description)
    }

    pub(super) fn too_many_failures(description: &'static str) -> Self {
        Self::new("invalid_client", description).status(StatusCode::TOO_MANY_REQUESTS)
    }

    /// The client is who it says, and asks too often.
    pub(super) fn too_often() -> Self {
        let text = "this client calls too often; wait as Retry-After says, and use a token until it expires";
        Self::new("temporarily_unavailable", text).status(StatusCode::TOO_MANY_REQUESTS)
    }

    pub(super) fn unavailable(description: impl Into<String>) -> Self {
        Self::new("temporarily_unavailable", description).status(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// The cause is in the log, for the administrator.
    pub(super) fn server() -> Self {
        Self::unavailable("the store cannot issue tokens at the moment; try again later")
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.code, "error_description": self.description }));
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        super::uncached(headers);
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self.code == "temporarily_unavailable" {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        } else if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from(WINDOW.as_secs()));
        }
        response
    }
}

impl From<DbError> for OAuthError {
    fn from(error: DbError) -> Self {
        tracing::error!(%error, "a token request failed");
        Self::server()
    }
}

impl From<RecordError> for OAuthError {
    fn from(error: RecordError) -> Self {
        tracing::error!(%error, "a token request failed");
        Self::server()
    }
}

impl From<SignError> for OAuthError {
    fn from(error: SignError) -> Self {
        tracing::error!(%error, "a token could not be signed");
        Self::server()
    }
}

impl From<NotValid> for OAuthError {
    fn from(error: NotValid) -> Self {
        Self::invalid_grant(error.to_string())
    }
}

impl From<TenantError> for OAuthError {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::Database(error) => error.into(),
            TenantError::Request(text) => Self::invalid_request(text),
            error @ TenantError::Unknown => Self::new("unauthorized_client", error.to_string()),
        }
    }
}

impl From<UserTokenError> for OAuthError {
    fn from(error: UserTokenError) -> Self {
        match error {
            UserTokenError::Record(error) => error.into(),
            error @ UserTokenError::Unavailable(_) => Self::unavailable(error.to_string()),
            error @ UserTokenError::Refused(_) => Self::invalid_grant(error.to_string()),
        }
    }
}

impl From<IdpError> for OAuthError {
    fn from(error: IdpError) -> Self {
        match error {
            IdpError::Token(error) => error.into(),
            error @ IdpError::Refused(_) => Self::invalid_grant(error.to_string()),
            error @ IdpError::Unavailable { .. } => Self::unavailable(error.to_string()),
            error @ IdpError::Unusable { .. } => Self::invalid_request(error.to_string()),
        }
    }
}
