//! Connections that stopped being HTTP (WebSocket and others): bytes both ways.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use landbridge_runtime::copy::{CopyLimits, End, copy_bidirectional, is_benign};
use landbridge_runtime::shutdown::Shutdown;
use tokio::time::timeout;

use crate::exchange::RouteContext;
use crate::place::Place;
use crate::workloads::Access;

/// How long both sides may take to switch after the 101.
const SWITCH: std::time::Duration = std::time::Duration::from_secs(10);

/// What a switched connection keeps of the one that it was.
pub struct Ties {
    /// Stops it.
    pub shutdown: Shutdown,
    /// Whether the application may still use the route.
    pub access: Arc<Access>,
    /// The route as it is at any time.
    pub current: Arc<ArcSwap<RouteContext>>,
    /// The connection's place.
    pub _place: Place,
}

/// Joins `application` and `target`, on the application connection's place, until both have finished, one fails, the
/// application may not use the route any more, or the proxy is forced to stop.
pub async fn splice(application: OnUpgrade, target: OnUpgrade, request_id: HeaderValue, ties: Ties) {
    let request_id = request_id.to_str().unwrap_or_default();
    let switched = timeout(SWITCH, async { tokio::try_join!(application, target) }).await;
    let (application, target) = match switched {
        Ok(Ok(pair)) => pair,
        Ok(Err(error)) => return tracing::warn!(request_id, %error, "the protocol switch failed"),
        Err(_) => return tracing::warn!(request_id, "the protocol switch took too long"),
    };
    let (mut application, mut target) = (TokioIo::new(application), TokioIo::new(target));
    tokio::select! {
        copied = copy_bidirectional(&mut application, &mut target, CopyLimits::default()) => {
            let error = match copied.end {
                End::Failed(error) if !is_benign(&error) => Some(error.to_string()),
                End::Idle => Some("idle for too long".to_owned()),
                _ => None,
            };
            tracing::info!(target: "access", request_id, sent = copied.sent, received = copied.received, error,
                "switched connection closed");
        }
        failure = ties.access.revoked(&ties.current) => {
            ties.current.load().count_denied();
            tracing::info!(target: "access", request_id, error = %failure, "switched connection cut");
        }
        () = ties.shutdown.forced() => tracing::info!(target: "access", request_id, "switched connection cut by shutdown"),
    }
}
