//! Finding a destination with everything needed to call it (seed L13204-L13239, L13334-L13500).

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, ETAG, HeaderMap};
use http::{HeaderValue, StatusCode};
use landbridge_destination::oauth::check_subdomain;
use landbridge_destination::properties::keys;
use landbridge_destination::{DestinationConfig, FindResponse, Level, Owner};
use serde::Serialize;

use super::conditions::{FindOptions, etag_value, find_options, none_match};
use super::error::ApiError;
use crate::app::App;
use crate::auth::{Access, Area, At, Authenticated, Caller};
use crate::records::Record;
use crate::tokens::TokenContext;

/// Headers of functions that this version does not have. An answer that ignored them would be another destination.
const UNSUPPORTED: [&str; 2] = ["x-fragment-name", "x-chain-name"];

/// `GET /v1/destinations/{name}`: instance level first, then subaccount level.
pub(crate) async fn find_v1(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.require(Area::Configuration, At::Instance, Access::Read)?;
    let options = find_options(query.as_deref())?;
    let found = app
        .destinations
        .find(&caller.subaccount_id, &caller.instance_id, &name)
        .await?;
    let record = found.ok_or_else(ApiError::not_found)?;
    answer(&app, &caller, record, options, &headers, true).await
}

/// `GET /v2/destinations/{name}@{level}`: that level and no other; `instance` when none is named. The answer has no
/// `owner`.
pub(crate) async fn find_v2(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.require(Area::Configuration, At::Instance, Access::Read)?;
    let options = find_options(query.as_deref())?;
    let (name, level) = match name.rsplit_once('@') {
        Some((name, level)) => (
            name,
            level
                .parse::<Level>()
                .map_err(|error| ApiError::bad_request(error.to_string()))?,
        ),
        None => (name.as_str(), Level::Instance),
    };
    let place = caller.level(level);
    let record = app
        .destinations
        .get(&place, name)
        .await?
        .ok_or_else(ApiError::not_found)?;
    answer(&app, &caller, record, options, &headers, false).await
}

async fn answer(
    app: &App,
    caller: &Caller,
    record: Arc<Record<DestinationConfig>>,
    options: FindOptions,
    headers: &HeaderMap,
    with_owner: bool,
) -> Result<Response, ApiError> {
    if let Some(header) = UNSUPPORTED.iter().find(|header| headers.contains_key(**header)) {
        let message = format!("The header {header} is not supported by this version; leave it out");
        return Err(ApiError::bad_request(message));
    }
    // With credentials, which nobody in between may keep.
    let head = [
        (ETAG, etag_value(&record.etag)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let without_tokens = options.skip_tokens || options.skip_credentials;
    // The version is that of the configuration: with tokens, which end, "not modified" would not be true.
    let lasting = without_tokens || !record.value.authentication().has_tokens();
    if lasting && none_match(headers, &record.etag) {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    let auth_tokens = if without_tokens {
        None
    } else {
        let tenant = tenant(headers, &record.value)?;
        let context = TokenContext {
            subaccount_id: &caller.subaccount_id,
            owner: record.instance_id.as_deref().unwrap_or_default(),
            tenant: tenant.unwrap_or(&caller.subdomain),
            renew: no_cache(headers),
        };
        app.tokens
            .auth_tokens(&context, &record.value)
            .await
            .map_err(ApiError::from)?
    };
    let configuration = if options.skip_credentials {
        record.value.without_secrets()
    } else {
        record.value.clone()
    };
    let owner = Owner {
        subaccount_id: Some(caller.subaccount_id.clone()),
        instance_id: record.instance_id.clone(),
    };
    let found = FindResponse {
        owner,
        configuration,
        auth_tokens,
        certificates: None,
        etag: None,
    };
    let json = if with_owner {
        Json(Shape::V1(&found))
    } else {
        Json(Shape::V2(without_owner(&found)))
    };
    Ok((head, json).into_response())
}

/// Whether the caller wants a token that is not from the cache (RFC 9111, section 5.2.1.4).
fn no_cache(headers: &HeaderMap) -> bool {
    let values = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"))
}

/// The two versions differ in `owner` only.
#[derive(Serialize)]
#[serde(untagged)]
enum Shape<'a> {
    V1(&'a FindResponse),
    V2(WithoutOwner<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WithoutOwner<'a> {
    destination_configuration: &'a DestinationConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_tokens: Option<&'a [landbridge_destination::AuthToken]>,
}

fn without_owner(found: &FindResponse) -> WithoutOwner<'_> {
    WithoutOwner {
        destination_configuration: &found.configuration,
        auth_tokens: found.auth_tokens.as_deref(),
    }
}

/// Subdomain of the tenant whose token service is asked. `X-tenant` belongs to `Common` token services only; without
/// it the caller's own tenant counts (seed L6959).
fn tenant<'a>(headers: &'a HeaderMap, config: &DestinationConfig) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all("x-tenant").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().ok().filter(|text| check_subdomain(text).is_ok());
    let common = config
        .text(keys::TOKEN_SERVICE_URL_TYPE)
        .is_some_and(|kind| kind.eq_ignore_ascii_case("Common"));
    let asks = config.authentication().asks_token_service();
    match text {
        _ if values.next().is_some() => Err(ApiError::bad_request(
            "The header X-tenant is sent twice; send it once",
        )),
        None => Err(bad_tenant(value)),
        Some(_) if asks && !common => Err(ApiError::bad_request(
            "The header X-tenant goes with tokenServiceURLType=Common; this destination has a Dedicated one",
        )),
        Some(tenant) => Ok(Some(tenant)),
    }
}

fn bad_tenant(value: &HeaderValue) -> ApiError {
    let message = if value.is_empty() {
        "The header X-tenant is empty; send the subdomain of the tenant or leave it out"
    } else {
        "The header X-tenant is no subdomain; use letters, digits and '-', at most 63"
    };
    ApiError::bad_request(message)
}
