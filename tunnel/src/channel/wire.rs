//! The open header of a service channel on the wire: pure encoding and decoding.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{ChannelName, ChannelRequest};
use crate::mux::Opening;
use crate::open::wire::{
    DEADLINE, PROTOCOL, REQUEST_ID, REQUEST_ID_RULE, VERSION, check_version, deadline_of, optional, single,
};
use crate::open::{BadOpen, OPEN_VERSION};

const KIND: HeaderName = HeaderName::from_static("landbridge-channel-kind");
const ID: HeaderName = HeaderName::from_static("landbridge-channel-id");
/// Value of the header `landbridge-protocol`.
const WORD: &str = "channel";
/// A CONNECT request must have an authority; which channel is in the headers, because a service id may hold colons.
const AUTHORITY: &str = "channel:1";

impl Opening for ChannelRequest {
    fn head(&self) -> Result<Request<()>, BadOpen> {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = Uri::builder()
            .authority(AUTHORITY)
            .build()
            .map_err(|_| BadOpen::Authority)?;
        let headers = request.headers_mut();
        headers.insert(VERSION, HeaderValue::from_static(OPEN_VERSION));
        headers.insert(PROTOCOL, HeaderValue::from_static(WORD));
        let malformed = |name| BadOpen::Malformed {
            name,
            rule: "it cannot stand in a header",
        };
        let kind = HeaderValue::from_str(self.name.kind());
        headers.insert(KIND, kind.map_err(|_| malformed("landbridge-channel-kind"))?);
        let id = utf8_percent_encode(self.name.id(), NON_ALPHANUMERIC).to_string();
        let id = HeaderValue::from_str(&id).map_err(|_| malformed("landbridge-channel-id"))?;
        headers.insert(ID, id);
        if let Some(deadline) = self.deadline {
            let millis = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
            headers.insert(DEADLINE, HeaderValue::from(millis));
        }
        if let Some(id) = &self.request_id {
            headers.insert(REQUEST_ID, id.clone());
        }
        Ok(request)
    }

    fn deadline(&self) -> Option<Duration> {
        self.deadline
    }
}

impl ChannelRequest {
    /// Reads an open header as it came from the peer. Headers that are not known are ignored.
    ///
    /// # Errors
    /// What is wrong with which field.
    pub fn decode<T>(request: &Request<T>) -> Result<Self, BadOpen> {
        if request.method() != Method::CONNECT {
            return Err(BadOpen::Method(request.method().clone()));
        }
        let headers = request.headers();
        check_version(headers)?;
        if text(headers, &PROTOCOL, "landbridge-protocol")? != WORD {
            return Err(BadOpen::Malformed {
                name: "landbridge-protocol",
                rule: "channel, on a connection on which the connector opens",
            });
        }
        let kind = text(headers, &KIND, "landbridge-channel-kind")?;
        let id = text(headers, &ID, "landbridge-channel-id")?;
        let id = percent_decode_str(id)
            .decode_utf8()
            .map_err(|_| BadOpen::Malformed {
                name: "landbridge-channel-id",
                rule: "percent-encoded UTF-8",
            })?;
        Ok(Self {
            name: ChannelName::new(kind, &id)?,
            deadline: deadline_of(headers)?,
            request_id: optional(headers, &REQUEST_ID, REQUEST_ID_RULE)?,
        })
    }
}

/// The one value of a header that must be there.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName, label: &'static str) -> Result<&'a str, BadOpen> {
    let value = single(headers, name, label)?.ok_or(BadOpen::Missing(label))?;
    value.to_str().map_err(|_| BadOpen::Malformed {
        name: label,
        rule: "ASCII",
    })
}
