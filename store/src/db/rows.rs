//! What is kept, row by row.

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
    /// What it was configured with, without secrets: a JSON object.
    pub properties: String,
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
    /// DER of the certificate that stands in place of a secret, for keys that have none.
    pub certificate: Option<Vec<u8>>,
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

/// What kind of thing an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A destination.
    Destination,
    /// A part of a destination, merged into it on demand.
    Fragment,
    /// A key or trust store.
    Certificate,
    /// An identity provider whose users' tokens are accepted.
    Issuer,
    /// A key pair that signs assertions of the subaccount.
    Trust,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Destination,
        Self::Fragment,
        Self::Certificate,
        Self::Issuer,
        Self::Trust,
    ];

    /// The word in the database and in the change feed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Destination => "destination",
            Self::Fragment => "fragment",
            Self::Certificate => "certificate",
            Self::Issuer => "issuer",
            Self::Trust => "trust",
        }
    }
}

/// A named and sealed thing as kept.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ItemRow {
    /// Tenant.
    pub subaccount_id: String,
    /// Empty for the subaccount level, else the instance.
    pub owner: String,
    /// Name, unique among its kind in its place.
    pub name: String,
    /// Encrypted content.
    pub sealed: Vec<u8>,
    /// Changes with every write.
    pub etag: String,
    /// When it was made.
    pub created_ms: i64,
    /// When it was last written.
    pub modified_ms: i64,
    /// When work on it is due, if ever.
    pub renew_ms: Option<i64>,
}

/// What can be told of an item without opening it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct HeadRow {
    /// Name.
    pub name: String,
    /// Version.
    pub etag: String,
    /// When it was last written.
    pub modified_ms: i64,
}

/// One value of a label of an item.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LabelRow {
    /// The item.
    pub name: String,
    /// The label.
    pub label: String,
    /// One of its values.
    pub value: String,
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
    /// When it was made.
    pub created_ms: i64,
    /// From when on it may sign; the newest of an algorithm that may does.
    pub signs_from_ms: i64,
}

/// An event of the change feed.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct EventRow {
    /// Number; grows with every change of any tenant.
    pub id: i64,
    /// Tenant.
    pub subaccount_id: String,
    /// Empty for the subaccount level, else the instance.
    pub owner: String,
    /// What kind of thing.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The word of an [`Action`](super::Action).
    pub action: String,
}

/// One list of things: a tenant's subaccount level, one of its instances, or what an instance has for a subscriber.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
