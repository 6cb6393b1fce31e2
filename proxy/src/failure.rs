//! Every way a request can fail, as one type: status, origin, code and message for the caller, and what to do for
//! whoever runs the destination.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// The message for people.
pub const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-error-message");
/// Which part of the way failed.
pub const ERROR_ORIGIN: HeaderName = HeaderName::from_static("x-error-origin");
/// A stable word for programs.
pub const ERROR_CODE: HeaderName = HeaderName::from_static("x-internal-error-code");

/// Longest `x-error-message`, in bytes: clients of ours must survive with 8 KiB heads.
const MAX_HEADER: usize = 512;

/// Which part of the way failed; the value of `x-error-origin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// This proxy, usually because of the request.
    Proxy,
    /// The destination store.
    Store,
    /// The token service of the destination.
    TokenService,
    /// The tunnel acceptor: no connector, or it was lost.
    ConnectivityProxy,
    /// The on-premise connector.
    Connector,
    /// The system the destination points to.
    Target,
}

impl Origin {
    /// The text of the header. The first two are the vendor's own names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "Transparent Proxy",
            Self::Store => "Destination Service",
            Self::TokenService => "Token Service",
            Self::ConnectivityProxy => "Connectivity Proxy",
            Self::Connector => "Connector",
            Self::Target => "Target System",
        }
    }
}

/// What went wrong. Each kind has one status, one origin and one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request's head is ambiguous or malformed.
    BadRequest,
    /// The request's line and headers are too long.
    HeadTooLong,
    /// The application has stopped sending its request.
    RequestTimeout,
    /// The request has been here before.
    Loop,
    /// A control header (`X-Destination-Name` and its like) is wrong.
    BadControlHeader,
    /// The method cannot be used here (CONNECT).
    MethodNotAllowed,
    /// The route is for the pods of another namespace.
    CallerForbidden,
    /// The proxy has as many connections or requests as it may.
    Overloaded,
    /// Only gateways can carry this destination; the connection has to go there.
    CarriedByGateway,
    /// No gateway can be asked for the destination.
    GatewayUnavailable,
    /// The store does not know the destination that the route names.
    DestinationNotFound,
    /// The store does not know the destination that the request names.
    RequestedDestinationNotFound,
    /// The destination is there but cannot be used by this proxy.
    DestinationUnusable,
    /// The store did not answer or refused us.
    StoreUnavailable,
    /// The store did not answer in time.
    StoreTimeout,
    /// No token could be had for the destination.
    TokenUnavailable,
    /// No connector is connected for the tenant and location.
    NoConnector,
    /// The connector does not expose the system.
    Denied,
    /// The connector cannot reach the system.
    ConnectorUnreachable,
    /// The connector cannot reach the system in time.
    ConnectorTimeout,
    /// The tunnel broke, or the connector refused for a reason of its own.
    ConnectorFailed,
    /// No connection to the target.
    TargetUnreachable,
    /// No connection to the target in time.
    TargetConnectTimeout,
    /// The target's certificate or TLS cannot be accepted.
    TargetTls,
    /// The target broke off or did not speak HTTP.
    TargetFailed,
    /// The target did not answer in time.
    TargetTimeout,
    /// The destination's address is one this proxy must not call.
    TargetForbidden,
}

impl Kind {
    /// Every kind, for tables.
    pub const ALL: [Self; 27] = [
        Self::BadRequest,
        Self::HeadTooLong,
        Self::RequestTimeout,
        Self::Loop,
        Self::BadControlHeader,
        Self::MethodNotAllowed,
        Self::CallerForbidden,
        Self::Overloaded,
        Self::CarriedByGateway,
        Self::GatewayUnavailable,
        Self::DestinationNotFound,
        Self::RequestedDestinationNotFound,
        Self::DestinationUnusable,
        Self::StoreUnavailable,
        Self::StoreTimeout,
        Self::TokenUnavailable,
        Self::NoConnector,
        Self::Denied,
        Self::ConnectorUnreachable,
        Self::ConnectorTimeout,
        Self::ConnectorFailed,
        Self::TargetUnreachable,
        Self::TargetConnectTimeout,
        Self::TargetTls,
        Self::TargetFailed,
        Self::TargetTimeout,
        Self::TargetForbidden,
    ];

    /// The kind with this code. Of two kinds with the same code the first one.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.facts().2 == code)
    }

    /// Status, origin and code. One table, so that they can be read, tested and documented together.
    pub fn facts(self) -> (StatusCode, Origin, &'static str) {
        use Origin::{ConnectivityProxy, Connector, Proxy, Store, Target, TokenService};
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, Proxy, "bad-request"),
            Self::HeadTooLong => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                Proxy,
                "head-too-long",
            ),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, Proxy, "request-timeout"),
            Self::Loop => (StatusCode::LOOP_DETECTED, Proxy, "loop"),
            Self::BadControlHeader => (StatusCode::BAD_REQUEST, Proxy, "bad-control-header"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, Proxy, "method-not-allowed"),
            Self::CallerForbidden => (StatusCode::FORBIDDEN, Proxy, "caller-forbidden"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, Proxy, "overloaded"),
            Self::CarriedByGateway => (StatusCode::SERVICE_UNAVAILABLE, Proxy, "carried-by-gateway"),
            Self::GatewayUnavailable => (StatusCode::SERVICE_UNAVAILABLE, Proxy, "gateway-unavailable"),
            Self::DestinationNotFound => (StatusCode::BAD_GATEWAY, Store, "destination-not-found"),
            Self::RequestedDestinationNotFound => (StatusCode::NOT_FOUND, Store, "destination-not-found"),
            Self::DestinationUnusable => (StatusCode::BAD_GATEWAY, Store, "destination-unusable"),
            Self::StoreUnavailable => (StatusCode::BAD_GATEWAY, Store, "store-unavailable"),
            Self::StoreTimeout => (StatusCode::GATEWAY_TIMEOUT, Store, "store-timeout"),
            Self::TokenUnavailable => (StatusCode::BAD_GATEWAY, TokenService, "token-unavailable"),
            Self::NoConnector => (StatusCode::SERVICE_UNAVAILABLE, ConnectivityProxy, "no-connector"),
            Self::Denied => (StatusCode::FORBIDDEN, Connector, "denied-system"),
            Self::ConnectorUnreachable => (StatusCode::BAD_GATEWAY, Connector, "system-unreachable"),
            Self::ConnectorTimeout => (StatusCode::GATEWAY_TIMEOUT, Connector, "system-timeout"),
            Self::ConnectorFailed => (StatusCode::BAD_GATEWAY, ConnectivityProxy, "connector-failed"),
            Self::TargetUnreachable => (StatusCode::BAD_GATEWAY, Target, "target-unreachable"),
            Self::TargetConnectTimeout => (StatusCode::GATEWAY_TIMEOUT, Target, "target-connect-timeout"),
            Self::TargetTls => (StatusCode::BAD_GATEWAY, Target, "target-tls"),
            Self::TargetFailed => (StatusCode::BAD_GATEWAY, Target, "target-failed"),
            Self::TargetTimeout => (StatusCode::GATEWAY_TIMEOUT, Target, "target-timeout"),
            Self::TargetForbidden => (StatusCode::BAD_GATEWAY, Proxy, "target-forbidden"),
        }
    }
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub kind: Kind,
    /// Told to the caller and logged: what happened and what to do. Holds no secret.
    pub message: String,
}

impl Failure {
    /// A failure with its message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// The answer for the caller: error headers and the message as text. Framing is left to the server.
    pub fn response(&self) -> Response<Full<Bytes>> {
        let (status, origin, code) = self.kind.facts();
        let mut response = Response::new(Full::new(Bytes::from(format!("{}\n", self.message))));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(ERROR_ORIGIN, HeaderValue::from_static(origin.as_str()));
        headers.insert(ERROR_CODE, HeaderValue::from_static(code));
        headers.insert(ERROR_MESSAGE, header_text(&self.message));
        response
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, origin, code) = self.kind.facts();
        write!(f, "{code} ({}): {}", origin.as_str(), self.message)
    }
}

impl std::error::Error for Failure {}

/// `text` as a header value: visible ASCII only (messages may quote names that peers chose), bounded.
fn header_text(text: &str) -> HeaderValue {
    let safe: String = text
        .chars()
        .take(MAX_HEADER)
        .map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' })
        .collect();
    HeaderValue::from_str(safe.trim()).unwrap_or_else(|_| HeaderValue::from_static("unprintable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_origin_code_and_message() {
        let response = Failure::new(
            Kind::NoConnector,
            "no connector for t\u{e4}nant 'x'\r\nset-cookie: a",
        )
        .response();
        assert_eq!(response.status(), 503);
        let header = |name: &HeaderName| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header(&ERROR_ORIGIN), "Connectivity Proxy");
        assert_eq!(header(&ERROR_CODE), "no-connector");
        assert_eq!(
            header(&ERROR_MESSAGE),
            "no connector for t?nant 'x'??set-cookie: a"
        );
        assert!(response.headers().get("set-cookie").is_none());
    }

    #[test]
    fn the_reference_lists_every_kind() {
        let reference = include_str!("../../docs/reference/errors.md");
        for kind in Kind::ALL {
            let (status, origin, code) = kind.facts();
            let row = reference
                .lines()
                .find(|line| line.starts_with(&format!("| `{code}` |")));
            let row = row.unwrap_or_else(|| panic!("docs/reference/errors.md has no row for {code}"));
            assert!(
                row.contains(status.as_str()) && row.contains(origin.as_str()),
                "{row}"
            );
        }
    }

    #[test]
    fn a_code_leads_back_to_its_kind() {
        for kind in Kind::ALL {
            let (_, _, code) = kind.facts();
            let found = Kind::of_code(code);
            if kind == Kind::RequestedDestinationNotFound {
                assert_eq!(
                    found,
                    Some(Kind::DestinationNotFound),
                    "routes name their destination themselves"
                );
            } else {
                assert_eq!(found, Some(kind));
            }
        }
        assert_eq!(Kind::of_code("something-new"), None);
    }

    #[test]
    fn long_messages_are_cut() {
        let response = Failure::new(Kind::TargetFailed, "x".repeat(10_000)).response();
        assert_eq!(response.headers()[ERROR_MESSAGE].len(), MAX_HEADER);
    }
}
