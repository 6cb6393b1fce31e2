//! OAuth 2.0 towards token services, without I/O: what to send (RFC 6749, with the property-driven variants of the
//! seed) and what to make of the answer.

mod answer;
mod client;
mod grant;
mod request;
mod tenant;

pub use answer::{AnswerError, MAX_ANSWER_BYTES, Token, read_answer, read_refresh_token};
pub use client::{
    ClientAssertion, ClientAssertionError, ClientProof, check_client_assertion_type, provided_assertion_type,
    takes_client_assertions,
};
pub use grant::{Grant, TypedToken, token_request};
pub use request::{RequestError, TokenRequest, service_token};
pub use tenant::{TenantError, check_subdomain, token_service_url};

#[cfg(test)]
mod grant_tests;
#[cfg(test)]
mod tests;
