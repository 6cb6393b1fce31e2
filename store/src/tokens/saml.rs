//! SAML assertions of a destination (seed L6891-L7244, L8761-L8949).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use landbridge_destination::oauth::{RequestError, Token, token_service_url};
use landbridge_destination::properties::keys;
use landbridge_destination::saml::{Assertion, Attribute, UNSPECIFIED, Unsigned};
use landbridge_destination::token_cache::TokenKey;
use landbridge_destination::{Authentication, DestinationConfig};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::attributes::attributes;
use super::fetch::FetchError;
use super::signing::SigningKey;
use super::user_id::user_id;

/// How long an assertion holds. It is presented at once, or kept by the caller for some calls; clocks differ.
const LIFE: Duration = Duration::from_secs(600);

/// How long before its end it is replaced.
const RESERVE: Duration = Duration::from_secs(60);

/// How the user logged in, where the destination does not say (seed L10981).
const PREVIOUS_SESSION: &str = "urn:oasis:names:tc:SAML:2.0:ac:classes:PreviousSession";

/// What is needed to make assertions of one user for one destination.
#[derive(Debug)]
pub(super) struct SamlSource {
    user: String,
    attributes: Vec<Attribute>,
    signer: Arc<SigningKey>,
    id: [u8; 32],
}

impl SamlSource {
    /// `claims` are those of the verified user token, null with `SystemUser`.
    pub(super) fn new(
        config: &DestinationConfig,
        claims: &Value,
        signer: Arc<SigningKey>,
    ) -> Result<Self, FetchError> {
        let user = user_id(config, claims).map_err(|error| error.to_string())?;
        let attributes = attributes(config, claims);
        Ok(Self {
            id: identify(&user, &attributes, &signer),
            user,
            attributes,
            signer,
        })
    }

    /// What decides which assertion it is, beside the destination.
    pub(super) fn id(&self) -> &[u8] {
        &self.id
    }

    /// A new assertion in base64, as the destination wants it. `recipient` is the token service, where there is one.
    pub(super) async fn assertion(
        &self,
        config: &DestinationConfig,
        recipient: Option<&str>,
    ) -> Result<SecretString, FetchError> {
        let unsigned = self.unsigned(config, recipient)?;
        let with_certificate = config.flag(keys::INCLUDE_SIGNING_CERTIFICATE).unwrap_or(true);
        let signer = Arc::clone(&self.signer);
        let signed = tokio::task::spawn_blocking(move || {
            let signature = signer.sign(unsigned.signed_bytes())?;
            let certificate = with_certificate.then(|| signer.certificate());
            Ok(unsigned.signed(&signature, certificate))
        });
        let signed = signed
            .await
            .map_err(|_| "the assertion could not be signed".to_owned())?;
        let document = signed.map_err(|error: super::signing::SigningError| error.to_string())?;
        Ok(encode(config, &document))
    }

    fn unsigned(&self, config: &DestinationConfig, recipient: Option<&str>) -> Result<Unsigned, FetchError> {
        let audience = config
            .text(keys::AUDIENCE)
            .ok_or_else(|| RequestError::Missing(keys::AUDIENCE).to_string())?;
        let issuer = config
            .text(keys::ASSERTION_ISSUER)
            .unwrap_or_else(|| self.signer.common_name());
        if issuer.is_empty() {
            let reason = "the certificate of the signing key has no common name, so the issuer is not known; set \
                          assertionIssuer";
            return Err(reason.to_owned().into());
        }
        // Letters first: an XML identifier does not begin with a digit.
        let id = format!("_{}", uuid::Uuid::new_v4().simple());
        let assertion = Assertion {
            id: &id,
            issuer,
            name_id: &self.user,
            name_id_format: config.text(keys::NAME_ID_FORMAT).unwrap_or(UNSPECIFIED),
            name_qualifier: config.text(keys::NAME_QUALIFIER),
            recipient: config.text(keys::ASSERTION_RECIPIENT).or(recipient),
            audience,
            authn_context: config.text(keys::AUTHN_CONTEXT).unwrap_or(PREVIOUS_SESSION),
            attributes: &self.attributes,
            issued: jiff::Timestamp::now(),
            life: LIFE,
        };
        let unsigned = assertion.unsigned(self.signer.method());
        Ok(unsigned.map_err(|error| error.to_string())?)
    }
}

/// A digest with the number of values of each attribute, so that no value looks like the next attribute's name.
fn identify(user: &str, attributes: &[Attribute], signer: &SigningKey) -> [u8; 32] {
    let counts: Vec<_> = attributes
        .iter()
        .map(|attribute| attribute.values.len().to_be_bytes())
        .collect();
    let mut parts = vec![signer.id().as_slice(), user.as_bytes()];
    for (attribute, count) in attributes.iter().zip(&counts) {
        parts.extend([attribute.name.as_bytes(), count]);
        parts.extend(attribute.values.iter().map(String::as_bytes));
    }
    TokenKey::of(parts).bytes()
}

/// T44 (seed L7044): who an assertion for a token service is for, unless the destination says it.
pub(super) fn recipient(config: &DestinationConfig, subdomain: Option<&str>) -> Result<String, FetchError> {
    let url = token_service_url(config, subdomain).map_err(|error| error.to_string())?;
    Ok(url.into())
}

/// A finished assertion as what the cache keeps.
pub(super) fn as_token(assertion: SecretString) -> Token {
    Token {
        access_token: assertion,
        life: LIFE,
        usable: LIFE - RESERVE,
        scope: None,
        refresh_token: None,
        issued_token_type: None,
    }
}

/// Token services take base64url without padding (RFC 7522 section 2.1), targets base64 (seed L8936); the destination may say otherwise.
fn encode(config: &DestinationConfig, document: &SecretString) -> SecretString {
    let url_safe = match config.text(keys::SAML_ASSERTION_ENCODING) {
        Some(word) => word.eq_ignore_ascii_case("base64url"),
        None => config.authentication() == Authentication::OAuth2SAMLBearerAssertion,
    };
    let document = document.expose_secret();
    if url_safe {
        URL_SAFE_NO_PAD.encode(document).into()
    } else {
        STANDARD.encode(document).into()
    }
}
