//! Headers that a destination adds to requests.

use http::{HeaderName, HeaderValue};

use super::{DestinationConfig, is_secret_key, shorten};

/// Headers that frame a message or belong to one hop (RFC 9110 section 7.6.1). A destination that could set them
/// could smuggle requests, so they are never added.
const FORBIDDEN: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header a destination wants to add but may not or cannot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdditionError {
    /// Not a header name (RFC 9110 section 5.1).
    #[error("\"{0}\" is no header name; use letters, digits and hyphens")]
    Name(String),
    /// Not a header value (RFC 9110 section 5.5).
    #[error("the value of \"{0}\" has a line break or another control character; remove it")]
    Value(String),
    /// Would change the framing of the message.
    #[error("header \"{0}\" frames the message and is set by the proxy; remove the property")]
    Forbidden(String),
}

/// Iterator over the headers a destination adds, in the order of its properties.
#[derive(Debug)]
pub struct HeaderAdditions<'a> {
    config: &'a DestinationConfig,
    prefix: &'static str,
    next: usize,
}

impl<'a> HeaderAdditions<'a> {
    pub(crate) fn new(config: &'a DestinationConfig, prefix: &'static str) -> Self {
        Self {
            config,
            prefix,
            next: 0,
        }
    }
}

impl Iterator for HeaderAdditions<'_> {
    type Item = Result<(HeaderName, HeaderValue), AdditionError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (key, value) = self.config.properties.get_index(self.next)?;
            self.next += 1;
            if let Some(name) = key.strip_prefix(self.prefix) {
                return Some(header(key, name, value));
            }
        }
    }
}

fn header(key: &str, name: &str, value: &str) -> Result<(HeaderName, HeaderValue), AdditionError> {
    let name = name.trim();
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| AdditionError::Name(shorten(name)))?;
    if FORBIDDEN.contains(&parsed.as_str()) {
        return Err(AdditionError::Forbidden(parsed.to_string()));
    }
    let mut value =
        HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| AdditionError::Value(shorten(name)))?;
    value.set_sensitive(is_secret_key(key));
    Ok((parsed, value))
}
