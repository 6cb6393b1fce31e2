//! Where a destination points and what becomes of a request's path and query on the way there.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

/// The parts of a destination's `URL` that a request needs, split once when the destination is resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host as dialled and as SNI: a name or an address, IPv6 without brackets.
    pub host: String,
    /// Port, the scheme's default filled in.
    pub port: u16,
    /// Value of the `Host` header: host and, unless it is the scheme's default, port.
    pub host_header: HeaderValue,
    /// Path of the URL without a trailing slash; empty for a bare host.
    base_path: String,
    /// The URL's path as written, sent when the request's own path is `/`.
    whole_path: String,
    /// Query of the URL, sent before the request's.
    base_query: Option<String>,
    /// `URL.queries.*`, encoded, sent after the request's (seed L34993).
    added_query: Option<String>,
}

/// A destination URL that cannot be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the destination's URL '{url}' {reason}")]
pub struct BadUrl {
    /// The URL, without user information.
    pub url: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Target {
    /// Splits `url` and encodes `queries`.
    ///
    /// # Errors
    /// The URL is not an absolute http or https URL.
    pub fn new<'a>(url: &str, queries: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, BadUrl> {
        let bad = |reason| BadUrl {
            url: without_user_info(url),
            reason,
        };
        let parsed =
            url::Url::parse(url).map_err(|_| bad("is not a URL; write https://host[:port][/path]"))?;
        let scheme = match parsed.scheme() {
            "http" => Scheme::HTTP,
            "https" => Scheme::HTTPS,
            _ => return Err(bad("is neither http:// nor https://")),
        };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(bad(
                "has user information; use BasicAuthentication with User and Password instead",
            ));
        }
        let host = parsed
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| bad("has no host"))?;
        let port = parsed.port_or_known_default().ok_or_else(|| bad("has no port"))?;
        let authority = match parsed.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let host_header =
            HeaderValue::from_str(&authority).map_err(|_| bad("has a host that cannot be sent"))?;
        Authority::try_from(authority).map_err(|_| bad("has a host that cannot be sent"))?;
        let added = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(queries)
            .finish();
        Ok(Self {
            scheme,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            host_header,
            base_path: parsed.path().trim_end_matches('/').to_owned(),
            whole_path: parsed.path().to_owned(),
            base_query: parsed
                .query()
                .filter(|query| !query.is_empty())
                .map(str::to_owned),
            added_query: Some(added).filter(|query| !query.is_empty()),
        })
    }

    /// The URL that this was made from, without `URL.queries.*`.
    pub fn url(&self) -> String {
        let host = self.host_header.to_str().unwrap_or_default();
        let query = self.base_query.as_deref().map(|query| format!("?{query}"));
        format!(
            "{}://{host}{}{}",
            self.scheme,
            self.whole_path,
            query.unwrap_or_default()
        )
    }

    /// `URL.queries.*`, as they are declared.
    pub fn queries(&self) -> Vec<(String, String)> {
        let added = self.added_query.as_deref().unwrap_or_default();
        form_urlencoded::parse(added.as_bytes()).into_owned().collect()
    }

    /// Whether the target is spoken to over TLS.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The request target to send (origin form) for what the application asked.
    ///
    /// The request's path is appended to the URL's; `/` alone means the URL itself. Both queries and
    /// `URL.queries.*` are sent, in this order, duplicates kept.
    pub fn request_uri(&self, asked: &Uri) -> Result<Uri, http::uri::InvalidUri> {
        let (path, query) = (asked.path(), asked.query());
        let plain = self.base_path.is_empty() && self.base_query.is_none() && self.added_query.is_none();
        if plain && path.starts_with('/') {
            // The common case: nothing to add, and the path is shared, not copied.
            return Ok(asked
                .path_and_query()
                .cloned()
                .map_or_else(|| Uri::from_static("/"), Uri::from));
        }
        let mut text =
            String::with_capacity(self.base_path.len() + path.len() + query.map_or(0, str::len) + 64);
        if path == "/" || path.is_empty() {
            text.push_str(&self.whole_path);
        } else {
            text.push_str(&self.base_path);
            text.push_str(if path.starts_with('/') { "" } else { "/" });
            text.push_str(path);
        }
        let queries = [
            self.base_query.as_deref(),
            query.filter(|q| !q.is_empty()),
            self.added_query.as_deref(),
        ];
        for (index, part) in queries.into_iter().flatten().enumerate() {
            text.push(if index == 0 { '?' } else { '&' });
            text.push_str(part);
        }
        PathAndQuery::try_from(text).map(Uri::from)
    }
}

/// The URL for messages: user names and passwords in it must not reach logs or callers. A URL that cannot be read is
/// cut at its last `@`, wherever that is.
fn without_user_info(url: &str) -> String {
    if let Ok(mut parsed) = url::Url::parse(url) {
        let hidden = parsed.set_username("").and_then(|()| parsed.set_password(None));
        return if hidden.is_ok() {
            shorten(parsed.as_str())
        } else {
            shorten(parsed.scheme())
        };
    }
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("...@{}", shorten(rest)),
        None => shorten(url),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(url: &str, queries: &[(&str, &str)], asked: &str) -> String {
        let target = Target::new(url, queries.iter().copied()).unwrap();
        target.request_uri(&asked.parse().unwrap()).unwrap().to_string()
    }

    #[test]
    fn paths_and_queries_are_joined() {
        // (URL, URL.queries, request, sent); the last of the queries is seed L35005.
        for (url, queries, asked, expected) in [
            ("https://h", &[][..], "/", "/"),
            ("https://h/", &[], "/a/b?x=1", "/a/b?x=1"),
            ("https://h/base", &[], "/", "/base"),
            ("https://h/base/", &[], "/", "/base/"),
            ("https://h/base/", &[], "/a", "/base/a"),
            ("https://h/base", &[], "/a/?q", "/base/a/?q"),
            (
                "https://h/svc;v=2?$format=json",
                &[],
                "/",
                "/svc;v=2?$format=json",
            ),
            (
                "https://h/svc;v=2?$format=json",
                &[],
                "/Orders?$top=1",
                "/svc;v=2/Orders?$format=json&$top=1",
            ),
            ("http://h", &[("foo", "bar")], "/?foo=bar2", "/?foo=bar2&foo=bar"),
            ("http://h", &[("a b", "c&d")], "/x", "/x?a+b=c%26d"),
            ("http://h", &[("k", "v")], "/x%2Fy", "/x%2Fy?k=v"),
            ("http://h", &[], "http://my-dest/x?y", "/x?y"),
        ] {
            assert_eq!(sent(url, queries, asked), expected, "{url} {asked}");
        }
    }

    #[test]
    fn url_and_queries_lead_back_to_the_same_target() {
        for url in [
            "https://h",
            "http://h:8080/",
            "https://h/base/",
            "https://h/svc;v=2/%C3%A4?$format=json&x=%26",
            "https://[2001:db8::1]:8443/x",
        ] {
            let queries = [("a b", "c&d=e"), ("k", "\u{e4}"), ("k", "")];
            for queries in [&queries[..], &[]] {
                let target = Target::new(url, queries.iter().copied()).unwrap();
                let told = target.queries();
                let told = told.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                assert_eq!(Target::new(&target.url(), told), Ok(target), "{url}");
            }
        }
    }

    #[test]
    fn hosts_and_ports() {
        for (url, host, port, header) in [
            ("http://virtualhost:1234", "virtualhost", 1234, "virtualhost:1234"),
            ("http://h:80/x", "h", 80, "h"),
            ("https://h", "h", 443, "h"),
            (
                "https://[2001:db8::1]:8443",
                "2001:db8::1",
                8443,
                "[2001:db8::1]:8443",
            ),
        ] {
            let target = Target::new(url, std::iter::empty()).unwrap();
            assert_eq!(
                (target.host.as_str(), target.port, &target.host_header),
                (host, port, &HeaderValue::from_static(header))
            );
        }
    }

    #[test]
    fn wrong_urls_say_why_and_hide_passwords() {
        for (url, part) in [
            ("ftp://h", "neither http"),
            ("h/path", "not a URL"),
            ("https://", "not a URL"),
            ("https://user:secret@h", "user information"),
            ("https:user:secret@h", "user information"),
            ("https:/user:secret@h", "user information"),
            ("https://u:p@secret@h", "user information"),
            ("ftp://user:secret@h", "neither http"),
            ("user:secret@h:x", "neither http"),
            ("//user:secret@h", "not a URL"),
        ] {
            let error = Target::new(url, std::iter::empty()).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("secret"), "{error}");
        }
    }
}
