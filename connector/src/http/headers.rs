//! Headers between the cloud side and the internal host.

use http::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri, Version};
use hyper::body::Body;

use crate::access::{Change, HostInHeader, Mapping};

/// Fields that belong to one connection (RFC 9110 section 7.6.1), `Connection` itself and `Upgrade` apart.
const HOP_BY_HOP: [HeaderName; 6] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    TE,
    TRANSFER_ENCODING,
];
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// Names that `Connection` may not remove: without them the message would be another one.
const PROTECTED: [HeaderName; 4] = [
    HOST,
    HeaderName::from_static("content-length"),
    TRAILER,
    FORWARDED_HOST,
];

/// The protocol the client wants to change to. Without the option in `Connection` the field has no meaning and ends here.
pub(super) fn wanted_change(headers: &HeaderMap) -> Change {
    if options(headers).any(|option| option.eq_ignore_ascii_case("upgrade")) {
        named_protocol(headers)
    } else {
        Change::No
    }
}

/// What `Upgrade` names, taking all its lines together.
pub(super) fn named_protocol(headers: &HeaderMap) -> Change {
    let mut protocols = headers
        .get_all(UPGRADE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|protocol| !protocol.is_empty());
    match (protocols.next(), protocols.next()) {
        (None, _) => Change::No,
        (Some(protocol), None) if protocol.eq_ignore_ascii_case(b"websocket") => Change::WebSocket,
        _ => Change::Other,
    }
}

fn options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Bytes of the head: hyper's own limit is only looked at between two reads, each of which may bring as much again.
pub(super) fn size<B>(request: &Request<B>) -> usize {
    let line = request
        .uri()
        .path_and_query()
        .map_or(1, |path| path.as_str().len());
    let fields = request.headers().iter();
    line + fields
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum::<usize>()
}

/// The internal host changes to a protocol that was not asked for.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct UnaskedChange;

/// Removes what belongs to the connection it came on; a change of protocol is asked for anew on the next.
fn remove_hop_by_hop(headers: &mut HeaderMap, change: Change) {
    let trailers = headers
        .get(TE)
        .is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let named: Vec<HeaderName> = options(headers)
        .filter_map(|option| option.parse().ok())
        .filter(|name| !PROTECTED.contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
    headers.remove(UPGRADE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if change == Change::WebSocket {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
}

/// Makes a request for the internal host. The path goes on byte for byte.
pub(super) fn prepare_request<B: Body>(request: &mut Request<B>, mapping: &Mapping) {
    let change = wanted_change(request.headers());
    remove_hop_by_hop(request.headers_mut(), change);
    // hyper sends the body of a GET or HEAD only when its framing is named.
    if request.body().size_hint().exact().is_none() && !request.body().is_end_stream() {
        request
            .headers_mut()
            .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    set_host(request.headers_mut(), mapping);
    *request.version_mut() = Version::HTTP_11;
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
}

/// Case A-12.
fn set_host(headers: &mut HeaderMap, mapping: &Mapping) {
    let sent = headers.get(HOST).and_then(|host| host.to_str().ok());
    let kept = sent
        .filter(|host| is_host(host, &mapping.virtual_host))
        .and_then(|host| HeaderValue::from_str(host).ok());
    let virtual_host = kept.or_else(|| host_value(&mapping.virtual_host, mapping.virtual_port, mapping));
    match mapping.host_in_header {
        HostInHeader::Virtual => {
            if let Some(host) = virtual_host {
                headers.insert(HOST, host);
            }
        }
        HostInHeader::Internal => {
            if let Some(host) = host_value(&mapping.internal_host, mapping.internal_port, mapping) {
                headers.insert(HOST, host);
            }
            if let Some(host) = virtual_host {
                headers.insert(FORWARDED_HOST, host);
            }
        }
    }
}

/// Whether a `Host` value names this host, with any port.
fn is_host(value: &str, host: &str) -> bool {
    let bracketed = value.ends_with(']');
    let name = if bracketed {
        value
    } else {
        value.rsplit_once(':').map_or(value, |(name, _)| name)
    };
    name.eq_ignore_ascii_case(host)
}

fn host_value(host: &str, port: u16, mapping: &Mapping) -> Option<HeaderValue> {
    let text = if mapping.protocol.default_port() == Some(port) {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    HeaderValue::from_str(&text).ok()
}

/// Makes an answer for the cloud side, whose request asked for `asked`. An error when the internal host changes to a
/// protocol that was not asked for, and so was not checked.
pub(super) fn prepare_response<B>(response: &mut Response<B>, asked: Change) -> Result<(), UnaskedChange> {
    let mut change = Change::No;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        change = named_protocol(response.headers());
        if asked != Change::WebSocket || change != asked {
            return Err(UnaskedChange);
        }
    }
    let closes = change == Change::No && is_last(response);
    remove_hop_by_hop(response.headers_mut(), change);
    if closes {
        // The stream ends with that connection. Unless the cloud side is told, it keeps the stream for a request that
        // then finds it closed.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    *response.version_mut() = Version::HTTP_11;
    Ok(())
}

/// Whether the internal host closes its connection after this answer (RFC 9112 section 9.3).
fn is_last<B>(response: &Response<B>) -> bool {
    let has = |name: &str| options(response.headers()).any(|option| option.eq_ignore_ascii_case(name));
    has("close") || (response.version() < Version::HTTP_11 && !has("keep-alive"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Empty;

    use super::*;
    use crate::access::{PrefixMatch, SystemProtocol};

    fn mapping(host_in_header: HostInHeader) -> Mapping {
        Mapping {
            virtual_host: "virtual".to_owned(),
            virtual_port: 1234,
            internal_host: "internal".to_owned(),
            internal_port: 443,
            protocol: SystemProtocol::Https,
            host_in_header,
            prefix_match: PrefixMatch::Segment,
            backend_ca: None,
            resources: Vec::new(),
        }
    }

    fn prepared(mapping: &Mapping, fields: &[(&str, &str)]) -> Request<Empty<Bytes>> {
        let mut request = Request::builder().uri("http://cloud.example/a%2Fb/../c?x=%20");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Empty::new()).unwrap();
        prepare_request(&mut request, mapping);
        request
    }

    /// Case A-12.
    #[test]
    fn the_host_is_the_configured_one() {
        for (kind, sent, host, forwarded) in [
            (HostInHeader::Virtual, "virtual", "virtual", None),
            (HostInHeader::Virtual, "Virtual:1234", "Virtual:1234", None),
            (HostInHeader::Virtual, "evil", "virtual:1234", None),
            (HostInHeader::Internal, "virtual", "internal", Some("virtual")),
            (HostInHeader::Internal, "evil", "internal", Some("virtual:1234")),
        ] {
            let request = prepared(&mapping(kind), &[("host", sent)]);
            let field = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(
                (field("host"), field("x-forwarded-host")),
                (Some(host), forwarded),
                "{kind:?} {sent}"
            );
        }
    }

    #[test]
    fn the_path_is_forwarded_as_it_was_sent() {
        let request = prepared(&mapping(HostInHeader::Virtual), &[]);
        assert_eq!(request.uri().to_string(), "/a%2Fb/../c?x=%20");
    }

    #[test]
    fn hop_by_hop_fields_end_here() {
        let fields = [
            ("connection", "keep-alive, X-Private, host"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic eA=="),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("authorization", "Bearer x"),
            ("x-kept", "1"),
        ];
        let request = prepared(&mapping(HostInHeader::Virtual), &fields);
        let mut names: Vec<&str> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", "host", "te", "x-kept"]);
    }

    #[test]
    fn a_change_of_protocol_is_asked_for_anew() {
        let fields = [
            ("connection", "Upgrade, keep-alive"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "x"),
        ];
        let request = prepared(&mapping(HostInHeader::Virtual), &fields);
        assert_eq!(request.headers()["connection"], "upgrade");
        assert_eq!(request.headers()["upgrade"], "websocket");
        assert!(request.headers().contains_key("sec-websocket-key"));
        assert_eq!(wanted_change(request.headers()), Change::WebSocket);
    }

    #[test]
    fn only_one_protocol_is_websocket() {
        for (connection, protocols, change) in [
            ("upgrade", &["websocket"][..], Change::WebSocket),
            ("x, UPGRADE", &[" WebSocket ,"], Change::WebSocket),
            ("upgrade", &["h2c"], Change::Other),
            ("upgrade", &["websocket, h2c"], Change::Other),
            ("upgrade", &["websocket", "h2c"], Change::Other),
            ("upgrade", &["h2c", "websocket"], Change::Other),
            ("upgrade", &["websocket/13"], Change::Other),
            ("upgrade", &["websocket\u{e9}"], Change::Other),
            ("upgrade", &[], Change::No),
            ("upgrade", &[" , "], Change::No),
            ("keep-alive", &["h2c"], Change::No),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONNECTION, HeaderValue::from_static(connection));
            for protocol in protocols {
                headers.append(UPGRADE, HeaderValue::from_bytes(protocol.as_bytes()).unwrap());
            }
            assert_eq!(wanted_change(&headers), change, "{connection} {protocols:?}");
        }
    }

    #[test]
    fn the_last_answer_of_a_connection_says_so() {
        for (version, connection, last) in [
            (Version::HTTP_11, "Close", true),
            (Version::HTTP_11, "x-private, close", true),
            (Version::HTTP_11, "keep-alive", false),
            (Version::HTTP_10, "x-private", true),
            (Version::HTTP_10, "Keep-Alive", false),
        ] {
            let builder = Response::builder()
                .version(version)
                .header(CONNECTION, connection);
            let mut response = builder.body(()).unwrap();
            prepare_response(&mut response, Change::No).unwrap();
            let sent = response.headers().get(CONNECTION);
            assert_eq!(sent.is_some_and(|value| value == "close"), last, "{connection}");
            assert!(last || sent.is_none());
            assert_eq!(response.version(), Version::HTTP_11);
        }
    }

    #[test]
    fn a_change_that_was_not_asked_for_is_refused() {
        let answer = |status: u16, protocol: &str| {
            let builder = Response::builder().status(status).header("upgrade", protocol);
            builder.header("connection", "upgrade").body(()).unwrap()
        };
        for (asked, status, protocol, result) in [
            (Change::WebSocket, 101, "WebSocket", Ok(())),
            (Change::WebSocket, 101, "h2c", Err(UnaskedChange)),
            (Change::WebSocket, 101, "", Err(UnaskedChange)),
            (Change::No, 101, "websocket", Err(UnaskedChange)),
            (Change::No, 101, "", Err(UnaskedChange)),
            // An offer (RFC 9110 section 7.8), which ends here.
            (Change::No, 200, "h2c", Ok(())),
        ] {
            let mut response = answer(status, protocol);
            assert_eq!(
                prepare_response(&mut response, asked),
                result,
                "{asked:?} {protocol}"
            );
            let kept = response.headers().get(UPGRADE).is_some();
            assert!(result.is_err() || kept == (status == 101), "{asked:?} {protocol}");
        }
    }
}
