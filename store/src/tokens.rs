//! The token engine: ready-made `authTokens` for a destination. A token that cannot be had is an entry with an error,
//! not a failed call (seed L13416).

mod fetch;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use landbridge_destination::oauth::{self, Token, TokenRequest};
use landbridge_destination::properties::keys;
use landbridge_destination::token_cache::{CachedToken, TokenCache, TokenCacheStats, TokenKey};
use landbridge_destination::{AuthToken, Authentication, DestinationConfig, ProxyType};
use secrecy::{ExposeSecret, SecretString};

pub(crate) use fetch::Fetcher;

use crate::config::Limits;
use fetch::FetchError;
use landbridge_runtime::shares::Shares;

/// What every error of the engine starts with, as in the original service.
const FAILED: &str = "Retrieval of OAuthToken failed due to: ";

/// How long a failed retrieval is remembered: one call in this time instead of one per request.
const FAILURE_LIFE: Duration = Duration::from_secs(5);

/// For whom a token is fetched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenContext<'a> {
    /// Tenant that owns the destination.
    pub(crate) subaccount_id: &'a str,
    /// Instance that owns it, or empty.
    pub(crate) owner: &'a str,
    /// Subdomain of the tenant the token is for.
    pub(crate) tenant: &'a str,
    /// The token at hand was refused by its target: fetch another one.
    pub(crate) renew: bool,
}

/// The engine.
#[derive(Debug)]
pub(crate) struct TokenEngine {
    fetcher: Arc<Fetcher>,
    cache: TokenCache<FetchError>,
    patience: Duration,
    /// Finds that wait for a token, per subaccount.
    waits: Arc<Shares<String>>,
    /// Fetches under way, per subaccount: they go on when nobody waits any more.
    fetches: Arc<Shares<String>>,
}

/// The subaccount has as many finds waiting for token services as it may.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TooManyWaits;

/// Why a destination has no token.
enum NoToken {
    Reason(String),
    TooManyWaits,
}

impl From<String> for NoToken {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

impl From<FetchError> for NoToken {
    fn from(error: FetchError) -> Self {
        Self::Reason(error.reason)
    }
}

impl TokenEngine {
    pub(crate) fn new(fetcher: Fetcher, limits: &Limits) -> Self {
        Self {
            fetcher: Arc::new(fetcher),
            cache: TokenCache::new(FAILURE_LIFE),
            patience: limits.token_patience,
            waits: Shares::new(limits.max_token_waits, limits.max_requests),
            fetches: Shares::new(limits.max_token_waits, limits.max_requests),
        }
    }

    pub(crate) fn stats(&self) -> &Arc<TokenCacheStats> {
        self.cache.stats()
    }

    /// The tokens of a destination; `None` for kinds that have none (seed L13393).
    pub(crate) async fn auth_tokens(
        &self,
        context: &TokenContext<'_>,
        config: &DestinationConfig,
    ) -> Result<Option<Vec<AuthToken>>, TooManyWaits> {
        let kind = config.authentication();
        let token = match &kind {
            kind if !kind.has_tokens() => return Ok(None),
            Authentication::BasicAuthentication => basic(config),
            Authentication::OAuth2ClientCredentials => match self.client_credentials(context, config).await {
                Ok(token) => token,
                Err(NoToken::Reason(reason)) => AuthToken::failed(format!("{FAILED}{reason}")),
                Err(NoToken::TooManyWaits) => return Err(TooManyWaits),
            },
            Authentication::Unknown(_) => {
                AuthToken::failed(format!("{FAILED}the authentication type {kind} is unknown"))
            }
            kind => AuthToken::failed(format!(
                "{FAILED}the authentication type {kind} is not supported by this version of the store"
            )),
        };
        Ok(Some(vec![token]))
    }

    async fn client_credentials(
        &self,
        context: &TokenContext<'_>,
        config: &DestinationConfig,
    ) -> Result<AuthToken, NoToken> {
        for key in [keys::CLIENT_ASSERTION_DESTINATION, keys::TOKEN_SERVICE_KEY_STORE] {
            if config.text(key).is_some() {
                let reason =
                    format!("{key} is not supported by this version; use clientId with clientSecret");
                return Err(reason.into());
            }
        }
        let (grant, proof) = (oauth::Grant::ClientCredentials, oauth::ClientProof::Properties);
        let request = oauth::token_request(config, Some(context.tenant), &grant, proof)
            .map_err(|error| error.to_string())?;
        if request.proxy_type == ProxyType::OnPremise {
            let reason = "the token service is reached through a connector, which this version of the store does not \
                          do; set tokenServiceURL.ProxyType to Internet if it is on the Internet";
            return Err(reason.to_owned().into());
        }
        let trust_all = config.trust_all();
        let key = cache_key(context, config.name(), &request, trust_all);
        let fetch = self.fetch(context.subaccount_id, request, trust_all);
        let known = self.cache.peek(key, &fetch).await;
        let cached = match known {
            Some(Ok(cached)) if context.renew => {
                self.wait(context, self.cache.replace(key, &cached, fetch))
                    .await?
            }
            Some(known) => known?,
            None => self.wait(context, self.cache.get(key, fetch)).await?,
        };
        Ok(bearer(&cached))
    }

    /// The call for a token, within the subaccount's share of them.
    fn fetch(
        &self,
        subaccount_id: &str,
        request: TokenRequest,
        trust_all: bool,
    ) -> impl Fn() -> BoxFuture<'static, Result<Token, FetchError>> + Send + Sync + 'static + use<> {
        let (fetcher, fetches) = (Arc::clone(&self.fetcher), Arc::clone(&self.fetches));
        let (request, subaccount_id) = (Arc::new(request), subaccount_id.to_owned());
        move || {
            let (fetcher, fetches) = (Arc::clone(&fetcher), Arc::clone(&fetches));
            let (request, subaccount_id) = (Arc::clone(&request), subaccount_id.clone());
            Box::pin(async move {
                let Some(_share) = fetches.take(&subaccount_id) else {
                    let reason = "too many token services of the subaccount have not answered yet; check those that \
                                  are slow and try again in a moment";
                    return Err(FetchError::from(reason.to_owned()));
                };
                fetcher.fetch(&request, trust_all).await
            })
        }
    }

    /// Waits for a token as long as callers do; the fetch goes on without them.
    async fn wait(
        &self,
        context: &TokenContext<'_>,
        token: impl Future<Output = Result<Arc<CachedToken>, FetchError>>,
    ) -> Result<Arc<CachedToken>, NoToken> {
        let share = self.waits.take(&context.subaccount_id.to_owned());
        let _share = share.ok_or(NoToken::TooManyWaits)?;
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

/// Everything that decides which token comes back. The body holds client id, secret and scopes; what was configured
/// differently is never served from the same entry.
fn cache_key(context: &TokenContext<'_>, name: &str, request: &TokenRequest, trust_all: bool) -> TokenKey {
    let fixed: [&[u8]; 8] = [
        b"client_credentials",
        context.subaccount_id.as_bytes(),
        context.owner.as_bytes(),
        context.tenant.as_bytes(),
        name.as_bytes(),
        request.url.as_str().as_bytes(),
        request.body.expose_secret().as_bytes(),
        &[u8::from(trust_all)],
    ];
    let proxy_type = request.proxy_type.as_str().as_bytes();
    let headers = request
        .headers
        .iter()
        .flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
    TokenKey::of(fixed.into_iter().chain([proxy_type]).chain(headers))
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
fn bearer(cached: &CachedToken) -> AuthToken {
    let mut token = AuthToken::authorization("Bearer", &cached.token.access_token);
    token.expires_in = Some(cached.remaining().as_secs());
    token.scope.clone_from(&cached.token.scope);
    token.refresh_token.clone_from(&cached.token.refresh_token);
    token
}
