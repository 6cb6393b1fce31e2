//! The admin endpoint every component has: `/healthz` (the process lives), `/readyz` (it can serve; 503 lists what is
//! missing) and `/metrics`. Components add routes of their own. Plain HTTP: bind it to loopback or the pod network.

use std::future::IntoFuture;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::readiness::Readiness;

/// The standard routes. Merge own ones with [`Router::merge`].
pub fn router(readiness: Readiness, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready).with_state(readiness))
        .route("/metrics", get(export).with_state(metrics))
}

/// Serves `router` on `listener` until `end` completes. Let it end last, so that a drain can be watched.
pub async fn serve(listener: TcpListener, router: Router, end: impl Future<Output = ()>) {
    tokio::select! {
        result = axum::serve(listener, router).into_future() => {
            if let Err(error) = result {
                tracing::error!(%error, "the admin endpoint has stopped");
            }
        }
        () = end => {}
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
