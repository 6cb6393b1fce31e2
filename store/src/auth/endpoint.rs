//! Endpoints of the authorization server: tokens (RFC 6749), keys (RFC 7517) and the discovery document.

mod client;
mod error;
mod form;
mod grants;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, PRAGMA};
use http::{HeaderValue, Request, StatusCode};
use serde_json::{Value, json};

use super::roles;
use super::tenant;
use crate::api::{Peer, read_body};
use crate::app::App;
use crate::config::url_host;
use crate::server::ShownCertificate;
use error::OAuthError;
use form::Form;

/// Largest token request: a user token to be exchanged may have 32 KiB, the rest has some 300 bytes.
const MAX_FORM: usize = 64 * 1024;

/// How long its body may take: strangers may send one, and it fits into a few dozen packets.
const RECEIVE_FORM: Duration = Duration::from_secs(5);

/// RFC 6749 section 5.1: answers with tokens are not cached.
fn uncached(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
}

/// `POST /oauth/token`.
pub(crate) async fn token(State(app): State<Arc<App>>, request: Request<Body>) -> Response {
    respond(issue(&app, None, request).await)
}

/// `POST /tenants/{subdomain}/oauth/token`: the tenant is named in the path.
pub(crate) async fn token_of_tenant(
    State(app): State<Arc<App>>,
    Path(subdomain): Path<String>,
    request: Request<Body>,
) -> Response {
    respond(issue(&app, Some(&subdomain), request).await)
}

fn respond(result: Result<Value, OAuthError>) -> Response {
    match result {
        Ok(answer) => {
            let mut response = Json(answer).into_response();
            uncached(response.headers_mut());
            response
        }
        Err(error) => error.into_response(),
    }
}

async fn issue(app: &App, subdomain: Option<&str>, request: Request<Body>) -> Result<Value, OAuthError> {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or_default();
    let shown = request.extensions().get::<ShownCertificate>().cloned();
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    check_type(&headers)?;
    let body = read_body(body, MAX_FORM, RECEIVE_FORM.min(app.limits.receive))
        .await
        .map_err(|error| OAuthError::new("invalid_request", error.to_string()).status(error.status()))?;
    let _permit = app.permits.try_acquire().map_err(|_| {
        app.metrics.shed();
        let text = "the store is overloaded; try again in a moment";
        OAuthError::new("temporarily_unavailable", text).status(StatusCode::SERVICE_UNAVAILABLE)
    })?;
    let form = Form::parse(&body)?;
    let host = url_host(app.issuer.url());
    let asked = tenant::asked(&headers, subdomain, host.as_deref())?;
    if form.get("grant_type") == Some(grants::USER_TOKEN) {
        return grants::user_token(app, &headers, &form, &asked).await;
    }
    let client = client::authenticate(app, &headers, &form, peer, shown.as_ref()).await?;
    if !app.admits(&client.row.key.client_id) {
        return Err(OAuthError::too_often());
    }
    let tenant = tenant::choose(app, &client.row, &asked).await?;
    grants::answer(app, &client, &tenant, &form, peer)
        .await
        .map_err(|error| error.challenged(client.challenge))
}

fn check_type(headers: &HeaderMap) -> Result<(), OAuthError> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    if kind.starts_with("application/x-www-form-urlencoded") {
        return Ok(());
    }
    Err(OAuthError::new(
        "invalid_request",
        "send application/x-www-form-urlencoded",
    ))
}

/// `GET /token_keys`: the public keys of all tenants; a query such as `?zid=` changes nothing.
pub(crate) async fn token_keys(State(app): State<Arc<App>>) -> Response {
    Json(app.issuer.keys().ring().public()).into_response()
}

/// `GET /.well-known/openid-configuration` (OpenID Connect Discovery 1.0, RFC 8414).
pub(crate) async fn discovery(State(app): State<Arc<App>>) -> Response {
    let url = app.issuer.url();
    let algorithm = app.issuer.keys().algorithm();
    let mut scopes = roles::all_scopes();
    scopes.push(roles::USER.to_owned());
    Json(json!({
        "issuer": url,
        "token_endpoint": format!("{url}/oauth/token"),
        "jwks_uri": format!("{url}/token_keys"),
        "grant_types_supported": grants::ALL,
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "self_signed_tls_client_auth"],
        "tls_client_certificate_bound_access_tokens": false,
        "id_token_signing_alg_values_supported": [format!("{algorithm:?}")],
        "scopes_supported": scopes,
    }))
    .into_response()
}
