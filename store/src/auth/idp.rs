//! Calls to the identity providers of subaccounts: the user's credentials are theirs to check.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::remote::{RemoteClient, RemoteError};
use super::users::{TrustedIssuer, User, UserTokenError, UserTokens, foreign};

/// What a provider answers (RFC 6749 section 5.1, OpenID Connect Core section 3.1.3.3).
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    id_token: Option<String>,
    refresh_token: Option<SecretString>,
}

/// RFC 6749 section 5.2.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// A user that a provider vouches for.
pub(crate) struct SignedIn {
    pub(crate) user: User,
    pub(crate) refresh_token: Option<SecretString>,
}

/// Why there is no user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdpError {
    /// The user's credentials, or the session, are not good.
    #[error("the identity provider {0} refuses these credentials")]
    Refused(String),
    /// The trusted issuer cannot be used in this way.
    #[error("the identity provider {issuer} cannot be used: {reason}")]
    Unusable {
        /// Its name.
        issuer: String,
        /// What to do.
        reason: String,
    },
    /// It does not answer.
    #[error("the identity provider {issuer} cannot be asked at the moment: {reason}")]
    Unavailable {
        /// Its name.
        issuer: String,
        /// Why.
        reason: String,
    },
    /// What it answered is no user.
    #[error(transparent)]
    Token(#[from] UserTokenError),
}

/// Sends a grant to the provider's token endpoint, with the store's own client there, and checks who comes back.
pub(crate) async fn ask(
    client: &RemoteClient,
    users: &UserTokens,
    trusted: &TrustedIssuer,
    grant: &[(&str, &str)],
) -> Result<SignedIn, IdpError> {
    let unusable = |reason: &str| IdpError::Unusable {
        issuer: trusted.name.clone(),
        reason: reason.to_owned(),
    };
    let Some(client_id) = trusted.client_id.as_deref() else {
        return Err(unusable(
            "the trusted issuer has no client_id; add it, with its client_secret",
        ));
    };
    let endpoint = users
        .addresses(trusted)
        .await?
        .token_endpoint
        .ok_or_else(|| unusable("its discovery document names no token_endpoint"))?;
    let request = request(endpoint.as_str(), client_id, trusted, grant)
        .map_err(|error| unusable(&error.to_string()))?;
    let (status, body) = client.call(request).await.map_err(|error| match error {
        RemoteError::Unavailable(reason) => IdpError::Unavailable {
            issuer: trusted.name.clone(),
            reason,
        },
        error => unusable(&error.to_string()),
    })?;
    match status {
        200 => {}
        400..=403 => return Err(refusal(trusted, status, &body)),
        status => {
            return Err(IdpError::Unavailable {
                issuer: trusted.name.clone(),
                reason: format!("it answered {status}"),
            });
        }
    }
    let answer: Answer =
        serde_json::from_slice(&body).map_err(|_| unusable("its answer is no token answer of OAuth 2.0"))?;
    // The id token is made for this very client, and always a JWT.
    let claims = match (&answer.id_token, &answer.access_token) {
        (Some(token), _) => users.verify_of(trusted, token, &[client_id.to_owned()]).await?,
        (None, Some(token)) => users.verify_of(trusted, token, &trusted.audiences).await?,
        (None, None) => return Err(unusable("its answer has no token")),
    };
    Ok(SignedIn {
        user: foreign(claims, trusted)?,
        refresh_token: answer.refresh_token,
    })
}

fn request(
    endpoint: &str,
    client_id: &str,
    trusted: &TrustedIssuer,
    grant: &[(&str, &str)],
) -> Result<Request<bytes::Bytes>, http::Error> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(grant);
    form.append_pair("scope", trusted.scope.as_deref().unwrap_or("openid"));
    let mut request = Request::post(endpoint)
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    match &trusted.client_secret {
        Some(secret) => {
            // RFC 6749 section 2.3.1: both are form-encoded first.
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = Zeroizing::new(format!(
                "{}:{}",
                encode(client_id),
                encode(secret.expose_secret())
            ));
            let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair.as_bytes())))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        None => {
            form.append_pair("client_id", client_id);
        }
    }
    request.body(form.finish().into())
}

/// Only `invalid_grant` is about the user; everything else is about the store's client there.
fn refusal(trusted: &TrustedIssuer, status: u16, body: &[u8]) -> IdpError {
    let code = serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.error);
    match code.as_deref() {
        Ok("invalid_grant") => IdpError::Refused(trusted.name.clone()),
        code => {
            let code: String = code.unwrap_or("no code").chars().take(100).collect();
            tracing::warn!(
                issuer = trusted.name,
                status,
                code,
                "an identity provider refused the store's client"
            );
            IdpError::Unusable {
                issuer: trusted.name.clone(),
                reason: format!(
                    "it refuses this store's client ({status}, {code}); correct the trusted issuer"
                ),
            }
        }
    }
}
