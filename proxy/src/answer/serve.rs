//! One question of a sidecar, from its head to its answer.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use landbridge_destination::WorkloadIdentity;
use landbridge_destination::gateway::{MAX_RESOLVE_REQUEST, RESOLVE_PATH, ResolveAnswer, ResolveRequest};
use landbridge_destination::route::RouteSnapshot;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::decide::{Question, decide};
use super::metrics::{AnswerMetrics, Outcome};
use crate::failure::{Failure, Kind};
use crate::resolve::caching::CachingResolver;

/// Deadline of a question's body.
const BODY: Duration = Duration::from_secs(5);

/// Deadline of the look-up; sidecars wait a little longer.
const LOOKUP: Duration = Duration::from_secs(25);

/// Questions that are read or looked up at one time: each may be as long as [`MAX_RESOLVE_REQUEST`].
const AT_ONCE: usize = 1024;

/// Longest message of a failure: it may quote what a store or token service said.
const MAX_MESSAGE: usize = 4096;

/// A verified caller.
pub(super) struct Caller {
    pub(super) identity: WorkloadIdentity,
    pub(super) address: IpAddr,
}

/// Where questions are answered.
pub(super) struct Desk {
    resolver: CachingResolver,
    routes: watch::Receiver<Arc<RouteSnapshot>>,
    roots: String,
    places: Semaphore,
    metrics: AnswerMetrics,
}

/// What is no question: status and what to do.
type Refusal = (StatusCode, &'static str);

impl Desk {
    pub(super) fn new(
        resolver: CachingResolver,
        routes: watch::Receiver<Arc<RouteSnapshot>>,
        roots: String,
        metrics: AnswerMetrics,
    ) -> Self {
        Self {
            resolver,
            routes,
            roots,
            places: Semaphore::new(AT_ONCE),
            metrics,
        }
    }

    /// Never fails: a failure is an answer too.
    pub(super) async fn answer(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let answered = self.try_answer(caller, request).await;
        let (status, kind, body) = match answered {
            Ok(body) => (StatusCode::OK, "application/json", body),
            Err((status, text)) => {
                self.metrics.count(if status.is_server_error() {
                    Outcome::busy
                } else {
                    Outcome::invalid
                });
                (
                    status,
                    "text/plain; charset=utf-8",
                    Bytes::from_static(text.as_bytes()),
                )
            }
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok(response)
    }

    async fn try_answer(&self, caller: &Caller, request: Request<Incoming>) -> Result<Bytes, Refusal> {
        if request.uri().path() != RESOLVE_PATH || request.method() != Method::POST {
            return Err((StatusCode::NOT_FOUND, "there is nothing here; POST /v1/resolve"));
        }
        let busy = "this gateway has too many questions; ask another one";
        let _place = self
            .places
            .try_acquire()
            .map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, busy))?;
        let came = Instant::now();
        let request = read(request.into_body()).await?;
        let snapshot = Arc::clone(&self.routes.borrow());
        if snapshot.version == 0 {
            let early = "this gateway has not heard of any route yet; ask another one";
            return Err((StatusCode::SERVICE_UNAVAILABLE, early));
        }
        let fresh = request.fresh_ms.map(Duration::from_millis);
        let since = fresh.and_then(|fresh| came.checked_sub(fresh));
        let (outcome, answer) = match decide(&snapshot, &caller.identity, caller.address, request) {
            Ok(question) => self.look_up(question, since).await,
            Err(failure) => failed(failure),
        };
        tracing::debug!(caller = %caller.identity, ?outcome, "a sidecar was answered");
        self.metrics.count(outcome);
        serde_json::to_vec(&answer)
            .map(Bytes::from)
            .map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written"))
    }

    async fn look_up(&self, question: Question, since: Option<Instant>) -> (Outcome, ResolveAnswer) {
        let query = Arc::new(question.query);
        let looking = self.resolver.answer(&query, since, question.refused.as_ref());
        let known = match timeout(LOOKUP, looking).await {
            Ok(Ok(known)) => known,
            Ok(Err(failure)) => return failed(failure),
            Err(_) => {
                let message = format!("the destination was not found within {} s", LOOKUP.as_secs());
                return failed(Failure::new(Kind::StoreTimeout, message));
            }
        };
        match known.resolved.tell(&self.roots, Instant::now()) {
            Some(mut told) => {
                told.certificates = known.certificates;
                told.outdated = known.outdated;
                let outcome = if told.outdated {
                    Outcome::outdated
                } else {
                    Outcome::resolved
                };
                (outcome, ResolveAnswer::Resolved(Box::new(told)))
            }
            None => {
                let message = format!(
                    "destination '{}' is reached through a tunnel",
                    known.resolved.name
                );
                failed(Failure::new(Kind::CarriedByGateway, message))
            }
        }
    }
}

fn failed(failure: Failure) -> (Outcome, ResolveAnswer) {
    let outcome = match failure.kind {
        Kind::CarriedByGateway => {
            let reason = format!("{}; gateways carry what goes there", failure.message);
            return (
                Outcome::carried_by_gateway,
                ResolveAnswer::CarriedByGateway { reason },
            );
        }
        Kind::CallerForbidden => Outcome::forbidden,
        _ => Outcome::failed,
    };
    let (_, _, code) = failure.kind.facts();
    let answer = ResolveAnswer::Failed {
        kind: code.to_owned(),
        message: failure.message.chars().take(MAX_MESSAGE).collect(),
    };
    (outcome, answer)
}

async fn read(body: Incoming) -> Result<ResolveRequest, Refusal> {
    let reading = timeout(BODY, Limited::new(body, MAX_RESOLVE_REQUEST).collect());
    match reading.await {
        Ok(Ok(read)) => serde_json::from_slice(&read.to_bytes()).map_err(|_| {
            (
                StatusCode::BAD_REQUEST,
                "this is no question for a route; use a sidecar of the gateway's version",
            )
        }),
        Ok(Err(_)) => Err((
            StatusCode::PAYLOAD_TOO_LARGE,
            "the question is longer than 64 KiB, or broke off",
        )),
        Err(_) => Err((
            StatusCode::REQUEST_TIMEOUT,
            "the question did not arrive within 5 s",
        )),
    }
}
