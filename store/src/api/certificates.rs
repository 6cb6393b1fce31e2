//! Key and trust stores by REST, on subaccount and on instance level (paths: later API).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::body::read_body;
use super::error::ApiError;
use crate::app::App;
use crate::auth::{Access, Area, At, Authenticated, Caller};
use crate::certificates::{CertificateEntry, TYPE};
use crate::db::{Place, Written};
use crate::records::New;

/// Entries read from the database at a time while all of them are listed.
const PAGE: u32 = 100;

/// Most bytes of one list: entries are up to 2 MB, and the list is made in memory.
const MAX_LIST: usize = 32 << 20;

/// Most entries in one request.
const MAX_BATCH: usize = 100;

/// What a client sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Type")]
    kind: Option<String>,
    #[serde(rename = "Content")]
    content: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Certificates {
    Many(Vec<Sent>),
    One(Sent),
}

impl From<Sent> for CertificateEntry {
    fn from(sent: Sent) -> Self {
        Self {
            name: sent.name,
            kind: sent.kind.unwrap_or_else(|| TYPE.to_owned()),
            content: sent.content,
        }
    }
}

/// All certificates of a level.
pub(crate) fn collection(at: At) -> MethodRouter<Arc<App>> {
    get(async move |caller: Authenticated, State(app): State<Arc<App>>| list(&app, &caller.0, at).await).post(
        async move |caller: Authenticated, State(app): State<Arc<App>>, request: Request<Body>| {
            create(&app, &caller.0, at, request).await
        },
    )
}

/// One of them.
pub(crate) fn single(at: At) -> MethodRouter<Arc<App>> {
    get(
        async move |caller: Authenticated, State(app): State<Arc<App>>, Path(name): Path<String>| {
            read(&app, &caller.0, at, &name).await
        },
    )
    .delete(
        async move |caller: Authenticated, State(app): State<Arc<App>>, Path(name): Path<String>| {
            remove(&app, &caller.0, at, &name).await
        },
    )
}

fn place(caller: &Caller, at: At, access: Access) -> Result<Place, ApiError> {
    caller.require(Area::Certificate, at, access)?;
    Ok(match at {
        At::Subaccount => caller.subaccount_level(),
        At::Instance => caller.instance_level(),
    })
}

async fn list(app: &App, caller: &Caller, at: At) -> Result<Response, ApiError> {
    let place = place(caller, at, Access::Read)?;
    let (mut all, mut after, mut bytes) = (Vec::new(), String::new(), 0);
    loop {
        let page = app.certificates.records().page(&place, &after, PAGE).await?;
        let full = u32::try_from(page.len()).is_ok_and(|count| count == PAGE);
        for record in page {
            bytes += record.value.content.len();
            after.clone_from(&record.value.name);
            all.push(record.value);
        }
        if bytes > MAX_LIST {
            return Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "The certificates together are larger than a list may be; read them one by one",
            ));
        }
        if !full {
            return Ok(Json(all).into_response());
        }
    }
}

async fn read(app: &App, caller: &Caller, at: At, name: &str) -> Result<Response, ApiError> {
    let place = place(caller, at, Access::Read)?;
    let record = app.certificates.records().get(&place, name).await?;
    let record = record.ok_or_else(ApiError::not_found)?;
    Ok(Json(&record.value).into_response())
}

async fn create(app: &App, caller: &Caller, at: At, request: Request<Body>) -> Result<Response, ApiError> {
    let place = place(caller, at, Access::Write)?;
    // Bodies may come slowly, while their request counts: one tenant's must not stop the others.
    let share = app.uploads.take(&caller.subaccount_id);
    let _share = share.ok_or_else(ApiError::too_many_uploads)?;
    let body = read_body(request.into_body(), app.limits.max_body, app.limits.receive).await?;
    let sent = serde_json::from_slice::<Certificates>(&body).map_err(|_| {
        ApiError::bad_request(
            "The body is no certificate {\"Name\", \"Type\": \"CERTIFICATE\", \"Content\": base64}, and no array of them",
        )
    })?;
    match sent {
        Certificates::One(sent) => {
            let entry = CertificateEntry::from(sent);
            let name = entry.name.clone();
            store(app, &place, entry).await?;
            audit(caller, "created", &name);
            Ok(StatusCode::CREATED.into_response())
        }
        Certificates::Many(sent) if sent.is_empty() || sent.len() > MAX_BATCH => Err(ApiError::bad_request(
            format!("The array must have 1 to {MAX_BATCH} certificates"),
        )),
        Certificates::Many(sent) => {
            let mut items = Vec::with_capacity(sent.len());
            let mut status = StatusCode::CREATED;
            for sent in sent {
                let entry = CertificateEntry::from(sent);
                let name: String = entry.name.chars().take(210).collect();
                items.push(match store(app, &place, entry).await {
                    Ok(etag) => {
                        audit(caller, "created", &name);
                        json!({ "name": name, "status": 201, "etag": etag })
                    }
                    Err(error) => {
                        status = StatusCode::MULTI_STATUS;
                        json!({ "name": name, "status": error.status().as_u16(), "cause": error.to_string() })
                    }
                });
            }
            Ok((status, Json(items)).into_response())
        }
    }
}

async fn store(app: &App, place: &Place, entry: CertificateEntry) -> Result<String, ApiError> {
    entry
        .validate()
        .map_err(|invalid| ApiError::bad_request(format!("The certificate is refused: {invalid}")))?;
    let written = app
        .certificates
        .records()
        .create(place, vec![New::from(entry)])
        .await?;
    let (state, etag) = written.into_iter().next().ok_or_else(ApiError::not_found)?;
    match state {
        Written::Done => Ok(etag),
        Written::Full => Err(ApiError::bad_request(
            "There are as many certificates here as there may be; delete some first",
        )),
        _ => Err(ApiError::duplicate()),
    }
}

async fn remove(app: &App, caller: &Caller, at: At, name: &str) -> Result<Response, ApiError> {
    let place = place(caller, at, Access::Write)?;
    match app.certificates.records().delete(&place, name, None).await? {
        Written::Done => {
            audit(caller, "deleted", name);
            Ok(Json(json!({ "Count": 1 })).into_response())
        }
        _ => Err(ApiError::not_found()),
    }
}

/// Who changed what, for the administrator; never the content.
fn audit(caller: &Caller, action: &str, certificate: &str) {
    let (client_id, subaccount) = (&caller.client_id, &caller.subaccount_id);
    tracing::info!(client_id, subaccount, certificate, "certificate {action}");
}
