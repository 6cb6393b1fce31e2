//! One call to a token service: which addresses it may have, which failures are tried again.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use landbridge_destination::oauth::{MAX_ANSWER_BYTES, Token, TokenRequest, read_answer};
use landbridge_destination::token_cache::FetchFailure;
use landbridge_runtime::dial::{AddressPolicy, DialError, Dialer};
use landbridge_runtime::http_client::{CallError, CallLimits, HttpClient};
use landbridge_runtime::tls::{self, TlsError};
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore};

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

/// What a client is made for. Seconds to connect are 1 to 60 and the policy of a store is fixed, so there are at most
/// 120.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ClientKey {
    connect_seconds: u64,
    policy: AddressPolicy,
    trust_all: bool,
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
    clients: Mutex<HashMap<ClientKey, HttpClient>>,
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
            clients: Mutex::new(HashMap::new()),
        }
    }

    /// The token, or why there is none.
    pub(crate) async fn fetch(&self, request: &TokenRequest, trust_all: bool) -> Result<Token, FetchError> {
        let client = self
            .client(request, trust_all)
            .map_err(|error| FetchError::from(error.to_string()))?;
        let answer = request.connect_timeout + request.read_timeout;
        let limits = CallLimits {
            answer: answer.min(LONGEST),
            max_body: MAX_ANSWER_BYTES,
        };
        let attempts = self.attempts(&client, request, limits);
        match tokio::time::timeout(LONGEST, attempts).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::from(format!(
                "no token within {} s; check the token service",
                LONGEST.as_secs()
            ))),
        }
    }

    async fn attempts(
        &self,
        client: &HttpClient,
        request: &TokenRequest,
        limits: CallLimits,
    ) -> Result<Token, FetchError> {
        let mut attempt = 0;
        loop {
            let (reason, stated, retry) = match client.call(request.to_http()?, limits).await {
                Ok(answer) => match read_answer(answer.status(), answer.body(), SystemTime::now()) {
                    Ok(token) => return Ok(token),
                    Err(error) => {
                        let stated = stated_pause(answer.headers()).filter(|_| error.is_retryable());
                        (error.to_string(), stated, error.is_retryable())
                    }
                },
                Err(error) => (describe(&error), None, may_pass(&error)),
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

    fn client(&self, request: &TokenRequest, trust_all: bool) -> Result<HttpClient, TlsError> {
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
            trust_all,
        };
        if let Some(client) = self.clients.lock().get(&key) {
            return Ok(client.clone());
        }
        let config = self.tls(trust_all)?;
        let dialer = self.dialer.with_policy(policy);
        let client = HttpClient::new(dialer, config, Duration::from_secs(connect_seconds));
        Ok(self.clients.lock().entry(key).or_insert(client).clone())
    }

    /// The token service is trusted as the target is (seed L7627).
    fn tls(&self, trust_all: bool) -> Result<ClientConfig, TlsError> {
        if trust_all {
            tls::trust_all_client_config(&[])
        } else {
            tls::client_config(self.roots.clone(), &[])
        }
    }
}

/// Network trouble passes, also after the request was sent: asking for a token twice does no harm. What is forbidden
/// or too large stays so, and a deadline that passed once is not spent again.
fn may_pass(error: &CallError) -> bool {
    match error {
        CallError::Dial(DialError::Forbidden { .. }) => false,
        CallError::Dial(error) if error.is_timeout() => false,
        CallError::Dial(_) | CallError::Connect { .. } | CallError::Exchange { .. } => true,
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
