//! What the engine needs of the rest of the store.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
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
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    id: [u8; 32],
}

impl Identity {
    /// A certificate, then those above it, and its key.
    pub(crate) fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        let mut context = Context::new(&SHA256);
        for part in chain.iter().map(AsRef::as_ref).chain([key.secret_der()]) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut id = [0; 32];
        id.copy_from_slice(context.finish().as_ref());
        Self { chain, key, id }
    }

    /// The certificate, then those above it.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Its key.
    pub(crate) fn key(&self) -> &PrivateKeyDer<'static> {
        &self.key
    }

    /// Which identity it is: a digest of all of it.
    pub(crate) fn id(&self) -> &[u8; 32] {
        &self.id
    }
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
