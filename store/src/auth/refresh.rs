//! Refresh tokens: sealed by the vault, so that nothing of them is kept here, and bound to one client and tenant.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::vault::{Context, Vault, VaultError};

/// Longest refresh token that is looked at.
pub(crate) const LONGEST: usize = 48 * 1024;

/// How long one is good that stands for a session at an identity provider, in seconds: a week. The provider may end the
/// session earlier.
pub(crate) const SESSION_LIFE: i64 = 7 * 86_400;

/// How long one is good that was made from a user token, in seconds: it is meant to be redeemed at once.
pub(crate) const HANDOVER_LIFE: i64 = 3600;

/// What a refresh token stands for.
#[derive(Serialize, Deserialize)]
pub(crate) enum Content {
    /// A session at an identity provider.
    Session {
        /// Name of the trusted issuer.
        issuer: String,
        /// Its refresh token.
        #[serde(serialize_with = "exposed")]
        token: SecretString,
    },
    /// A user whose token was shown.
    User(Map<String, Value>),
}

/// Only ever written into what the vault seals.
fn exposed<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    secret.expose_secret().serialize(serializer)
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    content: Content,
    expires: i64,
}

/// Why a refresh token is refused. Nothing more is said: whose it is, is nobody else's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the refresh token is not valid here or has expired; ask for a new token with the user's credentials"
)]
pub(crate) struct NotValid;

fn context<'a>(parts: &'a [&'a str; 2]) -> Context<'a> {
    Context {
        kind: "refresh token",
        parts,
    }
}

/// A refresh token for this client in this tenant, good until `expires` (seconds since 1970).
pub(crate) fn seal(
    vault: &Vault,
    client_id: &str,
    tenant_id: &str,
    content: Content,
    expires: i64,
) -> Result<SecretString, VaultError> {
    let sealed = Sealed { content, expires };
    let plain = Zeroizing::new(serde_json::to_vec(&sealed).map_err(|_| VaultError::Crypto)?);
    let sealed = vault.seal(context(&[client_id, tenant_id]), &plain)?;
    Ok(URL_SAFE_NO_PAD.encode(sealed).into())
}

/// What a refresh token of this client in this tenant stands for.
pub(crate) fn open(
    vault: &Vault,
    client_id: &str,
    tenant_id: &str,
    token: &SecretString,
    now: i64,
) -> Result<Content, NotValid> {
    let text = token.expose_secret();
    if text.len() > LONGEST {
        return Err(NotValid);
    }
    let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotValid)?;
    let plain = vault
        .open(context(&[client_id, tenant_id]), &sealed)
        .map_err(|_| NotValid)?;
    let sealed: Sealed = serde_json::from_slice(&plain).map_err(|_| NotValid)?;
    if sealed.expires <= now {
        return Err(NotValid);
    }
    Ok(sealed.content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_for_its_client_and_tenant_and_not_for_ever() {
        let vault = Vault::new(&[zeroize::Zeroizing::new([7; 32])]).unwrap();
        let content = || Content::Session {
            issuer: "idp".to_owned(),
            token: "theirs".into(),
        };
        let token = seal(&vault, "c", "t", content(), 100).unwrap();
        assert!(!token.expose_secret().contains("theirs"));
        match open(&vault, "c", "t", &token, 99).ok().unwrap() {
            Content::Session { issuer, token } => {
                assert_eq!((issuer.as_str(), token.expose_secret()), ("idp", "theirs"))
            }
            Content::User(_) => panic!("a session"),
        }
        for (client, tenant, now) in [("d", "t", 99), ("c", "u", 99), ("c", "t", 100)] {
            assert!(
                open(&vault, client, tenant, &token, now).is_err(),
                "{client} {tenant} {now}"
            );
        }
        for rubbish in ["", "a", "!!!!", &"a".repeat(LONGEST + 1)] {
            assert!(open(&vault, "c", "t", &rubbish.into(), 0).is_err());
        }
        let other = Vault::new(&[zeroize::Zeroizing::new([8; 32])]).unwrap();
        assert!(open(&other, "c", "t", &token, 99).is_err());
    }
}
