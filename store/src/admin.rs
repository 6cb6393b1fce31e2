//! Administration without REST: tenants and service keys. Works on the data directory, beside a running store or
//! without one.

mod bootstrap;
mod instance_config;
mod keys;
mod rotate_key;
mod tenants;
mod trust;

use std::sync::Arc;

use landbridge_destination::Binding;
use landbridge_destination::oauth::check_subdomain;
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;

use crate::auth::{NewSecret, READ, SHORTEST, WRITE, keep, new_secret, secret_matches};
use crate::config::{Config, base_url, url_text};
use crate::db::{InstanceRow, ServiceKeyRow, SubaccountRow, Written, now_ms};
use crate::error::Error;
use crate::storage::Storage;

pub use bootstrap::Bootstrap;
pub use instance_config::{InitData, InstanceConfig, LevelData, Policy};
pub use keys::{Credential, NewKey, Permissions};
pub use rotate_key::{KeyRotated, KeyRotation};
pub use tenants::{Instance, KeyInfo};

/// Name of the instance that service keys belong to until instances are managed.
const DEFAULT_INSTANCE: &str = "default";

/// Longest id or name.
const LONGEST_NAME: usize = 100;

/// Administration of one data directory.
#[derive(Debug, Clone)]
pub struct Admin {
    storage: Arc<Storage>,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Subaccount {
    /// Id.
    pub id: String,
    /// Subdomain.
    pub subdomain: String,
}

/// What a service key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Everything, as service keys of the original service (seed L621).
    #[default]
    Full,
    /// Find and read only: enough for proxies.
    ReadOnly,
}

/// What became of a service key that was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// It was new.
    New,
    /// It was there, with this secret.
    Known,
    /// It was there with another secret, which is not valid any more.
    Replaced,
}

impl Admin {
    /// Opens the data directory of `config`; made if missing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open(config: &Config) -> Result<Self, Error> {
        config.check()?;
        Ok(Self {
            storage: Arc::new(Storage::open(config).await?),
        })
    }

    pub(crate) fn new(storage: Arc<Storage>) -> Self {
        Self { storage }
    }

    pub(crate) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// Closes the database. Needed only when the directory is opened again right away.
    pub async fn close(self) {
        self.storage.database.close().await;
    }

    /// Creates a tenant; without an id it gets a UUID.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Exists`] or the database.
    pub async fn create_subaccount(&self, id: Option<&str>, subdomain: &str) -> Result<Subaccount, Error> {
        check_subdomain(subdomain).map_err(|_| {
            Error::Invalid(format!(
                "\"{subdomain}\" is no subdomain; use letters, digits and '-', at most 63"
            ))
        })?;
        let id = match id {
            Some(id) => checked("subaccount id", id)?.to_owned(),
            None => Uuid::new_v4().to_string(),
        };
        let subdomain = subdomain.to_ascii_lowercase();
        let row = SubaccountRow {
            id,
            subdomain,
            created_ms: now_ms(),
        };
        match self.storage.database.insert_subaccount(&row).await? {
            Written::Done => Ok(Subaccount {
                id: row.id,
                subdomain: row.subdomain,
            }),
            _ => Err(Error::Exists(format!(
                "a subaccount with id {} or subdomain {}",
                row.id, row.subdomain
            ))),
        }
    }

    /// All tenants.
    ///
    /// # Errors
    /// The database.
    pub async fn subaccounts(&self) -> Result<Vec<Subaccount>, Error> {
        let rows = self.storage.database.subaccounts().await?;
        Ok(rows
            .into_iter()
            .map(|row| Subaccount {
                id: row.id,
                subdomain: row.subdomain,
            })
            .collect())
    }

    /// Creates a service key for a tenant (by id or subdomain) and returns it; its secret cannot be read again.
    /// `address` is where clients reach the store.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Exists`], [`Error::NotFound`] or the database.
    pub async fn create_service_key(
        &self,
        subaccount: &str,
        name: &str,
        address: &str,
        access: Access,
    ) -> Result<Binding, Error> {
        let name = checked("key name", name)?;
        let url = base_url(address).map_err(Error::Invalid)?;
        let subaccount = self
            .storage
            .database
            .subaccount(subaccount)
            .await?
            .ok_or_else(|| Error::NotFound(format!("subaccount {subaccount}")))?;
        let instance = self.instance(&subaccount.id).await?;
        let secret = new_secret().ok_or(Error::Vault(crate::vault::VaultError::Crypto))?;
        let key = ServiceKeyRow {
            client_id: format!("sb-{}", Uuid::now_v7().simple()),
            instance_id: instance.id,
            name: name.to_owned(),
            scopes: scopes(access),
            salt: secret.salt.clone(),
            secret_hash: secret.hash.clone(),
            created_ms: now_ms(),
            certificate: None,
        };
        match self.storage.database.insert_service_key(&key).await? {
            Written::Done => Ok(binding(&subaccount, key, secret, url)),
            _ => Err(Error::Exists(format!("a service key named {name}"))),
        }
    }

    /// Makes a service key valid that was made elsewhere, such as by an installer that gives the same key to the store
    /// and to its clients. Its subaccount (`identityzone`, with the id `tenantid` where that is given) is made if there
    /// is none. With the same client id and another secret, the secret is replaced.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key that cannot be taken over, or the database.
    pub async fn adopt_service_key(&self, binding: &Binding, access: Access) -> Result<Adopted, Error> {
        let client_id = checked("client id", &binding.client_id)?;
        let subaccount = self.subaccount_of(binding).await?;
        let kept = self.storage.database.client(client_id).await?;
        if let Some(kept) = &kept {
            if kept.subaccount_id != subaccount.id {
                return Err(Error::Invalid(format!(
                    "the client id {client_id} belongs to the subaccount {} already; choose another one",
                    kept.subdomain
                )));
            }
            if secret_matches(
                Some((&kept.key.salt, &kept.key.secret_hash)),
                &binding.client_secret,
            ) {
                return Ok(Adopted::Known);
            }
        }
        let (salt, secret_hash) = keep(&binding.client_secret).ok_or_else(|| {
            Error::Invalid(format!(
                "the secret of {client_id} is too short; use {SHORTEST} random characters or more"
            ))
        })?;
        if kept.is_some() {
            self.storage
                .database
                .replace_secret(client_id, &salt, &secret_hash)
                .await?;
            return Ok(Adopted::Replaced);
        }
        let instance = self.instance(&subaccount.id).await?;
        let key = ServiceKeyRow {
            client_id: client_id.to_owned(),
            instance_id: instance.id,
            name: client_id.to_owned(),
            scopes: scopes(access),
            salt,
            secret_hash,
            created_ms: now_ms(),
            certificate: None,
        };
        match self.storage.database.insert_service_key(&key).await? {
            Written::Done => Ok(Adopted::New),
            _ => Err(Error::Exists(format!("a service key named {client_id}"))),
        }
    }

    /// The subaccount that a service key speaks for, made if there is none.
    async fn subaccount_of(&self, binding: &Binding) -> Result<Subaccount, Error> {
        let subdomain = binding.text("identityzone").unwrap_or("default");
        let id = binding.text("tenantid");
        let Some(row) = self.storage.database.subaccount(subdomain).await? else {
            return self.create_subaccount(id, subdomain).await;
        };
        match id {
            Some(id) if id != row.id => Err(Error::Invalid(format!(
                "the service key names the subaccount {subdomain} with the id {id}, here it has the id {}; correct \
                 \"tenantid\", or leave it out",
                row.id
            ))),
            _ => Ok(Subaccount {
                id: row.id,
                subdomain: row.subdomain,
            }),
        }
    }

    async fn instance(&self, subaccount_id: &str) -> Result<InstanceRow, Error> {
        let instance = InstanceRow {
            id: Uuid::new_v4().to_string(),
            subaccount_id: subaccount_id.to_owned(),
            name: DEFAULT_INSTANCE.to_owned(),
            created_ms: now_ms(),
            properties: "{}".to_owned(),
        };
        Ok(self.storage.database.instance_or_insert(&instance).await?)
    }

    /// Whether there is a service key with this client id.
    ///
    /// # Errors
    /// The database.
    pub async fn has_service_key(&self, client_id: &str) -> Result<bool, Error> {
        Ok(self.storage.database.client(client_id).await?.is_some())
    }

    /// Deletes a service key by its client id. Tokens it already has stay valid until they expire.
    ///
    /// # Errors
    /// [`Error::NotFound`] or the database.
    pub async fn delete_service_key(&self, client_id: &str) -> Result<(), Error> {
        match self.storage.database.delete_service_key(client_id).await? {
            Written::Done => Ok(()),
            _ => Err(Error::NotFound(format!("service key {client_id}"))),
        }
    }
}

fn scopes(access: Access) -> String {
    match access {
        Access::Full => format!("{READ} {WRITE}"),
        Access::ReadOnly => READ.to_owned(),
    }
}

/// Ids and names appear in tokens, logs and command lines, so they are kept plain.
fn checked<'a>(what: &str, text: &'a str) -> Result<&'a str, Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > LONGEST_NAME || !text.chars().all(plain) {
        let message = format!("the {what} must be 1 to {LONGEST_NAME} letters, digits, '-', '_' or '.'");
        return Err(Error::Invalid(message));
    }
    Ok(text)
}

/// The entries client libraries look for (seed L13118, L11558). All of them are texts.
fn entries(subaccount: &SubaccountRow, key: &ServiceKeyRow, url: &Url) -> Map<String, Value> {
    let entries = json!({
        "instanceid": key.instance_id,
        "xsappname": format!("landbridge-destination-{}", key.instance_id),
        "identityzone": subaccount.subdomain,
        "identityzoneid": subaccount.id,
        "tenantid": subaccount.id,
        "tenantmode": "dedicated",
        // With its port: libraries put https:// before it and get keys and tokens of other tenants from there.
        "uaadomain": url.authority(),
        "credential-type": "binding-secret",
        "token_service_url": url_text(url),
    });
    match entries {
        Value::Object(entries) => entries,
        _ => Map::new(),
    }
}

fn binding(subaccount: &SubaccountRow, key: ServiceKeyRow, secret: NewSecret, url: Url) -> Binding {
    Binding {
        other: entries(subaccount, &key, &url),
        client_id: key.client_id,
        client_secret: secret.secret,
        url: url.clone(),
        uri: url,
    }
}
