//! The grants: what each of them puts into a token request.

use http::header::{AUTHORIZATION, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::client::{ClientProof, authenticate, client_id};
use super::request::{Form, RequestError, TokenRequest, finish, form_headers};
use super::tenant::token_service_url;
use crate::properties::{DestinationConfig, keys};

/// A token with its type (RFC 8693 section 3).
#[derive(Debug, Clone, Copy)]
pub struct TypedToken<'a> {
    /// The token.
    pub token: &'a SecretString,
    /// Its type, an absolute URI.
    pub kind: &'a str,
}

/// What is exchanged for a token.
#[derive(Debug, Clone, Copy)]
pub enum Grant<'a> {
    /// Nothing but the client itself (RFC 6749 section 4.4).
    ClientCredentials,
    /// `User` and `Password` of the destination (RFC 6749 section 4.3).
    Password,
    /// A user's token (RFC 7523 section 2.1, seed L12348).
    JwtBearer {
        /// The token.
        assertion: &'a SecretString,
    },
    /// A user's token, for a refresh token of another client: the first half of a user token exchange (seed L7697).
    UserToken {
        /// The token.
        token: &'a SecretString,
    },
    /// A refresh token (RFC 6749 section 6).
    RefreshToken {
        /// The token.
        token: &'a SecretString,
    },
    /// An authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
    AuthorizationCode {
        /// The code.
        code: &'a SecretString,
        /// The redirect URI the code was asked for with.
        redirect_uri: Option<&'a str>,
        /// The secret behind the code's challenge.
        verifier: Option<&'a SecretString>,
    },
    /// A SAML 2.0 assertion (RFC 7522 section 2.1).
    SamlBearer {
        /// The assertion, in base64.
        assertion: &'a SecretString,
    },
    /// Tokens of any type (RFC 8693; later API).
    TokenExchange {
        /// On whose behalf.
        subject: TypedToken<'a>,
        /// Who acts.
        actor: Option<TypedToken<'a>>,
    },
}

impl Grant<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Password => "password",
            Self::JwtBearer { .. } => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::UserToken { .. } => "user_token",
            Self::RefreshToken { .. } => "refresh_token",
            Self::AuthorizationCode { .. } => "authorization_code",
            Self::SamlBearer { .. } => "urn:ietf:params:oauth:grant-type:saml2-bearer",
            Self::TokenExchange { .. } => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }

    /// A code or refresh token may be that of a client without a secret (RFC 6749 section 2.1).
    pub(super) fn suits_public_clients(&self) -> bool {
        matches!(self, Self::AuthorizationCode { .. } | Self::RefreshToken { .. })
    }

    /// Whether what is exchanged may be used again: codes never, refresh tokens not where they are replaced with each
    /// use (RFC 9700 section 4.14.2), which nobody can tell in advance.
    fn is_repeatable(&self) -> bool {
        !self.suits_public_clients()
    }

    fn parameters(&self, config: &DestinationConfig, form: &mut Form) -> Result<(), RequestError> {
        match self {
            Self::ClientCredentials => {}
            Self::Password => {
                let user = config.user().ok_or(RequestError::Missing(keys::USER))?;
                let password = config.password().ok_or(RequestError::Missing(keys::PASSWORD))?;
                form.set("username", user);
                form.set("password", password);
            }
            Self::JwtBearer { assertion } => {
                form.set("token_format", "jwt");
                form.set("response_type", "token");
                form.set("assertion", assertion.expose_secret());
            }
            Self::UserToken { .. } => form.set("response_type", "token"),
            Self::RefreshToken { token } => form.set("refresh_token", token.expose_secret()),
            Self::AuthorizationCode {
                code,
                redirect_uri,
                verifier,
            } => {
                form.set("code", code.expose_secret());
                if let Some(redirect_uri) = redirect_uri {
                    form.set("redirect_uri", redirect_uri);
                }
                if let Some(verifier) = verifier {
                    form.set("code_verifier", verifier.expose_secret());
                }
            }
            Self::SamlBearer { assertion } => {
                if let Some(company) = config.text(keys::COMPANY_ID) {
                    form.set("company_id", company);
                }
                form.set("assertion", assertion.expose_secret());
            }
            Self::TokenExchange { subject, actor } => {
                form.set("subject_token", subject.token.expose_secret());
                form.set("subject_token_type", subject.kind);
                if let Some(actor) = actor {
                    form.set("actor_token", actor.token.expose_secret());
                    form.set("actor_token_type", actor.kind);
                }
            }
        }
        Ok(())
    }
}

/// The request for a token of a destination, on behalf of the tenant with this subdomain.
///
/// # Errors
/// See [`RequestError`].
pub fn token_request(
    config: &DestinationConfig,
    subdomain: Option<&str>,
    grant: &Grant<'_>,
    proof: ClientProof<'_>,
) -> Result<TokenRequest, RequestError> {
    let mut form = Form::new();
    form.set("grant_type", grant.name());
    let mut headers = form_headers();
    match grant {
        // The user's token is the one credential of this step; the client that will use the refresh token is only
        // named (the seed is silent, L7697; the User Account and Authentication server has it so).
        Grant::UserToken { token } => {
            form.set("client_id", client_id(config, grant)?);
            headers.insert(AUTHORIZATION, bearer(token));
        }
        grant => authenticate(config, grant, proof, &mut form, &mut headers)?,
    }
    grant.parameters(config, &mut form)?;
    let mut request = finish(config, token_service_url(config, subdomain)?, form, headers)?;
    request.repeatable = grant.is_repeatable();
    Ok(request)
}

/// A token that cannot stand in a header is no token; the token service then answers that there is none.
fn bearer(token: &SecretString) -> HeaderValue {
    let text = format!("Bearer {}", token.expose_secret());
    let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    value.set_sensitive(true);
    value
}
