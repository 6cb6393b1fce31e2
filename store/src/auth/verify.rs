//! Who calls: the bearer token is checked before anything else of a request is looked at.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use jsonwebtoken::{Validation, decode, decode_header};
use landbridge_destination::Level;
use moka::sync::Cache;

use super::keys::SigningKeys;
use super::roles;
use super::token::{AUDIENCE, Claims};
use crate::api::ApiError;
use crate::app::App;
use crate::db::Place;

/// Longest token looked at; ours have some 900 bytes, those of users with many groups some more.
const MAX_TOKEN: usize = 32 * 1024;

/// Checked tokens remembered. A check costs some 100 us of processor time, more than the rest of a find call.
const REMEMBERED: u64 = 10_000;

/// How long a check is remembered; the expiry is looked at each time.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    /// Destinations and fragments.
    Configuration,
    /// Key and trust stores.
    Certificate,
    /// What the subaccount signs with, and whom it trusts.
    Trust,
}

/// Where it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// Subaccount level.
    Subaccount,
    /// Instance or subscription level.
    Instance,
}

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is read.
    Read,
    /// It is changed.
    Write,
}

/// A verified caller.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) subaccount_id: String,
    pub(crate) subdomain: String,
    pub(crate) instance_id: String,
    pub(crate) client_id: String,
    /// The subaccount that owns the instance; another one than the caller's when that is a subscriber.
    pub(crate) provider_id: String,
    /// The user on whose behalf the client calls, for user tokens.
    pub(crate) user: Option<String>,
    scopes: Vec<String>,
    expires: i64,
}

impl Caller {
    /// Fails unless the token permits this.
    pub(crate) fn require(&self, area: Area, at: At, access: Access) -> Result<(), ApiError> {
        if roles::permits(&self.scopes, area, at, access) {
            return Ok(());
        }
        Err(ApiError::forbidden(area, at, access))
    }

    /// How long the token still holds.
    pub(crate) fn remaining(&self) -> Duration {
        let seconds = self.expires.saturating_sub(jiff::Timestamp::now().as_second());
        Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }

    /// The subaccount level of the caller's tenant.
    pub(crate) fn subaccount_level(&self) -> Place {
        Place::subaccount(self.subaccount_id.clone())
    }

    /// What the caller's instance has for the caller's tenant: the instance level, for subscribers the subscription level
    /// (seed L13883-L13926).
    pub(crate) fn instance_level(&self) -> Place {
        Place {
            subaccount_id: self.subaccount_id.clone(),
            owner: self.instance_id.clone(),
        }
    }

    /// The place that a level names for this caller (later API).
    pub(crate) fn level(&self, level: Level) -> Place {
        match level {
            Level::Subaccount => self.subaccount_level(),
            Level::Instance => self.instance_level(),
            Level::ProviderSubaccount => Place::subaccount(self.provider_id.clone()),
            Level::ProviderInstance => Place {
                subaccount_id: self.provider_id.clone(),
                owner: self.instance_id.clone(),
            },
        }
    }
}

/// Checks tokens of this store.
#[derive(Debug)]
pub(crate) struct Verifier {
    issuer: String,
    keys: Arc<SigningKeys>,
    validation: Validation,
    checked: Cache<[u8; 32], Arc<Caller>>,
}

impl Verifier {
    pub(crate) fn new(issuer: &str, keys: Arc<SigningKeys>) -> Self {
        let mut validation = Validation::default();
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Our own clock made the token, so there is no skew; "on or after" the expiry it is refused (RFC 7519
        // section 4.1.4), where the library alone would still take it in that very second.
        validation.leeway = 0;
        validation.reject_tokens_expiring_in_less_than = 1;
        let checked = Cache::builder()
            .max_capacity(REMEMBERED)
            .time_to_live(REMEMBERED_FOR)
            .build();
        Self {
            issuer: issuer.to_owned(),
            keys,
            validation,
            checked,
        }
    }

    /// The `iss` of our tokens.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The caller a token stands for, if it is one of ours: known key, that key's algorithm and no other, issuer,
    /// audience, not expired.
    pub(crate) async fn caller(&self, token: &str) -> Option<Arc<Caller>> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let now = jiff::Timestamp::now().as_second();
        if let Some(caller) = self.checked.get(&key) {
            return (caller.expires > now).then_some(caller);
        }
        let caller = Arc::new(Caller::from(self.claims(token).await?));
        self.checked.insert(key, Arc::clone(&caller));
        Some(caller)
    }

    /// The claims of a token, checked in the same way.
    pub(crate) async fn claims(&self, token: &str) -> Option<Claims> {
        let header = decode_header(token).ok()?;
        let kid = header.kid.as_deref()?;
        let ring = self.keys.ring_with(kid).await;
        let key = ring.verifier(kid)?;
        let mut validation = self.validation.clone();
        validation.algorithms = vec![key.algorithm];
        Some(decode::<Claims>(token, &key.decoding, &validation).ok()?.claims)
    }
}

impl From<Claims> for Caller {
    fn from(claims: Claims) -> Self {
        let owner = claims.ext_attr.providersubaccountid;
        let named = |claim: &str| claims.user.get(claim)?.as_str().map(str::to_owned);
        Self {
            user: named("user_name").or_else(|| named("user_id")),
            provider_id: owner.unwrap_or_else(|| claims.zid.clone()),
            subaccount_id: claims.zid,
            subdomain: claims.ext_attr.zdn,
            instance_id: claims.ext_attr.serviceinstanceid,
            client_id: claims.client_id,
            scopes: claims.scope,
            expires: claims.exp,
        }
    }
}

/// The caller of a request, as the first argument of every handler that needs one.
pub(crate) struct Authenticated(pub(crate) Arc<Caller>);

impl FromRequestParts<Arc<App>> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        let mut values = parts.headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(ApiError::unauthorized(false));
        };
        let token = value.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let Some(token) = token else {
            return Err(ApiError::unauthorized(false));
        };
        let caller = app.verifier.caller(token).await;
        let caller = caller.ok_or_else(|| ApiError::unauthorized(true))?;
        if !app.admits(&caller.client_id) {
            return Err(ApiError::too_often());
        }
        Ok(Self(caller))
    }
}
