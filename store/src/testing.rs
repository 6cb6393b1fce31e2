//! Where unit tests keep things: SQLite, or PostgreSQL with `LANDBRIDGE_TEST_DATABASE=postgresql`.

use std::path::Path;

use secrecy::SecretString;
use tempfile::TempDir;

use crate::config::Config;
use crate::db::{Database, OpenOptions};
use crate::vault::{KEY_FILE, Missing, read_or_create};

/// A folder and, on PostgreSQL, a database of its own. What is opened with it again finds what was written before.
pub(crate) struct Home {
    folder: TempDir,
    url: Option<SecretString>,
}

impl Home {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let postgres = std::env::var("LANDBRIDGE_TEST_DATABASE").is_ok_and(|name| name == "postgresql");
        let url = postgres.then(|| {
            // Stores with a shared database are given a key; one of SQLite makes its own, as here.
            read_or_create(&folder.path().join(KEY_FILE), Missing::Create).unwrap();
            landbridge_test_postgres::database().unwrap().url().into()
        });
        Self { folder, url }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Settings of a store that keeps everything here.
    pub(crate) fn config(&self) -> Config {
        Config {
            database_url: self.url.clone(),
            ..Config::new(self.path())
        }
    }

    /// Opens the database; several may have it open.
    pub(crate) async fn database(&self) -> Database {
        match &self.url {
            Some(url) => Database::open_postgres(url).await,
            None => Database::open_sqlite(self.path(), OpenOptions::default()).await,
        }
        .unwrap()
    }
}
