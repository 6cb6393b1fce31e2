//! Documents of other servers that are needed again and again: kept, fetched by one caller at a time, bounded in size,
//! number and time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::ACCEPT;
use landbridge_runtime::dial::{AddressPolicy, DialError, Dialer};
use landbridge_runtime::http_client::{CallError, CallLimits, HttpClient};
use landbridge_runtime::tls::{self, TlsError};
use moka::sync::Cache;
use parking_lot::Mutex;
use rustls::RootCertStore;
use tokio::time::Instant;
use url::Url;

/// Documents kept. With the largest ones that is 64 MiB; usual ones have 2 KiB.
const ENTRIES: u64 = 256;

/// Largest document. Key sets of large issuers have some 20 KiB.
const MAX_DOCUMENT: usize = 256 * 1024;

/// To the last byte of an answer, connecting included.
const ANSWER: Duration = Duration::from_secs(5);

/// To connect.
const CONNECT: Duration = Duration::from_secs(3);

/// How long a document is used without asking.
const FRESH: Duration = Duration::from_secs(600);

/// How long one is used at most when its server does not answer.
const STALE: Duration = Duration::from_secs(3600);

/// Shortest pause between two fetches, also when what was fetched lacks what is looked for: strangers can name unknown
/// keys in tokens, and each must not cost a call.
const PAUSE: Duration = Duration::from_secs(10);

/// Why a document cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RemoteError {
    /// Its address cannot be used.
    #[error("{0}")]
    Address(String),
    /// The server cannot be reached, or does not give it.
    #[error("{0}")]
    Unavailable(String),
    /// The document is not what it should be.
    #[error("{0}")]
    Content(String),
}

/// Where and how documents are fetched.
#[derive(Clone)]
pub(crate) struct RemoteClient {
    http: HttpClient,
    plain: bool,
}

impl fmt::Debug for RemoteClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RemoteClient")
            .field("plain", &self.plain)
            .finish_non_exhaustive()
    }
}

impl RemoteClient {
    /// With `allow_private`, servers at private and loopback addresses and plain HTTP are allowed.
    pub(crate) fn new(dialer: &Dialer, roots: RootCertStore, allow_private: bool) -> Result<Self, TlsError> {
        let policy = if allow_private {
            AddressPolicy::Any
        } else {
            AddressPolicy::PublicOnly
        };
        let config = tls::client_config(roots, &[])?;
        Ok(Self {
            http: HttpClient::new(dialer.with_policy(policy), config, CONNECT),
            plain: allow_private,
        })
    }

    /// Checks an address before anything is sent there: https, no credentials in it. Keys that come over plain HTTP
    /// could be anybody's.
    pub(crate) fn address(&self, text: &str) -> Result<Url, RemoteError> {
        let wrong = |what: &str| RemoteError::Address(format!("\"{text}\" cannot be used: {what}"));
        let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        match url.scheme() {
            "https" => {}
            "http" if self.plain => {}
            _ => return Err(wrong("use an https address")),
        }
        if url.host().is_none() || !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it needs a host and must not carry credentials"));
        }
        Ok(url)
    }

    /// Sends one request; the answer's status and body.
    pub(crate) async fn call(&self, request: Request<Bytes>) -> Result<(u16, Bytes), RemoteError> {
        let limits = CallLimits {
            answer: ANSWER,
            max_body: MAX_DOCUMENT,
        };
        let answer = self.http.call(request, limits).await;
        let answer = answer.map_err(|error| RemoteError::Unavailable(describe(&error)))?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }

    async fn get(&self, url: &Url) -> Result<Bytes, RemoteError> {
        let request = Request::get(url.as_str())
            .header(ACCEPT, "application/json")
            .body(Bytes::new())
            .map_err(|error| RemoteError::Address(format!("\"{url}\" cannot be used: {error}")))?;
        match self.call(request).await? {
            (200, body) => Ok(body),
            (status, _) => Err(RemoteError::Unavailable(format!("{url} answered {status}"))),
        }
    }
}

fn describe(error: &CallError) -> String {
    match error {
        CallError::Dial(DialError::Forbidden { host, address }) => format!(
            "{host} is at the private or local address {address}, which is not allowed; use a public address, or let \
             the administrator of the store allow private token services"
        ),
        error => error.to_string(),
    }
}

/// Documents of one kind.
pub(crate) struct Remote<T> {
    client: RemoteClient,
    parse: fn(&[u8]) -> Result<T, String>,
    entries: Cache<Url, Arc<Entry<T>>>,
}

struct Entry<T> {
    known: Mutex<Known<T>>,
    /// Held by the one who fetches.
    flight: tokio::sync::Mutex<()>,
}

struct Known<T> {
    document: Option<(Arc<T>, Instant)>,
    failure: Option<(RemoteError, Instant)>,
}

impl<T> fmt::Debug for Remote<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Remote").finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Remote<T> {
    pub(crate) fn new(client: RemoteClient, parse: fn(&[u8]) -> Result<T, String>) -> Self {
        Self {
            client,
            parse,
            entries: Cache::builder().max_capacity(ENTRIES).time_to_idle(STALE).build(),
        }
    }

    /// The document at an address. When the kept one does not do for `enough`, a new one is fetched, unless that was
    /// done a moment ago; the caller looks again at what it gets.
    pub(crate) async fn get(&self, url: &Url, enough: impl Fn(&T) -> bool) -> Result<Arc<T>, RemoteError> {
        let entry = self.entries.get_with_by_ref(url, || {
            Arc::new(Entry {
                known: Mutex::new(Known {
                    document: None,
                    failure: None,
                }),
                flight: tokio::sync::Mutex::new(()),
            })
        });
        if let Some(known) = entry.usable(Instant::now(), &enough) {
            return known;
        }
        let _flight = entry.flight.lock().await;
        // Somebody else may have fetched it meanwhile.
        if let Some(known) = entry.usable(Instant::now(), &enough) {
            return known;
        }
        let fetched = self.client.get(url).await.and_then(|body| {
            (self.parse)(&body).map_err(|reason| RemoteError::Content(format!("{url}: {reason}")))
        });
        entry.note(url, fetched)
    }
}

impl<T> Entry<T> {
    /// What can be answered without a call.
    fn usable(&self, now: Instant, enough: impl Fn(&T) -> bool) -> Option<Result<Arc<T>, RemoteError>> {
        let known = self.known.lock();
        let paused = known
            .failure
            .as_ref()
            .filter(|(_, at)| now.duration_since(*at) < PAUSE)
            .map(|(error, _)| error.clone());
        match (&known.document, paused) {
            (Some((document, at)), paused) => {
                let age = now.duration_since(*at);
                let fresh = age < PAUSE || age < FRESH && enough(document);
                // After a failure the old one does a while longer.
                let kept = paused.is_some() && age < STALE;
                if fresh || kept {
                    return Some(Ok(Arc::clone(document)));
                }
                paused.map(Err)
            }
            (None, paused) => paused.map(Err),
        }
    }

    fn note(&self, url: &Url, fetched: Result<T, RemoteError>) -> Result<Arc<T>, RemoteError> {
        let now = Instant::now();
        let mut known = self.known.lock();
        match fetched {
            Ok(document) => {
                let document = Arc::new(document);
                known.document = Some((Arc::clone(&document), now));
                known.failure = None;
                Ok(document)
            }
            Err(error) => {
                known.failure = Some((error.clone(), now));
                match &known.document {
                    Some((document, at)) if now.duration_since(*at) < STALE => {
                        tracing::warn!(%url, %error, "an older copy is used");
                        Ok(Arc::clone(document))
                    }
                    _ => Err(error),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
