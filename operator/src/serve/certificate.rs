//! Certificates for callers, by which sidecars and gateways know each other. Any replica signs: all have the authority.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jiff::Timestamp;
use landbridge_destination::WorkloadIdentity;
use landbridge_destination::identity::{CertificateAnswer, CertificateRequest, MAX_CERTIFICATE_REQUEST};
use landbridge_runtime::bucket::Bucket;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::api::{Known, Refusal, Shared, caller_name};
use super::identity::{Identity, TokenReviewer};
use crate::certificates::workload::SignError;

/// Deadline for the body of a request.
const BODY: Duration = Duration::from_secs(5);

/// Certificates of one caller at once, and after which time one more. A sidecar asks once in half an hour, and when it
/// starts; a pod whose container is restarted again and again asks as often as that.
const EACH: (u32, Duration) = (10, Duration::from_secs(10));

/// Callers that are counted. Bounds memory to about 2 MiB; who is forgotten has a new account of [`EACH`].
const COUNTED: u64 = 16_384;

/// What each caller has had.
pub(super) struct Callers {
    counted: moka::sync::Cache<String, Arc<Mutex<Bucket>>>,
}

impl Default for Callers {
    fn default() -> Self {
        let counted = moka::sync::Cache::builder()
            .max_capacity(COUNTED)
            .time_to_idle(Duration::from_secs(600))
            .build();
        Self { counted }
    }
}

impl Callers {
    fn take(&self, caller: String) -> bool {
        let (burst, refill) = EACH;
        let bucket = self
            .counted
            .get_with(caller, || Arc::new(Mutex::new(Bucket::new(burst, refill))));
        let mut bucket = bucket.lock();
        bucket.take(Instant::now())
    }
}

pub(super) async fn issue<R: TokenReviewer>(
    Known(identity): Known,
    State(shared): State<Arc<Shared<R>>>,
    request: Request,
) -> Result<Json<CertificateAnswer>, Refusal> {
    let result = sign(&shared, &identity, request.into_body()).await;
    let refused = result.as_ref().err().map(Refusal::status);
    shared.api.metrics.certified(refused);
    result.map(Json)
}

async fn sign<R: TokenReviewer>(
    shared: &Shared<R>,
    identity: &Identity,
    body: Body,
) -> Result<CertificateAnswer, Refusal> {
    let signer = shared.api.signer.as_ref().ok_or_else(|| {
        let message = "this operator has certificates that somebody else makes (--serve-certificate-dir), so it has no \
                       authority to sign with; sidecars need the operator's own authority: remove that option to use \
                       them. Gateways and proxies on nodes work without it";
        Refusal::new(StatusCode::NOT_IMPLEMENTED, message)
    })?;
    let signer = signer.get().ok_or_else(|| {
        let message = "the operator has not read its authority yet; try again, or ask another replica";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
    })?;
    if !shared.certificates.take(caller_name(identity)) {
        let message =
            "this caller has asked for too many certificates; keep the one you have, and wait ten seconds";
        return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, message));
    }
    let account = WorkloadIdentity::new(&identity.namespace, &identity.service_account)
        .map_err(|error| Refusal::new(StatusCode::FORBIDDEN, error.to_string()))?;
    let request = read(body).await?;
    let is_gateway = shared.api.policy.is_proxy(identity);
    let now = Timestamp::now().as_second();
    signer
        .sign(&request.csr, &account, is_gateway, now)
        .map_err(|error| {
            let status = match error {
                SignError::Request(_) => StatusCode::BAD_REQUEST,
                SignError::Issue(_) => StatusCode::INTERNAL_SERVER_ERROR,
                SignError::Ended => StatusCode::SERVICE_UNAVAILABLE,
            };
            Refusal::new(status, error.to_string())
        })
}

async fn read(body: Body) -> Result<CertificateRequest, Refusal> {
    let reading = timeout(BODY, Limited::new(body, MAX_CERTIFICATE_REQUEST).collect());
    let bytes = match reading.await {
        Ok(Ok(read)) => read.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!(
                "the request is longer than {MAX_CERTIFICATE_REQUEST} bytes; send one without extensions, for an ECDSA key"
            );
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        Ok(Err(error)) => {
            let message = format!("the request ended early: {error}");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
        Err(_) => {
            let message = "the request did not arrive within 5 s; send it again";
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message));
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("the request is not {{\"csr\": PEM}}: {error}");
        Refusal::new(StatusCode::BAD_REQUEST, message)
    })
}
