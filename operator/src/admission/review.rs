//! What the API server posts, and the form of the answer; the same for every webhook.

use axum::body::{Body, to_bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use kube::core::DynamicObject;
use kube::core::admission::{
    AdmissionRequest, AdmissionResponse, AdmissionReview, ConvertAdmissionReviewError,
};
use serde_json::{Value, json};

use super::DEADLINE;

/// Longest review: an object is at most about 1.5 MiB (limit of etcd), and a change has the old one as well.
pub(super) const MAX_REVIEW: usize = 3 << 20;

/// Why a body is no review. The API server goes by its failure policy then.
#[derive(Debug, thiserror::Error)]
#[error("no AdmissionReview of admission.k8s.io/v1 with a request: {0}")]
pub(super) struct NotAReview(String);

/// A request, or the answer to what cannot be looked at.
enum Asked {
    Request(Box<AdmissionRequest<DynamicObject>>),
    Other(Value),
}

/// Reads a review, has it decided, and answers.
pub(crate) async fn answer(
    body: Body,
    decide: impl AsyncFnOnce(AdmissionRequest<DynamicObject>) -> AdmissionResponse,
) -> Response {
    let Ok(body) = tokio::time::timeout(DEADLINE, to_bytes(body, MAX_REVIEW)).await else {
        let text = "the review did not arrive in time\n";
        return (StatusCode::REQUEST_TIMEOUT, text).into_response();
    };
    let Ok(body) = body else {
        let text = format!("a review has at most {MAX_REVIEW} bytes\n");
        return (StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
    };
    match decided(&body, decide).await {
        Ok(review) => ([(header::CONTENT_TYPE, "application/json")], review.to_string()).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// The answer to one review.
pub(super) async fn decided(
    body: &[u8],
    decide: impl AsyncFnOnce(AdmissionRequest<DynamicObject>) -> AdmissionResponse,
) -> Result<Value, NotAReview> {
    match read(body)? {
        Asked::Request(request) => serde_json::to_value(decide(*request).await.into_review())
            .map_err(|error| NotAReview(error.to_string())),
        Asked::Other(answer) => Ok(answer),
    }
}

fn read(body: &[u8]) -> Result<Asked, NotAReview> {
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
    Ok(match request {
        Ok(request) => Asked::Request(Box::new(request)),
        // Somebody else's object, or a form of ours that is newer than this program.
        Err(error) => Asked::Other(json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": {"uid": uid, "allowed": true,
                         "warnings": [format!("Landbridge could not look at it: {error}")]}})),
    })
}
