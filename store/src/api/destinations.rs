//! Administration of subaccount destinations (seed L13241-L13299).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, HeaderMap};
use http::{Request, StatusCode};
use landbridge_destination::DestinationConfig;
use landbridge_destination::properties::check_name;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserializer as _, Serialize};
use serde_json::json;

use super::body::read_body;
use super::conditions::{etag_value, if_match, no_options};
use super::error::ApiError;
use crate::app::App;
use crate::auth::{Access, Area, At, Authenticated, Caller};
use crate::db::Written;
use crate::records::{New, RecordError};

/// `POST /subaccountDestinations`: creates one or an array.
pub(crate) async fn create(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    caller.require(Area::Configuration, At::Subaccount, Access::Write)?;
    no_options(query.as_deref())?;
    let place = caller.subaccount_level();
    match read_destinations(&app, &caller, request).await? {
        Given::One(config) => {
            config
                .validate()
                .map_err(|invalid| ApiError::bad_request(invalid.to_string()))?;
            let (written, etag) = single(
                app.destinations
                    .by(&*caller)
                    .create(&place, vec![New::from(config)])
                    .await?,
            )?;
            accepted(written)?;
            Ok((StatusCode::CREATED, [(ETAG, etag_value(&etag))]).into_response())
        }
        Given::Many(configs) => {
            let results = many(&configs, async |valid| {
                app.destinations.by(&*caller).create(&place, valid).await
            })
            .await?;
            Ok(batch(&configs, results, StatusCode::CREATED))
        }
    }
}

/// `PUT /subaccountDestinations`: replaces one or an array; the name in the body says which.
pub(crate) async fn replace(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    caller.require(Area::Configuration, At::Subaccount, Access::Write)?;
    no_options(query.as_deref())?;
    let expected = if_match(&headers)?;
    let place = caller.subaccount_level();
    match read_destinations(&app, &caller, request).await? {
        Given::One(config) => {
            config
                .validate()
                .map_err(|invalid| ApiError::bad_request(invalid.to_string()))?;
            let given = vec![New::from(config)];
            let results = app
                .destinations
                .by(&*caller)
                .replace(&place, given, expected.as_deref())
                .await?;
            let (written, etag) = single(results)?;
            accepted(written)?;
            Ok(([(ETAG, etag_value(&etag))], Json(json!({ "Count": 1 }))).into_response())
        }
        Given::Many(_) if expected.is_some() => Err(ApiError::bad_request(
            "If-Match goes with one destination; send them one by one",
        )),
        Given::Many(configs) => {
            let results = many(&configs, async |valid| {
                app.destinations.by(&*caller).replace(&place, valid, None).await
            })
            .await?;
            Ok(batch(&configs, results, StatusCode::OK))
        }
    }
}

/// `DELETE /subaccountDestinations/{name}`.
pub(crate) async fn remove(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.require(Area::Configuration, At::Subaccount, Access::Write)?;
    let expected = if_match(&headers)?;
    let written = app
        .destinations
        .by(&*caller)
        .delete(&caller.subaccount_level(), &name, expected.as_deref())
        .await?;
    accepted(written)?;
    Ok(Json(json!({ "Count": 1 })).into_response())
}

enum Given {
    One(DestinationConfig),
    Many(Vec<DestinationConfig>),
}

async fn read_destinations(app: &App, caller: &Caller, request: Request<Body>) -> Result<Given, ApiError> {
    // Bodies may come slowly, while their request counts: one tenant's must not stop the others.
    let share = app.uploads.take(&caller.subaccount_id);
    let _share = share.ok_or_else(ApiError::too_many_uploads)?;
    let body = read_body(request.into_body(), app.limits.max_body, app.limits.receive).await?;
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let unreadable = |error: serde_json::Error| {
        ApiError::bad_request(format!(
            "The body is no destination or array of destinations in JSON: {error}"
        ))
    };
    if first != Some(&b'[') {
        return serde_json::from_slice(&body).map(Given::One).map_err(unreadable);
    }
    let limit = app.limits.max_batch;
    match batch_of(&body, limit).map_err(unreadable)? {
        Some(configs) if !configs.is_empty() => Ok(Given::Many(configs)),
        given => {
            let found = if given.is_some() { "no" } else { "too many" };
            let message = format!("The array has {found} destinations; send 1 to {limit} at a time");
            Err(ApiError::bad_request(message))
        }
    }
}

/// Reads an array of at most `limit` destinations; `None` when it has more, which are not read.
fn batch_of(body: &[u8], limit: usize) -> Result<Option<Vec<DestinationConfig>>, serde_json::Error> {
    struct Upto<'a> {
        limit: usize,
        exceeded: &'a mut bool,
    }
    impl<'de> Visitor<'de> for Upto<'_> {
        type Value = Vec<DestinationConfig>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an array of destinations")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut configs = Vec::new();
            while let Some(config) = sequence.next_element()? {
                if configs.len() == self.limit {
                    *self.exceeded = true;
                    return Err(A::Error::custom("too many destinations"));
                }
                configs.push(config);
            }
            Ok(configs)
        }
    }
    let mut exceeded = false;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let reading = Upto {
        limit,
        exceeded: &mut exceeded,
    };
    let read = deserializer
        .deserialize_seq(reading)
        .and_then(|configs| deserializer.end().map(|()| configs));
    if exceeded {
        return Ok(None);
    }
    read.map(Some)
}

fn single(mut results: Vec<(Written, String)>) -> Result<(Written, String), ApiError> {
    // One was given, so one comes back.
    results.pop().ok_or_else(ApiError::not_found)
}

fn accepted(written: Written) -> Result<(), ApiError> {
    match written {
        Written::Done => Ok(()),
        Written::Duplicate => Err(ApiError::duplicate()),
        Written::Missing => Err(ApiError::not_found()),
        Written::Changed => Err(ApiError::changed()),
        Written::Full => Err(ApiError::bad_request(
            "The subaccount has as many destinations as it may; delete some first",
        )),
    }
}

/// Writes those of the destinations that are valid, in one transaction; what became of each, in order.
async fn many(
    configs: &[DestinationConfig],
    write: impl AsyncFnOnce(Vec<New<DestinationConfig>>) -> Result<Vec<(Written, String)>, RecordError>,
) -> Result<Vec<Result<String, ApiError>>, ApiError> {
    let checks: Vec<_> = configs.iter().map(DestinationConfig::validate).collect();
    let valid: Vec<_> = configs
        .iter()
        .zip(&checks)
        .filter(|(_, check)| check.is_ok())
        .map(|(config, _)| New::from(config.clone()))
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
            Err(invalid) => Err(ApiError::bad_request(invalid.to_string())),
            Ok(()) => {
                let (written, etag) = written.next().ok_or_else(ApiError::not_found)?;
                accepted(written).map(|()| etag)
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

/// One line per destination; 207 when not all of them were written.
fn batch(
    configs: &[DestinationConfig],
    results: Vec<Result<String, ApiError>>,
    done: StatusCode,
) -> Response {
    let status = if results.iter().all(Result::is_ok) {
        done
    } else {
        StatusCode::MULTI_STATUS
    };
    let items: Vec<_> = configs
        .iter()
        .zip(&results)
        .map(|(config, result)| {
            // A name that is none is not repeated in full.
            let name = if check_name(config.name()).is_ok() {
                config.name()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_read_up_to_the_limit() {
        let names = |body: &str| {
            let read = batch_of(body.as_bytes(), 2).map_err(|error| error.to_string());
            read.map(|configs| configs.map(|configs| configs.len()))
        };
        assert_eq!(names("[]"), Ok(Some(0)));
        assert_eq!(names(r#"[{"Name":"a"}, {"Name":"b"}] "#), Ok(Some(2)));
        assert_eq!(names("[{},{},{}]"), Ok(None));
        // What comes after the limit is not looked at.
        assert_eq!(names("[{},{},{},rubbish"), Ok(None));
        for broken in ["[{},", "[{}] x", "[1]", r#"[{"a":[0,0"#] {
            assert!(names(broken).is_err(), "{broken}");
        }
    }
}
