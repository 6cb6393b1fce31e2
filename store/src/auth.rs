//! The built-in authorization server and the check of callers.

#[expect(dead_code, reason = "user tokens will look issuers up")]
mod discovery;
mod endpoint;
#[allow(dead_code, reason = "the token engine checks user tokens with it")]
pub(crate) mod jwks;
mod keys;
mod limiter;
#[allow(dead_code, reason = "used by the two above")]
mod remote;
mod secret;
mod token;
mod verify;
#[allow(dead_code, reason = "service keys with certificates come with the tenancy")]
pub(crate) mod x509;

pub(crate) use endpoint::{discovery, token, token_keys};
pub(crate) use keys::SigningKeys;
pub(crate) use limiter::FailureLimiter;
pub(crate) use remote::RemoteClient;
pub(crate) use secret::{NewSecret, SHORTEST, keep, matches as secret_matches, new_secret};
pub(crate) use token::Issuer;
pub use verify::Scope;
pub(crate) use verify::Verifier;
pub(crate) use verify::{Access, Area, At, Authenticated, Caller};

#[cfg(test)]
mod tests;
