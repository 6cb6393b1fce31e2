//! What every request goes through before and after its handler.

use std::any::Any;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use tokio::time::Instant;
use uuid::Uuid;

use super::error::ApiError;
use crate::app::App;

/// Longest URI, in bytes, as the original service has it.
const MAX_URI: usize = 4000;

/// Longest request id taken over from the client.
const MAX_REQUEST_ID: usize = 128;

/// Where strangers may send a body.
pub(super) const TOKEN_PATH: &str = "/oauth/token";

/// The same for a tenant that is named in the path.
pub(super) const TENANT_TOKEN_PATH: &str = "/tenants/{subdomain}/oauth/token";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Default for Peer {
    fn default() -> Self {
        Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

/// The pattern of the route that answered, on its way out to the metrics.
#[derive(Debug, Clone)]
struct Route(MatchedPath);

/// Bounds the number of requests and the length of URIs, gives every request an id, counts and logs it.
pub(crate) async fn fence(State(app): State<Arc<App>>, request: Request<Body>, next: Next) -> Response {
    let started = Instant::now();
    let (method, id) = (request.method().clone(), request_id(&request));
    let too_long = request
        .uri()
        .path_and_query()
        .is_some_and(|uri| uri.as_str().len() > MAX_URI);
    let mut response = if too_long {
        let message = format!("The URI is longer than {MAX_URI} characters; shorten it");
        ApiError::new(StatusCode::URI_TOO_LONG, message).into_response()
    } else if has_nul(request.uri().path()) {
        ApiError::not_found().into_response()
    } else if request.uri().query().is_some_and(has_nul) {
        ApiError::bad_request("The query has a NUL character; leave it out").into_response()
    } else if is_token_path(request.uri().path()) {
        // Whoever sends its body slowly is not known yet: the handler takes the permit when it has the body.
        next.run(request).await
    } else {
        match app.permits.try_acquire() {
            Ok(_permit) => next.run(request).await,
            Err(_) => {
                app.metrics.shed();
                ApiError::overloaded().into_response()
            }
        }
    };
    let took = started.elapsed();
    let status = response.status().as_u16();
    let route = response.extensions_mut().remove::<Route>();
    let route = route.as_ref().map_or("none", |route| route.0.as_str());
    app.metrics.answered(route, &method, status, took);
    let took_ms = took.as_secs_f64() * 1000.0;
    tracing::debug!(%method, route, status, took_ms, request_id = ?id, "request");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn is_token_path(path: &str) -> bool {
    path == TOKEN_PATH || path.starts_with("/tenants/") && path.ends_with(TOKEN_PATH)
}

/// Nothing has a name with a NUL character, and PostgreSQL refuses to look for one.
fn has_nul(encoded: &str) -> bool {
    encoded.contains("%00")
}

/// Runs inside the router, where the route is known.
pub(crate) async fn note_route(request: Request<Body>, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(Route(route));
    }
    response
}

/// The client's id if it is a sensible one, else a new one.
fn request_id(request: &Request<Body>) -> HeaderValue {
    let sensible = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=MAX_REQUEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    let given = request.headers().get(REQUEST_ID).filter(sensible).cloned();
    given.unwrap_or_else(|| {
        // A UUID is made of characters every header may have.
        HeaderValue::from_str(&Uuid::now_v7().to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}

pub(crate) async fn no_route() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "There is nothing at this path; see /destination-configuration/v1",
    )
}

pub(crate) async fn no_method(method: Method) -> ApiError {
    let message = format!("{method} is not possible here; the Allow header lists what is");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

/// A bug of ours: the request fails, the process goes on.
pub(crate) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    // The panic's text and place have been logged by the process's hook.
    tracing::error!("a request handler panicked; please report this with the lines before");
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "The store failed to answer; the log says why",
    )
    .into_response()
}
