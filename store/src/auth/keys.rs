//! Signing keys of the authorization server: made at the first start, kept encrypted, published as a key set
//! (RFC 7517), exchanged from time to time.

mod pair;
mod rotation;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

pub(crate) use pair::SigningKey;
pub(crate) use rotation::{create_all, follow};

use crate::config::TokenAlgorithm;
use crate::db::{SigningKeyRow, now_ms};
use crate::error::Error;
use crate::storage::Storage;
use crate::vault::{Context, Vault, VaultError};

/// What these records are in the vault.
const KIND: &str = "signing key";

/// Shortest pause between two looks at the database for a key that is unknown here: anybody may name one.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// The keys there are now.
pub(crate) struct KeyRing {
    keys: Vec<SigningKey>,
    set: Value,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_list()
            .entries(self.keys.iter().map(|key| &key.kid))
            .finish()
    }
}

impl KeyRing {
    fn new(keys: Vec<SigningKey>) -> Self {
        let set = json!({ "keys": keys.iter().map(SigningKey::published).collect::<Vec<_>>() });
        Self { keys, set }
    }

    /// The key that signs at this time: the newest of the algorithm that may already, else the first that will.
    pub(crate) fn signer(&self, algorithm: Algorithm, now_ms: i64) -> Option<&SigningKey> {
        let of_kind = || self.keys.iter().filter(|key| key.algorithm == algorithm);
        of_kind()
            .filter(|key| key.signs_from_ms <= now_ms)
            .max_by_key(|key| (key.signs_from_ms, &key.kid))
            .or_else(|| of_kind().min_by_key(|key| key.signs_from_ms))
    }

    /// The key of that id.
    pub(crate) fn verifier(&self, kid: &str) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// The public halves, as `/token_keys` answers them. All of them: also one that will sign only later, so that
    /// clients know it by then.
    pub(crate) fn public(&self) -> &Value {
        &self.set
    }
}

/// All keys, as the database has them.
#[derive(Debug)]
pub(crate) struct SigningKeys {
    storage: Arc<Storage>,
    algorithm: Algorithm,
    ring: ArcSwap<KeyRing>,
    looked: Mutex<Instant>,
    looking: tokio::sync::Mutex<()>,
}

impl SigningKeys {
    /// Reads the keys and makes one if there is none of the chosen algorithm.
    pub(crate) async fn load_or_create(
        storage: &Arc<Storage>,
        algorithm: TokenAlgorithm,
    ) -> Result<Self, Error> {
        let algorithm = jwt_algorithm(algorithm);
        let mut ring = read(storage).await?;
        if ring.signer(algorithm, now_ms()).is_none() {
            rotation::create(storage, algorithm, now_ms()).await?;
            // Another store may have made one at the same time: what the database has counts.
            ring = read(storage).await?;
        }
        Ok(Self {
            storage: Arc::clone(storage),
            algorithm,
            ring: ArcSwap::from_pointee(ring),
            looked: Mutex::new(Instant::now()),
            looking: tokio::sync::Mutex::new(()),
        })
    }

    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    /// What new tokens are signed with.
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Reads the keys again.
    pub(crate) async fn reload(&self) -> Result<(), Error> {
        *self.looked.lock() = Instant::now();
        self.ring.store(Arc::new(read(&self.storage).await?));
        Ok(())
    }

    /// The keys, read again when they lack this one: another store may have made it. Not more often than every 2 s.
    pub(crate) async fn ring_with(&self, kid: &str) -> Arc<KeyRing> {
        let ring = self.ring();
        if ring.verifier(kid).is_some() || self.looked.lock().elapsed() < LOOK_PAUSE {
            return ring;
        }
        let _looking = self.looking.lock().await;
        if self.looked.lock().elapsed() >= LOOK_PAUSE
            && let Err(error) = self.reload().await
        {
            tracing::warn!(%error, "the signing keys cannot be read again");
        }
        self.ring()
    }
}

async fn read(storage: &Storage) -> Result<KeyRing, Error> {
    let mut keys = Vec::new();
    for row in storage.database.signing_keys().await? {
        keys.push(open(storage, &row)?);
    }
    Ok(KeyRing::new(keys))
}

fn open(storage: &Storage, row: &SigningKeyRow) -> Result<SigningKey, Error> {
    let context = Context {
        kind: KIND,
        parts: &[&row.kid],
    };
    let der = storage.vault.open(context, &row.sealed)?;
    let algorithm = parse_algorithm(&row.algorithm)
        .ok_or_else(|| Error::SigningKey(format!("unknown algorithm {}", row.algorithm)))?;
    let mut key = SigningKey::from_pkcs8(&der, algorithm)?;
    key.signs_from_ms = row.signs_from_ms;
    Ok(key)
}

/// Seals a key anew with the key that seals now.
pub(crate) async fn reseal(storage: &Storage, row: &SigningKeyRow) -> Result<(), Error> {
    let context = Context {
        kind: KIND,
        parts: &[&row.kid],
    };
    let der = storage.vault.open(context, &row.sealed)?;
    let sealed = storage.vault.seal(context, &der)?;
    Ok(storage.database.reseal_signing_key(&row.kid, &sealed).await?)
}

/// Whether a key opens, for backups.
pub(crate) fn opens(vault: &Vault, kid: &str, sealed: &[u8]) -> Result<(), VaultError> {
    let context = Context {
        kind: KIND,
        parts: &[kid],
    };
    vault.open(context, sealed).map(|_| ())
}

fn jwt_algorithm(algorithm: TokenAlgorithm) -> Algorithm {
    match algorithm {
        TokenAlgorithm::Es256 => Algorithm::ES256,
        TokenAlgorithm::Rs256 => Algorithm::RS256,
    }
}

/// Only what is made here is ever accepted.
fn parse_algorithm(name: &str) -> Option<Algorithm> {
    [Algorithm::ES256, Algorithm::RS256]
        .into_iter()
        .find(|known| format!("{known:?}") == name)
}
