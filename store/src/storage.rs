//! Database and vault together: the store's data directory, opened and checked.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::shutdown::Shutdown;
use tokio::time::sleep;

use crate::config::Config;
use crate::db::{DATABASE_FILE, Database, OpenOptions};
use crate::error::Error;
use crate::metrics::CacheFigures;
use crate::records::Freshness;
use crate::vault::{Context, KEY_FILE, KeyId, Missing, Vault, VaultError, read_or_create};

/// How often it is looked whether there are other keys, or another one seals.
pub(crate) const LOOK_FOR_KEYS: Duration = Duration::from_secs(5);

/// The record that tells whether the keys fit, and by the key it is sealed with, which one seals.
pub(crate) const KEY_CHECK: Context<'static> = Context {
    kind: "key check",
    parts: &[],
};

/// An opened database with its key.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) database: Database,
    pub(crate) vault: Vault,
    /// Where the keys of the vault are.
    pub(crate) key_file: PathBuf,
    /// Whether what was remembered of the database still holds.
    pub(crate) freshness: Arc<Freshness>,
    /// What the caches in front of the database save it.
    pub(crate) caches: CacheFigures,
}

impl Storage {
    /// Opens the database of `config`: the file in the data directory, made with private permissions if missing, or
    /// PostgreSQL.
    pub(crate) async fn open(config: &Config) -> Result<Self, Error> {
        let directory = config.data_dir.clone();
        let own_key = config.key_file.is_none();
        let path = config.key_file.clone();
        let path = path.unwrap_or_else(|| directory.join(KEY_FILE));
        let key_file = path.clone();
        let in_file = config.database_url.is_none();
        let vault = tokio::task::spawn_blocking(move || {
            if in_file {
                prepare(&directory, &key_file, own_key)
            } else {
                shared_key(&key_file)
            }
        });
        let vault = vault.await.map_err(std::io::Error::other)??;
        let database = connect(config).await?;
        if let Err(error) = check_key(&database, &vault).await {
            database.close().await;
            return Err(error);
        }
        Ok(Self {
            database,
            vault,
            key_file: path,
            freshness: Arc::new(Freshness::new()),
            caches: CacheFigures::default(),
        })
    }
}

impl Storage {
    /// Takes over what became of the keys: those in the file, and which one seals.
    pub(crate) async fn look_for_keys(&self) -> Result<(), Error> {
        let file = self.key_file.clone();
        let read = tokio::task::spawn_blocking(move || read_or_create(&file, Missing::Lost));
        self.vault.replace(&read.await.map_err(std::io::Error::other)??)?;
        if let Some(held) = self.database.meta("key_check").await? {
            choose(&self.vault, &held)?;
        }
        Ok(())
    }
}

async fn connect(config: &Config) -> Result<Database, Error> {
    Ok(match &config.database_url {
        Some(url) => Database::open_postgres(url).await?,
        None => {
            let options = OpenOptions {
                max_bytes: config.limits.max_database_bytes,
            };
            Database::open_sqlite(&config.data_dir, options).await?
        }
    })
}

/// Opens the database of `config` whatever key it has, for restoring a backup.
pub(crate) async fn open_database(config: &Config) -> Result<Database, Error> {
    if config.database_url.is_none() {
        let directory = config.data_dir.clone();
        let made = tokio::task::spawn_blocking(move || make_files(&directory));
        made.await.map_err(std::io::Error::other)??;
    }
    connect(config).await
}

/// The keys of `config`, which must be there; no database is opened.
pub(crate) async fn existing_keys(config: &Config) -> Result<Vault, Error> {
    let path = config.key_file.clone();
    let path = path.unwrap_or_else(|| config.data_dir.join(KEY_FILE));
    let read = tokio::task::spawn_blocking(move || read_or_create(&path, Missing::Lost));
    Ok(Vault::new(&read.await.map_err(std::io::Error::other)??)?)
}

/// Looks after the keys of a vault until `shutdown` begins.
pub(crate) async fn follow_vault_keys(storage: Arc<Storage>, shutdown: Shutdown) {
    let mut told = None;
    loop {
        tokio::select! {
            () = sleep(LOOK_FOR_KEYS) => {}
            () = shutdown.started() => return,
        }
        let sealing = storage.vault.sealing();
        // Each trouble is told once, not every 5 s.
        let trouble = storage.look_for_keys().await.err().map(|error| error.to_string());
        if let Some(error) = trouble.as_ref().filter(|_| trouble != told) {
            tracing::error!(%error, "the key file cannot be followed; what is encrypted goes on with the keys known");
        }
        told = trouble;
        let now = storage.vault.sealing();
        if now != sealing {
            tracing::info!(from = %sealing, to = %now, "what is written from now on is encrypted with another key");
        }
    }
}

fn choose(vault: &Vault, held: &[u8]) -> Result<(), VaultError> {
    // Damage here is told as a wrong key too: nothing else of the database could be trusted to open.
    vault.open(KEY_CHECK, held).map_err(|_| VaultError::WrongKey)?;
    vault.choose(KeyId::of_sealed(held).ok_or(VaultError::WrongKey)?)
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
    Ok(choose(vault, &held)?)
}

/// The key of a database that several stores share: each of them has the same file, so none of them makes one.
fn shared_key(key_file: &Path) -> Result<Vault, Error> {
    Ok(Vault::new(&read_or_create(key_file, Missing::Named)?)?)
}

fn prepare(directory: &Path, key_file: &Path, own_key: bool) -> Result<Vault, Error> {
    make_directory(directory)?;
    let database = directory.join(DATABASE_FILE);
    let exists = fs::metadata(&database).is_ok_and(|data| data.len() > 0);
    // A key is made with a new database only: with an old one it could open nothing, and it would hide that the
    // right key is missing. A key file that was named is never made: a typing error would go unnoticed.
    let missing = match (exists, own_key) {
        (true, _) => Missing::Lost,
        (false, true) => Missing::Create,
        (false, false) => Missing::Named,
    };
    let keys = read_or_create(key_file, missing)?;
    make_files(directory)?;
    Ok(Vault::new(&keys)?)
}

fn make_directory(directory: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory);
    made.map_err(|source| Error::File {
        what: "data directory",
        path: directory.to_owned(),
        source,
    })
}

fn make_files(directory: &Path) -> Result<(), Error> {
    make_directory(directory)?;
    let database = directory.join(DATABASE_FILE);
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
    Ok(())
}
