//! Database and vault together: the store's data directory, opened and checked.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::db::{DATABASE_FILE, Database, OpenOptions, Repository};
use crate::error::Error;
use crate::vault::{Context, KEY_FILE, Missing, Vault, VaultError, read_or_create};

/// The record that tells whether the key fits.
const KEY_CHECK: Context<'static> = Context {
    kind: "key check",
    parts: &[],
};

/// An opened data directory.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) database: Database,
    pub(crate) vault: Vault,
}

impl Storage {
    /// Opens the data directory of `config`, made with private permissions if missing.
    pub(crate) async fn open(config: &Config) -> Result<Self, Error> {
        let directory = config.data_dir.clone();
        let key_file = config.key_file.clone();
        let vault = tokio::task::spawn_blocking(move || prepare(&directory, key_file))
            .await
            .map_err(std::io::Error::other)??;
        let options = OpenOptions {
            max_bytes: config.limits.max_database_bytes,
        };
        let database = Database::open(&config.data_dir, options).await?;
        if let Err(error) = check_key(&database, &vault).await {
            database.close().await;
            return Err(error);
        }
        Ok(Self { database, vault })
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
