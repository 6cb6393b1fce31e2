//! A request's head as it goes to the target: what the application sent, less what is not for the target, plus what
//! the destination adds.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, VIA};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};

use crate::body::{RequestBody, Upload};
use crate::failure::{Failure, Kind};
use crate::resolved::Resolved;

/// What identifies this proxy in `Via` (RFC 9110, section 7.6.3): a name of its own for each process, so that a request
/// that comes back is noticed and one that passes two proxies is not.
#[derive(Clone, Debug)]
pub struct Pseudonym(HeaderValue);

impl Default for Pseudonym {
    fn default() -> Self {
        Self::new()
    }
}

impl Pseudonym {
    /// A fresh name.
    pub fn new() -> Self {
        let value = HeaderValue::try_from(format!("1.1 landbridge-{:08x}", fastrand::u32(..)));
        Self(value.unwrap_or_else(|_| HeaderValue::from_static("1.1 landbridge")))
    }

    /// Refuses a request that has been here before, and marks the others.
    ///
    /// # Errors
    /// The request's way leads in a circle.
    pub fn mark(&self, headers: &mut HeaderMap) -> Result<(), Failure> {
        let own = self.0.as_bytes();
        let hops = headers
            .get_all(VIA)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        if hops.into_iter().any(|hop| hop.trim_ascii() == own) {
            return Err(Failure::new(
                Kind::Loop,
                "the request has passed this proxy before: the destination's URL leads back to it; correct the URL",
            ));
        }
        headers.append(VIA, self.0.clone());
        Ok(())
    }
}

/// A request's head, before the destination's additions.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Method.
    pub method: Method,
    /// As the application asked.
    pub uri: Uri,
    /// Without what belongs to the application's connection.
    pub headers: HeaderMap,
}

impl Outgoing {
    /// The request for the target.
    ///
    /// # Errors
    /// The destination is not an HTTP one, or its URL and the request's cannot be joined.
    pub fn request(self, resolved: &Resolved, body: RequestBody) -> Result<Request<RequestBody>, Failure> {
        let Some(target) = &resolved.target else {
            let message = format!(
                "destination '{}' cannot be used: it is a TCP destination",
                resolved.name
            );
            return Err(Failure::new(Kind::DestinationUnusable, message));
        };
        let mut headers = self.headers;
        headers.insert(HOST, target.host_header.clone());
        for (name, value) in &resolved.headers {
            // Duplicates of the caller's are both sent (seed L34955), except where one alone is allowed.
            if name == HOST {
                headers.insert(HOST, value.clone());
            } else {
                headers.append(name.clone(), value.clone());
            }
        }
        if let Some(credential) = &resolved.credential {
            // Whatever kind of credential the destination has, the application's own must not travel beside it.
            headers.remove(AUTHORIZATION);
            headers.insert(credential.name.clone(), credential.value.clone());
        }
        if matches!(body, RequestBody::Streaming { .. }) && !headers.contains_key(CONTENT_LENGTH) {
            // The HTTP library would send a GET or HEAD without its body otherwise.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let mut request = Request::new(body);
        *request.version_mut() = Version::HTTP_11;
        *request.method_mut() = self.method;
        *request.uri_mut() = target.request_uri(&self.uri).map_err(|_| {
            let message = "the request's path and query cannot be joined with the destination's URL";
            Failure::new(Kind::BadRequest, message)
        })?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// A body on its way and those who watch it.
pub type Watched = (RequestBody, Option<Arc<Upload>>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_noticed_and_a_chain_is_not() {
        let (one, other) = (
            Pseudonym::new(),
            Pseudonym(HeaderValue::from_static("1.1 landbridge-x")),
        );
        let mut headers = HeaderMap::new();
        headers.insert(VIA, HeaderValue::from_static("1.0 fred, 1.1 landbridge"));
        one.mark(&mut headers).unwrap();
        other.mark(&mut headers).unwrap();
        assert_eq!(one.mark(&mut headers).unwrap_err().kind, Kind::Loop);
        let mut joined = HeaderMap::new();
        joined.insert(VIA, HeaderValue::from_static("1.0 fred, 1.1 landbridge-x"));
        assert!(other.mark(&mut joined).is_err(), "one header with several hops");
    }
}
