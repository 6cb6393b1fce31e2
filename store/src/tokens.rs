//! The token engine: ready-made `authTokens` for a destination. A token that cannot be had is an entry with an error,
//! not a failed call (seed L13416).

mod attributes;
mod claims;
mod core;
mod fetch;
pub(crate) mod given;
mod plan;
mod saml;
mod signing;
mod surroundings;
mod user_id;
mod work;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landbridge_destination::oauth::Token;
use landbridge_destination::token_cache::{TokenCache, TokenCacheStats};
use landbridge_destination::{AuthToken, Authentication, DestinationConfig};
use landbridge_runtime::shares::Shares;
use secrecy::{ExposeSecret, SecretString};

pub(crate) use fetch::{FetchError, Fetcher};
pub(crate) use given::Given;
pub(crate) use signing::SigningKey;
pub(crate) use surroundings::{Identity, KnownUser, Surroundings, UserKeys};

use crate::config::Limits;
use core::Core;
use plan::{NoPlan, plan};
use signing::Signers;

/// What every error of the engine starts with, as in the original service.
const FAILED: &str = "Retrieval of OAuthToken failed due to: ";

/// How long a failed retrieval is remembered: one call in this time instead of one per request.
const FAILURE_LIFE: Duration = Duration::from_secs(5);

/// Header of a technical user's token, read by the connectivity proxy (seed L9774-L9781).
const TECHNICAL_USER: &str = "SAP-Connectivity-Technical-Authentication";

/// For whom a token is fetched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenContext<'a> {
    /// Tenant that owns the destination.
    pub(crate) subaccount_id: &'a str,
    /// Instance that owns it, or empty.
    pub(crate) owner: &'a str,
    /// Subdomain of the tenant the caller asks a token for (`X-tenant`), if it does.
    pub(crate) tenant: Option<&'a str>,
    /// Subdomain of the caller's own tenant.
    pub(crate) subdomain: &'a str,
    /// What the call brought along.
    pub(crate) given: &'a Given,
    /// The token at hand was refused by its target: fetch another one.
    pub(crate) renew: bool,
}

/// The engine.
#[derive(Debug)]
pub(crate) struct TokenEngine {
    core: Arc<Core>,
    around: Box<dyn Surroundings>,
    signers: Signers,
    patience: Duration,
    /// Finds that wait for a token, per subaccount.
    waits: Arc<Shares<String>>,
}

/// Why a find call cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenTrouble {
    /// The subaccount has as many finds waiting for token services as it may.
    TooManyWaits,
    /// The call lacks what the destination needs.
    BadRequest(String),
}

/// Why a destination has no token.
enum NoToken {
    Reason(String),
    Trouble(TokenTrouble),
}

impl From<FetchError> for NoToken {
    fn from(error: FetchError) -> Self {
        Self::Reason(error.reason)
    }
}

impl From<NoPlan> for NoToken {
    fn from(no_plan: NoPlan) -> Self {
        match no_plan {
            NoPlan::Reason(reason) => Self::Reason(reason),
            NoPlan::BadRequest(message) => Self::Trouble(TokenTrouble::BadRequest(message)),
        }
    }
}

impl TokenEngine {
    pub(crate) fn new(fetcher: Fetcher, around: Box<dyn Surroundings>, limits: &Limits) -> Self {
        let core = Core {
            fetcher,
            cache: TokenCache::new(FAILURE_LIFE),
            fetches: Shares::new(limits.max_token_waits, limits.max_requests),
        };
        Self {
            core: Arc::new(core),
            around,
            signers: Signers::new(),
            patience: limits.token_patience,
            waits: Shares::new(limits.max_token_waits, limits.max_requests),
        }
    }

    pub(crate) fn stats(&self) -> &Arc<TokenCacheStats> {
        self.core.cache.stats()
    }

    /// The tokens of a destination; `None` for kinds that have none (seed L13393).
    pub(crate) async fn auth_tokens(
        &self,
        context: &TokenContext<'_>,
        config: &DestinationConfig,
    ) -> Result<Option<Vec<AuthToken>>, TokenTrouble> {
        let kind = config.authentication();
        let token = match &kind {
            kind if !kind.has_tokens() => return Ok(None),
            Authentication::BasicAuthentication => basic(config),
            Authentication::SAPAssertionSSO => AuthToken::failed(format!(
                "{FAILED}the authentication type {kind} is not supported by this version of the store; it is \
                 deprecated, use OAuth2SAMLBearerAssertion or SAMLAssertion"
            )),
            Authentication::Unknown(_) => {
                AuthToken::failed(format!("{FAILED}the authentication type {kind} is unknown"))
            }
            kind => match self.token(context, config, kind).await {
                Ok(token) => token,
                Err(NoToken::Reason(reason)) => AuthToken::failed(format!("{FAILED}{reason}")),
                Err(NoToken::Trouble(trouble)) => return Err(trouble),
            },
        };
        Ok(Some(vec![token]))
    }

    async fn token(
        &self,
        context: &TokenContext<'_>,
        config: &DestinationConfig,
        kind: &Authentication,
    ) -> Result<AuthToken, NoToken> {
        let work = Arc::new(plan((self.around.as_ref(), &self.signers), context, config, kind).await?);
        if !work.is_kept() {
            let token = self.wait(context, work.run(Arc::clone(&self.core))).await?;
            return Ok(entry(kind, &token, token.life));
        }
        let (key, fetch) = (work.key(), self.core.again(&work));
        let cache = &self.core.cache;
        let cached = match cache.peek(key, &fetch).await {
            Some(Ok(cached)) if context.renew => {
                self.wait(context, cache.replace(key, &cached, fetch)).await?
            }
            Some(known) => known?,
            None => self.wait(context, cache.get(key, fetch)).await?,
        };
        Ok(entry(kind, &cached.token, cached.remaining()))
    }

    /// Waits for a token as long as callers do; a fetch of the cache goes on without them.
    async fn wait<T>(
        &self,
        context: &TokenContext<'_>,
        token: impl Future<Output = Result<T, FetchError>>,
    ) -> Result<T, NoToken> {
        let share = self.waits.take(&context.subaccount_id.to_owned());
        let _share = share.ok_or(NoToken::Trouble(TokenTrouble::TooManyWaits))?;
        match tokio::time::timeout(self.patience, token).await {
            Ok(result) => Ok(result?),
            Err(_) => Err(NoToken::Reason(format!(
                "the token service has not answered yet, after {} s; its answer is still waited for, try again in a \
                 moment",
                self.patience.as_secs_f32()
            ))),
        }
    }
}

/// T04: base64 of user and password, in UTF-8 (RFC 7617 section 2.1).
fn basic(config: &DestinationConfig) -> AuthToken {
    let (Some(user), Some(password)) = (config.user(), config.password()) else {
        return AuthToken::failed("BasicAuthentication needs the properties User and Password; add them");
    };
    let value = SecretString::from(STANDARD.encode(format!("{user}:{password}")));
    AuthToken::authorization("Basic", &value)
}

/// T08: the life that is left now, not that of the day it was fetched.
fn entry(kind: &Authentication, token: &Token, remaining: Duration) -> AuthToken {
    let value = &token.access_token;
    let mut entry = match kind {
        // No life: that is for OAuth alone (seed L13412).
        Authentication::SAMLAssertion => return AuthToken::authorization("SAML2.0", value),
        Authentication::OAuth2TechnicalUserPropagation => {
            let header = format!("Bearer {}", value.expose_secret());
            AuthToken::sent_as(TECHNICAL_USER, header.into(), "Bearer", value)
        }
        _ => AuthToken::authorization("Bearer", value),
    };
    entry.expires_in = Some(remaining.as_secs());
    entry.scope.clone_from(&token.scope);
    entry.refresh_token.clone_from(&token.refresh_token);
    entry.issued_token_type.clone_from(&token.issued_token_type);
    entry
}

#[cfg(test)]
mod tests;
