//! What a caller is told when the connector does not pass a request on. One place, because callers compare these
//! texts: those for denials are the documented ones.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::access::{Ambiguous, Change, Mapping};

/// Header that says which part of the way an error comes from.
pub const ERROR_ORIGIN: HeaderName = HeaderName::from_static("x-error-origin");
/// Value of [`ERROR_ORIGIN`] for everything the connector answers itself.
pub const ORIGIN: HeaderValue = HeaderValue::from_static("Connector");

/// A system that is not exposed (seed L34185).
pub fn system_denied(host: &str, port: u16) -> String {
    format!(
        "Access denied to system {host}:{port}: If this was a valid request, make sure you expose the system correctly in your Cloud Connector."
    )
}

/// A path that is not exposed.
pub fn resource_denied(path: &str, mapping: &Mapping) -> String {
    format!(
        "Access denied to resource {path} on system {}:{}. In case this was a valid request, ensure to expose the resource correctly in your cloud connector.",
        mapping.virtual_host, mapping.virtual_port
    )
}

/// A path that is exposed, but not for a change of protocol.
pub fn upgrade_denied(path: &str, mapping: &Mapping, change: Change) -> String {
    if change == Change::Other {
        return format!(
            "Access denied to resource {path} on system {}:{}: the protocol can be changed to WebSocket only; send the request without the header Upgrade (an HTTP client that offers h2c must be set to HTTP/1.1).",
            mapping.virtual_host, mapping.virtual_port
        );
    }
    format!(
        "Access denied to resource {path} on system {}:{}: changing the protocol (WebSocket) is not allowed for it; set websocket_upgrade_allowed for the resource in the connector.",
        mapping.virtual_host, mapping.virtual_port
    )
}

/// A path that could be understood in two ways.
pub fn ambiguous(why: Ambiguous) -> String {
    format!("The path cannot be checked because {why}; send it in its simplest form.")
}

/// A TCP stream for an HTTP system or the other way round: bytes would pass unchecked.
pub fn wrong_protocol(host: &str, port: u16, asked: &str, exposed: &str) -> String {
    format!(
        "System {host}:{port} is exposed for {exposed}, not for {asked}; change the kind of the destination, or the protocol of the mapping in the connector."
    )
}

/// An answer of the connector itself. The text is plain and ends with a line feed.
pub fn answer(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{text}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response.headers_mut().insert(ERROR_ORIGIN, ORIGIN);
    response
}
