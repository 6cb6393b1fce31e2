//! The built-in authorization server and the check of callers.

mod endpoint;
mod keys;
mod limiter;
mod secret;
mod token;
mod verify;

pub(crate) use endpoint::{discovery, token, token_keys};
pub(crate) use keys::SigningKeys;
pub(crate) use limiter::FailureLimiter;
pub(crate) use secret::{NewSecret, SHORTEST, keep, matches as secret_matches, new_secret};
pub(crate) use token::Issuer;
pub use verify::Scope;
pub(crate) use verify::Verifier;
pub(crate) use verify::{Authenticated, Caller};

#[cfg(test)]
mod tests;
