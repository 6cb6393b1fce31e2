//! Making tokens (RFC 7519) with the claims clients of the original service look at.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Header, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keys::SigningKeys;
use crate::db::ClientRow;

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
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    pub(crate) jti: String,
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

/// A token and what the answer says about it.
pub(crate) struct Issued {
    pub(crate) token: String,
    pub(crate) expires_in: u64,
    pub(crate) scope: String,
    pub(crate) jti: String,
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

    pub(crate) fn keys(&self) -> &SigningKeys {
        &self.keys
    }

    /// A token of grant `client_credentials` with these scopes.
    pub(crate) fn client_credentials(
        &self,
        client: &ClientRow,
        scopes: &[&str],
    ) -> Result<Issued, jsonwebtoken::errors::Error> {
        let (algorithm, kid, key) = self.keys.signer();
        let now = jiff::Timestamp::now().as_second();
        let life = self.life.as_secs();
        let client_id = &client.key.client_id;
        let jti = Uuid::now_v7().simple().to_string();
        let claims = Claims {
            iss: self.url.clone(),
            sub: client_id.clone(),
            aud: vec![AUDIENCE.to_owned(), client_id.clone()],
            client_id: client_id.clone(),
            cid: client_id.clone(),
            azp: client_id.clone(),
            grant_type: "client_credentials".to_owned(),
            scope: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            zid: client.subaccount_id.clone(),
            ext_attr: ExtendedAttributes {
                enhancer: "XSUAA".to_owned(),
                zdn: client.subdomain.clone(),
                subaccountid: client.subaccount_id.clone(),
                serviceinstanceid: client.key.instance_id.clone(),
                providersubaccountid: None,
            },
            iat: now,
            exp: now.saturating_add(i64::try_from(life).unwrap_or(i64::MAX)),
            jti: jti.clone(),
        };
        let mut header = Header::new(algorithm);
        header.kid = Some(kid.to_owned());
        header.jku = Some(format!("{}/token_keys", self.url));
        // One second less than the truth (seed L12366 says 43199): the answer needs time too.
        let expires_in = life.saturating_sub(1);
        Ok(Issued {
            token: encode(&header, &claims, key)?,
            expires_in,
            scope: scopes.join(" "),
            jti,
        })
    }
}
