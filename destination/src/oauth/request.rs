//! What to send to a token service.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::tenant::TenantError;
use crate::properties::{AdditionError, Authentication, DestinationConfig, HeaderAdditions, ProxyType, keys};

/// Seconds allowed for connecting to a token service and what holds otherwise (seed L7481).
const CONNECTION_TIMEOUT: (std::ops::RangeInclusive<u64>, u64) = (0..=60, 10);
/// The same for its answer (seed L7489).
const SOCKET_READ_TIMEOUT: (std::ops::RangeInclusive<u64>, u64) = (0..=600, 10);

/// A token request, complete but not sent. `Debug` hides what is secret.
pub struct TokenRequest {
    /// Where to, with the query.
    pub url: Url,
    /// All headers; credentials are marked sensitive.
    pub headers: HeaderMap,
    /// Form parameters, encoded.
    pub body: SecretString,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the answer may take after that.
    pub read_timeout: Duration,
    /// Where the token service is.
    pub proxy_type: ProxyType,
    /// Whether it may be sent again after an attempt that may have arrived. What is good for one use only may not:
    /// the second use of an authorization code ends all that came of it (RFC 6749 section 4.1.2).
    pub repeatable: bool,
}

/// A token request that cannot be made from the destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The URL.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// A property that is needed.
    #[error("the destination has no {0}; add it")]
    Missing(&'static str),
    /// A header.
    #[error("tokenServiceURL.headers: {0}")]
    Header(#[from] AdditionError),
    /// A flow that knows no client assertions (seed L9875).
    #[error(
        "client assertions go with OAuth2ClientCredentials, OAuth2Password, OAuth2AuthorizationCode and \
         OAuth2TechnicalUserPropagation, not with {0}"
    )]
    Assertion(Authentication),
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The query may carry keys (tokenServiceURL.queries.*), so only the server is shown.
        formatter
            .debug_struct("TokenRequest")
            .field("server", &self.url.origin().ascii_serialization())
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl TokenRequest {
    /// The request as it is sent.
    ///
    /// # Errors
    /// The URL cannot be sent (does not happen with one made here).
    pub fn to_http(&self) -> Result<http::Request<bytes::Bytes>, String> {
        let body = bytes::Bytes::copy_from_slice(self.body.expose_secret().as_bytes());
        let mut request = http::Request::post(self.url.as_str())
            .body(body)
            .map_err(|error| format!("token service URL: {error}"))?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

/// The request for our own token at a token service, given the base address of a binding (seed L12016, L13186).
///
/// # Errors
/// The base address cannot be extended.
pub fn service_token(
    base: &Url,
    client_id: &str,
    client_secret: &SecretString,
    connect_timeout: Duration,
    read_timeout: Duration,
) -> TokenRequest {
    let mut url = base.clone();
    let path = format!("{}/oauth/token", base.path().trim_end_matches('/'));
    url.set_path(&path);
    let mut form = Form::new();
    form.set("grant_type", "client_credentials");
    form.set("client_id", client_id);
    let mut headers = form_headers();
    headers.insert(AUTHORIZATION, basic(client_id, client_secret.expose_secret()));
    TokenRequest {
        url,
        headers,
        body: form.encode(),
        connect_timeout,
        read_timeout,
        proxy_type: ProxyType::Internet,
        repeatable: true,
    }
}

/// Adds what every flow has in common: scope and the additional headers, queries and form parameters.
pub(super) fn finish(
    config: &DestinationConfig,
    mut url: Url,
    mut form: Form,
    mut headers: HeaderMap,
) -> Result<TokenRequest, RequestError> {
    if let Some(scope) = config.text(keys::SCOPE) {
        form.set("scope", scope);
    }
    for (name, value) in config.with_prefix(keys::TOKEN_SERVICE_BODY) {
        form.set(name, value);
    }
    let mut queries = config.with_prefix(keys::TOKEN_SERVICE_QUERIES).peekable();
    if queries.peek().is_some() {
        url.query_pairs_mut().extend_pairs(queries);
    }
    for addition in HeaderAdditions::new(config, keys::TOKEN_SERVICE_HEADERS) {
        let (name, value) = addition?;
        headers.insert(name, value);
    }
    let proxy_type = match config.text(keys::TOKEN_SERVICE_PROXY_TYPE) {
        Some(word) => ProxyType::from(word),
        // The target is behind a connector, its token service never is (seed L9505).
        None if config.authentication() == Authentication::OAuth2TechnicalUserPropagation => {
            ProxyType::Internet
        }
        None => config.proxy_type(),
    };
    Ok(TokenRequest {
        url,
        headers,
        body: form.encode(),
        connect_timeout: limited(
            config,
            "tokenServiceURL.ConnectionTimeoutInSeconds",
            &CONNECTION_TIMEOUT,
        ),
        read_timeout: limited(
            config,
            "tokenServiceURL.SocketReadTimeoutInSeconds",
            &SOCKET_READ_TIMEOUT,
        ),
        proxy_type,
        repeatable: true,
    })
}

/// 0 is accepted (seed L7481) and would mean "no limit"; we never wait without one, so it means the longest allowed.
fn limited(config: &DestinationConfig, key: &str, rule: &(std::ops::RangeInclusive<u64>, u64)) -> Duration {
    let stated = config.seconds(key, rule);
    if stated.is_zero() {
        Duration::from_secs(*rule.0.end())
    } else {
        stated
    }
}

pub(super) fn form_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers
}

/// Basic credentials as the seed's clients send them: not form-encoded first, against RFC 6749 section 2.3.1, which
/// the token services behind these destinations do not expect either (seed L13187).
pub(crate) fn basic(user: &str, password: &str) -> HeaderValue {
    let text = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    // Base64 has no character a header may not have.
    let mut value = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// Form parameters in order. A name appears once (RFC 6749 section 3.2); what the destination says last wins.
pub(super) struct Form(indexmap::IndexMap<String, String>);

impl Form {
    pub(super) fn new() -> Self {
        Self(indexmap::IndexMap::with_capacity(6))
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    fn encode(&self) -> SecretString {
        let mut encoder = form_urlencoded::Serializer::new(String::with_capacity(128));
        encoder.extend_pairs(&self.0);
        encoder.finish().into()
    }
}
