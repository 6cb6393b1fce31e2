//! One call to a token service: which addresses it may have, which failures are tried again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use landbridge_destination::oauth::{
    AnswerError, MAX_ANSWER_BYTES, RequestError, Token, TokenRequest, read_answer, read_refresh_token,
};
use landbridge_destination::token_cache::FetchFailure;
use landbridge_runtime::dial::{AddressPolicy, DialError, Dialer};
use landbridge_runtime::http_client::{CallError, CallLimits, HttpClient};
use landbridge_runtime::tls::{self, TlsError};
use moka::sync::Cache;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use secrecy::SecretString;

use super::surroundings::Identity;

/// Repetitions of a call that failed for a reason that may pass.
const RETRIES: u32 = 2;

/// Shortest pause before them, also when the server says 0 (seed L16708).
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Upper ends of the random pauses before them (full jitter).
const PAUSES: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(1200)];

/// Longest `Retry-After` that is waited for; a longer one ends the retrieval and is how long its failure is remembered.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3);

/// Longest a whole retrieval may take, repetitions included. Destinations may allow more (600 s, seed L7489), but a
/// caller that waits for a find answer does not.
const LONGEST: Duration = Duration::from_secs(120);

/// Clients kept, with their connections. Without client certificates there are at most 120: seconds to connect are 1 to
/// 60, and the policy of a store is fixed.
const MAX_CLIENTS: u64 = 512;

/// How long an unused one is kept.
const CLIENT_IDLE: Duration = Duration::from_secs(300);

/// How a token service is trusted, and who we are to it.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    /// Its certificate is not checked (seed L6725).
    pub(crate) trust_all: bool,
    /// Our own certificate (seed L8951).
    pub(crate) identity: Option<Arc<Identity>>,
}

/// What a client is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ClientKey {
    connect_seconds: u64,
    policy: AddressPolicy,
    trust_all: bool,
    identity: Option<[u8; 32]>,
}

/// Why there is no token, in words for the administrator of the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchError {
    pub(crate) reason: String,
    /// How long the token service asked not to be called.
    pub(crate) pause: Option<Duration>,
}

impl From<String> for FetchError {
    fn from(reason: String) -> Self {
        Self { reason, pause: None }
    }
}

impl From<RequestError> for FetchError {
    fn from(error: RequestError) -> Self {
        error.to_string().into()
    }
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.reason)
    }
}

impl FetchFailure for FetchError {
    fn pause(&self) -> Option<Duration> {
        self.pause
    }
}

/// Calls token services.
pub(crate) struct Fetcher {
    dialer: Dialer,
    roots: RootCertStore,
    allow_private: bool,
    clients: Cache<ClientKey, HttpClient>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Fetcher")
            .field("allow_private", &self.allow_private)
            .finish_non_exhaustive()
    }
}

impl Fetcher {
    pub(crate) fn new(dialer: Dialer, roots: RootCertStore, allow_private: bool) -> Self {
        Self {
            dialer,
            roots,
            allow_private,
            clients: Cache::builder()
                .max_capacity(MAX_CLIENTS)
                .time_to_idle(CLIENT_IDLE)
                .build(),
        }
    }

    /// The token, or why there is none.
    pub(crate) async fn fetch(&self, request: &TokenRequest, tls: &Tls) -> Result<Token, FetchError> {
        let read = |status, body: &[u8]| read_answer(status, body, SystemTime::now());
        self.fetch_as(request, tls, read).await
    }

    /// The refresh token of an answer that is read for nothing else.
    pub(crate) async fn refresh_token(
        &self,
        request: &TokenRequest,
        tls: &Tls,
    ) -> Result<SecretString, FetchError> {
        self.fetch_as(request, tls, read_refresh_token).await
    }

    async fn fetch_as<T>(
        &self,
        request: &TokenRequest,
        tls: &Tls,
        read: impl Fn(StatusCode, &[u8]) -> Result<T, AnswerError>,
    ) -> Result<T, FetchError> {
        let client = self
            .client(request, tls)
            .map_err(|error| FetchError::from(error.to_string()))?;
        let answer = request.connect_timeout + request.read_timeout;
        let limits = CallLimits {
            answer: answer.min(LONGEST),
            max_body: MAX_ANSWER_BYTES,
        };
        let attempts = attempts(&client, request, limits, read);
        match tokio::time::timeout(LONGEST, attempts).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::from(format!(
                "no token within {} s; check the token service",
                LONGEST.as_secs()
            ))),
        }
    }

    fn client(&self, request: &TokenRequest, tls: &Tls) -> Result<HttpClient, TlsError> {
        // What the destination says of its network (PrivateLink) does not count: whoever may write destinations could
        // otherwise reach the network of this process.
        let policy = if self.allow_private {
            AddressPolicy::Any
        } else {
            AddressPolicy::PublicOnly
        };
        let connect_seconds = request.connect_timeout.as_secs().clamp(1, 60);
        let key = ClientKey {
            connect_seconds,
            policy,
            trust_all: tls.trust_all,
            identity: tls.identity.as_ref().map(|identity| *identity.id()),
        };
        if let Some(client) = self.clients.get(&key) {
            return Ok(client);
        }
        let config = self.tls(tls)?;
        let dialer = self.dialer.with_policy(policy);
        let client = HttpClient::new(dialer, config, Duration::from_secs(connect_seconds));
        self.clients.insert(key, client.clone());
        Ok(client)
    }

    /// The token service is trusted as the target is (seed L7627).
    fn tls(&self, tls: &Tls) -> Result<ClientConfig, TlsError> {
        let mut config = if tls.trust_all {
            tls::trust_all_client_config(&[])?
        } else {
            tls::client_config(self.roots.clone(), &[])?
        };
        if let Some(identity) = &tls.identity {
            let key = identity.key().clone_key();
            let certified = CertifiedKey::from_der(identity.chain().to_vec(), key, config.crypto_provider())?;
            config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        }
        Ok(config)
    }
}

async fn attempts<T>(
    client: &HttpClient,
    request: &TokenRequest,
    limits: CallLimits,
    read: impl Fn(StatusCode, &[u8]) -> Result<T, AnswerError>,
) -> Result<T, FetchError> {
    let mut attempt = 0;
    loop {
        let (reason, stated, retry) = match client.call(request.to_http()?, limits).await {
            Ok(answer) => match read(answer.status(), answer.body()) {
                Ok(token) => return Ok(token),
                Err(error) => {
                    let stated = stated_pause(answer.headers()).filter(|_| error.is_retryable());
                    let retry = request.repeatable && error.is_retryable();
                    (error.to_string(), stated, retry)
                }
            },
            Err(error) => (describe(&error), None, may_pass(&error, request.repeatable)),
        };
        let pause = match stated {
            Some(stated) => stated.max(SHORTEST_PAUSE),
            None => jittered(attempt),
        };
        if !retry || attempt >= RETRIES || pause > LONGEST_RETRY_AFTER {
            return Err(FetchError {
                reason,
                pause: stated,
            });
        }
        tracing::debug!(reason, attempt, "token retrieval is repeated");
        attempt += 1;
        tokio::time::sleep(pause).await;
    }
}

/// Network trouble passes, also after the request was sent: asking for a token twice does no harm, unless what is
/// exchanged is good for one use. What is forbidden or too large stays so, and a deadline that passed once is not spent
/// again.
fn may_pass(error: &CallError, repeatable: bool) -> bool {
    match error {
        CallError::Dial(DialError::Forbidden { .. }) => false,
        CallError::Dial(error) if error.is_timeout() => false,
        CallError::Dial(_) | CallError::Connect { .. } => true,
        CallError::Exchange { .. } => repeatable,
        CallError::Timeout { .. } | CallError::TooLarge { .. } => false,
    }
}

/// D9 (seed L13400): say what to do about a private address.
fn describe(error: &CallError) -> String {
    match error {
        CallError::Dial(DialError::Forbidden { host, address }) => format!(
            "the token service {host} is at the private or local address {address}, which is not \
             allowed; use a public address, or let the administrator of the store allow private token \
             services"
        ),
        error => error.to_string(),
    }
}

fn jittered(attempt: u32) -> Duration {
    let longest = PAUSES[(attempt as usize).min(PAUSES.len() - 1)];
    SHORTEST_PAUSE + (longest - SHORTEST_PAUSE).mul_f64(fastrand::f64())
}

/// The pause a server asks for, in seconds (RFC 9110 section 10.2.3).
fn stated_pause(headers: &http::HeaderMap) -> Option<Duration> {
    let stated = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    stated.trim().parse().ok().map(Duration::from_secs)
}
