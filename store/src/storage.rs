//! Database and vault together: the store's data directory, opened and checked.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;
use crate::db::{DATABASE_FILE, Database, OpenOptions};
use crate::error::Error;
use crate::records::Freshness;
use crate::vault::{Context, KEY_FILE, Missing, Vault, VaultError, read_or_create};

/// The record that tells whether the key fits.
const KEY_CHECK: Context<'static> = Context {
    kind: "key check",
    parts: &[],
};

/// An opened database with its key.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) database: Database,
    pub(crate) vault: Vault,
    /// Whether what was remembered of the database still holds.
    pub(crate) freshness: Arc<Freshness>,
}

impl Storage {
    /// Opens the database of `config`: the file in the data directory, made with private permissions if missing, or
    /// PostgreSQL.
    pub(crate) async fn open(config: &Config) -> Result<Self, Error> {
        let (directory, key_file) = (config.data_dir.clone(), config.key_file.clone());
        let in_file = config.database_url.is_none();
        let vault = tokio::task::spawn_blocking(move || {
            if in_file {
                prepare(&directory, key_file)
            } else {
                shared_key(&directory, key_file)
            }
        });
        let vault = vault.await.map_err(std::io::Error::other)??;
        let database = match &config.database_url {
            Some(url) => Database::open_postgres(url).await?,
            None => {
                let options = OpenOptions {
                    max_bytes: config.limits.max_database_bytes,
                };
                Database::open_sqlite(&config.data_dir, options).await?
            }
        };
        if let Err(error) = check_key(&database, &vault).await {
            database.close().await;
            return Err(error);
        }
        Ok(Self {
            database,
            vault,
            freshness: Arc::new(Freshness::new()),
        })
    }
}

async fn check_key(database: &Database, vault: &Vault) -> Result<(), Error> {
    let held = match database.meta("key_check").await? {
        Some(held) => held,
        None => {
            database
                .meta_or_insert("key_check", &vault.seal(KEY_CHECK, b"fits")?)
                .await?
        }
    };
    // Damage here is told as a wrong key too: nothing else of the database could be trusted to open.
    vault.open(KEY_CHECK, &held).map_err(|_| VaultError::WrongKey)?;
    Ok(())
}

/// The key of a database that several stores share: each of them has the same file, so none of them makes one.
fn shared_key(directory: &Path, key_file: Option<PathBuf>) -> Result<Vault, Error> {
    let key_file = key_file.unwrap_or_else(|| directory.join(KEY_FILE));
    let key = read_or_create(&key_file, Missing::Named)?;
    Ok(Vault::new(&key)?)
}

fn prepare(directory: &Path, key_file: Option<PathBuf>) -> Result<Vault, Error> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.map_err(|source| Error::File {
        what: "data directory",
        path: directory.to_owned(),
        source,
    })?;
    let database = directory.join(DATABASE_FILE);
    let exists = fs::metadata(&database).is_ok_and(|data| data.len() > 0);
    let own_key = key_file.is_none();
    let key_file = key_file.unwrap_or_else(|| directory.join(KEY_FILE));
    // A key is made with a new database only: with an old one it could open nothing, and it would hide that the
    // right key is missing. A key file that was named is never made: a typing error would go unnoticed.
    let missing = match (exists, own_key) {
        (true, _) => Missing::Lost,
        (false, true) => Missing::Create,
        (false, false) => Missing::Named,
    };
    let key = read_or_create(&key_file, missing)?;
    // SQLite would make the file with the umask's permissions; its log and index take those of the file.
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&database)
        .map_err(|source| Error::File {
            what: "database",
            path: database,
            source,
        })?;
    Ok(Vault::new(&key)?)
}
