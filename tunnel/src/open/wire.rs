//! The open header on the wire: pure encoding and decoding.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::{
    BadOpen, DenyReason, MAX_DEADLINE, MAX_HOST, MAX_MESSAGE, MAX_REQUEST_ID, MAX_TRACEPARENT, OPEN_VERSION,
    OpenError, OpenRequest, Protocol,
};
use crate::mux::Opening;

pub(crate) const VERSION: HeaderName = HeaderName::from_static("landbridge-version");
pub(crate) const PROTOCOL: HeaderName = HeaderName::from_static("landbridge-protocol");
pub(crate) const DEADLINE: HeaderName = HeaderName::from_static("landbridge-deadline-ms");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("landbridge-request-id");
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const PRINCIPAL: HeaderName = HeaderName::from_static("landbridge-principal");
const REASON: HeaderName = HeaderName::from_static("landbridge-reason");
const MESSAGE: HeaderName = HeaderName::from_static("landbridge-message");

/// Bytes of a message that cannot stand in a header as they are; `%` so that decoding is exact.
const MESSAGE_ESCAPES: &AsciiSet = &CONTROLS.add(b'%');

impl Opening for OpenRequest {
    fn head(&self) -> Result<Request<()>, BadOpen> {
        self.encode()
    }

    fn deadline(&self) -> Option<Duration> {
        self.deadline
    }
}

impl OpenRequest {
    /// Writes the open header.
    pub fn encode(&self) -> Result<Request<()>, BadOpen> {
        let authority = format!("{}:{}", self.host, self.port);
        let uri = Uri::builder()
            .authority(authority)
            .build()
            .map_err(|_| BadOpen::Authority)?;
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(VERSION, HeaderValue::from_static(OPEN_VERSION));
        headers.insert(PROTOCOL, HeaderValue::from_static(self.protocol.as_str()));
        if let Some(deadline) = self.deadline {
            let millis = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
            headers.insert(DEADLINE, HeaderValue::from(millis));
        }
        if let Some(id) = &self.request_id {
            headers.insert(REQUEST_ID, id.clone());
        }
        if let Some(traceparent) = &self.traceparent {
            headers.insert(TRACEPARENT, traceparent.clone());
        }
        Ok(request)
    }

    /// Reads an open header as it came from the peer. Headers that are not known are ignored, so that a later
    /// version 1 peer may add hints.
    pub fn decode<T>(request: &Request<T>) -> Result<Self, BadOpen> {
        if request.method() != Method::CONNECT {
            return Err(BadOpen::Method(request.method().clone()));
        }
        let headers = request.headers();
        check_version(headers)?;
        if headers.contains_key(PRINCIPAL) {
            return Err(BadOpen::Principal);
        }
        let authority = request.uri().authority().ok_or(BadOpen::Authority)?;
        // A user part ("user@host") would be dropped silently by host(), so it is refused.
        if authority.as_str().contains('@') {
            return Err(BadOpen::Authority);
        }
        let port = authority.port_u16().ok_or(BadOpen::Authority)?;
        let protocol = protocol_of(headers)?;
        let mut open = Self::new(authority.host(), port, protocol)?;
        open.deadline = deadline_of(headers)?;
        open.request_id = optional(headers, &REQUEST_ID, REQUEST_ID_RULE)?;
        open.traceparent = optional(headers, &TRACEPARENT, TRACEPARENT_RULE)?;
        Ok(open)
    }
}

pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) max: usize,
    pub(crate) allowed: fn(u8) -> bool,
    pub(crate) text: &'static str,
}

pub(crate) const REQUEST_ID_RULE: &Rule = &Rule {
    name: "landbridge-request-id",
    max: MAX_REQUEST_ID,
    allowed: |byte| byte.is_ascii_graphic(),
    text: "1 to 128 visible ASCII characters",
};
pub(super) const TRACEPARENT_RULE: &Rule = &Rule {
    name: "traceparent",
    max: MAX_TRACEPARENT,
    allowed: |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'),
    text: "1 to 128 lower-case hexadecimal digits and dashes",
};

pub(crate) fn bounded_value(rule: &Rule, value: &[u8]) -> Result<HeaderValue, BadOpen> {
    let malformed = BadOpen::Malformed {
        name: rule.name,
        rule: rule.text,
    };
    if value.is_empty() || value.len() > rule.max || !value.iter().copied().all(rule.allowed) {
        return Err(malformed);
    }
    HeaderValue::from_bytes(value).map_err(|_| malformed)
}

pub(super) fn check_host(host: &str) -> Result<(), BadOpen> {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let valid = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.len() <= MAX_HOST && host.bytes().all(name),
    };
    if valid { Ok(()) } else { Err(BadOpen::Host) }
}

/// The only value of a header; a second one is an error, because two readers could choose differently.
pub(crate) fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    label: &'static str,
) -> Result<Option<&'a HeaderValue>, BadOpen> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(BadOpen::Repeated(label));
    }
    Ok(first)
}

pub(crate) fn optional(
    headers: &HeaderMap,
    name: &HeaderName,
    rule: &Rule,
) -> Result<Option<HeaderValue>, BadOpen> {
    single(headers, name, rule.name)?
        .map(|value| bounded_value(rule, value.as_bytes()))
        .transpose()
}

pub(crate) fn check_version(headers: &HeaderMap) -> Result<(), BadOpen> {
    const NAME: &str = "landbridge-version";
    let version = single(headers, &VERSION, NAME)?.ok_or(BadOpen::Missing(NAME))?;
    if version.as_bytes() == OPEN_VERSION.as_bytes() {
        return Ok(());
    }
    let found = String::from_utf8_lossy(version.as_bytes())
        .chars()
        .take(16)
        .collect();
    Err(BadOpen::Version { found })
}

fn protocol_of(headers: &HeaderMap) -> Result<Protocol, BadOpen> {
    const NAME: &str = "landbridge-protocol";
    let value = single(headers, &PROTOCOL, NAME)?.ok_or(BadOpen::Missing(NAME))?;
    let parsed = value.to_str().ok().and_then(Protocol::parse);
    parsed.ok_or(BadOpen::Malformed {
        name: NAME,
        rule: "http or tcp",
    })
}

pub(crate) fn deadline_of(headers: &HeaderMap) -> Result<Option<Duration>, BadOpen> {
    const NAME: &str = "landbridge-deadline-ms";
    let Some(value) = single(headers, &DEADLINE, NAME)? else {
        return Ok(None);
    };
    let bytes = value.as_bytes();
    let digits = (1..=8).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit);
    let millis = value
        .to_str()
        .ok()
        .filter(|_| digits)
        .and_then(|text| text.parse().ok())
        .map(Duration::from_millis);
    match millis {
        Some(deadline) if !deadline.is_zero() && deadline <= MAX_DEADLINE => Ok(Some(deadline)),
        _ => Err(BadOpen::Malformed {
            name: NAME,
            rule: "1 to 86400000 milliseconds",
        }),
    }
}

/// Writes a refusal.
pub fn encode_denial(reason: DenyReason, message: &str) -> Response<()> {
    let cut: String = message.chars().take(MAX_MESSAGE).collect();
    let mut response = Response::new(());
    *response.status_mut() = reason.status();
    let headers = response.headers_mut();
    headers.insert(REASON, HeaderValue::from_static(reason.as_str()));
    let escaped = utf8_percent_encode(&cut, MESSAGE_ESCAPES).to_string();
    if let Ok(value) = HeaderValue::from_str(&escaped) {
        headers.insert(MESSAGE, value);
    }
    response
}

/// Reads the connector's answer: `Ok` when the stream is open, else the refusal. A refusal without a known reason
/// (a later peer may have more of them) is [`DenyReason::Internal`] with its status in the message.
pub fn decode_answer<T>(response: &Response<T>) -> Result<(), OpenError> {
    if response.status() == StatusCode::OK {
        return Ok(());
    }
    let headers = response.headers();
    let message = headers
        .get(MESSAGE)
        .map(HeaderValue::as_bytes)
        .map(String::from_utf8_lossy);
    let message = message.map(|text| percent_decode_str(&text).decode_utf8_lossy().into_owned());
    let message: String = message.unwrap_or_default().chars().take(MAX_MESSAGE).collect();
    let (reason, message) = match headers
        .get(REASON)
        .and_then(|value| DenyReason::parse(value.as_bytes()))
    {
        Some(reason) => (reason, message),
        None => (
            DenyReason::Internal,
            format!("status {} without a known reason: {message}", response.status()),
        ),
    };
    Err(OpenError::Denied { reason, message })
}
