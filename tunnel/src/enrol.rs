//! How a connector gets its certificate: a one-time token, a certificate signing request, an answer.
//!
//! The token is made on the cluster side ([`create_token`]) and carried to the company network by a person. It holds
//! the hash of the acceptor's authority, so that the first contact already is authenticated both ways.

pub mod ca;
pub mod client;
mod limit;
pub(crate) mod server;
pub mod token;

use serde::{Deserialize, Serialize};

pub use ca::{Ca, CaError};
pub use client::{EnrolError, IdentityFiles, enrol};
pub use token::{NewToken, TokenError, create_token};

/// Longest enrolment message in bytes, each way.
pub const MAX_MESSAGE: usize = 16 * 1024;
/// Version of the enrolment messages.
const VERSION: u32 = 1;

/// What the connector sends.
#[derive(Deserialize, Serialize)]
struct EnrolRequest<'a> {
    version: u32,
    token: std::borrow::Cow<'a, str>,
    secret: std::borrow::Cow<'a, str>,
    csr: std::borrow::Cow<'a, str>,
}

/// What the acceptor answers: certificate and authority, or only a message.
#[derive(Debug, Default, Deserialize, Serialize)]
struct EnrolAnswer {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authority: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// The refusal passes: there were too many attempts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
}

/// Seconds since 1970. A clock before 1970 is treated as 1970, where every certificate is not yet valid.
pub(crate) fn unix_now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}
