//! The built-in authorization server and the check of callers.

mod discovery;
mod endpoint;
mod idp;
pub(crate) mod jwks;
mod keys;
mod limiter;
mod rates;
mod refresh;
mod remote;
mod roles;
mod secret;
mod tenant;
mod token;
pub(crate) mod users;
mod verify;
pub(crate) mod x509;

pub(crate) use discovery::Discovery;
pub(crate) use endpoint::{discovery, token, token_keys, token_of_tenant};
pub(crate) use keys::{
    SigningKeys, create_all as rotate_keys, follow as follow_keys, opens as signing_key_opens,
    reseal as reseal_signing_key,
};
pub(crate) use limiter::FailureLimiter;
pub(crate) use rates::ClientRates;
pub(crate) use remote::RemoteClient;
pub use roles::Role;
pub(crate) use roles::{READ, WRITE, scope};
pub(crate) use secret::{NewSecret, SHORTEST, keep, matches as secret_matches, new_secret};
pub(crate) use token::Issuer;
pub(crate) use users::UserTokens;
pub use users::{TrustedIssuer, TrustedIssuerError};
pub(crate) use verify::Verifier;
pub(crate) use verify::{Access, Area, At, Authenticated, Caller};

#[cfg(test)]
mod tests;
