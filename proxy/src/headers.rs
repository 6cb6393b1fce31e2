//! What happens to headers on the way: those of one connection stay on it, control headers are consumed, the rest
//! passes.

use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Version};

use crate::failure::{Failure, Kind};

/// The header that follows a request through every log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Longest request id taken over from a caller.
const MAX_REQUEST_ID: usize = 128;

/// Checks what a server must check before anything else: exactly one `Host` for HTTP/1.1 (RFC 9112, section 3.2).
///
/// # Errors
/// 400 with the reason.
pub fn check_host(headers: &HeaderMap, version: Version) -> Result<(), Failure> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Err(Failure::new(
            Kind::BadRequest,
            "the request has more than one Host header; send one",
        )),
        (None, _) if version == Version::HTTP_11 => Err(Failure::new(
            Kind::BadRequest,
            "the request has no Host header; HTTP/1.1 needs one",
        )),
        _ => Ok(()),
    }
}

/// The protocol a message asks to switch to, if it does (RFC 9110, section 7.8). The offer of `h2c`, which Java's
/// client makes with every first request, is one a server may pass over, and is: switched, its requests could not be
/// looked at any more (RFC 9113 has withdrawn it, section 3.1).
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asks = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    (asks && !protocol.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| protocol.clone())
}

/// Removes the headers that belong to one connection (RFC 9110, section 7.6.1), those named by `Connection` included.
/// Message framing is left to the HTTP library on both sides, so its headers go too, except `Content-Length`, which
/// the library checks against the body.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|option| HeaderName::from_bytes(option.trim().as_bytes()).ok())
            // A caller must not be able to remove what it does not own on the hop behind us.
            .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        // Our server has answered it already ("100 Continue") when the body is read.
        EXPECT,
    ] {
        headers.remove(name);
    }
}

/// Whether a message belongs to a log-on of its whole connection (NTLM, Negotiate; RFC 4559): such a connection
/// must never carry another user's request.
pub fn logs_connection_on(headers: &HeaderMap) -> bool {
    let values = headers
        .get_all(AUTHORIZATION)
        .iter()
        .chain(headers.get_all(WWW_AUTHENTICATE));
    values.into_iter().any(|value| {
        let scheme = value
            .as_bytes()
            .split(|byte| *byte == b' ')
            .next()
            .unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}

/// Asks the next hop to switch to `protocol`.
pub fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// The caller's request id if it is usable, else a fresh one.
pub fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty() && bytes.len() <= MAX_REQUEST_ID && bytes.iter().all(u8::is_ascii_graphic)
    };
    headers
        .get(REQUEST_ID)
        .filter(usable)
        .cloned()
        .unwrap_or_else(new_request_id)
}

/// A UUID of version 7 (RFC 9562). Its random part need not be unpredictable, so it comes without a system call and
/// without the lock that orders the ids of `Uuid::now_v7`.
pub fn new_request_id() -> HeaderValue {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since_epoch.as_millis()).unwrap_or_default();
    let random = fastrand::u128(..).to_ne_bytes();
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&random[..10]);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid();
    let mut buffer = uuid::Uuid::encode_buffer();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut buffer))
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn connection_headers_stay_on_their_connection() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "close, X-Own"),
            ("connection", "host"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic x"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "host"]);
    }

    #[test]
    fn upgrades_need_both_headers() {
        assert_eq!(
            upgrade(&map(&[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket")
            ]))
            .unwrap(),
            "websocket"
        );
        assert_eq!(upgrade(&map(&[("upgrade", "websocket")])), None);
        assert_eq!(upgrade(&map(&[("connection", "upgrade")])), None);
        let java = map(&[
            ("connection", "Upgrade, HTTP2-Settings"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
        ]);
        assert_eq!(upgrade(&java), None);
        let mut stripped = java;
        strip_hop_by_hop(&mut stripped);
        assert!(stripped.is_empty(), "{stripped:?}");
    }

    #[test]
    fn log_ons_of_connections_are_known() {
        for (name, value, expected) in [
            ("authorization", "NTLM TlRMTVNTUAAB", true),
            ("authorization", "negotiate YII", true),
            ("www-authenticate", "Negotiate", true),
            ("authorization", "Bearer ntlm", false),
            ("www-authenticate", "Basic realm=x", false),
        ] {
            assert_eq!(
                logs_connection_on(&map(&[(name, value)])),
                expected,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn hosts() {
        assert!(check_host(&map(&[("host", "a")]), Version::HTTP_11).is_ok());
        assert!(check_host(&map(&[("host", "a"), ("host", "a")]), Version::HTTP_11).is_err());
        assert!(check_host(&map(&[]), Version::HTTP_11).is_err());
        assert!(check_host(&map(&[]), Version::HTTP_10).is_ok());
    }

    #[test]
    fn request_ids_are_kept_when_they_are_sane() {
        assert_eq!(request_id(&map(&[("x-request-id", "abc-1")])), "abc-1");
        for bad in ["", "a b", &"x".repeat(129)] {
            let id = request_id(&map(&[("x-request-id", bad)]));
            assert_eq!(id.len(), 36, "{bad}");
        }
    }
}
