//! Named things between their plain form and the database: sealed when they are written, opened and remembered when they
//! are read.

mod audited;
mod cache;
mod freshness;
mod labels;

use std::sync::Arc;

use aws_lc_rs::rand;
use landbridge_destination::DestinationConfig;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use cache::Cache;
pub(crate) use freshness::{Freshness, follow};
pub(crate) use labels::{Label, LabelAction, Relabelled, changed_labels};

use crate::db::{DbError, HeadRow, ItemRow, Kind, NewItem, Place, Seen, Written, now_ms};
use crate::storage::Storage;
use crate::vault::{Context, Vault, VaultError};

/// What can be kept.
pub(crate) trait Stored: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// What kind of thing it is.
    const KIND: Kind;

    /// Its name, unique among its kind in its place.
    fn name(&self) -> &str;
}

impl Stored for DestinationConfig {
    const KIND: Kind = Kind::Destination;

    fn name(&self) -> &str {
        self.name()
    }
}

/// A thing with its version.
#[derive(Debug, Clone)]
pub(crate) struct Record<T> {
    pub(crate) value: T,
    pub(crate) etag: String,
    /// Instance it belongs to; `None` on subaccount level.
    pub(crate) instance_id: Option<String>,
    /// When it was last written, in milliseconds since 1970.
    pub(crate) modified_ms: i64,
}

/// A thing to be written.
#[derive(Debug, Clone)]
pub(crate) struct New<T> {
    pub(crate) value: T,
    /// Labels it is created with; a replacement leaves labels alone.
    pub(crate) labels: Vec<Label>,
    /// When work on it is due, in milliseconds since 1970.
    pub(crate) renew_ms: Option<i64>,
}

impl<T> From<T> for New<T> {
    fn from(value: T) -> Self {
        Self {
            value,
            labels: Vec::new(),
            renew_ms: None,
        }
    }
}

/// A failed access to a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Database(#[from] DbError),
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// The things of one kind of all tenants. Cheap to clone.
#[derive(Debug)]
pub(crate) struct Records<T> {
    storage: Arc<Storage>,
    cache: Cache<T>,
    /// Most things of one place.
    limit: u32,
    hits: Counter,
    misses: Counter,
}

impl<T> Clone for Records<T> {
    fn clone(&self) -> Self {
        Self {
            storage: Arc::clone(&self.storage),
            cache: self.cache.clone(),
            limit: self.limit,
            hits: self.hits.clone(),
            misses: self.misses.clone(),
        }
    }
}

impl<T: Stored> Records<T> {
    /// Things of this kind, at most `limit` of one place, of which up to `cache_bytes` are remembered.
    pub(crate) fn new(storage: Arc<Storage>, limit: u32, cache_bytes: u64) -> Self {
        let (hits, misses) = storage.caches.of(T::KIND.as_str());
        Self {
            hits,
            misses,
            cache: Cache::new(T::KIND, Arc::clone(&storage.freshness), cache_bytes),
            storage,
            limit,
        }
    }

    /// Adds things to one place in one transaction; what became of each, and its version.
    pub(crate) async fn create(
        &self,
        place: &Place,
        things: Vec<New<T>>,
    ) -> Result<Vec<(Written, String)>, RecordError> {
        let items = things
            .into_iter()
            .map(|new| {
                Ok(NewItem {
                    row: self.seal(place, &new.value, new.renew_ms)?,
                    labels: labels::flat(&new.labels),
                })
            })
            .collect::<Result<Vec<_>, VaultError>>()?;
        let written = self
            .storage
            .database
            .insert_items(T::KIND, place, &items, self.limit)
            .await;
        let rows = items.into_iter().map(|item| item.row);
        self.versions(place, rows, written)
    }

    /// Replaces things of one place in one transaction, with an expected version only if they still have it.
    pub(crate) async fn replace(
        &self,
        place: &Place,
        things: Vec<New<T>>,
        expected: Option<&str>,
    ) -> Result<Vec<(Written, String)>, RecordError> {
        self.replace_seen(place, &things, expected, &mut |_, _| {}).await
    }

    /// As [`replace`](Self::replace), and shows what was there.
    async fn replace_seen(
        &self,
        place: &Place,
        things: &[New<T>],
        expected: Option<&str>,
        seen: Seen<'_>,
    ) -> Result<Vec<(Written, String)>, RecordError> {
        let rows = things
            .iter()
            .map(|new| self.seal(place, &new.value, new.renew_ms))
            .collect::<Result<Vec<_>, VaultError>>()?;
        let written = self
            .storage
            .database
            .replace_items_seen(T::KIND, place, &rows, expected, seen)
            .await;
        self.versions(place, rows, written)
    }

    /// Forgets what was remembered, also when it is not known whether the write was done.
    fn versions(
        &self,
        place: &Place,
        rows: impl IntoIterator<Item = ItemRow>,
        written: Result<Vec<Written>, DbError>,
    ) -> Result<Vec<(Written, String)>, RecordError> {
        let forgotten = rows.into_iter().map(|row| {
            self.storage.freshness.changed(T::KIND, place, &row.name);
            row.etag
        });
        let etags: Vec<_> = forgotten.collect();
        Ok(written?.into_iter().zip(etags).collect())
    }

    pub(crate) async fn delete(
        &self,
        place: &Place,
        name: &str,
        expected: Option<&str>,
    ) -> Result<Written, RecordError> {
        self.delete_seen(place, name, expected, &mut |_, _| {}).await
    }

    /// As [`delete`](Self::delete), and shows what was there.
    async fn delete_seen(
        &self,
        place: &Place,
        name: &str,
        expected: Option<&str>,
        seen: Seen<'_>,
    ) -> Result<Written, RecordError> {
        let deleted = self
            .storage
            .database
            .delete_item_seen(T::KIND, place, name, expected, seen)
            .await;
        self.storage.freshness.changed(T::KIND, place, name);
        Ok(deleted?)
    }

    /// One thing of one place.
    pub(crate) async fn get(&self, place: &Place, name: &str) -> Result<Option<Arc<Record<T>>>, RecordError> {
        let looked_up = match self.cache.get(place, name) {
            Ok(known) => {
                self.hits.inc();
                return Ok(known);
            }
            Err(looked_up) => looked_up,
        };
        self.misses.inc();
        let row = self.storage.database.item(T::KIND, place, name).await?;
        let weight = row.as_ref().map_or(0, |row| row.sealed.len());
        let record = row.map(|row| self.open(row)).transpose()?.map(Arc::new);
        self.cache.put(looked_up, record.clone(), weight);
        Ok(record)
    }

    /// One thing of one place as it is in the database, for those who are about to change it.
    pub(crate) async fn fresh(&self, place: &Place, name: &str) -> Result<Option<Record<T>>, RecordError> {
        let row = self.storage.database.item(T::KIND, place, name).await?;
        row.map(|row| self.open(row)).transpose()
    }

    /// Instance level first, then subaccount level (seed L13206).
    pub(crate) async fn find(
        &self,
        subaccount_id: &str,
        instance_id: &str,
        name: &str,
    ) -> Result<Option<Arc<Record<T>>>, RecordError> {
        let mut place = Place {
            subaccount_id: subaccount_id.to_owned(),
            owner: instance_id.to_owned(),
        };
        if let Some(record) = self.get(&place, name).await? {
            return Ok(Some(record));
        }
        place.owner.clear();
        self.get(&place, name).await
    }

    /// The next things by name.
    pub(crate) async fn page(
        &self,
        place: &Place,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Record<T>>, RecordError> {
        let rows = self
            .storage
            .database
            .items_after(T::KIND, place, after, limit)
            .await?;
        rows.into_iter().map(|row| self.open(row)).collect()
    }

    /// Things by name, without the first `offset`.
    pub(crate) async fn offset(
        &self,
        place: &Place,
        offset: u64,
        limit: u32,
    ) -> Result<Vec<Record<T>>, RecordError> {
        let rows = self
            .storage
            .database
            .items_from(T::KIND, place, offset, limit)
            .await?;
        rows.into_iter().map(|row| self.open(row)).collect()
    }

    /// Names, versions and times of the next things by name; nothing is opened.
    pub(crate) async fn heads(
        &self,
        place: &Place,
        after: &str,
        limit: u32,
    ) -> Result<Vec<HeadRow>, RecordError> {
        let heads = self.storage.database.heads_after(T::KIND, place, after, limit);
        Ok(heads.await?)
    }

    /// How many there are in a place.
    pub(crate) async fn count(&self, place: &Place) -> Result<u64, RecordError> {
        Ok(self.storage.database.count_items(T::KIND, place).await?)
    }

    fn seal(&self, place: &Place, value: &T, renew_ms: Option<i64>) -> Result<ItemRow, VaultError> {
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(value).map_err(|_| VaultError::Crypto)?);
        let now = now_ms();
        let mut row = ItemRow {
            subaccount_id: place.subaccount_id.clone(),
            owner: place.owner.clone(),
            name: value.name().to_owned(),
            sealed: Vec::new(),
            etag: new_etag()?,
            created_ms: now,
            modified_ms: now,
            renew_ms,
        };
        row.sealed = seal_item(&self.storage.vault, T::KIND, &row, &plain)?;
        Ok(row)
    }

    fn open(&self, row: ItemRow) -> Result<Record<T>, RecordError> {
        let parts = [row.subaccount_id.as_str(), &row.owner, &row.name];
        Ok(Record {
            value: self.content(parts, &row.sealed)?,
            etag: row.etag,
            instance_id: Some(row.owner).filter(|owner| !owner.is_empty()),
            modified_ms: row.modified_ms,
        })
    }

    fn content(&self, parts: [&str; 3], sealed: &[u8]) -> Result<T, VaultError> {
        let plain = open_parts(&self.storage.vault, T::KIND, parts, sealed)?;
        serde_json::from_slice(&plain).map_err(|_| VaultError::Damaged(T::KIND.as_str()))
    }
}

/// Encrypts the content of an item for its place.
pub(crate) fn seal_item(
    vault: &Vault,
    kind: Kind,
    row: &ItemRow,
    plain: &[u8],
) -> Result<Vec<u8>, VaultError> {
    let parts = [row.subaccount_id.as_str(), &row.owner, &row.name];
    let context = Context {
        kind: kind.as_str(),
        parts: &parts,
    };
    vault.seal(context, plain)
}

/// Decrypts the content of an item.
pub(crate) fn open_item(
    vault: &Vault,
    kind: Kind,
    row: &ItemRow,
) -> Result<zeroize::Zeroizing<Vec<u8>>, VaultError> {
    let parts = [row.subaccount_id.as_str(), &row.owner, &row.name];
    open_parts(vault, kind, parts, &row.sealed)
}

fn open_parts(
    vault: &Vault,
    kind: Kind,
    parts: [&str; 3],
    sealed: &[u8],
) -> Result<zeroize::Zeroizing<Vec<u8>>, VaultError> {
    let context = Context {
        kind: kind.as_str(),
        parts: &parts,
    };
    vault.open(context, sealed)
}

/// A random version, 64 hexadecimal digits like those of the original service. A digest of the content would let
/// whoever reads the database file try passwords against it.
fn new_etag() -> Result<String, VaultError> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(|_| VaultError::Crypto)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
