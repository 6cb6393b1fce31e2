//! User tokens: our own, and those of issuers that a subaccount trusts.

mod claims;
mod issuer;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use jsonwebtoken::dangerous::insecure_decode_claims;
use landbridge_runtime::shares::{Share, Shares};
use moka::sync::Cache;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) use claims::{is_user, user_claims};
pub use issuer::{TrustedIssuer, TrustedIssuerError};

use super::discovery::{Discovery, IssuerAddresses};
use super::jwks::{Expected, Jwks, JwtError, KeySource, MAX_TOKEN};
use super::remote::RemoteError;
use super::roles::USER;
use super::verify::Verifier;
use crate::db::Place;
use crate::records::{RecordError, Records};
use crate::storage::Storage;

/// Checked tokens remembered.
const REMEMBERED: u64 = 10_000;

/// How long a check is remembered: for so long a token is still accepted when its issuer is not trusted any more.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);

/// Most issuers that a subaccount can trust.
pub(crate) const MAX_ISSUERS: u32 = 50;

/// Why a token does not stand for a user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserTokenError {
    /// It is not good.
    #[error("the user token is refused: {0}")]
    Refused(String),
    /// That cannot be found out now.
    #[error("the user token cannot be checked at the moment: {0}")]
    Unavailable(String),
    /// The store's own data cannot be had.
    #[error("the user token cannot be checked at the moment")]
    Record(#[from] RecordError),
}

impl From<JwtError> for UserTokenError {
    fn from(error: JwtError) -> Self {
        if error.may_pass() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
    }
}

impl From<RemoteError> for UserTokenError {
    fn from(error: RemoteError) -> Self {
        match error {
            RemoteError::Unavailable(reason) => Self::Unavailable(reason),
            error => Self::Refused(error.to_string()),
        }
    }
}

fn refused(reason: &str) -> UserTokenError {
    UserTokenError::Refused(reason.to_owned())
}

/// A verified user.
#[derive(Debug, Clone)]
pub(crate) struct User {
    /// All claims of the token.
    pub(crate) claims: Map<String, Value>,
    /// Id of the tenant that the token is of, for tokens of this store.
    pub(crate) subaccount_id: Option<String>,
    /// Its subdomain.
    pub(crate) subdomain: Option<String>,
    /// Who vouches: the name of the trusted issuer; nothing for tokens of this store.
    pub(crate) issuer: Option<String>,
    /// End of the token, seconds since 1970.
    pub(crate) expires: i64,
}

/// What is looked at before a token is checked, only to know whose it claims to be.
#[derive(Deserialize)]
struct Claimed {
    iss: Option<String>,
}

/// Checks user tokens.
#[derive(Debug)]
pub(crate) struct UserTokens {
    own: Arc<Verifier>,
    storage: Arc<Storage>,
    issuers: Records<TrustedIssuer>,
    jwks: Arc<Jwks>,
    discovery: Discovery,
    /// Calls that wait for identity providers, per subaccount: a slow one is trouble of its own subaccount only.
    waits: Arc<Shares<String>>,
    checked: Cache<[u8; 32], Arc<User>>,
}

impl UserTokens {
    pub(crate) fn new(
        own: Arc<Verifier>,
        storage: Arc<Storage>,
        issuers: Records<TrustedIssuer>,
        jwks: Arc<Jwks>,
        discovery: Discovery,
        waits: Arc<Shares<String>>,
    ) -> Self {
        Self {
            own,
            storage,
            issuers,
            jwks,
            discovery,
            waits,
            checked: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(REMEMBERED_FOR)
                .build(),
        }
    }

    /// The user of a token that a caller of this subaccount shows: a token of this store for this subaccount or for a
    /// subscriber of one of its instances, or one of an issuer that the subaccount trusts.
    pub(crate) async fn verify(&self, token: &str, subaccount_id: &str) -> Result<Arc<User>, UserTokenError> {
        if token.len() > MAX_TOKEN {
            return Err(JwtError::TooLong.into());
        }
        let key = key(token, subaccount_id);
        let now = jiff::Timestamp::now().as_second();
        if let Some(user) = self.checked.get(&key).filter(|user| user.expires > now) {
            return Ok(user);
        }
        let claimed: Claimed = insecure_decode_claims(token).map_err(|_| JwtError::Malformed)?;
        let issuer = claimed.iss.ok_or_else(|| refused("it names no issuer (iss)"))?;
        let user = if issuer == self.own.issuer() {
            self.own_user(token, subaccount_id).await?
        } else {
            self.foreign_user(token, &issuer, subaccount_id).await?
        };
        let user = Arc::new(user);
        self.checked.insert(key, Arc::clone(&user));
        Ok(user)
    }

    async fn own_user(&self, token: &str, subaccount_id: &str) -> Result<User, UserTokenError> {
        let claims = self.own.claims(token).await.ok_or_else(|| {
            refused("it is not valid here or has expired; fetch a new one from /oauth/token")
        })?;
        if !claims.scope.iter().any(|scope| scope == USER) {
            return Err(refused(
                "it stands for a client and not for a user (it lacks the scope uaa.user); send the token of a user",
            ));
        }
        let subscribed = claims.zid == subaccount_id
            || self
                .storage
                .database
                .is_subscriber(subaccount_id, &claims.zid)
                .await
                .map_err(RecordError::from)?;
        if !subscribed {
            return Err(refused("it is of another tenant"));
        }
        let expires = claims.exp;
        let (zid, subdomain) = (claims.zid.clone(), claims.ext_attr.zdn.clone());
        let Ok(Value::Object(claims)) = serde_json::to_value(claims) else {
            return Err(refused("its claims cannot be read"));
        };
        Ok(User {
            claims,
            subaccount_id: Some(zid),
            subdomain: Some(subdomain),
            issuer: None,
            expires,
        })
    }

    async fn foreign_user(
        &self,
        token: &str,
        issuer: &str,
        subaccount_id: &str,
    ) -> Result<User, UserTokenError> {
        let _waiting = self.waiting(subaccount_id)?;
        let mut error = refused("the subaccount does not trust its issuer");
        // One issuer may be trusted twice, with different audiences.
        for trusted in self.issuers(subaccount_id).await? {
            if trusted.issuer != issuer {
                continue;
            }
            match self.verify_of(&trusted, token, &trusted.audiences).await {
                Ok(claims) => return foreign(claims, &trusted),
                Err(other) => error = other,
            }
        }
        Err(error)
    }

    /// The claims of a token of a trusted issuer for one of these audiences.
    pub(crate) async fn verify_of(
        &self,
        trusted: &TrustedIssuer,
        token: &str,
        audiences: &[String],
    ) -> Result<Map<String, Value>, UserTokenError> {
        let keys = match &trusted.jwks_uri {
            Some(address) => self.jwks.uri(address)?,
            None => KeySource::Uri(self.addresses(trusted).await?.jwks_uri),
        };
        let expected = Expected {
            issuer: Some(&trusted.issuer),
            audiences,
            algorithms: &trusted.algorithms(),
        };
        Ok(self.jwks.verify_as(&keys, token, &expected).await?)
    }

    /// A place among the calls of a subaccount that may wait for its identity providers.
    pub(crate) fn waiting(&self, subaccount_id: &str) -> Result<Share<String>, UserTokenError> {
        self.waits.take(&subaccount_id.to_owned()).ok_or_else(|| {
            let text =
                "too many calls of this subaccount wait for its identity providers; try again in a moment";
            UserTokenError::Unavailable(text.to_owned())
        })
    }

    /// Where a trusted issuer answers.
    pub(crate) async fn addresses(&self, trusted: &TrustedIssuer) -> Result<IssuerAddresses, UserTokenError> {
        Ok(self.discovery.addresses(&trusted.issuer).await?)
    }

    /// The issuers that a subaccount trusts.
    pub(crate) async fn issuers(&self, subaccount_id: &str) -> Result<Vec<TrustedIssuer>, RecordError> {
        let place = Place::subaccount(subaccount_id);
        let records = self.issuers.page(&place, "", MAX_ISSUERS).await?;
        Ok(records.into_iter().map(|record| record.value).collect())
    }
}

/// The user of a token whose signature was checked.
pub(crate) fn foreign(claims: Map<String, Value>, trusted: &TrustedIssuer) -> Result<User, UserTokenError> {
    if !is_user(&claims) {
        return Err(refused(
            "it stands for a client and not for a user; send the token of a user",
        ));
    }
    Ok(User {
        expires: claims
            .get("exp")
            .and_then(Value::as_f64)
            .map_or(0, |exp| exp as i64),
        claims,
        subaccount_id: None,
        subdomain: None,
        issuer: Some(trusted.name.clone()),
    })
}

fn key(token: &str, subaccount_id: &str) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&(token.len() as u64).to_be_bytes());
    context.update(token.as_bytes());
    context.update(subaccount_id.as_bytes());
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}
