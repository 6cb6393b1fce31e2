//! The token engine: ready-made `authTokens` for a destination. A token that cannot be had is an entry with an error,
//! not a failed call (seed L13416).

mod fetch;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landbridge_destination::oauth::{self, TokenRequest};
use landbridge_destination::token_cache::{CachedToken, TokenCache, TokenCacheStats, TokenKey};
use landbridge_destination::{AuthToken, Authentication, DestinationConfig, ProxyType};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

pub(crate) use fetch::Fetcher;

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
    cache: TokenCache<String>,
}

impl TokenEngine {
    pub(crate) fn new(fetcher: Fetcher) -> Self {
        Self {
            fetcher: Arc::new(fetcher),
            cache: TokenCache::new(FAILURE_LIFE),
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
    ) -> Option<Vec<AuthToken>> {
        let kind = config.authentication();
        let token = match &kind {
            kind if !kind.has_tokens() => return None,
            Authentication::BasicAuthentication => basic(config),
            Authentication::OAuth2ClientCredentials => self
                .client_credentials(context, config)
                .await
                .unwrap_or_else(|error| AuthToken::failed(format!("{FAILED}{error}"))),
            Authentication::Unknown(_) => {
                AuthToken::failed(format!("{FAILED}the authentication type {kind} is unknown"))
            }
            kind => AuthToken::failed(format!(
                "{FAILED}the authentication type {kind} is not supported by this version of the store"
            )),
        };
        Some(vec![token])
    }

    async fn client_credentials(
        &self,
        context: &TokenContext<'_>,
        config: &DestinationConfig,
    ) -> Result<AuthToken, String> {
        let request =
            || oauth::client_credentials(config, Some(context.tenant)).map_err(|error| error.to_string());
        let first = request()?;
        if first.proxy_type == ProxyType::OnPremise {
            return Err(
                "the token service is reached through a connector, which this version of the store does not \
                        do; set tokenServiceURL.ProxyType to Internet if it is on the Internet"
                    .to_owned(),
            );
        }
        let trust_all = config.trust_all();
        let key = cache_key(context, config.name(), &first, trust_all);
        let (fetcher, request) = (Arc::clone(&self.fetcher), Arc::new(first));
        let fetch = move || {
            let (fetcher, request) = (Arc::clone(&fetcher), Arc::clone(&request));
            async move { fetcher.fetch(&request, trust_all).await }
        };
        let asked = Instant::now();
        let mut cached = self.cache.get(key, fetch.clone()).await?;
        if context.renew && cached.is_older_than(asked) {
            self.cache.invalidate(key, &cached).await;
            cached = self.cache.get(key, fetch).await?;
        }
        Ok(bearer(&cached))
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
