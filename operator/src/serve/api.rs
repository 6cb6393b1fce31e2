//! The calls: a stream of what there is, reports, and certificates.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jiff::Timestamp;
use landbridge_destination::identity::CERTIFICATE_PATH;
use landbridge_destination::serve::{MAX_MESSAGE_BYTES, REPORT_PATH, Report, ReportAnswer, STREAM_PATH};
use landbridge_runtime::shares::Shares;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::certificate::{self, Callers};
use super::hub::Hub;
use super::identity::{Gate, Identity, IdentityError, Policy, TokenReviewer, stream_life};
use super::reports::{Board, ReportError};
use super::server::Link;
use super::stream::{Feed, UNREAD, body};
use super::{Leadership, ServeMetrics};
use crate::certificates::workload::CurrentSigner;

/// Streams of one pod at the same time; while it reconnects, it may have two.
const STREAMS_PER_CALLER: usize = 8;

/// Streams at the same time: one for each proxy and sidecar. Each has its place in memory for two messages, which it mostly
/// shares with others.
const STREAMS: usize = 8192;

/// Deadline for the body of a report.
const BODY: Duration = Duration::from_secs(30);

/// Reports that are read at the same time: each may be as long as [`MAX_MESSAGE_BYTES`].
const READING: usize = 4;

/// A report longer than this is decoded off the async threads; it takes more than a millisecond.
const LONG_REPORT: usize = 256 * 1024;

/// What the calls are about.
#[derive(Debug)]
pub struct Api<R> {
    /// What there is to tell.
    pub hub: Arc<Hub>,
    /// Where reports go.
    pub board: Arc<Board>,
    /// Who calls.
    pub gate: Gate<R>,
    /// Who may do what.
    pub policy: Policy,
    /// Whether reports are taken here.
    pub leadership: watch::Receiver<Leadership>,
    /// Signs certificates for callers; none where somebody else makes the operator's own.
    pub signer: Option<Arc<CurrentSigner>>,
    /// Counters.
    pub metrics: ServeMetrics,
}

pub(super) struct Shared<R> {
    pub(super) api: Api<R>,
    pub(super) certificates: Callers,
    streams: Arc<Semaphore>,
    callers: Arc<Shares<String>>,
    reading: Semaphore,
}

/// The calls as routes for [`super::server::serve`].
pub fn router<R: TokenReviewer>(api: Api<R>) -> Router {
    let shared = Arc::new(Shared {
        api,
        certificates: Callers::default(),
        streams: Arc::new(Semaphore::new(STREAMS)),
        callers: Shares::new(STREAMS_PER_CALLER, usize::MAX),
        reading: Semaphore::new(READING),
    });
    Router::new()
        .route(STREAM_PATH, get(stream::<R>))
        .route(REPORT_PATH, post(report::<R>))
        .route(CERTIFICATE_PATH, post(certificate::issue::<R>))
        .fallback(async || {
            let message = format!(
                "there is nothing here; the paths are {STREAM_PATH}, {REPORT_PATH} and {CERTIFICATE_PATH}"
            );
            Refusal::new(StatusCode::NOT_FOUND, message)
        })
        .with_state(shared)
}

/// An answer that is none: status and what to do.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.message }))).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        let status = match error {
            IdentityError::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            IdentityError::TooManyFailures => StatusCode::TOO_MANY_REQUESTS,
            IdentityError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<ReportError> for Refusal {
    fn from(error: ReportError) -> Self {
        let status = match error {
            ReportError::TooManyPods => StatusCode::SERVICE_UNAVAILABLE,
            ReportError::TooMany { .. } | ReportError::PortZero(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

/// A caller that somebody vouches for. As the first argument of a handler it comes before anything is done.
pub(super) struct Known(pub(super) Arc<Identity>);

impl<R: TokenReviewer> FromRequestParts<Arc<Shared<R>>> for Known {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared<R>>) -> Result<Self, Refusal> {
        let link = parts.extensions.get::<Link>().cloned();
        let link = link
            .ok_or_else(|| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the connection is not known"))?;
        let identity = shared.api.gate.identify(link.peer(), &parts.headers).await?;
        link.proven();
        Ok(Self(identity))
    }
}

async fn stream<R: TokenReviewer>(
    Known(identity): Known,
    State(shared): State<Arc<Shared<R>>>,
    Extension(link): Extension<Link>,
) -> Result<Response, Refusal> {
    let api = &shared.api;
    if !api.hub.is_complete() {
        let message = "the operator has not read the cluster yet; try again, or ask another replica";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    let own = shared.callers.take(&caller_name(&identity)).ok_or_else(|| {
        let message = format!("this caller has {STREAMS_PER_CALLER} streams open; close the others");
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, message)
    })?;
    let place = Arc::clone(&shared.streams).try_acquire_owned().map_err(|_| {
        let message = format!("{STREAMS} streams are open; ask another replica");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })?;
    let feed = Feed {
        hub: Arc::clone(&api.hub),
        cursor: api.hub.subscribe(api.policy.audience(&identity)),
        until: Instant::now() + stream_life(&identity, Timestamp::now()),
        unread: UNREAD,
        link,
        metrics: api.metrics.clone(),
    };
    let headers = [(CONTENT_TYPE, "application/x-ndjson")];
    Ok((headers, body(feed, (own, place))).into_response())
}

/// Pods are told apart; whoever is no pod, by its account.
pub(super) fn caller_name(identity: &Identity) -> String {
    match &identity.pod {
        Some(pod) => format!("{pod}/{}", pod.uid),
        None => format!("{}:{}", identity.namespace, identity.service_account),
    }
}

async fn report<R: TokenReviewer>(
    Known(identity): Known,
    State(shared): State<Arc<Shared<R>>>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refusal> {
    let api = &shared.api;
    let result = take_report(&shared, &identity, &headers, request).await;
    api.metrics.reported(result.as_ref().ok());
    let answer = result?;
    let status = match answer {
        ReportAnswer::Taken => StatusCode::OK,
        ReportAnswer::SendWhole => StatusCode::CONFLICT,
        ReportAnswer::NotLeader { .. } => StatusCode::MISDIRECTED_REQUEST,
    };
    Ok((status, Json(answer)).into_response())
}

async fn take_report<R: TokenReviewer>(
    shared: &Shared<R>,
    identity: &Identity,
    headers: &HeaderMap,
    request: Request,
) -> Result<ReportAnswer, Refusal> {
    let api = &shared.api;
    if !api.policy.is_proxy(identity) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, not_a_proxy(identity)));
    }
    let pod = identity.pod.as_ref().ok_or_else(|| {
        let message = "the token is bound to no pod; report with the token of a projected volume";
        Refusal::new(StatusCode::FORBIDDEN, message)
    })?;
    if let Leadership::Following(leader) = *api.leadership.borrow() {
        return Ok(ReportAnswer::NotLeader { leader });
    }
    let announced = headers.get(http::header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > MAX_MESSAGE_BYTES) {
        return Err(too_long());
    }
    let permit = shared.reading.acquire().await;
    let bytes = read(request.into_body()).await?;
    let report = decode(bytes).await?;
    drop(permit);
    // It may have changed while the report was read.
    match *api.leadership.borrow() {
        Leadership::Leading => Ok(api.board.take(pod, report, Instant::now())?),
        Leadership::Following(leader) => Ok(ReportAnswer::NotLeader { leader }),
    }
}

fn not_a_proxy(identity: &Identity) -> String {
    format!(
        "service account {}/{} is not one of a proxy and may not report; name it among the operator's proxy accounts if it is",
        identity.namespace, identity.service_account
    )
}

fn too_long() -> Refusal {
    let message = format!("the report is longer than {MAX_MESSAGE_BYTES} bytes; send less in one");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    let reading = timeout(BODY, Limited::new(body, MAX_MESSAGE_BYTES).collect());
    match reading.await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(error)) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("the report ended early: {error}"),
        )),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "the report did not arrive within 30 s; send it again",
        )),
    }
}

async fn decode(bytes: Bytes) -> Result<Report, Refusal> {
    let decoded = if bytes.len() > LONG_REPORT {
        tokio::task::spawn_blocking(move || serde_json::from_slice(&bytes))
            .await
            .map_err(|_| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the operator is stopping"))?
    } else {
        serde_json::from_slice(&bytes)
    };
    decoded.map_err(|error| {
        let message = format!("the report is not one: {error}; use a proxy of the operator's version");
        Refusal::new(StatusCode::BAD_REQUEST, message)
    })
}
