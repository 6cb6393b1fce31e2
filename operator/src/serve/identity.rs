//! Who calls: nothing is done for a caller before the API server has vouched for its token.
//!
//! Callers present a projected service-account token of the audience [`AUDIENCE`]. Tokens of other audiences, such as
//! those with which pods talk to the API server itself, are refused, so that none of them is of use here.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use landbridge_destination::serve::AUDIENCE;
use landbridge_runtime::bucket::Bucket;
use moka::Expiry;
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::hub::Audience;
use super::metrics::ServeMetrics;
use super::reports::PodId;
use crate::workloads::ProxyAccount;

mod review;

pub use review::KubeReviewer;

/// Longest token. Projected ones have about 1.2 KiB; those of large OIDC issuers are no service accounts' anyway.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Longest life of a stream, even where its token lives longer.
pub const MAX_STREAM: Duration = Duration::from_secs(3600);

/// Who a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Namespace of the service account.
    pub namespace: Arc<str>,
    /// Name of the service account.
    pub service_account: Arc<str>,
    /// The pod that the token is bound to; none for a token that was not projected into one.
    pub pod: Option<PodId>,
    /// When the token ends, seconds since 1970, where it says so.
    pub expires: Option<i64>,
}

/// Why nobody vouches for a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// It is not good. Asking again does not help.
    #[error("{0}")]
    Refused(String),
    /// That cannot be found out now.
    #[error("{0}")]
    Unavailable(String),
}

/// Asks who a token belongs to.
pub trait TokenReviewer: Send + Sync + 'static {
    /// Asks once, with a deadline of its own.
    ///
    /// # Errors
    /// See [`ReviewError`].
    fn review(&self, token: &SecretString) -> impl Future<Output = Result<Identity, ReviewError>> + Send;
}

/// Who may do what.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// These see everything and may report; others see what a workload of their namespace may use.
    pub proxies: Vec<ProxyAccount>,
    /// Those on nodes, which intercept what their pods send: these see everything, too, but nobody is sent to them.
    pub nodes: Vec<ProxyAccount>,
}

impl Policy {
    /// Whether it is a proxy.
    pub fn is_proxy(&self, identity: &Identity) -> bool {
        is_among(&self.proxies, identity)
    }

    /// What it may see.
    pub fn audience(&self, identity: &Identity) -> Audience {
        if self.is_proxy(identity) || is_among(&self.nodes, identity) {
            Audience::All
        } else {
            Audience::Namespace(Arc::clone(&identity.namespace))
        }
    }
}

fn is_among(accounts: &[ProxyAccount], identity: &Identity) -> bool {
    accounts.iter().any(|account| {
        *account.namespace == *identity.namespace && *account.service_account == *identity.service_account
    })
}

/// Why a caller is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No token, or none that counts (401).
    #[error(
        "{0}; send 'Authorization: Bearer <token>' with a service-account token of the audience '{AUDIENCE}', from a projected volume"
    )]
    Unauthorized(String),
    /// Too many bad tokens from this address (429).
    #[error("too many tokens from this address were refused; wait a second and use a good one")]
    TooManyFailures,
    /// The API server cannot be asked (503).
    #[error("tokens cannot be checked now: {0}; try again")]
    Unavailable(String),
}

/// Timing of the gate.
#[derive(Debug, Clone, Copy)]
pub struct GateTiming {
    /// How long an accepted token is not asked about again. A pod that is deleted keeps its access for this long.
    pub accepted: Duration,
    /// The same for a refused one, which may become good: tokens are seen here before all API servers know the pod.
    pub refused: Duration,
    /// Bad tokens of one address at once, and after which time one more.
    pub failures: (u32, Duration),
}

impl Default for GateTiming {
    fn default() -> Self {
        Self {
            accepted: Duration::from_secs(60),
            refused: Duration::from_secs(5),
            failures: (10, Duration::from_secs(1)),
        }
    }
}

/// SHA-256 of a token: tokens themselves are not kept.
type TokenHash = [u8; 32];

type Verdict = Result<Arc<Identity>, Arc<str>>;

/// Tokens that are remembered, and addresses with failures. Both bound memory: below 2 MiB together.
const REMEMBERED: u64 = 4096;

/// Questions to the API server at the same time.
const CONCURRENT_REVIEWS: usize = 16;

/// Checks callers. Asks the API server once for each token, however many calls bring it at the same time.
pub struct Gate<R> {
    reviewer: R,
    verdicts: moka::future::Cache<TokenHash, Verdict>,
    failures: moka::sync::Cache<IpAddr, Arc<Mutex<Bucket>>>,
    reviews: Semaphore,
    timing: GateTiming,
    metrics: ServeMetrics,
}

impl<R> std::fmt::Debug for Gate<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Gate").finish_non_exhaustive()
    }
}

struct Lifetimes(GateTiming);

impl Expiry<TokenHash, Verdict> for Lifetimes {
    #[expect(clippy::disallowed_types, reason = "named by moka::Expiry, never read")]
    fn expire_after_create(
        &self,
        _: &TokenHash,
        verdict: &Verdict,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(match verdict {
            Ok(identity) => self.0.accepted.min(remaining(identity, Timestamp::now())),
            Err(_) => self.0.refused,
        })
    }
}

impl<R: TokenReviewer> Gate<R> {
    /// A gate that remembers nothing yet.
    pub fn new(reviewer: R, timing: GateTiming, metrics: ServeMetrics) -> Self {
        Self {
            reviewer,
            verdicts: moka::future::Cache::builder()
                .max_capacity(REMEMBERED)
                .expire_after(Lifetimes(timing))
                .build(),
            failures: moka::sync::Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_idle(Duration::from_secs(600))
                .build(),
            reviews: Semaphore::new(CONCURRENT_REVIEWS),
            timing,
            metrics,
        }
    }

    /// Who sent a request with these headers from `peer`.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub async fn identify(&self, peer: IpAddr, headers: &HeaderMap) -> Result<Arc<Identity>, IdentityError> {
        let token = bearer(headers).map_err(|why| IdentityError::Unauthorized(why.to_owned()))?;
        let hash = hash(&token);
        let verdict = match self.verdicts.get(&hash).await {
            Some(verdict) => verdict,
            None => self.ask(peer, token, hash).await?,
        };
        match verdict {
            // The cache may be late by a moment; a token never is.
            Ok(identity) if remaining(&identity, Timestamp::now()).is_zero() => {
                Err(IdentityError::Unauthorized("the token has expired".to_owned()))
            }
            Ok(identity) => Ok(identity),
            Err(why) => Err(IdentityError::Unauthorized(format!(
                "the token is refused: {why}"
            ))),
        }
    }

    async fn ask(
        &self,
        peer: IpAddr,
        token: SecretString,
        hash: TokenHash,
    ) -> Result<Verdict, IdentityError> {
        let failures = self.failures.get_with(peer, || {
            let (burst, refill) = self.timing.failures;
            Arc::new(Mutex::new(Bucket::new(burst, refill)))
        });
        // Only failures are counted, so here a copy is asked whether one more would fit.
        let mut copy = *failures.lock();
        if !copy.take(Instant::now()) {
            return Err(IdentityError::TooManyFailures);
        }
        let verdict = self.verdicts.try_get_with(hash, self.review(&token)).await;
        let verdict = verdict.map_err(|error| IdentityError::Unavailable(error.to_string()))?;
        if verdict.is_err() {
            failures.lock().take(Instant::now());
        }
        Ok(verdict)
    }

    async fn review(&self, token: &SecretString) -> Result<Verdict, ReviewError> {
        let permit = self.reviews.acquire().await;
        let result = self.reviewer.review(token).await;
        drop(permit);
        self.metrics.reviewed(&result);
        match result {
            Ok(mut identity) => {
                identity.expires = expiry_of(token).or(identity.expires);
                Ok(Ok(Arc::new(identity)))
            }
            Err(ReviewError::Refused(why)) => Ok(Err(why.into())),
            Err(error @ ReviewError::Unavailable(_)) => {
                tracing::warn!(%error, "tokens of proxies cannot be checked");
                Err(error)
            }
        }
    }
}

/// How long a stream of this caller may last: as long as its token, and not longer than [`MAX_STREAM`]. The client
/// comes back with a fresh one.
pub fn stream_life(identity: &Identity, now: Timestamp) -> Duration {
    remaining(identity, now).min(MAX_STREAM)
}

fn remaining(identity: &Identity, now: Timestamp) -> Duration {
    identity.expires.map_or(Duration::MAX, |expires| {
        Duration::from_secs(u64::try_from(expires - now.as_second()).unwrap_or(0))
    })
}

/// The token of `Authorization: Bearer` (RFC 6750). It is a secret from here on.
fn bearer(headers: &HeaderMap) -> Result<SecretString, &'static str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or("there is no token")?;
    if values.next().is_some() {
        return Err("there are two Authorization headers");
    }
    let text = value.to_str().map_err(|_| "the token has unusual characters")?;
    let (scheme, token) = text.split_once(' ').ok_or("there is no token")?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err("there is no bearer token");
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err("the token is longer than 8 KiB");
    }
    Ok(SecretString::from(token))
}

fn hash(token: &SecretString) -> TokenHash {
    let mut hash = TokenHash::default();
    hash.copy_from_slice(digest(&SHA256, token.expose_secret().as_bytes()).as_ref());
    hash
}

/// When a token says it ends. Read without checking the signature, which is the API server's to check and was checked.
fn expiry_of(token: &SecretString) -> Option<i64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let claims = jsonwebtoken::dangerous::insecure_decode_claims::<Claims>(token.expose_secret());
    claims.ok().map(|claims| claims.exp)
}

#[cfg(test)]
mod tests;
