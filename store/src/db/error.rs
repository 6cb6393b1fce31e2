//! Database failures, told by what the administrator can do about them.

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;

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
    /// PostgreSQL cannot be reached, or went away.
    #[error(
        "the database cannot be reached: check that PostgreSQL runs, its address and the network ({detail})"
    )]
    Unreachable {
        /// What happened.
        detail: String,
    },
    /// PostgreSQL does not let this user in.
    #[error("the database refuses: check user, password, name and rights in the database URL ({detail})")]
    Refused {
        /// The database's words.
        detail: String,
    },
    /// The URL of the database.
    #[error("the database URL is none: write postgres://user:password@host/name ({0})")]
    Url(String),
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
    /// A text that PostgreSQL cannot keep: one with a NUL character.
    #[error("a text has a character that the database cannot keep ({detail})")]
    Unstorable {
        /// The database's words.
        detail: String,
    },
    /// Anything else.
    #[error("the database failed: {0}")]
    Other(String),
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        let detail = error.to_string();
        match &error {
            sqlx::Error::PoolTimedOut => Self::Busy { detail },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Self::Unreachable { detail },
            sqlx::Error::Database(inner) if inner.is_foreign_key_violation() => Self::NoParent,
            sqlx::Error::Database(inner) => {
                let code = inner.code().unwrap_or_default();
                if inner.try_downcast_ref::<PgDatabaseError>().is_some() {
                    of_postgres(&code, detail)
                } else {
                    of_sqlite(&code, detail)
                }
            }
            _ => Self::Other(detail),
        }
    }
}

/// By SQLite's result code: the extended one's low byte is the primary one (https://sqlite.org/rescode.html).
fn of_sqlite(code: &str, detail: String) -> DbError {
    match code.parse::<i32>().map_or(0, |code| code & 0xff) {
        5 | 6 => DbError::Busy { detail },
        3 | 8 | 14 => DbError::ReadOnly { detail },
        10 | 11 | 26 => DbError::Damaged { detail },
        13 => DbError::Full { detail },
        _ => DbError::Other(detail),
    }
}

/// By SQLSTATE (PostgreSQL manual, appendix A).
fn of_postgres(code: &str, detail: String) -> DbError {
    match code {
        // Locks and deadlines, serialization, too many connections.
        "55P03" | "57014" | "40001" | "40P01" | "53300" => DbError::Busy { detail },
        "53100" | "53200" | "53400" => DbError::Full { detail },
        "25006" | "42501" => DbError::ReadOnly { detail },
        "28000" | "28P01" | "3D000" => DbError::Refused { detail },
        "22021" => DbError::Unstorable { detail },
        "XX001" | "XX002" => DbError::Damaged { detail },
        // It starts, stops, or ended a session that did nothing for long.
        _ if code.starts_with("57P") || code.starts_with("08") || code == "25P03" => {
            DbError::Unreachable { detail }
        }
        _ => DbError::Other(detail),
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
