//! Client of a destination store: ours or any other that speaks the same REST calls.

mod call;
mod opened;
mod query;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use landbridge_runtime::http_client::{CallError, CallLimits, HttpClient};
use secrecy::ExposeSecret;

use crate::binding::Binding;
use crate::error::StoreError;
use crate::find::FindResponse;
use crate::oauth::{self, MAX_ANSWER_BYTES, Token};
use crate::properties::DestinationConfig;
use crate::token_cache::{CachedToken, TokenCache, TokenKey};
use call::{Answer, failure, from_call_error, retry_pause, says_wait};

pub use query::FindQuery;

/// Deadlines of calls to the store and its authorization server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// For one answer, connecting included: 1..=60 s (seed L35688), 10 s unless told.
    pub read: Duration,
    /// Largest find answer: configuration, tokens and key stores.
    pub max_find_bytes: usize,
    /// Largest list answer.
    pub max_list_bytes: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            read: Duration::from_secs(10),
            max_find_bytes: 4 << 20,
            max_list_bytes: 32 << 20,
        }
    }
}

/// How long a failed call for our own token is remembered. One second shields the authorization server from a busy
/// proxy and is not noticed by anyone who waits for it to come back.
const TOKEN_FAILURE_LIFE: Duration = Duration::from_secs(1);

/// The client. Cheap to clone; clones share connections and the service token.
#[derive(Clone, Debug)]
pub struct StoreClient {
    inner: Arc<Inner>,
    tokens: TokenCache<StoreError>,
}

struct Inner {
    binding: Binding,
    http: HttpClient,
    limits: ClientLimits,
    token_key: TokenKey,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.binding.fmt(formatter)
    }
}

impl StoreClient {
    /// A client for a binding. `http` decides which roots and addresses are allowed, and how long connecting and an
    /// answer may take (5 s and 10 s with the standard client).
    pub fn new(binding: Binding, http: HttpClient) -> Self {
        let limits = ClientLimits {
            read: http.answer_deadline(),
            ..ClientLimits::default()
        };
        Self::with_limits(binding, http, limits)
    }

    /// A client with deadlines of one's own; `read` is brought into 1..=60 s.
    pub fn with_limits(binding: Binding, http: HttpClient, mut limits: ClientLimits) -> Self {
        limits.read = limits.read.clamp(Duration::from_secs(1), Duration::from_secs(60));
        let secret = binding.client_secret.expose_secret();
        let token_key = TokenKey::of([binding.url.as_str(), &binding.client_id, secret].map(str::as_bytes));
        let inner = Inner {
            binding,
            http,
            limits,
            token_key,
        };
        Self {
            inner: Arc::new(inner),
            tokens: TokenCache::new(TOKEN_FAILURE_LIFE),
        }
    }

    /// The binding in use.
    pub fn binding(&self) -> &Binding {
        &self.inner.binding
    }

    /// Asks for a token, unless one is kept: whether the authorization server is there and takes the binding.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn log_on(&self) -> Result<(), StoreError> {
        self.token().await.map(|_| ())
    }

    /// Finds a destination, whatever `if_none_match` says.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn find(&self, query: &FindQuery) -> Result<FindResponse, StoreError> {
        let answer = self
            .call(
                query.request(&self.inner.binding, None)?,
                self.inner.limits.max_find_bytes,
            )
            .await?;
        self.read_found(query, answer)
    }

    /// Finds a destination unless it is still the one with the query's `if_none_match`; then `None`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn find_if_changed(&self, query: &FindQuery) -> Result<Option<FindResponse>, StoreError> {
        let request = query.request(&self.inner.binding, query.if_none_match.as_deref())?;
        let answer = self.call(request, self.inner.limits.max_find_bytes).await?;
        if answer.status == StatusCode::NOT_MODIFIED && query.if_none_match.is_some() {
            return Ok(None);
        }
        self.read_found(query, answer).map(Some)
    }

    fn read_found(&self, query: &FindQuery, answer: Answer) -> Result<FindResponse, StoreError> {
        let selector = &query.selector;
        if answer.status != StatusCode::OK {
            return Err(failure(
                &answer,
                &self.store_name(),
                &selector.name,
                selector.level,
            ));
        }
        let mut found: FindResponse = self.read_json(&answer)?;
        found.etag = answer.etag;
        Ok(found)
    }

    /// Creates a subaccount destination; one that exists already is refused (409).
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn create(&self, destination: &DestinationConfig) -> Result<(), StoreError> {
        self.write(Method::POST, destination).await
    }

    /// Replaces a subaccount destination that exists.
    ///
    /// # Errors
    /// See [`StoreError`]; `NotFound` when there is none of that name.
    pub async fn update(&self, destination: &DestinationConfig) -> Result<(), StoreError> {
        self.write(Method::PUT, destination).await
    }

    /// Creates or replaces a subaccount destination.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn put(&self, destination: &DestinationConfig) -> Result<(), StoreError> {
        match self.update(destination).await {
            Err(StoreError::NotFound { .. }) => self.create(destination).await,
            result => result,
        }
    }

    /// Deletes a subaccount destination. Whether it existed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn delete(&self, name: &str) -> Result<bool, StoreError> {
        let request =
            query::subaccount_request(&self.inner.binding, Method::DELETE, Some(name), Bytes::new())?;
        let answer = self.call(request, self.inner.limits.max_find_bytes).await?;
        match answer.status {
            StatusCode::OK => {
                // The count tells; stores that answer without one have deleted it.
                let counted: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
                Ok(counted
                    .and_then(|value| value.get("Count")?.as_u64())
                    .is_none_or(|count| count > 0))
            }
            StatusCode::NO_CONTENT => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(failure(&answer, &self.store_name(), name, None)),
        }
    }

    /// All subaccount destinations, with their credentials.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn list(&self) -> Result<Vec<DestinationConfig>, StoreError> {
        let request = query::subaccount_request(&self.inner.binding, Method::GET, None, Bytes::new())?;
        let answer = self.call(request, self.inner.limits.max_list_bytes).await?;
        if answer.status != StatusCode::OK {
            return Err(failure(&answer, &self.store_name(), "", None));
        }
        /// Other stores may add what is no text.
        #[derive(serde::Deserialize)]
        #[serde(transparent)]
        struct Tolerant(
            #[serde(deserialize_with = "DestinationConfig::deserialize_tolerant")] DestinationConfig,
        );
        let found: Vec<Tolerant> = self.read_json(&answer)?;
        Ok(found.into_iter().map(|item| item.0).collect())
    }

    async fn write(&self, method: Method, destination: &DestinationConfig) -> Result<(), StoreError> {
        let body = serde_json::to_vec(destination).map_err(|error| StoreError::BadRequest {
            status: 400,
            reason: error.to_string(),
        })?;
        let request = query::subaccount_request(&self.inner.binding, method, None, body.into())?;
        let answer = self.call(request, self.inner.limits.max_find_bytes).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(failure(&answer, &self.store_name(), destination.name(), None))
    }

    /// Sends a request with our token; once more with a fresh token after a 401, and once more after a short pause
    /// when the store cannot have processed it, a reading exchange broke off, or the store says 503 or 429.
    async fn call(&self, request: Request<Bytes>, max_body: usize) -> Result<Answer, StoreError> {
        let limits = CallLimits {
            answer: self.inner.limits.read,
            max_body,
        };
        let (mut fresh_token, mut paused) = (false, false);
        loop {
            let token = self.token().await?;
            let result = self
                .inner
                .http
                .call(call::authorized(&request, &token.token)?, limits)
                .await;
            match result {
                Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED && !fresh_token => {
                    fresh_token = true;
                    self.tokens.invalidate(self.inner.token_key, &token).await;
                }
                Ok(answer) if says_wait(answer.status()) && !paused => {
                    let Some(pause) = retry_pause(answer.headers()) else {
                        return Ok(Answer::from(answer));
                    };
                    paused = true;
                    tokio::time::sleep(pause).await;
                }
                Ok(answer) => return Ok(Answer::from(answer)),
                Err(error) if may_repeat(&request, &error) && !paused => {
                    paused = true;
                    pause().await;
                }
                Err(error) => return Err(from_call_error(&error, &self.store_name())),
            }
        }
    }

    async fn token(&self) -> Result<Arc<CachedToken>, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.tokens
            .get(inner.token_key, move || fetch_token(Arc::clone(&inner)))
            .await
    }

    pub(crate) fn store_name(&self) -> String {
        format!(
            "the store at {}",
            self.inner.binding.uri.origin().ascii_serialization()
        )
    }

    fn read_json<T: serde::de::DeserializeOwned>(&self, answer: &Answer) -> Result<T, StoreError> {
        serde_json::from_slice(&answer.body).map_err(|error| StoreError::BadAnswer {
            server: self.store_name(),
            // Position and kind only: the text of the error could quote a value.
            reason: format!(
                "{:?} error in the JSON at line {} column {}",
                error.classify(),
                error.line(),
                error.column()
            ),
        })
    }

    /// How often our own token was fetched, for tests and metrics.
    pub fn token_fetches(&self) -> u64 {
        self.tokens.stats().fetches.load(Ordering::Relaxed)
    }
}

/// Whether sending the request again is safe: it was not processed, or it only reads. A kept connection that the server
/// closes at the same moment breaks off like this.
fn may_repeat(request: &Request<Bytes>, error: &CallError) -> bool {
    error.is_unsent() || (broke_off(error) && request.method() == Method::GET)
}

fn broke_off(error: &CallError) -> bool {
    matches!(error, CallError::Exchange { .. })
}

/// The pause before a repetition when the server said nothing.
async fn pause() {
    let pause = retry_pause(&http::HeaderMap::new()).unwrap_or_default();
    tokio::time::sleep(pause).await;
}

/// One call for our own token, once more when it was not sent or the server is in trouble.
async fn fetch_token(inner: Arc<Inner>) -> Result<Token, StoreError> {
    let server = format!(
        "the authorization server at {}",
        inner.binding.url.origin().ascii_serialization()
    );
    let (read, binding) = (inner.limits.read, &inner.binding);
    let limits = CallLimits {
        answer: read,
        max_body: MAX_ANSWER_BYTES,
    };
    let mut paused = false;
    loop {
        let request = oauth::service_token(
            &binding.url,
            &binding.client_id,
            &binding.client_secret,
            read,
            read,
        );
        let request = request
            .to_http()
            .map_err(|reason| StoreError::BadRequest { status: 400, reason })?;
        match inner.http.call(request, limits).await {
            Ok(answer) => match oauth::read_answer(answer.status(), answer.body(), SystemTime::now()) {
                Ok(token) => return Ok(token),
                Err(error) => match retry_pause(answer.headers()) {
                    Some(pause) if error.is_retryable() && !paused => {
                        paused = true;
                        tokio::time::sleep(pause).await;
                    }
                    _ => return Err(call::from_answer_error(&error, server)),
                },
            },
            // Asking for a token twice does no harm.
            Err(error) if (error.is_unsent() || broke_off(&error)) && !paused => {
                paused = true;
                pause().await;
            }
            Err(error) => return Err(from_call_error(&error, &server)),
        }
    }
}

#[cfg(test)]
mod tests;
