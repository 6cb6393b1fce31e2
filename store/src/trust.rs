//! What a subaccount signs assertions with: one active key pair, and a passive one while the active one is being replaced
//! (seed L10595-L10668).

mod metadata;
mod pair;

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use landbridge_runtime::shares::Shares;
use moka::sync::Cache;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

pub(crate) use metadata::identity_provider;

use crate::db::{Kind, Place, Written};
use crate::records::{New, Record, RecordError, Records, Stored};
use crate::tokens::SigningKey;

/// Keys that are kept ready to sign.
const READY: u64 = 1000;

/// Key pairs of one subaccount that are made at a time, and of all: each takes seconds of processor time.
const MAKING: (usize, usize) = (1, 2);

/// Which of the two key pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It signs.
    Active,
    /// It waits to be made the active one.
    Passive,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Active => Self::Passive,
            Self::Passive => Self::Active,
        }
    }
}

/// A key pair as kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct TrustKey {
    role: String,
    /// Base64 of the PKCS#8.
    key: String,
    /// Base64 of the certificate.
    certificate: String,
    /// The certificate in PEM.
    pem: String,
    common_name: String,
}

impl fmt::Debug for TrustKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TrustKey({} of {})", self.role, self.common_name)
    }
}

impl Stored for TrustKey {
    const KIND: Kind = Kind::Trust;

    fn name(&self) -> &str {
        &self.role
    }
}

impl TrustKey {
    /// The certificate in PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate as the metadata has it: base64 without head and foot.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(crate) fn common_name(&self) -> &str {
        &self.common_name
    }

    fn of_role(&self, role: Role) -> New<Self> {
        New::from(Self {
            role: role.name().to_owned(),
            ..self.clone()
        })
    }

    fn ready(&self) -> Result<SigningKey, TrustError> {
        let damaged = |_| TrustError::Damaged;
        let key = STANDARD.decode(&self.key).map_err(damaged)?;
        let certificate = STANDARD.decode(&self.certificate).map_err(damaged)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
        SigningKey::new(&key, &certificate, self.common_name.clone()).map_err(|_| TrustError::Damaged)
    }
}

/// Why there is no key pair.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the signing key of the subaccount cannot be read; restore a backup, or generate a new one")]
    Damaged,
    #[error("no key pair can be made: {0}")]
    Make(String),
    #[error("key pairs are being made already; try again in a moment")]
    Busy,
    /// There is none of that role.
    #[error("{}Keypair for subaccount - {subaccount_id} does not exist", if *.role == Role::Passive { "Passive " } else { "" })]
    Missing { role: Role, subaccount_id: String },
}

fn missing(role: Role, subaccount_id: &str) -> TrustError {
    TrustError::Missing {
        role,
        subaccount_id: subaccount_id.to_owned(),
    }
}

/// The key pairs of all subaccounts.
#[derive(Debug)]
pub(crate) struct TrustKeys {
    records: Records<TrustKey>,
    /// Address of the store without its scheme: the first part of every name.
    host: String,
    ready: Cache<String, Arc<SigningKey>>,
    making: Arc<Shares<String>>,
    /// Writers of this process take turns, so that a rotation never puts back what was renewed meanwhile.
    writing: Mutex<()>,
}

impl TrustKeys {
    /// Key pairs named after the address `url` of the store.
    pub(crate) fn new(records: Records<TrustKey>, url: &str) -> Self {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        Self {
            records,
            host: host.to_owned(),
            ready: Cache::new(READY),
            making: Shares::new(MAKING.0, MAKING.1),
            writing: Mutex::new(()),
        }
    }

    /// The key that signs, made if there is none.
    pub(crate) async fn active(&self, subaccount_id: &str) -> Result<Arc<SigningKey>, TrustError> {
        let record = match self.record(subaccount_id, Role::Active).await? {
            Some(record) => record,
            None => self.create(subaccount_id, Role::Active).await?,
        };
        if let Some(key) = self.ready.get(&record.etag) {
            return Ok(key);
        }
        let key = Arc::new(record.value.ready()?);
        self.ready.insert(record.etag.clone(), Arc::clone(&key));
        Ok(key)
    }

    /// A key pair that exists.
    pub(crate) async fn get(
        &self,
        subaccount_id: &str,
        role: Role,
    ) -> Result<Arc<Record<TrustKey>>, TrustError> {
        let record = self.record(subaccount_id, role).await?;
        record.ok_or_else(|| missing(role, subaccount_id))
    }

    /// Makes a key pair, or gives the one there is a certificate for another two years (seed L10622).
    pub(crate) async fn generate_or_renew(
        &self,
        subaccount_id: &str,
        role: Role,
    ) -> Result<Arc<Record<TrustKey>>, TrustError> {
        let Some(record) = self.record(subaccount_id, role).await? else {
            return self.create(subaccount_id, role).await;
        };
        let _turn = self.writing.lock().await;
        let key = record.value.key.clone();
        let pair = self.made(subaccount_id, Some(key)).await?;
        let written = self
            .records
            .replace(
                &Place::subaccount(subaccount_id),
                vec![pair.of_role(role)],
                Some(&record.etag),
            )
            .await?;
        match written.first() {
            Some((Written::Done, _)) => self.get(subaccount_id, role).await,
            _ => Err(TrustError::Busy),
        }
    }

    /// Exchanges the two (seed L10651).
    pub(crate) async fn rotate(&self, subaccount_id: &str) -> Result<[Arc<Record<TrustKey>>; 2], TrustError> {
        let _turn = self.writing.lock().await;
        let active = self.get(subaccount_id, Role::Active).await?;
        let passive = self.get(subaccount_id, Role::Passive).await?;
        let exchanged = vec![
            passive.value.of_role(Role::Passive.other()),
            active.value.of_role(Role::Active.other()),
        ];
        let place = Place::subaccount(subaccount_id);
        let written = self.records.replace(&place, exchanged, None).await?;
        if written.iter().any(|(state, _)| *state != Written::Done) {
            return Err(TrustError::Busy);
        }
        Ok([
            self.get(subaccount_id, Role::Active).await?,
            self.get(subaccount_id, Role::Passive).await?,
        ])
    }

    /// Deletes the passive one (seed L10657).
    pub(crate) async fn delete_passive(&self, subaccount_id: &str) -> Result<(), TrustError> {
        let _turn = self.writing.lock().await;
        let place = Place::subaccount(subaccount_id);
        match self.records.delete(&place, Role::Passive.name(), None).await? {
            Written::Done => Ok(()),
            _ => Err(missing(Role::Passive, subaccount_id)),
        }
    }

    async fn record(
        &self,
        subaccount_id: &str,
        role: Role,
    ) -> Result<Option<Arc<Record<TrustKey>>>, TrustError> {
        let place = Place::subaccount(subaccount_id);
        Ok(self.records.get(&place, role.name()).await?)
    }

    /// Makes one; another store, or another call, may be first.
    async fn create(&self, subaccount_id: &str, role: Role) -> Result<Arc<Record<TrustKey>>, TrustError> {
        let _turn = self.writing.lock().await;
        if let Some(record) = self.record(subaccount_id, role).await? {
            return Ok(record);
        }
        let pair = self.made(subaccount_id, None).await?;
        let place = Place::subaccount(subaccount_id);
        self.records.create(&place, vec![pair.of_role(role)]).await?;
        self.get(subaccount_id, role).await
    }

    /// A key pair with a new certificate, for a key that exists or a new one.
    async fn made(&self, subaccount_id: &str, key: Option<String>) -> Result<TrustKey, TrustError> {
        let _share = self
            .making
            .take(&subaccount_id.to_owned())
            .ok_or(TrustError::Busy)?;
        let common_name = format!("{}/{subaccount_id}", self.host);
        let name = common_name.clone();
        let made = tokio::task::spawn_blocking(move || pair::make(&name, key.as_deref()));
        let made = made
            .await
            .map_err(|error| TrustError::Make(error.to_string()))?
            .map_err(|error| TrustError::Make(error.to_string()))?;
        Ok(TrustKey {
            role: String::new(),
            key: made.key,
            certificate: made.certificate,
            pem: made.pem,
            common_name,
        })
    }
}
