//! SQLite in one file: write-ahead log, one writer, some readers, every commit on disk before it is acknowledged.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqlitePool};
use tokio::sync::watch;

use super::events::{Action, Subject, note};
use super::migrate::Opening;
use super::{
    ClientRow, DbError, DestinationRow, EventRow, InstanceRow, Place, Repository, ServiceKeyRow,
    SigningKeyRow, SubaccountRow, Written,
};

/// Name of the file in the data directory.
pub const DATABASE_FILE: &str = "store.db";

/// How long a statement waits for another process's write (the administration command beside a running server).
const BUSY: Duration = Duration::from_secs(5);

/// How long a call waits for a connection of the pool before it is told that the store is busy.
const ACQUIRE: Duration = Duration::from_secs(5);

/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(5);

/// Reading connections. A read takes some 0.1 ms, so few serve thousands per second.
const READERS: u32 = 4;

/// How to open the file.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions {
    /// Largest size of the database file in bytes; `None`: as large as the disk allows.
    pub max_bytes: Option<u64>,
}

/// The open file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SqliteDatabase {
    writer: SqlitePool,
    pub(super) readers: SqlitePool,
    /// Number of the last event known here.
    pub(super) last_event: Arc<watch::Sender<i64>>,
}

impl SqliteDatabase {
    /// Opens the database in `directory`, makes it if there is none and brings its schema up to date. The file must
    /// already have its permissions; SQLite gives its companions the same.
    ///
    /// # Errors
    /// See [`DbError`]; a schema newer than this program is refused and left alone.
    pub async fn open(directory: &Path, options: OpenOptions) -> Result<Self, DbError> {
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
        let database = Self {
            writer,
            readers,
            last_event: Arc::new(watch::Sender::new(0)),
        };
        database.read_last_event().await?;
        Ok(database)
    }

    /// Closes all connections and folds the log into the file. Gives up after a while: the log is complete as it is
    /// and the next start folds it.
    pub async fn close(&self) {
        let closing = async {
            self.readers.close().await;
            self.writer.close().await;
        };
        if tokio::time::timeout(CLOSE, closing).await.is_err() {
            tracing::warn!("the database took too long to close; the next start finishes it");
        }
    }

    /// Takes the write lock at once: a read transaction that becomes a write one can fail half-way.
    pub(super) async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, DbError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// Whether the writing connection can begin a transaction. SQLite itself rolls back when the disk is full or fails; the
/// library then counts one transaction too many for ever, and every later write would fail. Such a connection is
/// replaced. The ping lets a rollback that is under way end first.
async fn is_sound(connection: &mut sqlx::SqliteConnection) -> Result<bool, sqlx::Error> {
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

const INSERT_DESTINATION: &str = "INSERT INTO destinations \
     (subaccount_id, owner, name, sealed, etag, created_ms, modified_ms) VALUES (?, ?, ?, ?, ?, ?, ?) \
     ON CONFLICT DO NOTHING";

const REPLACE_DESTINATION: &str = "UPDATE destinations SET sealed = ?, etag = ?, modified_ms = ? \
     WHERE subaccount_id = ? AND owner = ? AND name = ?";

impl Repository for SqliteDatabase {
    async fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, DbError> {
        let query = sqlx::query_scalar("SELECT value FROM meta WHERE key = ?").bind(key);
        Ok(query.fetch_optional(&self.readers).await?)
    }

    async fn meta_or_insert(&self, key: &str, value: &[u8]) -> Result<Vec<u8>, DbError> {
        let mut transaction = self.begin().await?;
        sqlx::query("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(key)
            .bind(value)
            .execute(&mut *transaction)
            .await?;
        let held = sqlx::query_scalar("SELECT value FROM meta WHERE key = ?")
            .bind(key)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(held)
    }

    async fn insert_subaccount(&self, row: &SubaccountRow) -> Result<Written, DbError> {
        let done = sqlx::query(
            "INSERT INTO subaccounts (id, subdomain, created_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&row.id)
        .bind(&row.subdomain)
        .bind(row.created_ms)
        .execute(&self.writer)
        .await?;
        Ok(if done.rows_affected() == 1 {
            Written::Done
        } else {
            Written::Duplicate
        })
    }

    async fn subaccount(&self, id_or_subdomain: &str) -> Result<Option<SubaccountRow>, DbError> {
        // An id wins over a subdomain that looks like it.
        let query = sqlx::query_as(
            "SELECT id, subdomain, created_ms FROM subaccounts WHERE id = ?1 OR subdomain = ?1 \
             ORDER BY id = ?1 DESC LIMIT 1",
        );
        Ok(query.bind(id_or_subdomain).fetch_optional(&self.readers).await?)
    }

    async fn subaccounts(&self) -> Result<Vec<SubaccountRow>, DbError> {
        let query = sqlx::query_as("SELECT id, subdomain, created_ms FROM subaccounts ORDER BY subdomain");
        Ok(query.fetch_all(&self.readers).await?)
    }

    async fn instance_or_insert(&self, row: &InstanceRow) -> Result<InstanceRow, DbError> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO instances (id, subaccount_id, name, created_ms) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&row.id)
        .bind(&row.subaccount_id)
        .bind(&row.name)
        .bind(row.created_ms)
        .execute(&mut *transaction)
        .await?;
        let held = sqlx::query_as(
            "SELECT id, subaccount_id, name, created_ms FROM instances WHERE subaccount_id = ? AND name = ?",
        )
        .bind(&row.subaccount_id)
        .bind(&row.name)
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(held)
    }

    async fn insert_service_key(&self, row: &ServiceKeyRow) -> Result<Written, DbError> {
        let done = sqlx::query(
            "INSERT INTO service_keys (client_id, instance_id, name, scopes, salt, secret_hash, created_ms) \
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&row.client_id)
        .bind(&row.instance_id)
        .bind(&row.name)
        .bind(&row.scopes)
        .bind(&row.salt)
        .bind(&row.secret_hash)
        .bind(row.created_ms)
        .execute(&self.writer)
        .await?;
        Ok(if done.rows_affected() == 1 {
            Written::Done
        } else {
            Written::Duplicate
        })
    }

    async fn replace_secret(
        &self,
        client_id: &str,
        salt: &[u8],
        secret_hash: &[u8],
    ) -> Result<Written, DbError> {
        let done = sqlx::query("UPDATE service_keys SET salt = ?, secret_hash = ? WHERE client_id = ?")
            .bind(salt)
            .bind(secret_hash)
            .bind(client_id)
            .execute(&self.writer)
            .await?;
        Ok(if done.rows_affected() == 1 {
            Written::Done
        } else {
            Written::Missing
        })
    }

    async fn delete_service_key(&self, client_id: &str) -> Result<Written, DbError> {
        let done = sqlx::query("DELETE FROM service_keys WHERE client_id = ?")
            .bind(client_id)
            .execute(&self.writer)
            .await?;
        Ok(if done.rows_affected() == 1 {
            Written::Done
        } else {
            Written::Missing
        })
    }

    async fn client(&self, client_id: &str) -> Result<Option<ClientRow>, DbError> {
        let query = sqlx::query_as(
            "SELECT k.client_id, k.instance_id, k.name, k.scopes, k.salt, k.secret_hash, k.created_ms, \
             s.id AS subaccount_id, s.subdomain FROM service_keys k \
             JOIN instances i ON i.id = k.instance_id JOIN subaccounts s ON s.id = i.subaccount_id \
             WHERE k.client_id = ?",
        );
        Ok(query.bind(client_id).fetch_optional(&self.readers).await?)
    }

    async fn insert_destinations(
        &self,
        rows: &[DestinationRow],
        limit: u32,
    ) -> Result<Vec<Written>, DbError> {
        let Some(first) = rows.first() else {
            return Ok(Vec::new());
        };
        let mut transaction = self.begin().await?;
        let mut count: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM destinations WHERE subaccount_id = ? AND owner = ?")
                .bind(&first.subaccount_id)
                .bind(&first.owner)
                .fetch_one(&mut *transaction)
                .await?;
        let mut written = Vec::with_capacity(rows.len());
        for row in rows {
            if count >= i64::from(limit) {
                written.push(Written::Full);
                continue;
            }
            let done = sqlx::query(INSERT_DESTINATION)
                .bind(&row.subaccount_id)
                .bind(&row.owner)
                .bind(&row.name)
                .bind(&row.sealed)
                .bind(&row.etag)
                .bind(row.created_ms)
                .bind(row.modified_ms)
                .execute(&mut *transaction)
                .await?;
            let inserted = done.rows_affected() == 1;
            count += i64::from(inserted);
            written.push(if inserted {
                Written::Done
            } else {
                Written::Duplicate
            });
        }
        let done = rows
            .iter()
            .zip(&written)
            .filter(|(_, state)| **state == Written::Done);
        let created: Vec<_> = done.map(|(row, _)| Subject::from(row)).collect();
        let last = note(&mut transaction, Action::Created, &created).await?;
        transaction.commit().await?;
        self.announce(last);
        Ok(written)
    }

    async fn replace_destinations(
        &self,
        rows: &[(DestinationRow, Option<String>)],
    ) -> Result<Vec<Written>, DbError> {
        let mut transaction = self.begin().await?;
        let mut written = Vec::with_capacity(rows.len());
        for (row, expected) in rows {
            let place = Place {
                subaccount_id: row.subaccount_id.clone(),
                owner: row.owner.clone(),
            };
            let state = version(&mut transaction, &place, &row.name, expected.as_deref()).await?;
            if state == Written::Done {
                sqlx::query(REPLACE_DESTINATION)
                    .bind(&row.sealed)
                    .bind(&row.etag)
                    .bind(row.modified_ms)
                    .bind(&row.subaccount_id)
                    .bind(&row.owner)
                    .bind(&row.name)
                    .execute(&mut *transaction)
                    .await?;
            }
            written.push(state);
        }
        let done = rows
            .iter()
            .zip(&written)
            .filter(|(_, state)| **state == Written::Done);
        let updated: Vec<_> = done.map(|((row, _), _)| Subject::from(row)).collect();
        let last = note(&mut transaction, Action::Updated, &updated).await?;
        transaction.commit().await?;
        self.announce(last);
        Ok(written)
    }

    async fn delete_destination(
        &self,
        place: &Place,
        name: &str,
        expected: Option<&str>,
    ) -> Result<Written, DbError> {
        match self.delete_and_note(place, name, expected).await {
            // Room must be possible to make: the note of a deletion takes less than the notes of old changes.
            Err(DbError::Full { .. }) => {
                self.forget_events().await?;
                self.delete_and_note(place, name, expected).await
            }
            result => result,
        }
    }

    async fn destination(&self, place: &Place, name: &str) -> Result<Option<DestinationRow>, DbError> {
        let query = sqlx::query_as(
            "SELECT subaccount_id, owner, name, sealed, etag, created_ms, modified_ms FROM destinations \
             WHERE subaccount_id = ? AND owner = ? AND name = ?",
        );
        Ok(query
            .bind(&place.subaccount_id)
            .bind(&place.owner)
            .bind(name)
            .fetch_optional(&self.readers)
            .await?)
    }

    async fn find_destination(
        &self,
        subaccount_id: &str,
        instance_id: &str,
        name: &str,
    ) -> Result<Option<DestinationRow>, DbError> {
        let query = sqlx::query_as(
            "SELECT subaccount_id, owner, name, sealed, etag, created_ms, modified_ms FROM destinations \
             WHERE subaccount_id = ?1 AND owner IN (?2, '') AND name = ?3 ORDER BY owner = '' LIMIT 1",
        );
        Ok(query
            .bind(subaccount_id)
            .bind(instance_id)
            .bind(name)
            .fetch_optional(&self.readers)
            .await?)
    }

    async fn destinations_after(
        &self,
        place: &Place,
        after: &str,
        limit: u32,
    ) -> Result<Vec<DestinationRow>, DbError> {
        let query = sqlx::query_as(
            "SELECT subaccount_id, owner, name, sealed, etag, created_ms, modified_ms FROM destinations \
             WHERE subaccount_id = ? AND owner = ? AND name > ? ORDER BY name LIMIT ?",
        );
        let query = query
            .bind(&place.subaccount_id)
            .bind(&place.owner)
            .bind(after)
            .bind(limit);
        Ok(query.fetch_all(&self.readers).await?)
    }

    async fn signing_keys(&self) -> Result<Vec<SigningKeyRow>, DbError> {
        let query = sqlx::query_as(
            "SELECT kid, algorithm, sealed, created_ms FROM signing_keys ORDER BY created_ms DESC, kid",
        );
        Ok(query.fetch_all(&self.readers).await?)
    }

    async fn events_after(
        &self,
        subaccount_id: &str,
        instance_id: &str,
        after: i64,
        limit: u32,
    ) -> Result<Option<Vec<EventRow>>, DbError> {
        self.read_events(subaccount_id, instance_id, after, limit).await
    }

    async fn last_event(&self) -> Result<i64, DbError> {
        self.read_last_event().await
    }

    fn event_numbers(&self) -> watch::Receiver<i64> {
        self.last_event.subscribe()
    }

    async fn insert_signing_key(&self, row: &SigningKeyRow) -> Result<(), DbError> {
        sqlx::query("INSERT INTO signing_keys (kid, algorithm, sealed, created_ms) VALUES (?, ?, ?, ?)")
            .bind(&row.kid)
            .bind(&row.algorithm)
            .bind(&row.sealed)
            .bind(row.created_ms)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

/// Whether a destination exists and is the expected version; `Done` means that it may be written.
pub(super) async fn version(
    transaction: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    place: &Place,
    name: &str,
    expected: Option<&str>,
) -> Result<Written, DbError> {
    let held: Option<String> = sqlx::query_scalar(
        "SELECT etag FROM destinations WHERE subaccount_id = ? AND owner = ? AND name = ?",
    )
    .bind(&place.subaccount_id)
    .bind(&place.owner)
    .bind(name)
    .fetch_optional(&mut **transaction)
    .await?;
    Ok(match (held, expected) {
        (None, _) => Written::Missing,
        (Some(held), Some(expected)) if held != expected => Written::Changed,
        (Some(_), _) => Written::Done,
    })
}
