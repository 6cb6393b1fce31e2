//! One HTTP connection from an application.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use landbridge_runtime::shutdown::Shutdown;
use tokio::net::TcpStream;

use crate::exchange::{self, Arrival, RouteContext};
use crate::head_guard::{HeadGuard, MAX_HEAD, MAX_HEADERS};
use crate::place::Place;
use crate::workloads::Access;

/// How long the next head may take, the time between requests included. Longer than the idle times of common
/// clients, so that they close first and never meet a connection that is just being closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// Serves requests until the application closes, or until the current one is answered once the route goes (`stop`) or
/// the proxy drains. Each request is for the route as it is then, not as it was when the connection was made.
pub async fn serve(
    stream: TcpStream,
    route: Arc<ArcSwap<RouteContext>>,
    access: Access,
    stop: Shutdown,
    place: Place,
) {
    let access = Arc::new(access);
    let (stream, verdict) = HeadGuard::new(stream);
    let index = AtomicU64::new(0);
    let service = service_fn(|request| {
        let arrival = Arrival {
            index: index.fetch_add(1, Ordering::Relaxed),
            verdict: verdict.clone(),
            place: place.clone(),
            access: Arc::clone(&access),
            current: Arc::clone(&route),
        };
        let context = route.load_full();
        async move { Ok::<_, Infallible>(exchange::handle(&context, request, arrival).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let shutdown = route.load().shared.shutdown.clone();
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = async { tokio::select! { () = stop.started() => {}, () = shutdown.started() => {} } } => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection => result,
                () = shutdown.forced() => return,
            }
        }
    };
    if let Err(error) = result {
        // Malformed heads have been answered with 400 or 431 by the library; the rest are peers hanging up.
        tracing::debug!(%error, route = %route.load().route.key, "application connection ended");
    }
}
