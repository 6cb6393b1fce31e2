//! Backups: everything in one file, consistent, checked by whoever reads it.
//!
//! What is encrypted stays so, each record bound to its place; so a backup is of use with the key file only, and the key
//! file is no part of it. A backup of either kind of database can be restored into the other.

mod file;

use std::collections::BTreeMap;
use std::path::Path;

use tokio::sync::mpsc;

use crate::admin::Admin;
use crate::auth::signing_key_opens;
use crate::config::Config;
use crate::db::archive::{Entry, Filling, kind_named};
use crate::db::{ItemRow, Kind};
use crate::error::Error;
use crate::records::open_item;
use crate::storage::{self, KEY_CHECK};
use crate::vault::{Vault, VaultError};

/// Rows on their way between the database and the file: some MB, however large the store is.
const AHEAD: usize = 16;

/// A backup that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file.
    #[error("{0}; check that it can be read or written, and that there is room")]
    File(#[from] std::io::Error),
    /// The file exists.
    #[error("exists already; a backup never replaces another file: choose another name")]
    Exists,
    /// Another file.
    #[error("is no backup of a store")]
    NoBackup,
    /// Made by a newer version.
    #[error("has format version {0}, which this version does not know: use the newer version that made it")]
    Newer(u64),
    /// Not what was written.
    #[error("is damaged: {0}; take another copy of it")]
    Damaged(String),
    /// Encrypted with another key.
    #[error(
        "does not open with this key file: it was encrypted with another key; give the key file that was in use when it \
         was made, or the one that was taken out of use since"
    )]
    WrongKey,
    /// There is something already.
    #[error(
        "cannot be restored here: the database is not empty (it has {0}); restore into a new data folder or a new \
         database"
    )]
    Occupied(&'static str),
}

/// What a backup has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSummary {
    /// Rows by table.
    pub counts: BTreeMap<String, u64>,
}

impl Admin {
    /// Writes everything into a new file that only its owner can read, then reads it back: whether it is whole and opens.
    ///
    /// # Errors
    /// [`Error::Backup`] or the database.
    pub async fn backup(&self, file: &Path) -> Result<BackupSummary, Error> {
        let storage = self.storage();
        let (send, receive) = mpsc::channel(AHEAD);
        let path = file.to_owned();
        let writing = tokio::task::spawn_blocking(move || file::write(&path, receive));
        let sent = async {
            let mut snapshot = storage.database.snapshot().await?;
            loop {
                let rows = snapshot.next().await?;
                if rows.is_empty() {
                    return Ok::<_, Error>(Some(send));
                }
                if send.send(file::Step::Rows(rows)).await.is_err() {
                    // The file cannot be written; why, the writer says.
                    return Ok(None);
                }
            }
        };
        let sent = sent.await;
        if let Ok(Some(send)) = &sent {
            let _ = send.send(file::Step::End).await;
        }
        // Without an end, the writer gives up and removes what it has.
        let failed = sent.map(drop).err();
        let written = writing.await.map_err(std::io::Error::other)?;
        if let Some(error) = failed {
            return Err(error);
        }
        written.map_err(|error| named(file, error))?;
        read(file, &storage.vault, None).await
    }
}

/// Reads a backup with the keys of `config`: whether it is whole, and whether everything in it opens. No database is
/// opened.
///
/// # Errors
/// [`Error::Backup`] or [`Error::Vault`].
pub async fn verify_backup(config: &Config, file: &Path) -> Result<BackupSummary, Error> {
    let vault = storage::existing_keys(config).await?;
    read(file, &vault, None).await
}

/// Restores a backup into the database of `config`, which must be empty; all of it or nothing. The key file must be there.
/// No store may use the database meanwhile.
///
/// # Errors
/// [`Error::Backup`], [`Error::Vault`] or the database.
pub async fn restore_backup(config: &Config, file: &Path) -> Result<BackupSummary, Error> {
    let vault = storage::existing_keys(config).await?;
    // First without touching anything.
    read(file, &vault, None).await?;
    let database = storage::open_database(config).await?;
    let restored = async {
        let mut filling = database.fill().await?;
        if let Some(table) = filling.occupied().await? {
            return Err(named(file, BackupError::Occupied(table)));
        }
        let summary = read(file, &vault, Some(&mut filling)).await?;
        filling.finish().await?;
        Ok(summary)
    };
    let restored = restored.await;
    database.close().await;
    restored
}

/// Reads a backup to its end, opens everything in it, and fills a database with it.
async fn read(file: &Path, vault: &Vault, mut filling: Option<&mut Filling>) -> Result<BackupSummary, Error> {
    let (send, mut receive) = mpsc::channel(AHEAD);
    let path = file.to_owned();
    let reading = tokio::task::spawn_blocking(move || file::read(&path, &send));
    let mut checked = false;
    let mut trouble = None;
    while let Some(entry) = receive.recv().await {
        checked |= matches!(&entry, Entry::Meta(row) if row.key == "key_check");
        // Read on after trouble: a damaged file is told as such, not as one of another key.
        if trouble.is_some() {
            continue;
        }
        trouble = opens(vault, &entry).map_err(|error| named(file, error)).err();
        if let (None, Some(filling)) = (&trouble, filling.as_deref_mut()) {
            trouble = filling.put(&entry).await.map_err(Error::from).err();
        }
    }
    let read = reading.await.map_err(std::io::Error::other)?;
    let counts = read.map_err(|error| named(file, error))?;
    if let Some(error) = trouble {
        return Err(error);
    }
    if !checked {
        let missing = "the record that tells its key is missing";
        return Err(named(file, BackupError::Damaged(missing.to_owned())));
    }
    Ok(BackupSummary { counts })
}

/// Whether the content of a row is what was sealed for that very place.
fn opens(vault: &Vault, entry: &Entry) -> Result<(), BackupError> {
    let opened = match entry {
        Entry::Meta(row) if row.key == "key_check" => vault
            .open(KEY_CHECK, &row.value.0)
            .map(drop)
            .map_err(|_| VaultError::WrongKey),
        Entry::Items(row) => {
            let kind = kind_named(&row.kind)
                .ok_or_else(|| BackupError::Damaged(format!("it has items of kind {}", row.kind)))?;
            opens_item(vault, kind, row)
        }
        Entry::SigningKeys(row) => signing_key_opens(vault, &row.kid, &row.sealed.0),
        _ => Ok(()),
    };
    opened.map_err(|error| match error {
        VaultError::WrongKey => BackupError::WrongKey,
        error => BackupError::Damaged(error.to_string()),
    })
}

fn opens_item(vault: &Vault, kind: Kind, row: &crate::db::archive::Item) -> Result<(), VaultError> {
    let row = ItemRow {
        subaccount_id: row.subaccount_id.clone(),
        owner: row.owner.clone(),
        name: row.name.clone(),
        sealed: row.sealed.0.clone(),
        etag: row.etag.clone(),
        created_ms: row.created_ms,
        modified_ms: row.modified_ms,
        renew_ms: row.renew_ms,
    };
    open_item(vault, kind, &row).map(drop)
}

fn named(file: &Path, error: BackupError) -> Error {
    Error::Backup {
        path: file.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests;
