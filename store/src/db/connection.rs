//! The database in use, and the few forms in which statements run on it.
//!
//! A statement is written once, with `$1` for values, which both databases read; the macros below only choose the
//! connection. Writes of all processes happen one after the other, as SQLite has it: on PostgreSQL an advisory lock sees
//! to that. So a version that was compared stays what it was until the commit, and numbers of events are given out in the
//! order in which they become visible.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool};
use tokio::sync::watch;
use tokio::time::timeout;

use super::DbError;

/// How long one statement may take, waiting for a connection or a lock included. Those take at most 5 s each.
const STATEMENT: Duration = Duration::from_secs(15);

/// How long a call waits for a connection of a pool before it is told that the store is busy.
pub(super) const ACQUIRE: Duration = Duration::from_secs(5);

/// How long a statement waits for another process's write.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(5);

/// An open database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Database {
    pub(super) pools: Pools,
    /// Number of the last event known here.
    pub(super) last_event: Arc<watch::Sender<i64>>,
}

#[derive(Debug, Clone)]
pub(super) enum Pools {
    Sqlite { writer: SqlitePool, readers: SqlitePool },
    Postgres(PgPool),
}

/// A write that has begun. What is not committed is undone when it is dropped.
pub(super) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Database {
    pub(super) async fn new(pools: Pools) -> Result<Self, DbError> {
        let database = Self {
            pools,
            last_event: Arc::new(watch::Sender::new(0)),
        };
        database.last_event().await?;
        Ok(database)
    }

    /// Whether several stores may use this database at a time.
    pub fn is_shared(&self) -> bool {
        matches!(self.pools, Pools::Postgres(_))
    }

    /// Closes all connections; SQLite folds its log into the file. Gives up after a while: the log is complete as it is
    /// and the next start folds it.
    pub async fn close(&self) {
        let closing = async {
            match &self.pools {
                Pools::Sqlite { writer, readers } => {
                    readers.close().await;
                    writer.close().await;
                }
                Pools::Postgres(pool) => pool.close().await,
            }
        };
        if timeout(CLOSE, closing).await.is_err() {
            tracing::warn!("the database took too long to close; the next start finishes it");
        }
    }

    /// Begins a write and takes the lock of writers at once: a read transaction that becomes a write one can fail
    /// half-way.
    pub(super) async fn begin(&self) -> Result<Transaction, DbError> {
        match &self.pools {
            Pools::Sqlite { writer, .. } => {
                let begun = within_deadline(writer.begin_with("BEGIN IMMEDIATE")).await?;
                Ok(Transaction::Sqlite(begun))
            }
            Pools::Postgres(pool) => {
                let mut begun = within_deadline(pool.begin()).await?;
                super::postgres::lock(&mut begun).await?;
                Ok(Transaction::Postgres(begun))
            }
        }
    }
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<(), DbError> {
        match self {
            Self::Sqlite(transaction) => within_deadline(transaction.commit()).await,
            Self::Postgres(transaction) => within_deadline(transaction.commit()).await,
        }
    }
}

pub(super) async fn within_deadline<T>(
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, DbError> {
    match timeout(STATEMENT, statement).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(DbError::Unreachable {
            detail: format!("no answer within {} s", STATEMENT.as_secs()),
        }),
    }
}

/// Reads rows: `read!(database, fetch_all, "SELECT ... $1", [value])`. Tried once more when the connection turns out to be
/// dead: reading twice does no harm, and a database that was restarted is back by then.
macro_rules! read {
    ($database:expr, $fetch:ident, $sql:expr, [$($value:expr),*]) => {{
        let mut again = true;
        loop {
            let result = match &$database.pools {
                $crate::db::connection::Pools::Sqlite { readers, .. } => {
                    let query = sqlx::query_as($sql)$(.bind($value))*;
                    $crate::db::connection::within_deadline(query.$fetch(readers)).await
                }
                $crate::db::connection::Pools::Postgres(pool) => {
                    let query = sqlx::query_as($sql)$(.bind($value))*;
                    $crate::db::connection::within_deadline(query.$fetch(pool)).await
                }
            };
            match result {
                Err($crate::db::DbError::Unreachable { .. }) if again => again = false,
                result => break result,
            }
        }
    }};
}

/// Reads rows within a write.
macro_rules! read_within {
    ($transaction:expr, $fetch:ident, $sql:expr, [$($value:expr),*]) => {
        match &mut *$transaction {
            $crate::db::connection::Transaction::Sqlite(connection) => {
                let query = sqlx::query_as($sql)$(.bind($value))*;
                $crate::db::connection::within_deadline(query.$fetch(&mut **connection)).await
            }
            $crate::db::connection::Transaction::Postgres(connection) => {
                let query = sqlx::query_as($sql)$(.bind($value))*;
                $crate::db::connection::within_deadline(query.$fetch(&mut **connection)).await
            }
        }
    };
}

/// Runs a statement within a write; how many rows it changed.
macro_rules! execute {
    ($transaction:expr, $sql:expr, [$($value:expr),*]) => {
        match &mut *$transaction {
            $crate::db::connection::Transaction::Sqlite(connection) => {
                let query = sqlx::query($sql)$(.bind($value))*;
                $crate::db::connection::within_deadline(query.execute(&mut **connection))
                    .await
                    .map(|done| done.rows_affected())
            }
            $crate::db::connection::Transaction::Postgres(connection) => {
                let query = sqlx::query($sql)$(.bind($value))*;
                $crate::db::connection::within_deadline(query.execute(&mut **connection))
                    .await
                    .map(|done| done.rows_affected())
            }
        }
    };
}

pub(super) use {execute, read, read_within};
