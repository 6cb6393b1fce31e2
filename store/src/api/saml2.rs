//! What a subaccount signs assertions with, for its administrators (seed L10634-L10662; the paths without "certificate" and
//! the texts: later API).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;

use super::body::read_body;
use super::error::ApiError;
use crate::app::App;
use crate::auth::{Access, Area, At, Authenticated, Caller};
use crate::records::Record;
use crate::trust::{Role, TrustError, TrustKey, identity_provider};

fn permit(caller: &Caller, access: Access) -> Result<&str, ApiError> {
    caller.require(Area::Trust, At::Subaccount, access)?;
    Ok(&caller.subaccount_id)
}

fn certificate(record: &Record<TrustKey>) -> Response {
    Json(json!({ "certificate": record.value.pem() })).into_response()
}

/// `GET /saml2Metadata`: metadata of the subaccount as an identity provider.
pub(crate) async fn metadata(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
) -> Result<Response, ApiError> {
    let record = app
        .trust
        .get(permit(&caller, Access::Read)?, Role::Active)
        .await?;
    let xml = identity_provider(&record.value).map_err(|error| TrustError::Make(error.to_string()))?;
    Ok(Json(json!({ "idpMetadata": STANDARD.encode(xml) })).into_response())
}

/// `GET /saml2Metadata/certificate`: what to trust.
pub(crate) async fn active(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
) -> Result<Response, ApiError> {
    let record = app
        .trust
        .get(permit(&caller, Access::Read)?, Role::Active)
        .await?;
    Ok(certificate(&record))
}

/// `GET /saml2Metadata/certificate/passive`: what to trust before the keys are exchanged.
pub(crate) async fn passive(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
) -> Result<Response, ApiError> {
    let record = app
        .trust
        .get(permit(&caller, Access::Read)?, Role::Passive)
        .await?;
    Ok(certificate(&record))
}

/// `POST /saml2Metadata/certificate`: makes the key pair, or renews its certificate.
pub(crate) async fn generate_active(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    generate(&app, &caller, request, Role::Active).await
}

/// `POST /saml2Metadata/certificate/passive`: the same for the passive one.
pub(crate) async fn generate_passive(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    generate(&app, &caller, request, Role::Passive).await
}

async fn generate(
    app: &App,
    caller: &Caller,
    request: Request<Body>,
    role: Role,
) -> Result<Response, ApiError> {
    let subaccount_id = permit(caller, Access::Write)?;
    empty(app, request).await?;
    let record = app.trust.generate_or_renew(subaccount_id, role).await?;
    audit(caller, "generated or renewed", role);
    Ok(certificate(&record))
}

/// `DELETE /saml2Metadata/certificate/passive`.
pub(crate) async fn delete_passive(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
) -> Result<Response, ApiError> {
    app.trust.delete_passive(permit(&caller, Access::Write)?).await?;
    audit(&caller, "deleted", Role::Passive);
    Ok(Json(json!({ "Count": 1 })).into_response())
}

/// `POST /saml2Metadata/rotateCertificate`: exchanges the two; a second time exchanges them back.
pub(crate) async fn rotate(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let subaccount_id = permit(&caller, Access::Write)?;
    empty(&app, request).await?;
    let [active, passive] = app.trust.rotate(subaccount_id).await?;
    audit(&caller, "rotated", Role::Active);
    let body = json!({ "activeCertificate": active.value.pem(), "passiveCertificate": passive.value.pem() });
    Ok(Json(body).into_response())
}

/// These calls have no body; one that is sent was meant for another.
async fn empty(app: &App, request: Request<Body>) -> Result<(), ApiError> {
    let mut body = request.into_body();
    let received = tokio::time::timeout(app.limits.receive, body.frame()).await;
    match received {
        Ok(None) => Ok(()),
        Ok(Some(Ok(frame))) if frame.data_ref().is_some_and(bytes::Bytes::is_empty) => {
            let rest = read_body(body, 1, app.limits.receive).await;
            match rest {
                Ok(rest) if rest.is_empty() => Ok(()),
                _ => Err(not_empty()),
            }
        }
        _ => Err(not_empty()),
    }
}

fn not_empty() -> ApiError {
    ApiError::bad_request("Request body should be empty!")
}

fn audit(caller: &Caller, action: &str, role: Role) {
    let (client_id, subaccount) = (&caller.client_id, &caller.subaccount_id);
    tracing::info!(client_id, subaccount, ?role, "signing key {action}");
}

impl From<TrustError> for ApiError {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::Record(error) => error.into(),
            TrustError::Missing { .. } => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            TrustError::Busy => Self::unavailable("Key pairs are being made already; try again in a moment"),
            TrustError::Damaged | TrustError::Make(_) => {
                tracing::error!(%error, "request failed");
                Self::unavailable("The store cannot use its signing keys at the moment")
            }
        }
    }
}
