//! Redirects of internal hosts lead to their virtual names (case A-13, seed L21073).

use http::header::{HeaderMap, HeaderValue, LOCATION};

use crate::access::Systems;

/// Rewrites `Location` when it points to an exposed internal host; everything else stays untouched.
pub(super) fn rewrite(headers: &mut HeaderMap, systems: &Systems) {
    let Some(value) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else {
        return;
    };
    if let Some(virtual_url) = to_virtual(value, systems).and_then(|url| HeaderValue::from_str(&url).ok()) {
        headers.insert(LOCATION, virtual_url);
    }
}

/// The virtual form of an absolute URL. The scheme becomes `http`, which is what the cloud side speaks to virtual
/// hosts; path, query and fragment stay byte for byte.
fn to_virtual(url: &str, systems: &Systems) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let tls = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => false,
        _ if scheme.eq_ignore_ascii_case("https") => true,
        _ => return None,
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let authority: http::uri::Authority = authority.parse().ok()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let mapping = systems.find_internal(authority.host(), port, tls)?;
    let port = match mapping.virtual_port {
        80 => String::new(),
        other => format!(":{other}"),
    };
    Some(format!("http://{}{port}{tail}", mapping.virtual_host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{HostInHeader, Mapping, PrefixMatch, SystemProtocol};

    fn mapping(host: &str, port: u16, internal_port: u16, protocol: SystemProtocol) -> Mapping {
        Mapping {
            virtual_host: host.to_owned(),
            virtual_port: port,
            internal_host: "Internal.corp".to_owned(),
            internal_port,
            protocol,
            host_in_header: HostInHeader::Virtual,
            prefix_match: PrefixMatch::Segment,
            backend_ca: None,
            resources: Vec::new(),
        }
    }

    #[test]
    fn only_exposed_internal_hosts_are_rewritten() {
        let (systems, _) = Systems::new(vec![
            mapping("first", 1234, 8080, SystemProtocol::Http),
            mapping("second", 1234, 8080, SystemProtocol::Http),
            mapping("plain", 80, 80, SystemProtocol::Http),
            mapping("secure", 443, 443, SystemProtocol::Https),
            mapping("bytes", 1, 9999, SystemProtocol::Tcp),
        ]);
        for (url, expected) in [
            (
                "http://internal.corp:8080/x?y=%2F#z",
                Some("http://first:1234/x?y=%2F#z"),
            ),
            ("HTTP://INTERNAL.CORP:8080", Some("http://first:1234")),
            ("http://internal.corp/x", Some("http://plain/x")),
            ("https://internal.corp?x", Some("http://secure:443?x")),
            ("https://internal.corp:8080/x", None),
            ("http://internal.corp:9999/x", None),
            ("http://elsewhere.example/x", None),
            ("http://user@internal.corp/x", None),
            ("/relative", None),
            ("ftp://internal.corp/", None),
            ("http://", None),
        ] {
            assert_eq!(to_virtual(url, &systems).as_deref(), expected, "{url}");
        }
    }
}
