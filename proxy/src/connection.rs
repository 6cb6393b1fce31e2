//! One HTTP connection from an application.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::exchange::{self, RouteContext};
use crate::head_guard::{HeadGuard, MAX_HEAD, MAX_HEADERS};

/// How long the next head may take, the time between requests included. Longer than the idle times of common
/// clients, so that they close first and never meet a connection that is just being closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// Serves requests until the application closes, or until the current one is answered once the proxy drains.
pub async fn serve(stream: TcpStream, context: Arc<RouteContext>) {
    let (stream, verdict) = HeadGuard::new(stream);
    let index = AtomicU64::new(0);
    let service = service_fn(|request| {
        let objection = verdict.objection(index.fetch_add(1, Ordering::Relaxed));
        let context = &context;
        async move { Ok::<_, Infallible>(exchange::handle(context, request, objection).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let shutdown = &context.shared.shutdown;
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown.started() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => result,
                () = shutdown.forced() => return,
            }
        }
    };
    if let Err(error) = result {
        // Malformed heads have been answered with 400 or 431 by the library; the rest are peers hanging up.
        tracing::debug!(%error, route = %context.route.key, "application connection ended");
    }
}
