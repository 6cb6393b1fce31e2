//! Admission: what is declared is looked at before it is stored, where the schema cannot judge because it depends on
//! other objects.
//!
//! It refuses only what is surely a mistake of the one who declares it, with the remedy; everything else that will not
//! work as things are becomes a warning, because the other object may be on its way. The status says the same later,
//! so nothing depends on this webhook being there.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse};
use landbridge_destination::channel::ChannelKey;

use crate::channels::Declared;

mod configuration;
mod decide;
pub(crate) mod review;

pub(crate) use configuration::{NAMESPACE_NAME, client_config, excluded_namespaces};
pub use configuration::{Target, WebhookOptions, configuration};
pub use decide::{Decision, decide};

/// Path that the API server posts to.
pub const PATH: &str = "/validate";

/// The API server waits as long, and would take a later answer for none.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// What is known of other objects. Asked for each request: answers from memory, and says nothing it is not sure of.
pub trait View: Send + Sync + 'static {
    /// Whether a Service of this name exists that is not one of ours.
    fn has_foreign_service(&self, namespace: &str, name: &str) -> bool;

    /// Names of the configured destination service instances; none while they are not known.
    fn instances(&self) -> Option<Vec<String>>;

    /// Another resource with the same type, subaccount and service id.
    fn claimed(&self, channel: &Declared) -> Option<ChannelKey>;

    /// Whether two forms of a resource have the same type, subaccount and service id.
    fn same_claim(&self, one: &Declared, other: &Declared) -> bool;

    /// Why a channel would not be served as things are.
    fn objection(&self, channel: &Declared) -> Option<String>;
}

/// `POST /validate`. TLS, the client's identity and the number of connections are the server's to look after.
pub fn router<V: View>(view: Arc<V>) -> Router {
    Router::new().route(PATH, post(validate::<V>)).with_state(view)
}

async fn validate<V: View>(State(view): State<Arc<V>>, body: Body) -> Response {
    review::answer(body, async |request| {
        respond(&request, decide(&request, view.as_ref()))
    })
    .await
}

fn respond(request: &AdmissionRequest<DynamicObject>, decision: Decision) -> AdmissionResponse {
    let mut response = AdmissionResponse::from(request);
    if let Some(message) = decision.refused {
        tracing::debug!(
            kind = request.kind.kind,
            name = request.name,
            "refused: {message}"
        );
        response = response.deny(message);
    }
    response.warnings = Some(decision.warnings).filter(|warnings| !warnings.is_empty());
    response
}

#[cfg(test)]
mod tests;
