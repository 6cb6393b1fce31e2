//! Where everything is kept. The trait is what the service needs of a database; SQLite is the first one.
//!
//! A write has reached the disk when its call returns: what was acknowledged survives a crash.

mod error;
mod events;
mod migrate;
mod sqlite;

use std::future::Future;

use tokio::sync::watch;

pub use error::DbError;
pub use events::{Action, KEPT_EVENTS};
pub use sqlite::{DATABASE_FILE, OpenOptions, SqliteDatabase};

/// The database in use.
pub type Database = SqliteDatabase;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SubaccountRow {
    /// Id, chosen by the administrator or a UUID.
    pub id: String,
    /// Subdomain, unique.
    pub subdomain: String,
    /// When it was made.
    pub created_ms: i64,
}

/// A destination service instance of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct InstanceRow {
    /// Id, a UUID.
    pub id: String,
    /// Tenant it belongs to.
    pub subaccount_id: String,
    /// Name, unique within the tenant.
    pub name: String,
    /// When it was made.
    pub created_ms: i64,
}

/// Credentials of an instance. The secret itself is not kept.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ServiceKeyRow {
    /// OAuth client.
    pub client_id: String,
    /// Instance it belongs to.
    pub instance_id: String,
    /// Name, unique within the instance.
    pub name: String,
    /// Scopes it may ask for, separated by blanks.
    pub scopes: String,
    /// Salt of the hash.
    pub salt: Vec<u8>,
    /// SHA-256 of salt and secret.
    pub secret_hash: Vec<u8>,
    /// When it was made.
    pub created_ms: i64,
}

/// A service key with the tenant it speaks for.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ClientRow {
    /// The key.
    #[sqlx(flatten)]
    pub key: ServiceKeyRow,
    /// Tenant of its instance.
    pub subaccount_id: String,
    /// Its subdomain.
    pub subdomain: String,
}

/// A destination as kept.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct DestinationRow {
    /// Tenant.
    pub subaccount_id: String,
    /// Empty for the subaccount level, else the instance.
    pub owner: String,
    /// Name.
    pub name: String,
    /// Encrypted properties.
    pub sealed: Vec<u8>,
    /// Changes with every write.
    pub etag: String,
    /// When it was made.
    pub created_ms: i64,
    /// When it was last written.
    pub modified_ms: i64,
}

/// A key of the authorization server.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct SigningKeyRow {
    /// Key id.
    pub kid: String,
    /// `ES256` or `RS256`.
    pub algorithm: String,
    /// Encrypted PKCS#8.
    pub sealed: Vec<u8>,
    /// When it was made; the newest of an algorithm signs.
    pub created_ms: i64,
}

/// An event of the change feed.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct EventRow {
    /// Number; grows with every change of any tenant.
    pub id: i64,
    /// Empty for the subaccount level, else the instance.
    pub owner: String,
    /// What kind of thing.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The word of an [`Action`].
    pub action: String,
}

/// One list of destinations: a tenant's subaccount level or one of its instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Tenant.
    pub subaccount_id: String,
    /// Empty for the subaccount level, else the instance.
    pub owner: String,
}

impl Place {
    /// The subaccount level of a tenant.
    pub fn subaccount(subaccount_id: impl Into<String>) -> Self {
        Self {
            subaccount_id: subaccount_id.into(),
            owner: String::new(),
        }
    }
}

/// What became of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Done and on disk.
    Done,
    /// One of that name exists.
    Duplicate,
    /// There is none of that name.
    Missing,
    /// It is not the version the caller knew.
    Changed,
    /// The list has as many as it may.
    Full,
}

/// What the service needs of a database.
pub trait Repository {
    /// A value of the store itself.
    fn meta(&self, key: &str) -> impl Future<Output = Result<Option<Vec<u8>>, DbError>> + Send;
    /// Sets such a value unless it exists; returns what then holds.
    fn meta_or_insert(
        &self,
        key: &str,
        value: &[u8],
    ) -> impl Future<Output = Result<Vec<u8>, DbError>> + Send;
    /// Adds a tenant.
    fn insert_subaccount(&self, row: &SubaccountRow)
    -> impl Future<Output = Result<Written, DbError>> + Send;
    /// A tenant by its id or subdomain.
    fn subaccount(
        &self,
        id_or_subdomain: &str,
    ) -> impl Future<Output = Result<Option<SubaccountRow>, DbError>> + Send;
    /// All tenants, by subdomain.
    fn subaccounts(&self) -> impl Future<Output = Result<Vec<SubaccountRow>, DbError>> + Send;
    /// The instance of that name, made if there is none.
    fn instance_or_insert(
        &self,
        row: &InstanceRow,
    ) -> impl Future<Output = Result<InstanceRow, DbError>> + Send;
    /// Adds a service key.
    fn insert_service_key(
        &self,
        row: &ServiceKeyRow,
    ) -> impl Future<Output = Result<Written, DbError>> + Send;
    /// Gives a service key another secret.
    fn replace_secret(
        &self,
        client_id: &str,
        salt: &[u8],
        secret_hash: &[u8],
    ) -> impl Future<Output = Result<Written, DbError>> + Send;
    /// Removes a service key.
    fn delete_service_key(&self, client_id: &str) -> impl Future<Output = Result<Written, DbError>> + Send;
    /// A service key and its tenant.
    fn client(&self, client_id: &str) -> impl Future<Output = Result<Option<ClientRow>, DbError>> + Send;
    /// Adds destinations to one place in one transaction, up to `limit` in all; what became of each.
    fn insert_destinations(
        &self,
        rows: &[DestinationRow],
        limit: u32,
    ) -> impl Future<Output = Result<Vec<Written>, DbError>> + Send;
    /// Replaces destinations in one transaction, those with an expected version only if they still have it.
    fn replace_destinations(
        &self,
        rows: &[(DestinationRow, Option<String>)],
    ) -> impl Future<Output = Result<Vec<Written>, DbError>> + Send;
    /// Removes a destination.
    fn delete_destination(
        &self,
        place: &Place,
        name: &str,
        expected: Option<&str>,
    ) -> impl Future<Output = Result<Written, DbError>> + Send;
    /// One destination of one place.
    fn destination(
        &self,
        place: &Place,
        name: &str,
    ) -> impl Future<Output = Result<Option<DestinationRow>, DbError>> + Send;
    /// One destination of the instance or else of the subaccount level (seed L13206).
    fn find_destination(
        &self,
        subaccount_id: &str,
        instance_id: &str,
        name: &str,
    ) -> impl Future<Output = Result<Option<DestinationRow>, DbError>> + Send;
    /// The next destinations of a place by name, after `after`.
    fn destinations_after(
        &self,
        place: &Place,
        after: &str,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<DestinationRow>, DbError>> + Send;
    /// Keys of the authorization server, newest first.
    fn signing_keys(&self) -> impl Future<Output = Result<Vec<SigningKeyRow>, DbError>> + Send;
    /// The next events after number `after` that concern a tenant and one of its instances, oldest first; `None` when
    /// the feed does not reach back that far, or never had that number.
    fn events_after(
        &self,
        subaccount_id: &str,
        instance_id: &str,
        after: i64,
        limit: u32,
    ) -> impl Future<Output = Result<Option<Vec<EventRow>>, DbError>> + Send;
    /// Number of the last event of all tenants, also when another process has written it.
    fn last_event(&self) -> impl Future<Output = Result<i64, DbError>> + Send;
    /// Hears the number of the last event as far as it is known here: after writes of this process, and whenever
    /// [`last_event`](Self::last_event) was asked.
    fn event_numbers(&self) -> watch::Receiver<i64>;
    /// Adds such a key.
    fn insert_signing_key(&self, row: &SigningKeyRow) -> impl Future<Output = Result<(), DbError>> + Send;
}

/// Now, as the database writes it.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests;
