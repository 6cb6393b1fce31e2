//! Service keys of any instance, with a secret or a client certificate, and with roles.

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::{Access, Admin, DEFAULT_INSTANCE, binding, checked, entries};
use crate::auth::{Role, new_secret, x509};
use crate::config::{base_url, url_text};
use crate::db::{InstanceRow, ServiceKeyRow, SubaccountRow, Written, now_ms};
use crate::error::Error;
use crate::vault::VaultError;

/// How a client proves that it has a service key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Credential {
    /// By a secret.
    #[default]
    Secret,
    /// By a client certificate that is valid for so many days, 1 to 366 (seed L11587). The store has to end TLS itself.
    Certificate {
        /// Days.
        days: u32,
    },
}

/// What a service key may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permissions {
    /// One of the two usual sets.
    Access(Access),
    /// What these roles may.
    Roles(Vec<Role>),
}

/// A service key to be made.
#[derive(Debug, Clone)]
pub struct NewKey<'a> {
    /// Tenant, by id or subdomain.
    pub subaccount: &'a str,
    /// Instance, by id or name; the tenant's default one, made if there is none, where nothing is said.
    pub instance: Option<&'a str>,
    /// Name, unique within the instance.
    pub name: &'a str,
    /// Where clients reach the store.
    pub address: &'a str,
    /// What it may do.
    pub permissions: Permissions,
    /// How it is proven.
    pub credential: Credential,
}

impl Permissions {
    fn scopes(&self) -> Result<String, Error> {
        match self {
            Self::Access(access) => Ok(super::scopes(*access)),
            Self::Roles(roles) if roles.is_empty() => Err(Error::Invalid(
                "a service key without any role could do nothing; name one".to_owned(),
            )),
            Self::Roles(roles) => {
                let mut scopes: Vec<_> = roles.iter().flat_map(|role| role.scopes()).collect();
                scopes.sort();
                scopes.dedup();
                Ok(scopes.join(" "))
            }
        }
    }
}

impl Admin {
    /// Makes a service key and returns it as JSON; its secret or private key cannot be read again.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Exists`], [`Error::NotFound`] or the database.
    pub async fn create_key(&self, new: &NewKey<'_>) -> Result<SecretString, Error> {
        let name = checked("key name", new.name)?;
        let url = base_url(new.address).map_err(Error::Invalid)?;
        let scopes = new.permissions.scopes()?;
        let subaccount = self.tenant(new.subaccount).await?;
        let instance = self.instance_of(&subaccount, new.instance).await?;
        let key = ServiceKeyRow {
            client_id: format!("sb-{}", Uuid::now_v7().simple()),
            instance_id: instance.id,
            name: name.to_owned(),
            scopes,
            salt: Vec::new(),
            secret_hash: Vec::new(),
            created_ms: now_ms(),
            certificate: None,
        };
        match new.credential {
            Credential::Secret => self.with_secret(&subaccount, key, url).await,
            Credential::Certificate { days } => self.with_certificate(&subaccount, key, &url, days).await,
        }
    }

    async fn with_secret(
        &self,
        subaccount: &SubaccountRow,
        mut key: ServiceKeyRow,
        url: Url,
    ) -> Result<SecretString, Error> {
        let secret = new_secret().ok_or(Error::Vault(VaultError::Crypto))?;
        key.salt.clone_from(&secret.salt);
        key.secret_hash.clone_from(&secret.hash);
        self.insert_key(&key).await?;
        Ok(binding(subaccount, key, secret, url).to_json_with_secret())
    }

    /// The entries of D20 for a client certificate, as libraries of the original service read them.
    async fn with_certificate(
        &self,
        subaccount: &SubaccountRow,
        mut key: ServiceKeyRow,
        url: &Url,
        days: u32,
    ) -> Result<SecretString, Error> {
        let made = x509::issue(&key.client_id, &subaccount.id, days).await?;
        key.certificate = Some(made.der);
        self.insert_key(&key).await?;
        let mut all = entries(subaccount, &key, url);
        let address = url_text(url);
        for (name, value) in [
            ("clientid", key.client_id.as_str()),
            ("certificate", &made.pem),
            ("key", made.key_pem.expose_secret()),
            ("certurl", &address),
            ("url", &address),
            ("uri", &address),
            ("credential-type", "x509"),
        ] {
            all.insert(name.to_owned(), value.into());
        }
        let expires = jiff::Timestamp::from_millisecond(made.expires_ms).map(|time| time.to_string());
        all.insert(
            "certificate_expires".to_owned(),
            expires.unwrap_or_default().into(),
        );
        Ok(format!("{:#}", Value::Object(all)).into())
    }

    async fn insert_key(&self, key: &ServiceKeyRow) -> Result<(), Error> {
        match self.storage.database.insert_service_key(key).await? {
            Written::Done => Ok(()),
            _ => Err(Error::Exists(format!("a service key named {}", key.name))),
        }
    }

    pub(super) async fn tenant(&self, id_or_subdomain: &str) -> Result<SubaccountRow, Error> {
        let row = self.storage.database.subaccount(id_or_subdomain).await?;
        row.ok_or_else(|| Error::NotFound(format!("subaccount {id_or_subdomain}")))
    }

    pub(super) async fn instance_of(
        &self,
        subaccount: &SubaccountRow,
        id_or_name: Option<&str>,
    ) -> Result<InstanceRow, Error> {
        match id_or_name {
            None | Some(DEFAULT_INSTANCE) => self.instance(&subaccount.id).await,
            Some(wanted) => {
                let row = self.storage.database.instance(&subaccount.id, wanted).await?;
                row.ok_or_else(|| Error::NotFound(format!("instance {wanted} of {}", subaccount.subdomain)))
            }
        }
    }
}
