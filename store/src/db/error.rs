//! Database failures, told by what the administrator can do about them.

use sqlx::migrate::MigrateError;

/// A database that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLITE_FULL.
    #[error(
        "the disk or the database's size limit is full: free space where the data directory is ({detail})"
    )]
    Full {
        /// The database's words.
        detail: String,
    },
    /// SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_PERM.
    #[error(
        "the database cannot be written: check owner, permissions and mount of the data directory ({detail})"
    )]
    ReadOnly {
        /// The database's words.
        detail: String,
    },
    /// SQLITE_BUSY, SQLITE_LOCKED, no free connection.
    #[error("the database is busy: another process holds it for long, or the load is too high ({detail})")]
    Busy {
        /// The database's words.
        detail: String,
    },
    /// SQLITE_IOERR, SQLITE_CORRUPT, SQLITE_NOTADB.
    #[error(
        "the database file cannot be read: check the disk and restore a backup if it stays so ({detail})"
    )]
    Damaged {
        /// The database's words.
        detail: String,
    },
    /// Made by a newer version of this program.
    #[error(
        "the database has schema version {found}, which this version does not know: run the newer version of \
         landbridge that made it, or restore a backup from before the upgrade"
    )]
    NewerSchema {
        /// Version found.
        found: i64,
    },
    /// The schema cannot be brought up to date.
    #[error("the database schema cannot be brought up to date: {0}")]
    Migration(String),
    /// The tenant a row belongs to is gone.
    #[error("the subaccount or instance does not exist any more")]
    NoParent,
    /// Anything else.
    #[error("the database failed: {0}")]
    Other(String),
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        let detail = error.to_string();
        match &error {
            sqlx::Error::PoolTimedOut => Self::Busy { detail },
            sqlx::Error::Io(_) => Self::Damaged { detail },
            sqlx::Error::Database(inner) if inner.is_foreign_key_violation() => Self::NoParent,
            sqlx::Error::Database(inner) => {
                // The extended code's low byte is the primary one (https://sqlite.org/rescode.html).
                let code = inner
                    .code()
                    .and_then(|code| code.parse::<i32>().ok())
                    .map_or(0, |code| code & 0xff);
                match code {
                    5 | 6 => Self::Busy { detail },
                    3 | 8 | 14 => Self::ReadOnly { detail },
                    10 | 11 | 26 => Self::Damaged { detail },
                    13 => Self::Full { detail },
                    _ => Self::Other(detail),
                }
            }
            _ => Self::Other(detail),
        }
    }
}

impl From<MigrateError> for DbError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(found) | MigrateError::VersionTooNew(found, _) => {
                Self::NewerSchema { found }
            }
            MigrateError::Execute(inner) => inner.into(),
            other => Self::Migration(other.to_string()),
        }
    }
}
