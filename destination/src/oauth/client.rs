//! How the client proves to a token service who it is (seed L7541-L7552, L7630, L8951-L8989, L9783-L9972).

use http::header::{AUTHORIZATION, HeaderMap};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::grant::Grant;
use super::request::{Form, RequestError, basic};
use crate::properties::{Authentication, DestinationConfig, keys, shorten};

/// What every type of client assertion starts with that a destination can provide (seed L9882-L9893).
const PROVIDED_TYPES: [&str; 2] = [
    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
];

/// A client assertion (RFC 7521 section 4.2). `Debug` hides it.
#[derive(Debug, Clone)]
pub struct ClientAssertion {
    /// Its format, an absolute URI.
    pub kind: String,
    /// The assertion.
    pub assertion: SecretString,
}

/// A client assertion that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientAssertionError {
    /// The type is no absolute URI.
    #[error(
        "the client assertion type \"{0}\" is no absolute URI; use for example {jwt}",
        jwt = PROVIDED_TYPES[0]
    )]
    Type(String),
    /// The provider's own kind.
    #[error(
        "the destination \"{name}\" provides client assertions, so it must have Authentication=OAuth2ClientCredentials, \
         not {kind}"
    )]
    Provider {
        /// Its name.
        name: String,
        /// What it has.
        kind: Authentication,
    },
    /// The provider does not say what it provides.
    #[error(
        "the destination \"{name}\" provides client assertions, so it needs clientAssertion.type with {jwt} or {saml}",
        jwt = PROVIDED_TYPES[0],
        saml = PROVIDED_TYPES[1]
    )]
    ProvidedType {
        /// Its name.
        name: String,
    },
    /// The provider needs a provider.
    #[error(
        "the destination \"{name}\" provides client assertions, so it cannot use another one's; remove its \
         clientAssertion.destinationName"
    )]
    Chain {
        /// Its name.
        name: String,
    },
}

/// What stands for the client beside its id.
#[derive(Debug, Clone, Copy)]
pub enum ClientProof<'a> {
    /// What the destination's properties say.
    Properties,
    /// An assertion, instead of a secret.
    Assertion(&'a ClientAssertion),
    /// The certificate of the connection, instead of a secret (RFC 8705).
    Certificate,
}

/// Checks the type of a client assertion that a caller sends (seed L9813).
///
/// # Errors
/// [`ClientAssertionError::Type`].
pub fn check_client_assertion_type(kind: &str) -> Result<(), ClientAssertionError> {
    match Url::parse(kind) {
        Ok(_) => Ok(()),
        Err(_) => Err(ClientAssertionError::Type(shorten(kind))),
    }
}

/// Checks a destination that is to provide client assertions, and tells which type they have (seed L9872-L9909).
///
/// # Errors
/// See [`ClientAssertionError`].
pub fn provided_assertion_type(provider: &DestinationConfig) -> Result<&'static str, ClientAssertionError> {
    let name = || shorten(provider.name());
    let kind = provider.authentication();
    if kind != Authentication::OAuth2ClientCredentials {
        return Err(ClientAssertionError::Provider { name: name(), kind });
    }
    if provider.text(keys::CLIENT_ASSERTION_DESTINATION).is_some() {
        return Err(ClientAssertionError::Chain { name: name() });
    }
    let stated = provider.text(keys::CLIENT_ASSERTION_TYPE);
    PROVIDED_TYPES
        .into_iter()
        .find(|known| stated == Some(known))
        .ok_or_else(|| ClientAssertionError::ProvidedType { name: name() })
}

/// Whether destinations of a kind may use client assertions (seed L9875).
pub fn takes_client_assertions(kind: &Authentication) -> bool {
    use Authentication as A;
    matches!(
        kind,
        A::OAuth2ClientCredentials
            | A::OAuth2Password
            | A::OAuth2AuthorizationCode
            | A::OAuth2TechnicalUserPropagation
    )
}

/// Puts into the request what stands for the client. First hit wins: an assertion; the certificate of the connection;
/// `tokenServiceUser`/`Password` as Basic; `addClientCredentialsInBody=false`: client id and secret as Basic; else client
/// id and secret in the body. The third goes together with the body unless the fourth says no.
pub(super) fn authenticate(
    config: &DestinationConfig,
    grant: &Grant<'_>,
    proof: ClientProof<'_>,
    form: &mut Form,
    headers: &mut HeaderMap,
) -> Result<(), RequestError> {
    let client_id = client_id(config, grant)?;
    match proof {
        ClientProof::Assertion(assertion) => {
            let kind = config.authentication();
            if !takes_client_assertions(&kind) {
                return Err(RequestError::Assertion(kind));
            }
            form.set("client_id", client_id);
            form.set("client_assertion_type", &assertion.kind);
            form.set("client_assertion", assertion.assertion.expose_secret());
            Ok(())
        }
        ClientProof::Certificate => {
            form.set("client_id", client_id);
            Ok(())
        }
        ClientProof::Properties => by_properties(config, grant, client_id, form, headers),
    }
}

fn by_properties(
    config: &DestinationConfig,
    grant: &Grant<'_>,
    client_id: &str,
    form: &mut Form,
    headers: &mut HeaderMap,
) -> Result<(), RequestError> {
    // In SAML flows the secret has no place (seed L6891-L7058), the assertion speaks for the client.
    let saml = matches!(grant, Grant::SamlBearer { .. });
    let secret = config
        .get(keys::CLIENT_SECRET)
        .filter(|secret| !secret.is_empty() && !saml);
    let basic_user = config.text(keys::TOKEN_SERVICE_USER);
    let in_body = saml || config.flag(keys::CREDENTIALS_IN_BODY).unwrap_or(true);
    if in_body {
        form.set("client_id", client_id);
        // With Basic credentials of its own the token service may not want a secret in the body; without any, one is
        // needed (seed L7402).
        match secret {
            Some(secret) => form.set("client_secret", secret),
            None if basic_user.is_none() && !saml && !grant.suits_public_clients() => {
                return Err(RequestError::Missing(keys::CLIENT_SECRET));
            }
            None => {}
        }
    }
    match (basic_user, in_body) {
        (Some(user), _) => {
            let password = config.get(keys::TOKEN_SERVICE_PASSWORD).unwrap_or_default();
            headers.insert(AUTHORIZATION, basic(user, password));
        }
        (None, false) => {
            let secret = secret.ok_or(RequestError::Missing(keys::CLIENT_SECRET))?;
            headers.insert(AUTHORIZATION, basic(client_id, secret));
        }
        (None, true) => {}
    }
    Ok(())
}

pub(super) fn client_id<'a>(
    config: &'a DestinationConfig,
    grant: &Grant<'_>,
) -> Result<&'a str, RequestError> {
    if matches!(grant, Grant::SamlBearer { .. }) {
        let client = config
            .text(keys::CLIENT_KEY)
            .or_else(|| config.text(keys::CLIENT_ID));
        return client.ok_or(RequestError::Missing(keys::CLIENT_KEY));
    }
    config
        .text(keys::CLIENT_ID)
        .ok_or(RequestError::Missing(keys::CLIENT_ID))
}
