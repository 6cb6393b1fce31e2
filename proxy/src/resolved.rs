//! What a find answer means for the data path: where to go, what to add, which credential, until when it holds.
//! Everything a request needs is worked out here once, so that a request only copies pointers.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use landbridge_destination::find::{AuthToken, FindResponse};
use landbridge_destination::properties::{Authentication, DestinationConfig, DestinationKind, ProxyType};
use secrecy::ExposeSecret;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::failure::{Failure, Kind};
use crate::pool::Upstream;
use crate::target::Target;
use crate::upstream::{Trust, UpstreamKey, Way};

mod told;

/// Tokens are given up this long before they expire, so that one does not expire on the way.
pub const SKEW: Duration = Duration::from_secs(30);

/// A destination, ready for requests.
#[derive(Debug)]
pub struct Resolved {
    /// Name in the store.
    pub name: String,
    /// Where requests go; `None` for TCP destinations.
    pub target: Option<Target>,
    /// Whom to connect to.
    pub upstream: Arc<Upstream>,
    /// `URL.headers.*`, appended to what the application sends.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What proves who we are.
    pub credential: Option<Credential>,
    /// Limit for making a connection.
    pub connect_timeout: Duration,
    /// Limit for each wait for the target's data.
    pub read_timeout: Duration,
}

/// A header that carries a credential, and how long it holds.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Usually `authorization`.
    pub name: HeaderName,
    /// Marked sensitive: it is not shown by `Debug`.
    pub value: HeaderValue,
    /// From when on it must not be sent; `None`: it does not expire.
    pub expires: Option<Instant>,
    /// Whether a new one may help when the target refuses this one (fetched tokens, not passwords).
    pub renewable: bool,
}

impl Credential {
    /// Whether both are the same secret, in constant time.
    pub fn is_same(&self, other: &HeaderValue) -> bool {
        self.value.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

/// A find answer, checked, before it is bound to an upstream.
#[derive(Debug)]
pub struct Plan {
    /// Identity of the upstream.
    pub key: UpstreamKey,
    name: String,
    target: Option<Target>,
    headers: Vec<(HeaderName, HeaderValue)>,
    credential: Option<Credential>,
    connect_timeout: Duration,
    read_timeout: Duration,
}

impl Plan {
    /// Works out what `found` means. `received` is when the answer came: lifetimes count from there. `location` is
    /// the request's own location id, which wins over the destination's.
    ///
    /// # Errors
    /// The destination cannot be used, or its token could not be had; the message says what to change.
    pub fn new(found: &FindResponse, location: Option<&str>, received: Instant) -> Result<Self, Failure> {
        let config = &found.configuration;
        let unusable = |what: String| {
            Failure::new(
                Kind::DestinationUnusable,
                format!("destination '{}' cannot be used: {what}", config.name()),
            )
        };
        let way = way(found, location).map_err(unusable)?;
        let (target, host, port, tls) = match config.kind() {
            Some(DestinationKind::Http) => {
                let url = config.url().ok_or_else(|| unusable("it has no URL".to_owned()))?;
                let target =
                    Target::new(url, config.query_additions()).map_err(|e| unusable(e.to_string()))?;
                let (host, port, tls) = (target.host.clone(), target.port, target.is_tls());
                (Some(target), host, port, tls)
            }
            Some(DestinationKind::Tcp) => {
                let address = config
                    .address()
                    .map_err(|e| unusable(format!("its address {e}")))?;
                (None, address.host, address.port, false)
            }
            other => {
                let kind = other.map_or("missing or unknown", DestinationKind::as_str);
                return Err(unusable(format!(
                    "its Type is {kind}; this proxy carries HTTP and TCP"
                )));
            }
        };
        // Inside the tunnel the hop is encrypted already and the connector speaks TLS to the system where its
        // mapping says so; only the Internet hop is ours to encrypt (seed L11871).
        let trust = if tls && way == Way::Internet {
            trust(found).map_err(unusable)?
        } else {
            Trust::Plain
        };
        let headers = config
            .header_additions()
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| unusable(e.to_string()))?;
        Ok(Self {
            key: UpstreamKey {
                way,
                trust,
                host,
                port,
            },
            name: config.name().to_owned(),
            target,
            headers,
            credential: credential(found, received)?,
            connect_timeout: config.connection_timeout(),
            read_timeout: config.socket_read_timeout(),
        })
    }

    /// Binds the plan to its upstream.
    pub fn bind(self, upstream: Arc<Upstream>) -> Resolved {
        Resolved {
            name: self.name,
            target: self.target,
            upstream,
            headers: self.headers,
            credential: self.credential,
            connect_timeout: self.connect_timeout,
            read_timeout: self.read_timeout,
        }
    }
}

fn way(found: &FindResponse, location: Option<&str>) -> Result<Way, String> {
    let config = &found.configuration;
    match config.proxy_type() {
        // Private links are networks the proxy is in already.
        ProxyType::Internet | ProxyType::PrivateLink => Ok(Way::Internet),
        ProxyType::OnPremise => {
            let tenant = found.owner.subaccount_id.clone().filter(|id| !id.is_empty());
            let location = location.or_else(|| config.location_id()).unwrap_or_default();
            Ok(Way::OnPremise {
                tenant: tenant.ok_or("the store did not say which subaccount owns it")?,
                location: location.to_owned(),
            })
        }
        ProxyType::Unknown(other) => Err(format!(
            "its ProxyType '{other}' is unknown; use Internet or OnPremise"
        )),
    }
}

fn trust(found: &FindResponse) -> Result<Trust, String> {
    let config = &found.configuration;
    if config.trust_all() {
        return Ok(Trust::All);
    }
    let Some(name) = config.trust_store() else {
        return Ok(Trust::Roots);
    };
    let certificates = found.certificates.as_deref().unwrap_or_default();
    let store = certificates
        .iter()
        .find(|certificate| certificate.name == name)
        .ok_or_else(|| {
            format!("its trust store '{name}' is not in the store; upload it or correct TrustStoreLocation")
        })?;
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(store.content.expose_secret().trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|text| text.contains("-----BEGIN CERTIFICATE-----"));
    let pem = decoded
        .ok_or_else(|| format!("its trust store '{name}' is not PEM; upload the certificates as .pem"))?;
    Ok(Trust::Custom(pem.into()))
}

fn credential(found: &FindResponse, received: Instant) -> Result<Option<Credential>, Failure> {
    let config = &found.configuration;
    let authentication = config.authentication();
    match authentication {
        Authentication::NoAuthentication => return Ok(None),
        Authentication::ClientCertificateAuthentication | Authentication::PrincipalPropagation => {
            return Err(unsupported(config, &authentication));
        }
        _ => {}
    }
    let tokens = found.auth_tokens.as_deref().unwrap_or_default();
    let token = tokens
        .iter()
        .find(|token| !token.is_error())
        .or_else(|| tokens.first());
    let failed = |why: &str| {
        let name = config.name();
        Failure::new(
            Kind::TokenUnavailable,
            format!("no token for destination '{name}' ({authentication}): {why}"),
        )
    };
    let Some(token) = token else {
        return Err(failed("the store's answer has none"));
    };
    if let Some(error) = &token.error {
        return Err(failed(error));
    }
    if token.expires_in == Some(0) {
        return Err(failed("the store's answer has an expired one"));
    }
    header_of(token)
        .ok_or_else(|| failed("the store's answer has no usable header"))
        .map(|(name, mut value)| {
            value.set_sensitive(true);
            let renewable = authentication.asks_token_service();
            let expires = token
                .expires_in
                .map(|seconds| received + Duration::from_secs(seconds).saturating_sub(SKEW));
            Some(Credential {
                name,
                value,
                expires,
                renewable,
            })
        })
}

fn header_of(token: &AuthToken) -> Option<(HeaderName, HeaderValue)> {
    let header = token.http_header.as_ref()?;
    let name = HeaderName::from_bytes(header.key.trim().as_bytes()).ok()?;
    let value = HeaderValue::from_str(header.value.expose_secret()).ok()?;
    Some((name, value))
}

fn unsupported(config: &DestinationConfig, authentication: &Authentication) -> Failure {
    let message = format!(
        "destination '{}' uses {authentication}, which this version of the proxy does not support; \
         use NoAuthentication, BasicAuthentication or an OAuth kind",
        config.name()
    );
    Failure::new(Kind::DestinationUnusable, message)
}

#[cfg(test)]
mod tests;
