//! The admin endpoint every component has: `/healthz` (the process lives), `/readyz` (it can serve; 503 lists what is
//! missing) and `/metrics`. Components add routes of their own. Plain HTTP: bind it to loopback or the pod network.
//!
//! Whoever reaches it must not be able to use it up, or a healthy process looks dead to its probes: connections are
//! limited in number and in time.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;

use crate::listener::accept;
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::readiness::Readiness;
use crate::shutdown::Shutdown;
use crate::telemetry;

/// Connections served at a time; more wait in the kernel's queue. Probes and scrapers need a handful.
const MAX_CONNECTIONS: usize = 64;

/// How long a request's head may take, and how long a connection may be unused.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// After this a connection takes no further request, so that a busy or a stuck client makes room.
const LIFETIME: Duration = Duration::from_secs(60);

/// How long the last answer of a connection may take to be read.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// How long requests in flight may take when the endpoint ends.
const DRAIN: Duration = Duration::from_secs(1);

/// The standard routes. Merge own ones with [`Router::merge`].
pub fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready).with_state(readiness))
        .route("/metrics", get(export).with_state(metrics))
        .route("/loglevel", put(log_level))
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
struct Peer(IpAddr);

/// Logs by the filter in the body from now on ("debug", or target=level pairs). Only for callers of this machine, or of
/// this pod: whoever can ask for more log can fill a disk with it.
async fn log_level(Extension(Peer(peer)): Extension<Peer>, filter: String) -> Response {
    if !peer.to_canonical().is_loopback() {
        let text = "the log level is changed from this machine or pod only: `landbridge log-level LEVEL`\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    match telemetry::set_filter(filter.trim()) {
        Ok(()) => {
            tracing::info!(filter = filter.trim(), "log level changed");
            format!("logging by {}\n", filter.trim()).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// Serves `router` on `listener` until `end` completes. Let it end last, so that a drain can be watched.
///
/// At most 64 connections at a time. Each has 10 s for a request's head and is closed after a minute.
pub async fn serve(listener: TcpListener, router: Router, end: impl Future<Output = ()>) {
    serve_at_most(MAX_CONNECTIONS, listener, router, end).await;
}

async fn serve_at_most(limit: usize, listener: TcpListener, router: Router, end: impl Future<Output = ()>) {
    let connections = Shutdown::new();
    let places = Arc::new(Semaphore::new(limit));
    let taking = async {
        // A place first: a caller who must wait does so in the kernel's queue. The semaphore is never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let (stream, peer) = accept(&listener).await;
            let (router, ending) = (router.clone(), connections.clone());
            connections.spawn(async move {
                connection(stream, peer.ip(), router, ending).await;
                drop(place);
            });
        }
    };
    tokio::select! {
        () = taking => {}
        () = end => {}
    }
    drop(listener);
    connections.drain(DRAIN).await;
}

async fn connection(stream: TcpStream, peer: IpAddr, router: Router, ending: Shutdown) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE);
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request
    });
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = async { tokio::select! { () = ending.started() => {}, () = sleep(LIFETIME) => {} } } => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                result = timeout(LAST_ANSWER, serving) => result.unwrap_or(Ok(())),
                () = ending.forced() => Ok(()),
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "admin connection ended");
    }
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let pending = readiness.pending();
    if pending.is_empty() {
        return "ready\n".into_response();
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("waiting for: {}\n", pending.join(", ")),
    )
        .into_response()
}

async fn export(State(metrics): State<Metrics>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests;
