//! SQLite in one file: write-ahead log, one writer, some readers, every commit on disk before it is acknowledged.

use std::path::Path;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::connection::{ACQUIRE, BUSY, Pools};
use super::migrate::Opening;
use super::{Database, DbError};

/// Name of the file in the data directory.
pub const DATABASE_FILE: &str = "store.db";

/// Reading connections. A read takes some 0.1 ms, so few serve thousands per second.
const READERS: u32 = 4;

/// How to open the file.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions {
    /// Largest size of the database file in bytes; `None`: as large as the disk allows.
    pub max_bytes: Option<u64>,
}

impl Database {
    /// Opens the SQLite database in `directory`, makes it if there is none and brings its schema up to date. The file
    /// must already have its permissions; SQLite gives its companions the same.
    ///
    /// # Errors
    /// See [`DbError`]; a schema newer than this program is refused and left alone.
    pub async fn open_sqlite(directory: &Path, options: OpenOptions) -> Result<Self, DbError> {
        let connect = SqliteConnectOptions::new()
            .filename(directory.join(DATABASE_FILE))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .foreign_keys(true);
        let writer_options = match options.max_bytes {
            // The page size is SQLite's default of 4096.
            Some(bytes) => connect
                .clone()
                .pragma("max_page_count", (bytes / 4096).max(1).to_string()),
            None => connect.clone(),
        };
        let opening = Opening::wait(directory).await?;
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(is_sound(connection)))
            .connect_with(writer_options)
            .await?;
        opening.bring_up_to_date(&writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE)
            .connect_with(connect.read_only(true).pragma("query_only", "ON"))
            .await?;
        Self::new(Pools::Sqlite { writer, readers }).await
    }
}

/// Whether the writing connection can begin a transaction. SQLite itself rolls back when the disk is full or fails; the
/// library then counts one transaction too many for ever, and every later write would fail. Such a connection is
/// replaced. The ping lets a rollback that is under way end first.
async fn is_sound(connection: &mut sqlx::SqliteConnection) -> Result<bool, sqlx::Error> {
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}
