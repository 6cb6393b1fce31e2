//! PostgreSQL, for several replicas: one pool for reading and writing, writers one after the other, news by `NOTIFY`.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{PgPool, Postgres};
use tokio::time::{sleep, timeout};

use super::connection::{ACQUIRE, BUSY, Pools, within_deadline};
use super::migrate;
use super::{Database, DbError};

/// Connections of one store. PostgreSQL allows 100 in all unless told otherwise, and a read takes less than a
/// millisecond.
const CONNECTIONS: u32 = 8;

/// The advisory lock of writers ("landbrid").
const WRITERS: i64 = 0x6c61_6e64_6272_6964;

/// Where writes are announced.
const CHANNEL: &str = "landbridge_store";

/// How long a transaction may do nothing: a store whose network went away must not keep the lock of writers for long.
const IDLE: Duration = Duration::from_secs(20);

/// How often it is looked for writes without being told: a notification is lost when its connection is.
const LOOK: Duration = Duration::from_secs(1);

/// Pause before a lost listening connection is made anew.
const RECONNECT: Duration = Duration::from_millis(500);

impl Database {
    /// Opens a PostgreSQL database (version 15 or newer) by its URL and brings its schema up to date. The database itself
    /// must exist.
    ///
    /// # Errors
    /// See [`DbError`]; a schema newer than this program is refused and left alone.
    pub async fn open_postgres(url: &SecretString) -> Result<Self, DbError> {
        let options: PgConnectOptions = url
            .expose_secret()
            .parse()
            .map_err(|error: sqlx::Error| DbError::Url(error.to_string()))?;
        let millis = |time: Duration| time.as_millis().to_string();
        let options = options.application_name("landbridge-store").options([
            ("lock_timeout", millis(BUSY)),
            ("statement_timeout", millis(2 * BUSY)),
            ("idle_in_transaction_session_timeout", millis(IDLE)),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE)
            .connect_with(options)
            .await?;
        migrate::postgres(&pool).await?;
        Self::new(Pools::Postgres(pool)).await
    }
}

/// Takes the lock of writers until the transaction ends.
pub(super) async fn lock(transaction: &mut sqlx::Transaction<'static, Postgres>) -> Result<(), DbError> {
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(WRITERS);
    within_deadline(lock.execute(&mut **transaction)).await?;
    Ok(())
}

/// Tells other stores of an event, when the transaction commits.
pub(super) async fn announce(
    transaction: &mut sqlx::Transaction<'static, Postgres>,
    last: i64,
) -> Result<(), DbError> {
    let notify = sqlx::query("SELECT pg_notify($1, $2)")
        .bind(CHANNEL)
        .bind(last.to_string());
    within_deadline(notify.execute(&mut **transaction)).await?;
    Ok(())
}

/// Hears of writes of other stores.
#[derive(Debug)]
pub(super) struct Listener {
    pool: PgPool,
    connection: Option<PgListener>,
}

impl Listener {
    pub(super) fn new(pool: PgPool) -> Self {
        Self {
            pool,
            connection: None,
        }
    }

    /// Returns when there may be something new: always within a second or two.
    pub(super) async fn news(&mut self) {
        let Some(connection) = &mut self.connection else {
            match timeout(ACQUIRE, listen(&self.pool)).await {
                Ok(Ok(connection)) => self.connection = Some(connection),
                // The reads that follow tell what is wrong.
                Ok(Err(_)) | Err(_) => sleep(RECONNECT).await,
            }
            return;
        };
        match timeout(LOOK, connection.try_recv()).await {
            Ok(Ok(Some(_))) | Err(_) => while connection.next_buffered().is_some() {},
            Ok(Ok(None) | Err(_)) => self.connection = None,
        }
    }
}

async fn listen(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}
