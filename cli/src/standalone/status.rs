//! What a standalone proxy tells at its admin endpoint: `/destinations` and `/tunnels`.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use landbridge_operator::standalone::StatusView;
use landbridge_tunnel::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Both routes.
pub(super) fn router(status: watch::Receiver<Arc<StatusView>>, tunnels: Registry) -> Router {
    Router::new()
        .route("/destinations", get(destinations).with_state(status))
        .merge(tunnels_router(tunnels))
}

/// `/tunnels`: the connected connectors.
pub(crate) fn tunnels_router(tunnels: Registry) -> Router {
    Router::new().route("/tunnels", get(sessions).with_state(tunnels))
}

async fn destinations(State(status): State<watch::Receiver<Arc<StatusView>>>) -> Json<StatusView> {
    let view = Arc::clone(&status.borrow());
    Json(StatusView::clone(&view))
}

async fn sessions(State(tunnels): State<Registry>) -> Json<Value> {
    let sessions: Vec<Value> = tunnels
        .sessions()
        .into_iter()
        .map(|session| {
            json!({
                "tenant": session.identity.tenant,
                "connector": session.identity.connector,
                "location": session.location,
                "connection": session.slot,
                "agent": session.agent,
                "peer": session.peer,
                "connectedSeconds": session.connected_for.as_secs(),
                "activeStreams": session.stats.active,
                "openedStreams": session.stats.opened,
                "roundTripMilliseconds": session.stats.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
            })
        })
        .collect();
    Json(json!({ "sessions": sessions }))
}
