//! What a find call brings along for the token engine: its headers, read once (seed L9194, L9439, L9813, L9923, L13789;
//! `X-subject-token`, `X-actor-token` and `X-samlAssertion`: later API).

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use landbridge_destination::oauth::{ClientAssertion, check_client_assertion_type};
use landbridge_destination::properties::check_name;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};

use crate::api::ApiError;

/// A token with its type (RFC 8693 section 3).
#[derive(Debug)]
pub(crate) struct GivenToken {
    pub(crate) token: SecretString,
    pub(crate) kind: String,
}

/// Where a client assertion comes from.
#[derive(Debug, Default)]
pub(crate) enum AssertionSource {
    /// The destination names a provider, or there is none.
    #[default]
    Properties,
    /// The caller sent it.
    Caller(ClientAssertion),
    /// The caller named the destination that provides it.
    Provider(String),
}

/// The headers. An empty one is as good as none (seed L13789). `Debug` hides what is secret.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// The token of the call itself, which may be a user's.
    pub(crate) bearer: Option<SecretString>,
    /// `X-user-token`.
    pub(crate) user_token: Option<SecretString>,
    /// `X-refresh-token`.
    pub(crate) refresh_token: Option<SecretString>,
    /// `X-code`.
    pub(crate) code: Option<SecretString>,
    /// `X-redirect-uri`.
    pub(crate) redirect_uri: Option<String>,
    /// `X-code-verifier`.
    pub(crate) code_verifier: Option<SecretString>,
    /// `X-client-assertion`, `X-client-assertion-type`, `X-client-assertion-destination-name`.
    pub(crate) assertion: AssertionSource,
    /// `X-subject-token`, `X-subject-token-type`.
    pub(crate) subject: Option<GivenToken>,
    /// `X-actor-token`, `X-actor-token-type`.
    pub(crate) actor: Option<GivenToken>,
    /// `X-samlAssertion`.
    pub(crate) saml_assertion: Option<SecretString>,
}

/// Reads the headers of a find call.
///
/// # Errors
/// 400: a header twice, one of a pair, or two that exclude each other.
pub(crate) fn read(headers: &HeaderMap) -> Result<Given, ApiError> {
    let secret = |name| Ok::<_, ApiError>(one(headers, name)?.map(SecretString::from));
    Ok(Given {
        bearer: bearer(headers),
        user_token: secret("x-user-token")?,
        refresh_token: secret("x-refresh-token")?,
        code: secret("x-code")?,
        redirect_uri: one(headers, "x-redirect-uri")?.map(redirect_uri),
        code_verifier: secret("x-code-verifier")?,
        assertion: assertion(headers)?,
        subject: typed(headers, "x-subject-token", "x-subject-token-type")?,
        actor: typed(headers, "x-actor-token", "x-actor-token-type")?,
        saml_assertion: secret("x-samlassertion")?,
    })
}

fn assertion(headers: &HeaderMap) -> Result<AssertionSource, ApiError> {
    const PROVIDER: &str = "x-client-assertion-destination-name";
    let given = typed(headers, "x-client-assertion", "x-client-assertion-type")?;
    match (given, one(headers, PROVIDER)?) {
        (None, None) => Ok(AssertionSource::Properties),
        (Some(given), None) => {
            check_client_assertion_type(&given.kind)
                .map_err(|error| ApiError::bad_request(sentence(&error)))?;
            Ok(AssertionSource::Caller(ClientAssertion {
                kind: given.kind,
                assertion: given.token,
            }))
        }
        (None, Some(name)) => match check_name(&name) {
            Ok(()) => Ok(AssertionSource::Provider(name)),
            Err(error) => Err(ApiError::bad_request(format!("The header {PROVIDER} {error}"))),
        },
        // Seed L9937.
        (Some(_), Some(_)) => Err(ApiError::bad_request(format!(
            "Cannot mix header {PROVIDER} with x-client-assertion and x-client-assertion-type; send either the name \
             or the assertion"
        ))),
    }
}

/// A header and the one that tells its type: both or none.
fn typed(
    headers: &HeaderMap,
    name: &'static str,
    kind: &'static str,
) -> Result<Option<GivenToken>, ApiError> {
    let lonely = |there: &str, missing: &str| {
        let message = format!("The header {there} needs the header {missing}; send both or none");
        Err(ApiError::bad_request(message))
    };
    match (one(headers, name)?, one(headers, kind)?) {
        (None, None) => Ok(None),
        (Some(token), Some(kind)) => Ok(Some(GivenToken {
            token: token.into(),
            kind,
        })),
        (Some(_), None) => lonely(name, kind),
        (None, Some(_)) => lonely(kind, name),
    }
}

/// The value of a header that may be sent once.
fn one(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        let message = format!("The header {name} is sent twice; send it once");
        return Err(ApiError::bad_request(message));
    }
    match value.to_str().map(str::trim) {
        Ok("") => Ok(None),
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => {
            let message = format!("The header {name} has characters other than those of ASCII; encode them");
            Err(ApiError::bad_request(message))
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned().into())
}

/// Clients may send it percent-encoded as a whole (later API). An address as it is has its colon.
fn redirect_uri(value: String) -> String {
    if value.contains(':') {
        return value;
    }
    match percent_decode_str(&value).decode_utf8() {
        Ok(decoded) => decoded.into_owned(),
        Err(_) => value,
    }
}

fn sentence(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => text,
    }
}

impl Given {
    /// The token that tells the user: `X-user-token`, else the token of the call (seed L13789-L13799). The flag says
    /// whether it is the former.
    pub(crate) fn user(&self) -> Option<(&str, bool)> {
        let header = self
            .user_token
            .as_ref()
            .map(|token| (token.expose_secret(), true));
        header.or_else(|| self.bearer.as_ref().map(|token| (token.expose_secret(), false)))
    }
}

#[cfg(test)]
mod tests;
