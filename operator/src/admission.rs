//! Admission: what is declared is looked at before it is stored, where the schema cannot judge because it depends on
//! other objects.
//!
//! It refuses only what is surely a mistake of the one who declares it, with the remedy; everything else that will not
//! work as things are becomes a warning, because the other object may be on its way. The status says the same later,
//! so nothing depends on this webhook being there.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use kube::core::DynamicObject;
use kube::core::admission::{
    AdmissionRequest, AdmissionResponse, AdmissionReview, ConvertAdmissionReviewError,
};
use landbridge_destination::channel::ChannelKey;
use serde_json::{Value, json};

use crate::channels::Declared;

mod configuration;
mod decide;

pub use configuration::{Target, WebhookOptions, configuration};
pub use decide::{Decision, decide};

/// Path that the API server posts to.
pub const PATH: &str = "/validate";

/// Longest review: an object is at most about 1.5 MiB (limit of etcd), and a change has the old one as well.
const MAX_REVIEW: usize = 3 << 20;

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
    let Ok(body) = tokio::time::timeout(DEADLINE, to_bytes(body, MAX_REVIEW)).await else {
        let text = "the review did not arrive in time\n";
        return (StatusCode::REQUEST_TIMEOUT, text).into_response();
    };
    let Ok(body) = body else {
        let text = format!("a review has at most {MAX_REVIEW} bytes\n");
        return (StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
    };
    match answer(&body, view.as_ref()) {
        Ok(review) => ([(header::CONTENT_TYPE, "application/json")], review.to_string()).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// Why a body is no review. The API server goes by its failure policy then.
#[derive(Debug, thiserror::Error)]
#[error("no AdmissionReview of admission.k8s.io/v1 with a request: {0}")]
struct NotAReview(String);

fn answer(body: &[u8], view: &impl View) -> Result<Value, NotAReview> {
    let value: Value = serde_json::from_slice(body).map_err(|error| NotAReview(error.to_string()))?;
    let uid = value
        .pointer("/request/uid")
        .and_then(Value::as_str)
        .ok_or_else(|| NotAReview("request.uid is missing".to_owned()))?
        .to_owned();
    let request: Result<AdmissionRequest<DynamicObject>, String> =
        serde_json::from_value::<AdmissionReview<DynamicObject>>(value)
            .map_err(|error| error.to_string())
            .and_then(|review| {
                review
                    .try_into()
                    .map_err(|error: ConvertAdmissionReviewError| error.to_string())
            });
    let response = match request {
        Ok(request) => respond(&request, decide(&request, view)),
        // Somebody else's object, or a form of ours that is newer than this program.
        Err(error) => {
            return Ok(json!({
                "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "response": {"uid": uid, "allowed": true,
                             "warnings": [format!("Landbridge could not look at it: {error}")]}}));
        }
    };
    serde_json::to_value(response.into_review()).map_err(|error| NotAReview(error.to_string()))
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
