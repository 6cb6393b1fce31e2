//! Everything that is kept, row by row, for backups: read as of one moment, written into an empty database.
//!
//! The change feed is not part of it: whoever followed it learns that everything may have changed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::connection::{Pools, Transaction, execute, read_within, within_deadline};
use super::{Database, DbError, Kind};

/// Rows of one read. An item may have 1 MB.
const PAGE: i64 = 50;

/// Bytes of a column, in JSON as base64.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// Defines the row of a table, all of whose columns are in the archive.
macro_rules! row {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
        #[serde(deny_unknown_fields)]
        #[expect(missing_docs, reason = "the columns; the migrations say what they are")]
        pub struct $name { $(pub $field: $type),* }
    };
}

row!(/// Table `meta`.
    Meta { key: String, value: Bytes });
row!(/// Table `subaccounts`.
    Subaccount { id: String, subdomain: String, created_ms: i64 });
row!(/// Table `instances`.
    Instance { id: String, subaccount_id: String, name: String, created_ms: i64, properties: String });
row!(/// Table `service_keys`.
ServiceKey {
    client_id: String, instance_id: String, name: String, scopes: String, salt: Bytes, secret_hash: Bytes,
    created_ms: i64, certificate: Option<Bytes>,
});
row!(/// Table `subscriptions`.
    Subscription { instance_id: String, subaccount_id: String, created_ms: i64 });
row!(/// Table `items`.
Item {
    kind: String, subaccount_id: String, owner: String, name: String, sealed: Bytes, etag: String,
    created_ms: i64, modified_ms: i64, renew_ms: Option<i64>,
});
row!(/// Table `labels`.
Label {
    kind: String, subaccount_id: String, owner: String, name: String, label: String, value: String,
});
row!(/// Table `signing_keys`.
    SigningKey { kid: String, algorithm: String, sealed: Bytes, created_ms: i64, signs_from_ms: i64 });

/// One row of any table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is a table")]
pub enum Entry {
    Meta(Meta),
    Subaccounts(Subaccount),
    Instances(Instance),
    ServiceKeys(ServiceKey),
    Subscriptions(Subscription),
    Items(Item),
    Labels(Label),
    SigningKeys(SigningKey),
}

impl Entry {
    /// All tables, in the order in which they can be written.
    pub const TABLES: [&str; 8] = [
        "meta",
        "subaccounts",
        "instances",
        "service_keys",
        "subscriptions",
        "items",
        "labels",
        "signing_keys",
    ];

    /// Name of the table.
    pub fn table(&self) -> &'static str {
        match self {
            Self::Meta(_) => "meta",
            Self::Subaccounts(_) => "subaccounts",
            Self::Instances(_) => "instances",
            Self::ServiceKeys(_) => "service_keys",
            Self::Subscriptions(_) => "subscriptions",
            Self::Items(_) => "items",
            Self::Labels(_) => "labels",
            Self::SigningKeys(_) => "signing_keys",
        }
    }
}

/// Everything as of one moment. Writers go on meanwhile.
pub struct Snapshot {
    transaction: Transaction,
    table: usize,
    after: Option<Entry>,
}

impl Database {
    /// Begins to read everything as of now.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn snapshot(&self) -> Result<Snapshot, DbError> {
        let transaction = match &self.pools {
            Pools::Sqlite { readers, .. } => Transaction::Sqlite(within_deadline(readers.begin()).await?),
            Pools::Postgres(pool) => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                Transaction::Postgres(within_deadline(pool.begin_with(begin)).await?)
            }
        };
        Ok(Snapshot {
            transaction,
            table: 0,
            after: None,
        })
    }

    /// Begins to fill an empty database; nothing is kept unless it is finished.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn fill(&self) -> Result<Filling, DbError> {
        Ok(Filling {
            transaction: self.begin().await?,
        })
    }
}

impl Snapshot {
    /// The next rows; none at the end.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn next(&mut self) -> Result<Vec<Entry>, DbError> {
        while let Some(table) = Entry::TABLES.get(self.table) {
            let rows = self.page(table).await?;
            // The small tables are read at once.
            match rows.last() {
                Some(last @ (Entry::Items(_) | Entry::Labels(_))) => self.after = Some(last.clone()),
                _ => {
                    self.table += 1;
                    self.after = None;
                }
            }
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
        Ok(Vec::new())
    }

    async fn page(&mut self, table: &str) -> Result<Vec<Entry>, DbError> {
        let transaction = &mut self.transaction;
        macro_rules! all {
            ($entry:ident, $sql:expr) => {{
                let rows: Vec<_> = read_within!(transaction, fetch_all, $sql, [])?;
                Ok(rows.into_iter().map(Entry::$entry).collect())
            }};
        }
        match table {
            "meta" => all!(Meta, "SELECT key, value FROM meta ORDER BY key"),
            "subaccounts" => all!(
                Subaccounts,
                "SELECT id, subdomain, created_ms FROM subaccounts ORDER BY id"
            ),
            "instances" => all!(
                Instances,
                "SELECT id, subaccount_id, name, created_ms, properties FROM instances ORDER BY id"
            ),
            "service_keys" => all!(
                ServiceKeys,
                "SELECT client_id, instance_id, name, scopes, salt, secret_hash, created_ms, certificate \
                 FROM service_keys ORDER BY client_id"
            ),
            "subscriptions" => all!(
                Subscriptions,
                "SELECT instance_id, subaccount_id, created_ms FROM subscriptions \
                 ORDER BY instance_id, subaccount_id"
            ),
            "items" => self.items().await,
            "labels" => self.labels().await,
            _ => all!(
                SigningKeys,
                "SELECT kid, algorithm, sealed, created_ms, signs_from_ms FROM signing_keys ORDER BY kid"
            ),
        }
    }

    async fn items(&mut self) -> Result<Vec<Entry>, DbError> {
        let (kind, subaccount, owner, name) = match &self.after {
            Some(Entry::Items(last)) => (
                last.kind.as_str(),
                last.subaccount_id.as_str(),
                last.owner.as_str(),
                last.name.as_str(),
            ),
            _ => ("", "", "", ""),
        };
        let rows: Vec<Item> = read_within!(
            &mut self.transaction,
            fetch_all,
            "SELECT kind, subaccount_id, owner, name, sealed, etag, created_ms, modified_ms, renew_ms FROM items \
             WHERE (subaccount_id, kind, owner, name) > ($1, $2, $3, $4) \
             ORDER BY subaccount_id, kind, owner, name LIMIT $5",
            [subaccount, kind, owner, name, PAGE]
        )?;
        Ok(rows.into_iter().map(Entry::Items).collect())
    }

    async fn labels(&mut self) -> Result<Vec<Entry>, DbError> {
        let none = Label {
            kind: String::new(),
            subaccount_id: String::new(),
            owner: String::new(),
            name: String::new(),
            label: String::new(),
            value: String::new(),
        };
        let last = match &self.after {
            Some(Entry::Labels(last)) => last,
            _ => &none,
        };
        let rows: Vec<Label> = read_within!(
            &mut self.transaction,
            fetch_all,
            "SELECT kind, subaccount_id, owner, name, label, value FROM labels \
             WHERE (subaccount_id, kind, owner, name, label, value) > ($1, $2, $3, $4, $5, $6) \
             ORDER BY subaccount_id, kind, owner, name, label, value LIMIT $7",
            [
                last.subaccount_id.as_str(),
                last.kind.as_str(),
                last.owner.as_str(),
                last.name.as_str(),
                last.label.as_str(),
                last.value.as_str(),
                PAGE * 20
            ]
        )?;
        Ok(rows.into_iter().map(Entry::Labels).collect())
    }
}

/// An empty database that is being filled.
pub struct Filling {
    transaction: Transaction,
}

impl Filling {
    /// The first table that has something, if any. What a store makes by itself at its first start does not count: it
    /// is replaced.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn occupied(&mut self) -> Result<Option<&'static str>, DbError> {
        let (subaccounts, items): (i64, i64) = read_within!(
            &mut self.transaction,
            fetch_one,
            "SELECT (SELECT COUNT(*) FROM subaccounts), (SELECT COUNT(*) FROM items)",
            []
        )?;
        if subaccounts > 0 {
            return Ok(Some("subaccounts"));
        }
        if items > 0 {
            return Ok(Some("items"));
        }
        for table in ["DELETE FROM meta", "DELETE FROM signing_keys"] {
            execute!(&mut self.transaction, table, [])?;
        }
        Ok(None)
    }

    /// Writes a row.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn put(&mut self, entry: &Entry) -> Result<(), DbError> {
        let transaction = &mut self.transaction;
        match entry {
            Entry::Meta(row) => execute!(
                transaction,
                "INSERT INTO meta (key, value) VALUES ($1, $2)",
                [&row.key, &row.value.0]
            ),
            Entry::Subaccounts(row) => execute!(
                transaction,
                "INSERT INTO subaccounts (id, subdomain, created_ms) VALUES ($1, $2, $3)",
                [&row.id, &row.subdomain, row.created_ms]
            ),
            Entry::Instances(row) => execute!(
                transaction,
                "INSERT INTO instances (id, subaccount_id, name, created_ms, properties) VALUES ($1, $2, $3, $4, $5)",
                [
                    &row.id,
                    &row.subaccount_id,
                    &row.name,
                    row.created_ms,
                    &row.properties
                ]
            ),
            Entry::ServiceKeys(row) => execute!(
                transaction,
                "INSERT INTO service_keys \
                 (client_id, instance_id, name, scopes, salt, secret_hash, created_ms, certificate) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                [
                    &row.client_id,
                    &row.instance_id,
                    &row.name,
                    &row.scopes,
                    &row.salt.0,
                    &row.secret_hash.0,
                    row.created_ms,
                    row.certificate.as_ref().map(|bytes| &bytes.0)
                ]
            ),
            Entry::Subscriptions(row) => execute!(
                transaction,
                "INSERT INTO subscriptions (instance_id, subaccount_id, created_ms) VALUES ($1, $2, $3)",
                [&row.instance_id, &row.subaccount_id, row.created_ms]
            ),
            Entry::Items(row) => execute!(
                transaction,
                "INSERT INTO items \
                 (kind, subaccount_id, owner, name, sealed, etag, created_ms, modified_ms, renew_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                [
                    &row.kind,
                    &row.subaccount_id,
                    &row.owner,
                    &row.name,
                    &row.sealed.0,
                    &row.etag,
                    row.created_ms,
                    row.modified_ms,
                    row.renew_ms
                ]
            ),
            Entry::Labels(row) => execute!(
                transaction,
                "INSERT INTO labels (kind, subaccount_id, owner, name, label, value) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
                [
                    &row.kind,
                    &row.subaccount_id,
                    &row.owner,
                    &row.name,
                    &row.label,
                    &row.value
                ]
            ),
            Entry::SigningKeys(row) => execute!(
                transaction,
                "INSERT INTO signing_keys (kid, algorithm, sealed, created_ms, signs_from_ms) \
                 VALUES ($1, $2, $3, $4, $5)",
                [
                    &row.kid,
                    &row.algorithm,
                    &row.sealed.0,
                    row.created_ms,
                    row.signs_from_ms
                ]
            ),
        }?;
        Ok(())
    }

    /// Keeps all of it.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn finish(self) -> Result<(), DbError> {
        self.transaction.commit().await
    }
}

/// The kind of that word.
pub(crate) fn kind_named(word: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.as_str() == word)
}
