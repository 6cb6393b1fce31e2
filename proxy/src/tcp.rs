//! One TCP connection from an application: bytes both ways, nothing else.

use std::sync::Arc;

use arc_swap::ArcSwap;
use landbridge_runtime::copy::{Copied, CopyLimits, End, copy_bidirectional, is_benign};
use landbridge_tunnel::Protocol;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::connect::Stream;
use crate::exchange::RouteContext;
use crate::failure::{Failure, Kind};
use crate::headers;
use crate::place::Place;
use crate::resolved::Resolved;
use crate::workloads::Access;

/// Carries one connection. TCP has no way to say what went wrong, so the log and the metrics do.
pub async fn serve(
    mut stream: TcpStream,
    current: Arc<ArcSwap<RouteContext>>,
    access: Access,
    _place: Place,
) {
    let context = current.load_full();
    let shutdown = context.shared.shutdown.clone();
    let start = Instant::now();
    let id = headers::new_request_id();
    let id = id.to_str().unwrap_or_default();
    let _open = context.metrics.tcp();
    // Whether the caller may use the route is the first thing that is looked at: before the destination is looked up.
    let result = tokio::select! {
        biased;
        failure = access.revoked(&current) => {
            context.count_denied();
            Err(failure)
        }
        result = carry(&mut stream, &context, id) => result,
        () = shutdown.forced() => Err(Failure::new(Kind::Overloaded, "cut by shutdown")),
    };
    let (resolved, copied, error) = match result {
        Ok((resolved, copied)) => {
            let error = match &copied.end {
                End::Failed(error) if !is_benign(error) => Some(error.to_string()),
                End::Idle => Some("idle for too long".to_owned()),
                _ => None,
            };
            (Some(resolved), Some(copied), error)
        }
        Err(failure) => (None, None, Some(failure.to_string())),
    };
    tracing::info!(
        target: "access",
        route = %context.route.key,
        destination = resolved.as_ref().map(|resolved| resolved.name.as_str()),
        upstream = resolved.as_ref().map(|resolved| tracing::field::display(&resolved.upstream.key)),
        sent = copied.as_ref().map(|copied| copied.sent),
        received = copied.as_ref().map(|copied| copied.received),
        ms = start.elapsed().as_secs_f64() * 1e3,
        request_id = id,
        error,
        "tcp connection closed",
    );
}

async fn carry(
    stream: &mut TcpStream,
    context: &RouteContext,
    id: &str,
) -> Result<(Arc<Resolved>, Copied), Failure> {
    let shared = &context.shared;
    let resolved = match shared.resolver.cached(&context.query) {
        Some(resolved) => resolved,
        None => shared.resolver.resolve(&context.query).await?,
    };
    let limit = resolved.connect_timeout;
    let limits = CopyLimits::default();
    context.metrics.opened.inc();
    let copied = match shared
        .connector
        .open(&resolved.upstream, Protocol::Tcp, limit, id)
        .await?
    {
        Stream::Plain(mut target) => copy_bidirectional(stream, &mut target, limits).await,
        Stream::Tls(mut target) => copy_bidirectional(stream, &mut target, limits).await,
        Stream::Tunnel(mut target) => copy_bidirectional(stream, &mut target, limits).await,
    };
    Ok((resolved, copied))
}
