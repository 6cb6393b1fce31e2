//! Which tenant a token is asked for.
//!
//! | Where | Names | Used by |
//! |---|---|---|
//! | path `/tenants/{subdomain}/oauth/token` | the subdomain | clients without a wildcard name in the DNS |
//! | header `X-zid` | the id | clients that know the tenant's id from a user token |
//! | host `{subdomain}.<host of the store's address>` | the subdomain | the way of the original service (seed L13904) |
//!
//! Nothing of it: the tenant that owns the service instance.

use http::HeaderMap;
use http::header::HOST;

use crate::app::App;
use crate::db::{ClientRow, DbError};

/// Longest name looked up: a label of the DNS has 63, an id 100 characters.
const LONGEST: usize = 100;

/// What names the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    pub(crate) id: Option<String>,
    pub(crate) subdomain: Option<String>,
}

/// A tenant that a client may act for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) subdomain: String,
}

/// Why no tenant can be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TenantError {
    /// The request contradicts itself, or names nothing that could be a tenant.
    #[error("{0}")]
    Request(&'static str),
    /// There is none, or it has no subscription: the same words, so that nobody learns who is here.
    #[error("the tenant is unknown or has no subscription of this service instance")]
    Unknown,
    /// The database cannot tell.
    #[error(transparent)]
    Database(#[from] DbError),
}

/// What a request names, `host` being that of the store's own address.
pub(crate) fn asked(
    headers: &HeaderMap,
    path: Option<&str>,
    host: Option<&str>,
) -> Result<Asked, TenantError> {
    let mut zids = headers.get_all("x-zid").iter();
    let id = match (zids.next(), zids.next()) {
        (None, _) => None,
        (Some(value), None) => Some(
            value
                .to_str()
                .ok()
                .filter(|zid| plain(zid))
                .ok_or(TenantError::Unknown)?,
        ),
        _ => return Err(TenantError::Request("X-zid is sent twice; send it once")),
    };
    let called = headers.get(HOST).and_then(|value| value.to_str().ok());
    let label = called.zip(host).and_then(|(called, host)| label(called, host));
    let subdomain = match (path, label.as_deref()) {
        (Some(path), Some(label)) if !path.eq_ignore_ascii_case(label) => {
            return Err(TenantError::Request(
                "the host and the path name different tenants",
            ));
        }
        (Some(path), _) => Some(path),
        (None, label) => label,
    };
    if subdomain.is_some_and(|subdomain| !plain(subdomain)) {
        return Err(TenantError::Unknown);
    }
    Ok(Asked {
        id: id.map(str::to_owned),
        subdomain: subdomain.map(str::to_ascii_lowercase),
    })
}

/// Ids and subdomains are made of these; the database need not be asked about others.
fn plain(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(allowed)
}

/// The one label before the store's own host.
fn label(called: &str, host: &str) -> Option<String> {
    let called = match called.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => called,
    };
    let called = called.to_ascii_lowercase();
    let label = called
        .strip_suffix(&host.to_ascii_lowercase())?
        .strip_suffix('.')?;
    (!label.is_empty() && !label.contains('.')).then(|| label.to_owned())
}

/// The tenant asked for, if the client may act for it: its own, or a subscriber of its instance.
pub(crate) async fn choose(app: &App, client: &ClientRow, asked: &Asked) -> Result<Tenant, TenantError> {
    let own = Tenant {
        id: client.subaccount_id.clone(),
        subdomain: client.subdomain.clone(),
    };
    let Some(wanted) = asked.id.as_deref().or(asked.subdomain.as_deref()) else {
        return Ok(own);
    };
    // An id of one tenant may be the subdomain of another: only what was said counts.
    let fits = |tenant: &Tenant| {
        asked.id.as_ref().is_none_or(|id| *id == tenant.id)
            && asked
                .subdomain
                .as_ref()
                .is_none_or(|subdomain| *subdomain == tenant.subdomain)
    };
    if fits(&own) {
        return Ok(own);
    }
    let row = app
        .storage
        .database
        .subscriber(&client.key.instance_id, wanted)
        .await?;
    row.map(|row| Tenant {
        id: row.id,
        subdomain: row.subdomain,
    })
    .filter(fits)
    .ok_or(TenantError::Unknown)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(host: &str, zid: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        if let Some(zid) = zid {
            headers.insert("x-zid", HeaderValue::from_str(zid).unwrap());
        }
        headers
    }

    #[test]
    fn tenants_are_named_by_host_header_or_path() {
        let own = "store.example.com";
        type Case<'a> = (
            &'a str,
            Option<&'a str>,
            Option<&'a str>,
            Option<&'a str>,
            Option<&'a str>,
        );
        let cases: [Case<'_>; 12] = [
            (own, None, None, None, None),
            ("store.example.com:8443", None, None, None, None),
            ("sub.store.example.com", None, None, None, Some("sub")),
            ("Sub.Store.Example.com:443", None, None, None, Some("sub")),
            ("a.b.store.example.com", None, None, None, None),
            ("evilstore.example.com", None, None, None, None),
            (".store.example.com", None, None, None, None),
            ("10.0.0.1:80", None, None, None, None),
            ("[::1]:80", None, None, None, None),
            (own, Some("t-1"), None, Some("t-1"), None),
            (own, None, Some("Sub"), None, Some("sub")),
            (
                "sub.store.example.com",
                Some("t-1"),
                Some("SUB"),
                Some("t-1"),
                Some("sub"),
            ),
        ];
        for (host, zid, path, id, subdomain) in cases {
            let asked = asked(&headers(host, zid), path, Some(own)).unwrap();
            assert_eq!(
                (asked.id.as_deref(), asked.subdomain.as_deref()),
                (id, subdomain),
                "{host}"
            );
        }
    }

    #[test]
    fn contradictions_and_rubbish_are_refused() {
        let own = Some("store.example.com");
        let both = asked(&headers("a.store.example.com", None), Some("b"), own);
        assert!(matches!(both, Err(TenantError::Request(_))));
        for zid in ["", " ", "a b", "a'--"] {
            let refused = asked(&headers("h", Some(zid)), None, own);
            assert!(matches!(refused, Err(TenantError::Unknown)), "{zid}");
        }
        for path in ["a/b", &"a".repeat(101)] {
            let refused = asked(&headers("h", None), Some(path), own);
            assert!(matches!(refused, Err(TenantError::Unknown)), "{path}");
        }
        let mut twice = headers("h", Some("a"));
        twice.append("x-zid", HeaderValue::from_static("b"));
        assert!(matches!(asked(&twice, None, own), Err(TenantError::Request(_))));
    }
}
