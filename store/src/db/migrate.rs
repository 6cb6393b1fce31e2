//! Bringing the schema up to date, by one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::migrate::Migrator;
use tokio::time::{Instant, sleep};

use super::DbError;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Locked while the schema is changed. SQLite has locks for data, but sqlx does not hold one over all its migrations:
/// a server and an administration command that begin at the same time would both make the same table.
const LOCK_FILE: &str = "store.db.migration";

/// How long another process may take for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits for other processes, then does what is left to do.
///
/// # Errors
/// See [`DbError`]; a schema newer than this program is refused and left alone.
pub(super) async fn bring_up_to_date(directory: &Path, database: &SqlitePool) -> Result<(), DbError> {
    let lock = lock(&directory.join(LOCK_FILE)).await?;
    MIGRATIONS.run(database).await?;
    // Dropping it gives the lock back, as the end of the process does.
    drop(lock);
    Ok(())
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
