//! Destinations between their plain form and the database.

use std::sync::Arc;

use aws_lc_rs::rand;
use landbridge_destination::DestinationConfig;

use crate::db::{DbError, DestinationRow, Place, Repository, Written, now_ms};
use crate::storage::Storage;
use crate::vault::{Context, VaultError};

/// A destination with its version.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) config: DestinationConfig,
    pub(crate) etag: String,
    /// Instance it belongs to; `None` on subaccount level.
    pub(crate) instance_id: Option<String>,
}

/// A failed access to a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// The destinations of all tenants.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    storage: Arc<Storage>,
    max_destinations: u32,
}

impl Records {
    pub(crate) fn new(storage: Arc<Storage>, max_destinations: u32) -> Self {
        Self {
            storage,
            max_destinations,
        }
    }

    /// Adds destinations in one transaction; what became of each and its version.
    pub(crate) async fn create(
        &self,
        place: &Place,
        configs: &[DestinationConfig],
    ) -> Result<Vec<(Written, String)>, RecordError> {
        let rows = configs
            .iter()
            .map(|config| self.seal(place, config))
            .collect::<Result<Vec<_>, _>>()?;
        let written = self
            .storage
            .database
            .insert_destinations(&rows, self.max_destinations)
            .await?;
        Ok(written
            .into_iter()
            .zip(rows.into_iter().map(|row| row.etag))
            .collect())
    }

    /// Replaces destinations in one transaction, with an expected version only if they still have it.
    pub(crate) async fn replace(
        &self,
        place: &Place,
        configs: &[DestinationConfig],
        expected: Option<&str>,
    ) -> Result<Vec<(Written, String)>, RecordError> {
        let rows = configs
            .iter()
            .map(|config| Ok((self.seal(place, config)?, expected.map(str::to_owned))))
            .collect::<Result<Vec<_>, VaultError>>()?;
        let written = self.storage.database.replace_destinations(&rows).await?;
        Ok(written
            .into_iter()
            .zip(rows.into_iter().map(|(row, _)| row.etag))
            .collect())
    }

    pub(crate) async fn delete(
        &self,
        place: &Place,
        name: &str,
        expected: Option<&str>,
    ) -> Result<Written, RecordError> {
        Ok(self
            .storage
            .database
            .delete_destination(place, name, expected)
            .await?)
    }

    pub(crate) async fn get(&self, place: &Place, name: &str) -> Result<Option<Record>, RecordError> {
        let row = self.storage.database.destination(place, name).await?;
        row.map(|row| self.open(row)).transpose()
    }

    /// Instance level first, then subaccount level (seed L13206).
    pub(crate) async fn find(
        &self,
        subaccount_id: &str,
        instance_id: &str,
        name: &str,
    ) -> Result<Option<Record>, RecordError> {
        let row = self
            .storage
            .database
            .find_destination(subaccount_id, instance_id, name)
            .await?;
        row.map(|row| self.open(row)).transpose()
    }

    /// The next destinations by name.
    pub(crate) async fn page(
        &self,
        place: &Place,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Record>, RecordError> {
        let rows = self
            .storage
            .database
            .destinations_after(place, after, limit)
            .await?;
        rows.into_iter().map(|row| self.open(row)).collect()
    }

    fn seal(&self, place: &Place, config: &DestinationConfig) -> Result<DestinationRow, VaultError> {
        let name = config.name().to_owned();
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(config).map_err(|_| VaultError::Crypto)?);
        let parts = [place.subaccount_id.as_str(), &place.owner, &name];
        let sealed = self.storage.vault.seal(
            Context {
                kind: "destination",
                parts: &parts,
            },
            &plain,
        )?;
        let now = now_ms();
        Ok(DestinationRow {
            subaccount_id: place.subaccount_id.clone(),
            owner: place.owner.clone(),
            name,
            sealed,
            etag: new_etag()?,
            created_ms: now,
            modified_ms: now,
        })
    }

    fn open(&self, row: DestinationRow) -> Result<Record, RecordError> {
        let parts = [row.subaccount_id.as_str(), &row.owner, &row.name];
        let plain = self.storage.vault.open(
            Context {
                kind: "destination",
                parts: &parts,
            },
            &row.sealed,
        )?;
        let config = serde_json::from_slice(&plain).map_err(|_| VaultError::Damaged("destination"))?;
        let instance_id = Some(row.owner).filter(|owner| !owner.is_empty());
        Ok(Record {
            config,
            etag: row.etag,
            instance_id,
        })
    }
}

/// A random version, 64 hexadecimal digits like those of the original service. A digest of the content would let
/// whoever reads the database file try passwords against it.
fn new_etag() -> Result<String, VaultError> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(|_| VaultError::Crypto)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
