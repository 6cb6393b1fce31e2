//! The REST API: paths, and what every request goes through.

mod body;
mod certificates;
mod conditions;
mod error;
mod events;
mod filter;
mod find;
mod guard;
mod items;
mod listing;
mod openapi;
mod saml2;

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, get, post};
use landbridge_destination::DestinationConfig;
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::auth::{self, At};
use crate::fragment::Fragment;

pub(crate) use body::read_body;
pub(crate) use error::ApiError;
pub(crate) use guard::Peer;

/// Every path and what it can do; store/openapi.json describes the same ones.
fn routes() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    let mut routes = vec![
        (guard::TOKEN_PATH, post(auth::token)),
        (guard::TENANT_TOKEN_PATH, post(auth::token_of_tenant)),
        ("/token_keys", get(auth::token_keys)),
        ("/.well-known/openid-configuration", get(auth::discovery)),
        (
            "/destination-configuration/v1/destinations/{name}",
            get(find::find_v1),
        ),
        (
            "/destination-configuration/v2/destinations/{name}",
            get(find::find_v2),
        ),
        (events::PATH, get(events::events)),
        (
            "/destination-configuration/v1/subaccountCertificates",
            certificates::collection(At::Subaccount),
        ),
        (
            "/destination-configuration/v1/subaccountCertificates/{name}",
            certificates::single(At::Subaccount),
        ),
        (
            "/destination-configuration/v1/instanceCertificates",
            certificates::collection(At::Instance),
        ),
        (
            "/destination-configuration/v1/instanceCertificates/{name}",
            certificates::single(At::Instance),
        ),
        (
            "/destination-configuration/v1/saml2Metadata",
            get(saml2::metadata),
        ),
        (
            "/destination-configuration/v1/saml2Metadata/certificate",
            get(saml2::active).post(saml2::generate_active),
        ),
        (
            "/destination-configuration/v1/saml2Metadata/certificate/passive",
            get(saml2::passive)
                .post(saml2::generate_passive)
                .delete(saml2::delete_passive),
        ),
        (
            "/destination-configuration/v1/saml2Metadata/rotateCertificate",
            post(saml2::rotate),
        ),
        (openapi::PATH, get(openapi::document)),
    ];
    routes.extend(administration());
    routes
}

/// Administration of destinations and fragments, on both levels.
fn administration() -> [(&'static str, MethodRouter<Arc<App>>); 12] {
    [
        (
            "/destination-configuration/v1/subaccountDestinations",
            items::collection::<DestinationConfig, items::Subaccount>(),
        ),
        (
            "/destination-configuration/v1/subaccountDestinations/{name}",
            items::single::<DestinationConfig, items::Subaccount>(),
        ),
        (
            "/destination-configuration/v1/subaccountDestinations/{name}/labels",
            items::labels::<DestinationConfig, items::Subaccount>(),
        ),
        (
            "/destination-configuration/v1/instanceDestinations",
            items::collection::<DestinationConfig, items::Instance>(),
        ),
        (
            "/destination-configuration/v1/instanceDestinations/{name}",
            items::single::<DestinationConfig, items::Instance>(),
        ),
        (
            "/destination-configuration/v1/instanceDestinations/{name}/labels",
            items::labels::<DestinationConfig, items::Instance>(),
        ),
        (
            "/destination-configuration/v1/subaccountDestinationFragments",
            items::collection::<Fragment, items::Subaccount>(),
        ),
        (
            "/destination-configuration/v1/subaccountDestinationFragments/{name}",
            items::single::<Fragment, items::Subaccount>(),
        ),
        (
            "/destination-configuration/v1/subaccountDestinationFragments/{name}/labels",
            items::labels::<Fragment, items::Subaccount>(),
        ),
        (
            "/destination-configuration/v1/instanceDestinationFragments",
            items::collection::<Fragment, items::Instance>(),
        ),
        (
            "/destination-configuration/v1/instanceDestinationFragments/{name}",
            items::single::<Fragment, items::Instance>(),
        ),
        (
            "/destination-configuration/v1/instanceDestinationFragments/{name}/labels",
            items::labels::<Fragment, items::Instance>(),
        ),
    ]
}

/// The routes in their fence, which bounds requests, gives them an id and counts them, also those that match no route; a
/// handler that panics costs its own request only.
pub(crate) fn router(app: Arc<App>) -> Router {
    routes()
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| {
            router.route(path, methods)
        })
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
