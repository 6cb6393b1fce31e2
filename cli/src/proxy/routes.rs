//! `/routes` of the admin endpoint: what is to be served, and what is. Nothing secret is among it.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use landbridge_destination::route::RouteSnapshot;
use landbridge_proxy::RouteStates;
use serde_json::{Value, json};
use tokio::sync::watch;

/// What the page shows.
#[derive(Clone)]
pub(super) struct Shown {
    pub routes: watch::Receiver<Arc<RouteSnapshot>>,
    pub states: watch::Receiver<RouteStates>,
}

/// The route.
pub(super) fn router(shown: Shown) -> Router {
    Router::new().route("/routes", get(routes).with_state(shown))
}

async fn routes(State(shown): State<Shown>) -> Json<Value> {
    let (snapshot, states) = (
        Arc::clone(&shown.routes.borrow()),
        Arc::clone(&shown.states.borrow()),
    );
    let routes: Vec<Value> = snapshot
        .routes
        .iter()
        .map(|route| {
            // Not the whole selector: variables of chains may be tokens.
            json!({
                "namespace": route.key.namespace,
                "name": route.key.name,
                "destination": route.selector.name,
                "instance": route.selector.instance,
                "protocol": route.protocol,
                "scope": route.scope,
                "port": route.port,
                "generation": route.generation,
                "state": states.get(&route.key),
            })
        })
        .collect();
    Json(json!({ "version": snapshot.version, "routes": routes }))
}
