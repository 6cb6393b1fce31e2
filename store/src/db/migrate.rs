//! Making the database and bringing its schema up to date, by one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::{PgPool, SqlitePool};
use tokio::time::{Instant, sleep, timeout};

use super::DbError;

static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");

/// Numbers are those of SQLite with the same meaning; a test compares the schemas.
static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");

/// Locked while the file is made and the schema changed. SQLite has locks for data, but sqlx does not hold one over all
/// its migrations: a server and an administration command that begin at the same time would both make the same table.
/// And turning a new file to a write-ahead log needs it alone: of two that try, one may be told "database is locked",
/// whatever time it has to wait (https://sqlite.org/wal.html, "Sometimes Queries Return SQLITE_BUSY In WAL Mode").
const LOCK_FILE: &str = "store.db.migration";

/// How long another process may take for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// The lock of a folder. Dropping it gives it back, as the end of the process does.
#[derive(Debug)]
pub(super) struct Opening(#[expect(dead_code, reason = "held, not read: closing the file unlocks it")] File);

impl Opening {
    /// Waits for other processes that are about to make or change the database in `directory`.
    ///
    /// # Errors
    /// The file cannot be written, or another process takes more than half a minute.
    pub(super) async fn wait(directory: &Path) -> Result<Self, DbError> {
        lock(&directory.join(LOCK_FILE)).await.map(Self)
    }

    /// Does what is left to do of the schema.
    ///
    /// # Errors
    /// See [`DbError`]; a schema newer than this program is refused and left alone.
    pub(super) async fn bring_up_to_date(self, database: &SqlitePool) -> Result<(), DbError> {
        SQLITE.run(database).await?;
        Ok(())
    }
}

/// Does what is left to do of the schema. sqlx takes a lock meanwhile, so that of several stores one does it.
///
/// # Errors
/// See [`DbError`]; a schema newer than this program is refused and left alone.
pub(super) async fn postgres(database: &PgPool) -> Result<(), DbError> {
    match timeout(PATIENCE, POSTGRES.run(database)).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(DbError::Busy {
            detail: "another process changes the schema".to_owned(),
        }),
    }
}

async fn lock(path: &Path) -> Result<File, DbError> {
    let read_only = |error: std::io::Error| DbError::ReadOnly {
        detail: format!("{}: {error}", path.display()),
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(read_only)?;
    let until = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(PAUSE).await,
            Err(TryLockError::WouldBlock) => {
                let detail = format!(
                    "{} is locked by another process that changes the schema",
                    path.display()
                );
                return Err(DbError::Busy { detail });
            }
            Err(TryLockError::Error(error)) => return Err(read_only(error)),
        }
    }
}
