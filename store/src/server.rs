//! Connections: accepted up to a limit, HTTP/1.1 with deadlines, drained in an orderly way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use landbridge_runtime::listener::accept;
use landbridge_runtime::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::api::Peer;
use crate::config::Limits;

/// Buffer of one connection: bounds a request's head. Longer ones are answered 431.
const HEAD_BYTES: usize = 64 * 1024;

/// Serves `router` until `shutdown` begins, then finishes the requests in flight within `limits.drain`.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: Shutdown) {
    let connections = shutdown.child();
    let places = Arc::new(Semaphore::new(limits.max_connections));
    loop {
        // A place first: when there is none, callers wait in the kernel's queue, which is bounded too.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = shutdown.started() => break,
        };
        let Ok(place) = place else { break };
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = shutdown.started() => break,
        };
        let (router, ending, receive) = (router.clone(), connections.clone(), limits.receive);
        connections.spawn(async move {
            connection(stream, peer, router, receive, ending).await;
            drop(place);
        });
    }
    drop(listener);
    tokio::select! {
        drained = connections.drain(limits.drain) => tracing::debug!(?drained, "connections ended"),
        () = shutdown.forced() => {}
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    receive: Duration,
    ending: Shutdown,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        router.clone().oneshot(request.map(Body::new))
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(receive)
        .max_buf_size(HEAD_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = ending.started() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection.as_mut() => result,
                () = ending.forced() => Ok(()),
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, %peer, "connection ended");
    }
}
