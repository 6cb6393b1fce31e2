//! Making tokens (RFC 7519) with the claims clients of the original service look at.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Header, encode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::keys::SigningKeys;
use super::tenant::Tenant;
use crate::db::{ClientRow, now_ms};

/// The audience every caller of the REST API must have.
pub(crate) const AUDIENCE: &str = "landbridge-destination";

/// Claims of a token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) aud: Vec<String>,
    pub(crate) client_id: String,
    pub(crate) cid: String,
    pub(crate) azp: String,
    pub(crate) grant_type: String,
    pub(crate) scope: Vec<String>,
    /// Tenant.
    pub(crate) zid: String,
    pub(crate) ext_attr: ExtendedAttributes,
    /// The client certificate that the token was asked for with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cnf: Option<Confirmation>,
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    pub(crate) jti: String,
    /// What is said of the user, in user tokens.
    #[serde(flatten)]
    pub(crate) user: Map<String, Value>,
}

/// Where libraries of the original service look for the tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ExtendedAttributes {
    pub(crate) enhancer: String,
    pub(crate) zdn: String,
    pub(crate) subaccountid: String,
    pub(crate) serviceinstanceid: String,
    /// The subaccount that owns the instance, in tokens of subscribers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) providersubaccountid: Option<String>,
}

/// RFC 8705 section 3.1.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Confirmation {
    #[serde(rename = "x5t#S256")]
    pub(crate) thumbprint: String,
}

/// What a token is made for.
#[derive(Debug)]
pub(crate) struct Grant<'a> {
    pub(crate) client: &'a ClientRow,
    pub(crate) tenant: &'a Tenant,
    /// How the client asked.
    pub(crate) grant_type: &'a str,
    pub(crate) scopes: Vec<String>,
    /// The user's claims; none for the client itself.
    pub(crate) user: Option<Map<String, Value>>,
    /// SHA-256 of the client's certificate, if it showed one.
    pub(crate) thumbprint: Option<String>,
}

/// A token and what the answer says about it.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) token: String,
    pub(crate) expires_in: u64,
    pub(crate) scope: String,
    pub(crate) jti: String,
}

/// No token can be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error("there is no signing key")]
    NoKey,
    #[error("{0}")]
    Failed(#[from] jsonwebtoken::errors::Error),
}

/// Makes tokens.
#[derive(Debug)]
pub(crate) struct Issuer {
    url: String,
    keys: Arc<SigningKeys>,
    life: Duration,
}

impl Issuer {
    pub(crate) fn new(url: String, keys: Arc<SigningKeys>, life: Duration) -> Self {
        Self { url, keys, life }
    }

    /// Base address: the `iss` claim and the start of all endpoint addresses.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn keys(&self) -> &Arc<SigningKeys> {
        &self.keys
    }

    /// A token, signed.
    pub(crate) fn issue(&self, grant: Grant<'_>) -> Result<Issued, SignError> {
        let (ring, algorithm) = (self.keys.ring(), self.keys.algorithm());
        let key = ring.signer(algorithm, now_ms()).ok_or(SignError::NoKey)?;
        let life = self.life.as_secs();
        let scope = grant.scopes.join(" ");
        let claims = self.claims(grant, life);
        let mut header = Header::new(algorithm);
        header.kid = Some(key.kid.clone());
        header.jku = Some(format!("{}/token_keys", self.url));
        Ok(Issued {
            token: encode(&header, &claims, &key.encoding)?,
            // One second less than the truth (seed L12366 says 43199): the answer needs time too.
            expires_in: life.saturating_sub(1),
            scope,
            jti: claims.jti,
        })
    }

    fn claims(&self, grant: Grant<'_>, life: u64) -> Claims {
        let now = jiff::Timestamp::now().as_second();
        let Grant { client, tenant, .. } = grant;
        let client_id = &client.key.client_id;
        let user = grant.user.unwrap_or_default();
        let subject = user.get("user_id").and_then(Value::as_str).unwrap_or(client_id);
        Claims {
            iss: self.url.clone(),
            sub: subject.to_owned(),
            aud: vec![AUDIENCE.to_owned(), client_id.clone()],
            client_id: client_id.clone(),
            cid: client_id.clone(),
            azp: client_id.clone(),
            grant_type: grant.grant_type.to_owned(),
            scope: grant.scopes,
            zid: tenant.id.clone(),
            ext_attr: ExtendedAttributes {
                enhancer: "XSUAA".to_owned(),
                zdn: tenant.subdomain.clone(),
                subaccountid: tenant.id.clone(),
                serviceinstanceid: client.key.instance_id.clone(),
                providersubaccountid: Some(client.subaccount_id.clone()).filter(|owner| *owner != tenant.id),
            },
            cnf: grant.thumbprint.map(|thumbprint| Confirmation { thumbprint }),
            iat: now,
            exp: now.saturating_add(i64::try_from(life).unwrap_or(i64::MAX)),
            jti: Uuid::now_v7().simple().to_string(),
            user,
        }
    }
}
