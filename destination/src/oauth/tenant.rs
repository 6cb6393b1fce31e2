//! Which URL of a token service serves a tenant (seed L6947-L6997).

use url::{Host, Url};

use crate::properties::{DestinationConfig, keys};

/// Stands for the tenant's subdomain in a `Common` URL.
const PLACEHOLDER: &str = "{tenant}";

/// A token service URL that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// No URL.
    #[error("the destination has no tokenServiceURL; add it")]
    Missing,
    /// Not a URL one can call.
    #[error("tokenServiceURL is no http:// or https:// address ({0}); correct it")]
    Malformed(String),
    /// Credentials in the URL would end up in logs.
    #[error(
        "tokenServiceURL has a user or password in it; move them to tokenServiceUser and tokenServicePassword"
    )]
    UserInfo,
    /// `Common` without a tenant.
    #[error("tokenServiceURLType is Common, so a tenant is needed; send its subdomain as X-tenant")]
    NoTenant,
    /// A tenant that is no subdomain would redirect the request elsewhere.
    #[error("the tenant is no subdomain; use letters, digits and '-', at most 63")]
    BadTenant,
    /// An address has no subdomains.
    #[error(
        "tokenServiceURLType is Common, but tokenServiceURL names an address; add {{tenant}} where the tenant belongs"
    )]
    NoSubdomain,
}

/// The URL to ask for a token on behalf of the tenant with this subdomain.
///
/// `Dedicated` (also when unset) takes the URL as it is. `Common` replaces `{tenant}`, or puts the subdomain before
/// the host. The query is kept (seed L10976).
///
/// # Errors
/// See [`TenantError`].
pub fn token_service_url(config: &DestinationConfig, subdomain: Option<&str>) -> Result<Url, TenantError> {
    let text = config.text(keys::TOKEN_SERVICE_URL).ok_or(TenantError::Missing)?;
    let common = config
        .text(keys::TOKEN_SERVICE_URL_TYPE)
        .is_some_and(|kind| kind.eq_ignore_ascii_case("Common"));
    if !common {
        return parse(text);
    }
    let subdomain = subdomain
        .filter(|name| !name.is_empty())
        .ok_or(TenantError::NoTenant)?;
    check_subdomain(subdomain)?;
    if text.contains(PLACEHOLDER) {
        return parse(&text.replace(PLACEHOLDER, subdomain));
    }
    let mut url = parse(text)?;
    let host = match url.host() {
        Some(Host::Domain(host)) => format!("{subdomain}.{host}"),
        _ => return Err(TenantError::NoSubdomain),
    };
    url.set_host(Some(&host))
        .map_err(|error| TenantError::Malformed(error.to_string()))?;
    Ok(url)
}

/// Checks a tenant's subdomain: one DNS label, so that it cannot change anything else of a URL.
///
/// # Errors
/// [`TenantError::BadTenant`].
pub fn check_subdomain(subdomain: &str) -> Result<(), TenantError> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = subdomain.as_bytes();
    let label =
        bytes.len() <= 63 && bytes.iter().copied().all(inner) && edge(bytes.first()) && edge(bytes.last());
    if label {
        Ok(())
    } else {
        Err(TenantError::BadTenant)
    }
}

fn parse(text: &str) -> Result<Url, TenantError> {
    let url = Url::parse(text).map_err(|error| TenantError::Malformed(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(TenantError::Malformed(format!("scheme {}", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(TenantError::UserInfo);
    }
    Ok(url)
}
