//! Writing: one thing or several, a part of one, and away with them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, HeaderMap};
use http::{Request, StatusCode};
use landbridge_destination::DestinationConfig;
use landbridge_destination::properties::{Patch, check_name, keys};
use serde::Serialize;
use serde_json::json;

use super::body::{Given, given};
use super::{Item, Level, place};
use crate::api::conditions::{etag_value, if_match, no_options};
use crate::api::error::ApiError;
use crate::api::filter::Filter;
use crate::api::listing::{Listing, listing};
use crate::app::App;
use crate::auth::{Access, Authenticated};
use crate::db::{Place, Written};
use crate::records::{New, RecordError};

/// How often a change of some properties is begun anew, when others write the same thing meanwhile.
const ATTEMPTS: usize = 5;

/// `POST`: creates one or an array.
pub(crate) async fn create<T: Item, L: Level>(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let place = place::<L>(&caller, Access::Write)?;
    no_options(query.as_deref())?;
    let records = T::records(&app);
    match given::<T, T>(&app, &caller, request).await? {
        Given::One(thing) => {
            thing.check().map_err(ApiError::bad_request)?;
            let writes = records.by(&*caller);
            let written = writes.create(&place, vec![New::from(thing)]);
            let (written, etag) = single(written.await?)?;
            accepted::<T>(written)?;
            Ok((StatusCode::CREATED, [(ETAG, etag_value(&etag))]).into_response())
        }
        Given::Many(things) => {
            let results = many(&things, async |valid| {
                records.by(&*caller).create(&place, valid).await
            })
            .await?;
            Ok(batch(&things, results, StatusCode::CREATED))
        }
    }
}

/// `PUT`: replaces one or an array; the name in the body says which.
pub(crate) async fn replace<T: Item, L: Level>(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let place = place::<L>(&caller, Access::Write)?;
    no_options(query.as_deref())?;
    let expected = if_match(&headers)?;
    let records = T::records(&app);
    match given::<T, T>(&app, &caller, request).await? {
        Given::One(thing) => {
            thing.check().map_err(ApiError::bad_request)?;
            let things = vec![New::from(thing)];
            let writes = records.by(&*caller);
            let written = writes.replace(&place, things, expected.as_deref());
            let (written, etag) = single(written.await?)?;
            accepted::<T>(written)?;
            Ok(([(ETAG, etag_value(&etag))], Json(json!({ "Count": 1 }))).into_response())
        }
        Given::Many(_) if expected.is_some() => Err(ApiError::bad_request(format!(
            "If-Match goes with one {}; send them one by one",
            T::WORD
        ))),
        Given::Many(things) => {
            let results = many(&things, async |valid| {
                records.by(&*caller).replace(&place, valid, None).await
            })
            .await?;
            Ok(batch(&things, results, StatusCode::OK))
        }
    }
}

/// `PATCH`: sets and removes some properties of one thing (later API). Without `If-Match` it is begun anew when somebody
/// else writes the same thing meanwhile: nothing of theirs is lost.
pub(crate) async fn patch<T: Item, L: Level>(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let place = place::<L>(&caller, Access::Write)?;
    no_options(query.as_deref())?;
    let expected = if_match(&headers)?;
    let Given::One(patch) = given::<T, Patch>(&app, &caller, request).await? else {
        return Err(ApiError::bad_request(
            "PATCH changes one at a time; send one object",
        ));
    };
    let name = patch.set().text(T::NAME).unwrap_or_default().to_owned();
    if name.is_empty() || patch.removed().iter().any(|key| key == T::NAME) {
        return Err(ApiError::bad_request(format!(
            "The body has no {}, which says what is changed; add it",
            T::NAME
        )));
    }
    let records = T::records(&app);
    for _ in 0..ATTEMPTS {
        let record = records
            .fresh(&place, &name)
            .await?
            .ok_or_else(ApiError::not_found)?;
        if expected.as_ref().is_some_and(|expected| *expected != record.etag) {
            return Err(ApiError::changed());
        }
        let changed = T::from(patch.applied_to(record.value.properties()));
        changed.check().map_err(ApiError::bad_request)?;
        let things = vec![New::from(changed)];
        let writes = records.by(&*caller);
        let written = writes.replace(&place, things, Some(&record.etag));
        match single(written.await?)? {
            (Written::Changed, _) if expected.is_none() => {}
            (written, etag) => {
                accepted::<T>(written)?;
                return Ok((StatusCode::NO_CONTENT, [(ETAG, etag_value(&etag))]).into_response());
            }
        }
    }
    Err(ApiError::unavailable(
        "Others write the same all the time; nothing was changed, try again in a moment",
    ))
}

/// `DELETE /{name}`.
pub(crate) async fn remove<T: Item, L: Level>(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let place = place::<L>(&caller, Access::Write)?;
    let expected = if_match(&headers)?;
    T::may_be_deleted(&app, &place, std::slice::from_ref(&name)).await?;
    let records = T::records(&app);
    let deleted = records
        .by(&*caller)
        .delete(&place, &name, expected.as_deref())
        .await?;
    accepted::<T>(deleted)?;
    Ok(Json(json!({ "Count": 1 })).into_response())
}

#[derive(Serialize)]
struct Deleted<'a> {
    name: &'a str,
    status: &'static str,
}

/// `DELETE` with `$filter`, which names what is deleted (later API).
pub(crate) async fn remove_many<T: Item, L: Level>(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let place = place::<L>(&caller, Access::Write)?;
    let Listing::Whole {
        filter: Some(Filter::In(names)),
        ..
    } = listing(query.as_deref())?
    else {
        return Err(ApiError::bad_request(
            "Several are deleted with $filter=Name in ('a', 'b'), which names each of them",
        ));
    };
    if names.len() > app.limits.max_batch {
        let limit = app.limits.max_batch;
        return Err(ApiError::bad_request(format!(
            "$filter has more than {limit} names; send fewer at a time"
        )));
    }
    T::may_be_deleted(&app, &place, &names).await?;
    let records = T::records(&app);
    let mut summary = Vec::with_capacity(names.len());
    let mut count = 0;
    for name in &names {
        let status = match records.by(&*caller).delete(&place, name, None).await? {
            Written::Done => {
                count += 1;
                "DELETED"
            }
            _ => "NOT_FOUND",
        };
        summary.push(Deleted { name, status });
    }
    Ok(Json(json!({ "Count": count, "Summary": summary })).into_response())
}

fn single(mut results: Vec<(Written, String)>) -> Result<(Written, String), ApiError> {
    // One was given, so one comes back.
    results.pop().ok_or_else(ApiError::not_found)
}

fn accepted<T: Item>(written: Written) -> Result<(), ApiError> {
    match written {
        Written::Done => Ok(()),
        Written::Duplicate => Err(ApiError::duplicate()),
        Written::Missing => Err(ApiError::not_found()),
        Written::Changed => Err(ApiError::changed()),
        Written::Full => Err(ApiError::bad_request(format!(
            "There are as many {}s here as there may be; delete some first",
            T::WORD
        ))),
    }
}

/// Writes those of the things that are valid, in one transaction; what became of each, in order.
async fn many<T: Item>(
    things: &[T],
    write: impl AsyncFnOnce(Vec<New<T>>) -> Result<Vec<(Written, String)>, RecordError>,
) -> Result<Vec<Result<String, ApiError>>, ApiError> {
    let checks: Vec<_> = things.iter().map(Item::check).collect();
    let valid: Vec<_> = things
        .iter()
        .zip(&checks)
        .filter(|(_, check)| check.is_ok())
        .map(|(thing, _)| New::from(thing.clone()))
        .collect();
    let mut written = if valid.is_empty() {
        Vec::new()
    } else {
        write(valid).await?
    }
    .into_iter();
    Ok(checks
        .into_iter()
        .map(|check| match check {
            Err(invalid) => Err(ApiError::bad_request(invalid)),
            Ok(()) => {
                let (written, etag) = written.next().ok_or_else(ApiError::not_found)?;
                accepted::<T>(written).map(|()| etag)
            }
        })
        .collect())
}

#[derive(Serialize)]
struct BatchItem<'a> {
    name: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

/// One line for each; 207 when not all of them were written.
fn batch<T: Item>(things: &[T], results: Vec<Result<String, ApiError>>, done: StatusCode) -> Response {
    let status = if results.iter().all(Result::is_ok) {
        done
    } else {
        StatusCode::MULTI_STATUS
    };
    let items: Vec<_> = things
        .iter()
        .zip(&results)
        .map(|(thing, result)| {
            // A name that is none is not repeated in full.
            let name = if check_name(thing.name()).is_ok() {
                thing.name()
            } else {
                ""
            };
            match result {
                Ok(etag) => BatchItem {
                    name,
                    status: done.as_u16(),
                    etag: Some(etag),
                    cause: None,
                },
                Err(error) => BatchItem {
                    name,
                    status: error.status().as_u16(),
                    etag: None,
                    cause: Some(error.to_string()),
                },
            }
        })
        .collect();
    (status, Json(items)).into_response()
}

/// Destinations that others get their client assertions from are not deleted (seed L9905; the text: later API). Looks
/// through the destinations of the place, a page at a time, but only when one of the names could be meant.
pub(super) async fn unused_as_provider(app: &App, place: &Place, names: &[String]) -> Result<(), ApiError> {
    /// Destinations looked at a time.
    const PAGE: u32 = 500;
    let records = &app.destinations;
    let mut possible = false;
    for name in names {
        let found = records.get(place, name).await?;
        possible |= found.is_some_and(|record| record.value.get(keys::CLIENT_ASSERTION_TYPE).is_some());
    }
    if !possible {
        return Ok(());
    }
    let mut after = String::new();
    loop {
        let page = records.page(place, &after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.value.name().to_owned();
        for record in &page {
            let user: &DestinationConfig = &record.value;
            let provider = user.text(keys::CLIENT_ASSERTION_DESTINATION);
            // One that goes at the same time does not need it any more.
            let stays = !names.iter().any(|name| name == user.name());
            if let Some(provider) =
                provider.filter(|provider| stays && names.iter().any(|name| name == provider))
            {
                return Err(ApiError::bad_request(format!(
                    "Cannot perform operation on the destination '{provider}' because it is used as an assertion provider \
                     for destination '{}'",
                    user.name()
                )));
            }
        }
    }
}
