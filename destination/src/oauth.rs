//! OAuth 2.0 towards token services, without I/O: what to send (RFC 6749, with the property-driven variants of the
//! seed) and what to make of the answer.

mod answer;
mod request;
mod tenant;

pub use answer::{AnswerError, MAX_ANSWER_BYTES, Token, read_answer};
pub use request::{RequestError, TokenRequest, client_credentials, service_token};
pub use tenant::{TenantError, check_subdomain, token_service_url};

#[cfg(test)]
mod tests;
