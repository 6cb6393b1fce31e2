//! The REST API: paths, and what every request goes through.

mod body;
mod conditions;
mod destinations;
mod error;
mod events;
mod find;
mod guard;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::auth;

pub(crate) use body::read_body;
pub(crate) use error::ApiError;
pub(crate) use guard::Peer;

/// All routes. The fence around them bounds requests, gives them an id and counts them, also those that match no
/// route; a handler that panics costs its own request only.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(guard::TOKEN_PATH, post(auth::token))
        .route("/token_keys", get(auth::token_keys))
        .route("/.well-known/openid-configuration", get(auth::discovery))
        .route(
            "/destination-configuration/v1/subaccountDestinations",
            get(destinations::list)
                .post(destinations::create)
                .put(destinations::replace),
        )
        .route(
            "/destination-configuration/v1/subaccountDestinations/{name}",
            get(destinations::read).delete(destinations::remove),
        )
        .route(
            "/destination-configuration/v1/destinations/{name}",
            get(find::find_v1),
        )
        .route(
            "/destination-configuration/v2/destinations/{name}",
            get(find::find_v2),
        )
        .route(events::PATH, get(events::events))
        .fallback(guard::no_route)
        .method_not_allowed_fallback(guard::no_method)
        .layer(CatchPanicLayer::custom(guard::panicked))
        .route_layer(axum::middleware::from_fn(guard::note_route))
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&app),
            guard::fence,
        ))
        .with_state(app)
}
