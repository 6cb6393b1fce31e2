//! An identity provider that a subaccount trusts.

use jsonwebtoken::Algorithm;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use crate::auth::jwks::ALGORITHMS;
use crate::db::Kind;
use crate::records::Stored;

/// Most audiences of one issuer.
const MAX_AUDIENCES: usize = 20;

/// Longest text of an entry.
const LONGEST: usize = 1000;

/// An OpenID provider whose users may use a subaccount's destinations. Its keys are found by OpenID Connect Discovery.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuer {
    /// Short name, unique in the subaccount; the `origin` of its users.
    pub name: String,
    /// Its issuer, exactly as in the `iss` of its tokens.
    pub issuer: String,
    /// Tokens must be for one of these (`aud`). At least one: otherwise the issuer's tokens for any other application
    /// would be good here.
    pub audiences: Vec<String>,
    /// Signatures that are accepted, such as `RS256`; all with a public key where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<String>,
    /// Where its keys are, when its discovery document is not to be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// Client of this store there, for the grants `password` and `refresh_token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its secret.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    pub client_secret: Option<SecretString>,
    /// Scopes to ask for; `openid` where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// Only ever written into the vault.
fn exposed<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret
        .as_ref()
        .map(ExposeSecret::expose_secret)
        .serialize(serializer)
}

impl Stored for TrustedIssuer {
    const KIND: Kind = Kind::Issuer;

    fn name(&self) -> &str {
        &self.name
    }
}

/// An issuer that cannot be trusted as it is described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{entry}\" of the trusted issuer {problem}")]
pub struct TrustedIssuerError {
    /// Which entry.
    pub entry: &'static str,
    /// What is wrong and what to do.
    pub problem: String,
}

impl TrustedIssuer {
    /// Checks what can be checked without asking anybody. `plain_http`: addresses without TLS are allowed.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self, plain_http: bool) -> Result<(), TrustedIssuerError> {
        let wrong = |entry, problem: &str| {
            let problem = problem.to_owned();
            Err(TrustedIssuerError { entry, problem })
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !(1..=100).contains(&self.name.len()) || !self.name.bytes().all(plain) {
            return wrong("name", "must be 1 to 100 letters, digits, '-', '_' or '.'");
        }
        for (entry, address) in [
            ("issuer", Some(self.issuer.as_str())),
            ("jwks_uri", self.jwks_uri.as_deref()),
        ] {
            let usable = |address: &str| {
                Url::parse(address).is_ok_and(|url| {
                    url.has_host() && (url.scheme() == "https" || plain_http && url.scheme() == "http")
                })
            };
            if address.is_some_and(|address| address.len() > LONGEST || !usable(address)) {
                return wrong(entry, "is no https address");
            }
        }
        let audience = |audience: &String| (1..=LONGEST).contains(&audience.len());
        if !(1..=MAX_AUDIENCES).contains(&self.audiences.len()) || !self.audiences.iter().all(audience) {
            let problem = "needs 1 to 20 texts: what its tokens for this subaccount have as aud";
            return wrong("audiences", problem);
        }
        if self.algorithms().len() != self.algorithms.len() {
            let problem = "may name RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA only";
            return wrong("algorithms", problem);
        }
        if self.client_id.as_deref() == Some("") {
            return wrong("client_id", "is empty; leave it out");
        }
        Ok(())
    }

    /// The signatures that are accepted, as far as they can be: never `none` or an HMAC.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        let known = |name: &String| name.parse().ok().filter(|known| ALGORITHMS.contains(known));
        self.algorithms.iter().filter_map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn issuer(change: serde_json::Value) -> Result<TrustedIssuer, String> {
        let mut value = json!({ "name": "idp", "issuer": "https://idp.example.com", "audiences": ["app"],
            "client_id": "c", "client_secret": "hunter2" });
        for (key, change) in change.as_object().unwrap() {
            value[key] = change.clone();
        }
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn mistakes_are_told_by_entry() {
        assert_eq!(issuer(json!({})).unwrap().check(false), Ok(()));
        for (change, entry) in [
            (json!({ "name": "a b" }), "name"),
            (json!({ "issuer": "http://idp.example.com" }), "issuer"),
            (json!({ "issuer": "idp" }), "issuer"),
            (json!({ "jwks_uri": "ftp://idp" }), "jwks_uri"),
            (json!({ "audiences": [] }), "audiences"),
            (json!({ "audiences": [""] }), "audiences"),
            (json!({ "algorithms": ["HS256"] }), "algorithms"),
            (json!({ "algorithms": ["none"] }), "algorithms"),
            (json!({ "client_id": "" }), "client_id"),
        ] {
            let error = issuer(change.clone()).unwrap().check(false).unwrap_err();
            assert_eq!(error.entry, entry, "{change}");
        }
        assert!(
            issuer(json!({ "issuer": "http://127.0.0.1:1" }))
                .unwrap()
                .check(true)
                .is_ok()
        );
        assert!(
            issuer(json!({ "audience": "x" })).is_err(),
            "a typing error is no audience"
        );
    }

    #[test]
    fn the_secret_is_kept_but_not_shown() {
        let one = issuer(json!({ "algorithms": ["ES256"] })).unwrap();
        assert!(!format!("{one:?}").contains("hunter2"));
        let again: TrustedIssuer = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
        assert_eq!(again.client_secret.unwrap().expose_secret(), "hunter2");
        assert_eq!(one.algorithms(), [Algorithm::ES256]);
    }
}
