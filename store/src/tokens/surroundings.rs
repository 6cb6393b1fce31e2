//! What the engine needs of the rest of the store.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use landbridge_destination::DestinationConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretString;
use serde_json::Value;

use super::fetch::FetchError;
use super::signing::SigningKey;
use crate::db::Place;

/// A user, by a token that was checked.
#[derive(Debug, Clone)]
pub(crate) struct KnownUser {
    /// Claims of the token.
    pub(crate) claims: Value,
    /// Subdomain of the user's tenant, where the token's issuer may be believed about it.
    pub(crate) subdomain: Option<String>,
}

/// Where the keys are that check a user token (seed L7186-L7203).
#[derive(Debug, Clone, Copy)]
pub(crate) enum UserKeys<'a> {
    /// A key set in base64.
    Inline(&'a str),
    /// The address of one.
    Uri(&'a str),
}

/// A client certificate with its key, from a key store. `Debug` hides the key.
pub(crate) struct Identity {
    /// The certificate, then those above it.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub(crate) key: PrivateKeyDer<'static>,
    /// Digest of the chain: which identity it is.
    pub(crate) id: [u8; 32],
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Identity({:02x}{:02x}..)", self.id[0], self.id[1])
    }
}

/// The rest of the store, as the engine sees it. Errors are reasons for the administrator of the destination.
pub(crate) trait Surroundings: fmt::Debug + Send + Sync {
    /// A destination at exactly this place.
    fn destination<'a>(
        &'a self,
        place: &'a Place,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<DestinationConfig>, FetchError>>;

    /// The user of a token of this store, or of an issuer the subaccount trusts.
    fn user<'a>(
        &'a self,
        token: &'a str,
        subaccount_id: &'a str,
    ) -> BoxFuture<'a, Result<KnownUser, FetchError>>;

    /// The claims of a token that is checked with the destination's own keys.
    fn claims<'a>(&'a self, keys: UserKeys<'a>, token: &'a str) -> BoxFuture<'a, Result<Value, FetchError>>;

    /// The key that signs for the subaccount.
    fn signing_key<'a>(
        &'a self,
        subaccount_id: &'a str,
    ) -> BoxFuture<'a, Result<Arc<SigningKey>, FetchError>>;

    /// The first identity in a key store at exactly this place.
    fn identity<'a>(
        &'a self,
        place: &'a Place,
        name: &'a str,
        password: Option<SecretString>,
    ) -> BoxFuture<'a, Result<Arc<Identity>, FetchError>>;
}
