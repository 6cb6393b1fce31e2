//! Tenants and what belongs to them: made, listed, deleted.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Admin, Subaccount, checked};
use crate::db::{InstanceRow, Kind, Place, ServiceKeyRow, SubaccountRow, Written, now_ms};
use crate::error::Error;

/// A service instance of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Instance {
    /// Id.
    pub id: String,
    /// Name, unique within the tenant.
    pub name: String,
    /// Tenant it belongs to.
    pub subaccount: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// What it was configured with, without what is in `init_data`.
    pub properties: Value,
}

/// A service key without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// OAuth client.
    pub client_id: String,
    /// Name, unique within the instance.
    pub name: String,
    /// Name of its instance.
    pub instance: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// `binding-secret` or `x509`, as in the key itself.
    pub credential_type: &'static str,
    /// When it was made (RFC 3339).
    pub created: String,
}

impl From<SubaccountRow> for Subaccount {
    fn from(row: SubaccountRow) -> Self {
        Self {
            id: row.id,
            subdomain: row.subdomain,
        }
    }
}

impl From<InstanceRow> for Instance {
    fn from(row: InstanceRow) -> Self {
        Self {
            properties: serde_json::from_str(&row.properties).unwrap_or_default(),
            created: time(row.created_ms),
            id: row.id,
            name: row.name,
            subaccount: row.subaccount_id,
        }
    }
}

impl KeyInfo {
    fn new(row: ServiceKeyRow, instance: &str) -> Self {
        Self {
            credential_type: if row.certificate.is_some() {
                "x509"
            } else {
                "binding-secret"
            },
            scopes: row.scopes.split(' ').map(str::to_owned).collect(),
            created: time(row.created_ms),
            client_id: row.client_id,
            name: row.name,
            instance: instance.to_owned(),
        }
    }
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms)
        .map(|time| time.to_string())
        .unwrap_or_default()
}

impl Admin {
    /// Makes a service instance of a tenant (by id or subdomain).
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Exists`], [`Error::NotFound`] or the database.
    pub async fn create_instance(&self, subaccount: &str, name: &str) -> Result<Instance, Error> {
        let name = checked("instance name", name)?;
        let tenant = self.tenant(subaccount).await?;
        let row = InstanceRow {
            id: Uuid::new_v4().to_string(),
            subaccount_id: tenant.id,
            name: name.to_owned(),
            created_ms: now_ms(),
            properties: "{}".to_owned(),
        };
        match self.storage.database.insert_instance(&row).await? {
            Written::Done => Ok(row.into()),
            _ => Err(Error::Exists(format!(
                "an instance named {name} of {}",
                tenant.subdomain
            ))),
        }
    }

    /// The service instances of a tenant, by name.
    ///
    /// # Errors
    /// [`Error::NotFound`] or the database.
    pub async fn instances(&self, subaccount: &str) -> Result<Vec<Instance>, Error> {
        let tenant = self.tenant(subaccount).await?;
        let rows = self.storage.database.instances(&tenant.id).await?;
        Ok(rows.into_iter().map(Instance::from).collect())
    }

    /// Deletes an instance with its keys and subscriptions. `with_content`: also when it has destinations or other things,
    /// which are deleted with it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotEmpty`] or the database.
    pub async fn delete_instance(
        &self,
        subaccount: &str,
        instance: &str,
        with_content: bool,
    ) -> Result<(), Error> {
        let tenant = self.tenant(subaccount).await?;
        let row = self.known_instance(&tenant, instance).await?;
        if !with_content {
            let what = format!("the instance {}", row.name);
            let subscribers = self.storage.database.subscribers(&row.id).await?;
            if !subscribers.is_empty() {
                return Err(Error::NotEmpty(
                    what,
                    format!("{} subscriptions", subscribers.len()),
                ));
            }
            let place = Place {
                subaccount_id: tenant.id,
                owner: row.id.clone(),
            };
            self.expect_empty(what, &place).await?;
        }
        let deleted = self.storage.database.delete_instance(&row.id).await?;
        self.storage.freshness.everything_changed();
        match deleted {
            Written::Done => Ok(()),
            _ => Err(Error::NotFound(format!("instance {instance}"))),
        }
    }

    /// Deletes a tenant. `with_content`: also when it has instances, destinations or other things, which are deleted with
    /// it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotEmpty`] or the database.
    pub async fn delete_subaccount(&self, subaccount: &str, with_content: bool) -> Result<(), Error> {
        let tenant = self.tenant(subaccount).await?;
        if !with_content {
            let what = format!("the subaccount {}", tenant.subdomain);
            let instances = self.storage.database.instances(&tenant.id).await?;
            if !instances.is_empty() {
                return Err(Error::NotEmpty(what, format!("{} instances", instances.len())));
            }
            self.expect_empty(what, &Place::subaccount(tenant.id.clone()))
                .await?;
        }
        let deleted = self.storage.database.delete_subaccount(&tenant.id).await?;
        self.storage.freshness.everything_changed();
        match deleted {
            Written::Done => Ok(()),
            _ => Err(Error::NotFound(format!("subaccount {subaccount}"))),
        }
    }

    async fn expect_empty(&self, what: String, place: &Place) -> Result<(), Error> {
        for kind in Kind::ALL {
            // Key pairs of the trust are made by the store itself.
            if kind == Kind::Trust {
                continue;
            }
            let count = self.storage.database.count_items(kind, place).await?;
            if count > 0 {
                return Err(Error::NotEmpty(what, format!("{count} {}s", kind.as_str())));
            }
        }
        Ok(())
    }

    /// The service keys of a tenant, of one of its instances or of all, by instance and name.
    ///
    /// # Errors
    /// [`Error::NotFound`] or the database.
    pub async fn service_keys(
        &self,
        subaccount: &str,
        instance: Option<&str>,
    ) -> Result<Vec<KeyInfo>, Error> {
        let tenant = self.tenant(subaccount).await?;
        let instances = match instance {
            Some(instance) => vec![self.known_instance(&tenant, instance).await?],
            None => self.storage.database.instances(&tenant.id).await?,
        };
        let mut keys = Vec::new();
        for instance in instances {
            let rows = self.storage.database.service_keys(&instance.id).await?;
            keys.extend(rows.into_iter().map(|row| KeyInfo::new(row, &instance.name)));
        }
        Ok(keys)
    }

    /// The tenants that may use an instance of another one, by subdomain.
    ///
    /// # Errors
    /// [`Error::NotFound`] or the database.
    pub async fn subscribers(
        &self,
        provider: &str,
        instance: Option<&str>,
    ) -> Result<Vec<Subaccount>, Error> {
        let owner = self.tenant(provider).await?;
        let instance = self
            .known_instance(&owner, instance.unwrap_or(super::DEFAULT_INSTANCE))
            .await?;
        let rows = self.storage.database.subscribers(&instance.id).await?;
        Ok(rows.into_iter().map(Subaccount::from).collect())
    }

    /// Unlike [`instance_of`](Self::instance_of), the default instance is not made.
    pub(super) async fn known_instance(
        &self,
        subaccount: &SubaccountRow,
        id_or_name: &str,
    ) -> Result<InstanceRow, Error> {
        let row = self.storage.database.instance(&subaccount.id, id_or_name).await?;
        row.ok_or_else(|| Error::NotFound(format!("instance {id_or_name} of {}", subaccount.subdomain)))
    }
}

#[cfg(test)]
mod tests {
    use landbridge_destination::DestinationConfig;

    use super::*;
    use crate::admin::{Access, Credential, NewKey, Permissions};
    use crate::records::{New, Records};
    use crate::testing::Home;

    fn key(name: &str) -> NewKey<'_> {
        NewKey {
            subaccount: "shop",
            instance: Some("main"),
            name,
            address: "https://store.example",
            permissions: Permissions::Access(Access::ReadOnly),
            credential: Credential::Secret,
        }
    }

    #[tokio::test]
    async fn tenants_go_with_their_content_only_when_told_so() {
        let home = Home::new();
        let admin = Admin::open(&home.config()).await.unwrap();
        let shop = admin.create_subaccount(None, "shop").await.unwrap();
        admin.create_subaccount(None, "branch").await.unwrap();
        let main = admin.create_instance("shop", "main").await.unwrap();
        assert!(matches!(
            admin.create_instance("shop", "main").await,
            Err(Error::Exists(_))
        ));
        assert!(matches!(
            admin.create_instance("shop", "a b").await,
            Err(Error::Invalid(_))
        ));
        assert_eq!(
            admin.instances(&shop.id).await.unwrap(),
            std::slice::from_ref(&main)
        );
        admin.create_key(&key("one")).await.unwrap();
        admin
            .create_key(&NewKey {
                credential: Credential::Certificate { days: 1 },
                ..key("two")
            })
            .await
            .unwrap();
        let keys = admin.service_keys("shop", None).await.unwrap();
        let told: Vec<_> = keys
            .iter()
            .map(|key| (key.name.as_str(), key.credential_type))
            .collect();
        assert_eq!(told, [("one", "binding-secret"), ("two", "x509")]);
        assert_eq!(keys[0].scopes, ["destination.read"]);

        admin.subscribe("shop", Some("main"), "branch").await.unwrap();
        let subscribers = admin.subscribers("shop", Some("main")).await.unwrap();
        assert_eq!(subscribers[0].subdomain, "branch");
        let refused = admin.delete_instance("shop", "main", false).await.unwrap_err();
        assert!(refused.to_string().contains("1 subscriptions"), "{refused}");
        admin.unsubscribe("shop", Some("main"), "branch").await.unwrap();

        let records = Records::<DestinationConfig>::new(std::sync::Arc::clone(&admin.storage), 10, 1 << 20);
        let place = Place {
            subaccount_id: shop.id.clone(),
            owner: main.id.clone(),
        };
        let config: DestinationConfig = [("Name", "erp")].into_iter().collect();
        records.create(&place, vec![New::from(config)]).await.unwrap();
        assert!(records.get(&place, "erp").await.unwrap().is_some());
        let refused = admin.delete_instance("shop", "main", false).await.unwrap_err();
        assert!(refused.to_string().contains("1 destinations"), "{refused}");
        let refused = admin.delete_subaccount("shop", false).await.unwrap_err();
        assert!(refused.to_string().contains("1 instances"), "{refused}");
        admin.delete_instance("shop", "main", true).await.unwrap();
        assert!(
            records.get(&place, "erp").await.unwrap().is_none(),
            "nothing is remembered"
        );
        assert!(!admin.has_service_key(&keys[0].client_id).await.unwrap());
        admin.delete_subaccount("shop", false).await.unwrap();
        let gone = admin.delete_subaccount("shop", true).await;
        assert!(matches!(gone, Err(Error::NotFound(_))));
    }
}
