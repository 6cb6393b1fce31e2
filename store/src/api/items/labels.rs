//! Labels of one thing (later API). What a change answers is not documented there: the labels as they are then.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::Request;
use serde::Deserialize;

use super::body::received;
use super::{Item, Level, place};
use crate::api::error::ApiError;
use crate::app::App;
use crate::auth::{Access, Authenticated};
use crate::records::{Label, LabelAction, Relabelled, changed_labels};

/// What is to be done with labels.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelPatch {
    action: LabelAction,
    labels: Vec<Label>,
}

/// `GET /{name}/labels`.
pub(crate) async fn read<T: Item, L: Level>(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let place = place::<L>(&caller, Access::Read)?;
    let records = T::records(&app);
    records
        .get(&place, &name)
        .await?
        .ok_or_else(ApiError::not_found)?;
    Ok(Json(records.labels(&place, &name).await?).into_response())
}

/// `PUT /{name}/labels`: these in place of those it has.
pub(crate) async fn replace<T: Item, L: Level>(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let place = place::<L>(&caller, Access::Write)?;
    let body = received(&app, &caller, request).await?;
    let labels: Vec<Label> = serde_json::from_slice(&body).map_err(|error| {
        ApiError::bad_request(format!(
            "The body is no array of labels, each {{\"key\": \"...\", \"values\": [\"...\"]}}, in JSON: {error}"
        ))
    })?;
    let records = T::records(&app);
    let writes = records.by(&*caller);
    let relabelled = writes.relabel(&place, &name, |_| Ok(labels.clone()));
    answer(relabelled.await?)
}

/// `PATCH /{name}/labels`: adds values, or takes some away.
pub(crate) async fn patch<T: Item, L: Level>(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let place = place::<L>(&caller, Access::Write)?;
    let body = received(&app, &caller, request).await?;
    let patch: LabelPatch = serde_json::from_slice(&body).map_err(|error| {
        ApiError::bad_request(format!(
            "The body is not {{\"action\": \"ADD\" or \"REMOVE\", \"labels\": [{{\"key\": \"...\", \"values\": [\"...\"]}}]}} \
             in JSON: {error}"
        ))
    })?;
    let records = T::records(&app);
    let writes = records.by(&*caller);
    let relabelled = writes.relabel(&place, &name, |before| {
        Ok(changed_labels(before, patch.action, &patch.labels))
    });
    answer(relabelled.await?)
}

fn answer(relabelled: Relabelled) -> Result<Response, ApiError> {
    match relabelled {
        Relabelled::Done { after, .. } => Ok(Json(after).into_response()),
        Relabelled::Missing => Err(ApiError::not_found()),
        Relabelled::Refused(problem) => Err(ApiError::bad_request(problem.to_string())),
    }
}
