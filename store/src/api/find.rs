//! Finding a destination with everything needed to call it (seed L13204-L13239, L13334-L13500).

mod answer;
mod asked;
mod chain;
mod lookup;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, ETAG, HeaderMap};
use http::{HeaderValue, StatusCode};
use landbridge_destination::properties::keys;
use landbridge_destination::{AuthToken, Certificate, DestinationConfig, Level, Owner};
use serde_json::{Map, Value, json};

use self::answer::Answer;
pub(crate) use self::answer::Configuration;
use self::asked::{Options, Version};
use self::chain::Chain;
use self::lookup::Found;
use super::conditions::{etag_value, if_match, none_match};
use super::error::ApiError;
use crate::app::App;
use crate::auth::{Authenticated, Caller};
use crate::db::Place;
use crate::tokens::{Given, TokenContext, given};

/// `GET /v1/destinations/{name}`: instance level first, then subaccount level.
pub(crate) async fn find_v1(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let call = Call::read(&app, &caller, &headers, query.as_deref(), Version::V1)?;
    call.answer(&name, None).await
}

/// `GET /v2/destinations/{name}@{level}`: that level and no other; `instance` when none is named (later API).
pub(crate) async fn find_v2(
    Authenticated(caller): Authenticated,
    State(app): State<Arc<App>>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let call = Call::read(&app, &caller, &headers, query.as_deref(), Version::V2)?;
    let (name, level) = asked::name_and_level(&path)?;
    call.answer(name, Some(level)).await
}

/// One find call.
struct Call<'a> {
    app: &'a App,
    caller: &'a Caller,
    headers: &'a HeaderMap,
    version: Version,
    options: Options,
    tenant: Option<&'a str>,
}

impl<'a> Call<'a> {
    /// Reads what is asked for beside the name.
    fn read(
        app: &'a App,
        caller: &'a Caller,
        headers: &'a HeaderMap,
        query: Option<&str>,
        version: Version,
    ) -> Result<Self, ApiError> {
        Ok(Self {
            options: asked::options(query, version)?,
            tenant: asked::tenant(headers)?,
            app,
            caller,
            headers,
            version,
        })
    }

    async fn answer(&self, name: &str, level: Option<Level>) -> Result<Response, ApiError> {
        let fragments = asked::fragments(self.headers, self.version)?;
        let chain = chain::read(self.headers, self.version)?;
        let found = lookup::find(self.app, self.caller, self.version, (name, level), &fragments).await?;
        let etag = found.etag();
        // With credentials, which nobody in between may keep.
        let head = [
            (ETAG, etag_value(&etag)),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        if if_match(self.headers)?.is_some_and(|expected| expected != etag) {
            return Err(ApiError::changed());
        }
        // The version is that of the configuration: with tokens, which end, "not modified" would not be true.
        let lasting = self.options.without_tokens() || !found.config().authentication().has_tokens();
        if lasting && none_match(self.headers, &etag) {
            return Ok((StatusCode::NOT_MODIFIED, head).into_response());
        }
        let auth_tokens = if self.options.without_tokens() {
            None
        } else {
            self.tokens(&found, chain.as_ref()).await?
        };
        let shown;
        let properties = if self.options.skip_credentials {
            shown = found.config().without_secrets();
            &shown
        } else {
            found.config()
        };
        let answer = Answer {
            owner: (self.version == Version::V1).then(|| Owner {
                subaccount_id: Some(found.place.subaccount_id.clone()),
                instance_id: found.record.instance_id.clone(),
            }),
            destination_configuration: Configuration {
                properties,
                metadata: self.metadata(&found).await?,
            },
            auth_tokens,
            certificates: self.certificates(&found).await?,
        };
        Ok((head, Json(answer)).into_response())
    }

    /// The tokens, with a chain those that follow from the token of its first destination.
    async fn tokens(&self, found: &Found, chain: Option<&Chain>) -> Result<Option<Vec<AuthToken>>, ApiError> {
        let mut given = given::read(self.headers)?;
        if let Some(chain) = chain {
            let first = self.first(found, chain).await?;
            let tokens = self.tokens_with(&first, &chain.first()).await?;
            given = match chain.second(given, tokens) {
                Ok(given) => given,
                Err(failed) => return Ok(Some(vec![*failed])),
            };
        }
        self.tokens_with(found, &given).await
    }

    /// The first destination of a chain. It has the level of the one asked for, unless it names another.
    async fn first(&self, found: &Found, chain: &Chain) -> Result<Found, ApiError> {
        let (name, level) = match self.version {
            Version::V1 => (chain.destination.as_str(), None),
            Version::V2 if chain.destination.contains('@') => {
                let (name, level) = asked::name_and_level(&chain.destination)?;
                (name, Some(level))
            }
            Version::V2 => (chain.destination.as_str(), found.level),
        };
        lookup::find(
            self.app,
            self.caller,
            self.version,
            (name, level),
            &chain.fragments,
        )
        .await
    }

    async fn tokens_with(&self, found: &Found, given: &Given) -> Result<Option<Vec<AuthToken>>, ApiError> {
        let context = TokenContext {
            subaccount_id: &found.place.subaccount_id,
            owner: &found.place.owner,
            tenant: tenant(self.tenant, found.config())?,
            subdomain: &self.caller.subdomain,
            given,
            renew: no_cache(self.headers),
        };
        let tokens = self.app.tokens.auth_tokens(&context, found.config()).await;
        tokens.map_err(ApiError::from)
    }

    /// What the configuration names, which may hold keys.
    async fn certificates(&self, found: &Found) -> Result<Option<Vec<Certificate>>, ApiError> {
        if self.options.skip_credentials {
            return Ok(None);
        }
        let certificates = &self.app.certificates;
        let without = self.options.without_tokens();
        Ok(certificates
            .for_answer(&found.place, found.config(), without)
            .await?)
    }

    /// `$metadata`, with what was asked for.
    async fn metadata(&self, found: &Found) -> Result<Option<Value>, ApiError> {
        let mut metadata = Map::new();
        if self.options.owner {
            metadata.insert("owner".to_owned(), owners(found));
        }
        if self.options.labels {
            let labels = self
                .app
                .destinations
                .labels(&found.place, found.record.value.name())
                .await?;
            metadata.insert("labels".to_owned(), json!(labels));
        }
        Ok(Some(metadata)
            .filter(|metadata| !metadata.is_empty())
            .map(Value::Object))
    }
}

/// Whose the parts of the answer are.
fn owners(found: &Found) -> Value {
    let owner = |place: &Place| {
        let instance = Some(&place.owner).filter(|owner| !owner.is_empty());
        (place.subaccount_id.clone(), instance.cloned())
    };
    let (subaccount, instance) = owner(&found.place);
    let fragments: Vec<_> = found
        .fragments
        .iter()
        .map(|(place, fragment)| {
            let (subaccount, instance) = owner(place);
            let name = crate::records::Stored::name(&fragment.value);
            json!({"FragmentName": name, "SubaccountId": subaccount, "InstanceId": instance})
        })
        .collect();
    json!({
        "destinations": [{"Name": found.record.value.name(), "SubaccountId": subaccount, "InstanceId": instance}],
        "fragments": fragments,
    })
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

/// `X-tenant` belongs to `Common` token services only; without it the caller's own tenant counts (seed L6959).
fn tenant<'a>(asked: Option<&'a str>, config: &DestinationConfig) -> Result<Option<&'a str>, ApiError> {
    let common = config
        .text(keys::TOKEN_SERVICE_URL_TYPE)
        .is_some_and(|kind| kind.eq_ignore_ascii_case("Common"));
    if asked.is_some() && config.authentication().asks_token_service() && !common {
        return Err(ApiError::bad_request(
            "The header X-tenant goes with tokenServiceURLType=Common; this destination has a Dedicated one",
        ));
    }
    Ok(asked)
}
