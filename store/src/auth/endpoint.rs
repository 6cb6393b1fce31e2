//! Endpoints of the authorization server: tokens (RFC 6749), keys (RFC 7517) and the discovery document.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Request, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::limiter::WINDOW;
use super::secret;
use crate::api::{Peer, read_body};
use crate::app::App;
use crate::db::ClientRow;

/// Largest token request. Client id, secret and scopes have some 300 bytes.
const MAX_FORM: usize = 16 * 1024;

/// How long its body may take: strangers may send one, and it fits into a dozen packets.
const RECEIVE_FORM: Duration = Duration::from_secs(5);

/// An error of RFC 6749 section 5.2.
struct OAuthError {
    status: StatusCode,
    code: &'static str,
    description: String,
    /// The client tried Basic, or nothing: it is told what would work.
    challenge: bool,
}

impl OAuthError {
    fn new(code: &'static str, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            description: description.into(),
            challenge: false,
        }
    }

    fn bad_client(challenge: bool) -> Self {
        // The same words whether the client or the secret is wrong.
        let description =
            "unknown client or wrong secret; use clientid and clientsecret of a service key".to_owned();
        Self {
            status: StatusCode::UNAUTHORIZED,
            code: "invalid_client",
            description,
            challenge,
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.code, "error_description": self.description }));
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        uncached(headers);
        if self.challenge {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"landbridge-store\""),
            );
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from(WINDOW.as_secs()));
        }
        response
    }
}

/// RFC 6749 section 5.1: answers with tokens are not cached.
fn uncached(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
}

/// `POST /oauth/token`.
pub(crate) async fn token(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    match issue(&app, request).await {
        Ok(answer) => {
            let mut response = Json(answer).into_response();
            uncached(response.headers_mut());
            response
        }
        Err(error) => error.into_response(),
    }
}

async fn issue(app: &App, request: Request<Body>) -> Result<Value, OAuthError> {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
    let (parts, body) = request.into_parts();
    let kind = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if !kind
        .to_ascii_lowercase()
        .starts_with("application/x-www-form-urlencoded")
    {
        return Err(OAuthError::new(
            "invalid_request",
            "send application/x-www-form-urlencoded",
        ));
    }
    let body = read_body(body, MAX_FORM, RECEIVE_FORM.min(app.limits.receive))
        .await
        .map_err(|error| {
            let status = error.status();
            OAuthError {
                status,
                ..OAuthError::new("invalid_request", error.to_string())
            }
        })?;
    let _permit = app.permits.try_acquire().map_err(|_| {
        app.metrics.shed();
        let text = "the store is overloaded; try again in a moment";
        OAuthError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            ..OAuthError::new("temporarily_unavailable", text)
        }
    })?;
    let form = parse_form(&body)?;
    let (client, challenge) = authenticate(app, &parts.headers, &form, peer).await?;
    match form.get("grant_type").map(String::as_str) {
        Some("client_credentials") => {}
        Some(_) => {
            let known = "this server knows the grant client_credentials";
            return Err(OAuthError {
                challenge,
                ..OAuthError::new("unsupported_grant_type", known)
            });
        }
        None => {
            return Err(OAuthError::new(
                "invalid_request",
                "grant_type is missing; send client_credentials",
            ));
        }
    }
    let scopes = scopes(&client, form.get("scope").map_or("", String::as_str))?;
    let issued = app.issuer.client_credentials(&client, &scopes).map_err(|error| {
        tracing::error!(%error, "a token could not be signed");
        server_error()
    })?;
    tracing::info!(
        client_id = client.key.client_id,
        subaccount = client.subaccount_id,
        "token issued"
    );
    Ok(json!({
        "access_token": issued.token,
        "token_type": "bearer",
        "expires_in": issued.expires_in,
        "scope": issued.scope,
        "jti": issued.jti,
    }))
}

fn server_error() -> OAuthError {
    let text = "the store cannot issue tokens at the moment; try again later";
    OAuthError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        ..OAuthError::new("temporarily_unavailable", text)
    }
}

/// Form parameters; one value per name (RFC 6749 section 3.2), no empty ones.
fn parse_form(body: &[u8]) -> Result<BTreeMap<String, String>, OAuthError> {
    let mut form = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        if value.is_empty() {
            continue;
        }
        if form.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(OAuthError::new(
                "invalid_request",
                "a parameter is sent twice; send each once",
            ));
        }
    }
    Ok(form)
}

/// The client, by Basic or by `client_id` and `client_secret` in the body (C15, seed L12354, L13187).
async fn authenticate(
    app: &App,
    headers: &HeaderMap,
    form: &BTreeMap<String, String>,
    Peer(peer): Peer,
) -> Result<(ClientRow, bool), OAuthError> {
    let in_body = form.get("client_id").map(String::as_str);
    let (client_id, given) = match headers.get(AUTHORIZATION) {
        Some(value) => {
            let (id, secret) = basic(value).ok_or_else(|| OAuthError::bad_client(true))?;
            // The seed's clients repeat their id in the body; a different one is somebody's mistake.
            if in_body.is_some_and(|other| other != id) {
                return Err(OAuthError::new(
                    "invalid_request",
                    "client_id and Authorization name different clients",
                ));
            }
            (id, secret)
        }
        None => match (in_body, form.get("client_secret")) {
            (Some(id), Some(secret)) => (id.to_owned(), SecretString::from(secret.clone())),
            _ => return Err(OAuthError::bad_client(true)),
        },
    };
    let client = app.storage.database.client(&client_id).await.map_err(|error| {
        tracing::error!(%error, "the client cannot be looked up");
        server_error()
    })?;
    let kept = client
        .as_ref()
        .map(|client| (client.key.salt.as_slice(), client.key.secret_hash.as_slice()));
    match (secret::matches(kept, &given), client) {
        // Whatever others did under this name from this address, which may be that of a TLS terminator.
        (true, Some(client)) => Ok((client, headers.contains_key(AUTHORIZATION))),
        _ if app.failures.is_blocked(&client_id, peer) => {
            let text =
                "too many failures of this client from this address; wait a minute and correct the secret";
            Err(OAuthError {
                status: StatusCode::TOO_MANY_REQUESTS,
                ..OAuthError::new("invalid_client", text)
            })
        }
        _ => {
            app.failures.failed(&client_id, peer);
            tracing::warn!(%peer, "token refused: unknown client or wrong secret");
            Err(OAuthError::bad_client(headers.contains_key(AUTHORIZATION)))
        }
    }
}

/// Basic credentials. Clients may form-encode them first (RFC 6749 section 2.3.1); our own have no character that
/// would change, so decoding is right for both kinds of clients.
fn basic(value: &HeaderValue) -> Option<(String, SecretString)> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decode = |part: &str| {
        percent_encoding::percent_decode_str(part)
            .decode_utf8()
            .ok()
            .map(String::from)
    };
    Some((decode(id)?, decode(secret)?.into()))
}

/// The scopes asked for, all held ones if none was.
fn scopes<'a>(client: &'a ClientRow, asked: &str) -> Result<Vec<&'a str>, OAuthError> {
    let held = || client.key.scopes.split_ascii_whitespace();
    if asked.trim().is_empty() {
        return Ok(held().collect());
    }
    asked
        .split_ascii_whitespace()
        .map(|asked| {
            held().find(|held| *held == asked).ok_or_else(|| {
                let text = format!("the client may ask for: {}", client.key.scopes);
                OAuthError::new("invalid_scope", text)
            })
        })
        .collect()
}

/// `GET /token_keys`: the public keys.
pub(crate) async fn token_keys(State(app): State<Arc<App>>) -> Response {
    Json(app.issuer.keys().public()).into_response()
}

/// `GET /.well-known/openid-configuration` (OpenID Connect Discovery 1.0, RFC 8414).
pub(crate) async fn discovery(State(app): State<Arc<App>>) -> Response {
    let url = app.issuer.url();
    let (algorithm, ..) = app.issuer.keys().signer();
    Json(json!({
        "issuer": url,
        "token_endpoint": format!("{url}/oauth/token"),
        "jwks_uri": format!("{url}/token_keys"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "id_token_signing_alg_values_supported": [format!("{algorithm:?}")],
        "scopes_supported": super::Scope::ALL.map(super::Scope::as_str),
    }))
    .into_response()
}
