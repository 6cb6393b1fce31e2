//! Who there is: subaccounts, their instances and subscriptions, and service keys.

use super::connection::{execute, read, read_within};
use super::events::note_everything;
use super::{ClientRow, Database, DbError, InstanceRow, ServiceKeyRow, SubaccountRow, Written};

const INSERT_INSTANCE: &str = "INSERT INTO instances (id, subaccount_id, name, created_ms, properties) \
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";

/// What became of a statement on one row that may exist already.
fn inserted(rows: u64) -> Written {
    if rows == 1 {
        Written::Done
    } else {
        Written::Duplicate
    }
}

/// What became of a statement on one row that may not exist.
fn found(rows: u64) -> Written {
    if rows == 1 {
        Written::Done
    } else {
        Written::Missing
    }
}

impl Database {
    /// Adds a tenant.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn insert_subaccount(&self, row: &SubaccountRow) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        let rows = execute!(
            &mut transaction,
            "INSERT INTO subaccounts (id, subdomain, created_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            [&row.id, &row.subdomain, row.created_ms]
        )?;
        transaction.commit().await?;
        Ok(inserted(rows))
    }

    /// A tenant by its id, or else by its subdomain.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn subaccount(&self, id_or_subdomain: &str) -> Result<Option<SubaccountRow>, DbError> {
        // An id wins over a subdomain that looks like it.
        read!(
            self,
            fetch_optional,
            "SELECT id, subdomain, created_ms FROM subaccounts WHERE id = $1 OR subdomain = $1 \
             ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1",
            [id_or_subdomain]
        )
    }

    /// All tenants, by subdomain.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn subaccounts(&self) -> Result<Vec<SubaccountRow>, DbError> {
        read!(
            self,
            fetch_all,
            "SELECT id, subdomain, created_ms FROM subaccounts ORDER BY subdomain",
            []
        )
    }

    /// Removes a tenant with everything it has, and what its instances have for subscribers.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn delete_subaccount(&self, id: &str) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        execute!(
            &mut transaction,
            "DELETE FROM items WHERE owner IN (SELECT id FROM instances WHERE subaccount_id = $1)",
            [id]
        )?;
        let rows = execute!(&mut transaction, "DELETE FROM subaccounts WHERE id = $1", [id])?;
        let last = note_everything(&mut transaction, id).await?;
        transaction.commit().await?;
        self.announce(Some(last));
        Ok(found(rows))
    }

    /// Adds an instance.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn insert_instance(&self, row: &InstanceRow) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        let rows = execute!(
            &mut transaction,
            INSERT_INSTANCE,
            [
                &row.id,
                &row.subaccount_id,
                &row.name,
                row.created_ms,
                &row.properties
            ]
        )?;
        transaction.commit().await?;
        Ok(inserted(rows))
    }

    /// The instance of that name, added if there is none.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn instance_or_insert(&self, row: &InstanceRow) -> Result<InstanceRow, DbError> {
        let mut transaction = self.begin().await?;
        execute!(
            &mut transaction,
            INSERT_INSTANCE,
            [
                &row.id,
                &row.subaccount_id,
                &row.name,
                row.created_ms,
                &row.properties
            ]
        )?;
        let held = read_within!(
            &mut transaction,
            fetch_one,
            "SELECT id, subaccount_id, name, created_ms, properties FROM instances \
             WHERE subaccount_id = $1 AND name = $2",
            [&row.subaccount_id, &row.name]
        )?;
        transaction.commit().await?;
        Ok(held)
    }

    /// An instance of a tenant by its id, or else by its name.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn instance(
        &self,
        subaccount_id: &str,
        id_or_name: &str,
    ) -> Result<Option<InstanceRow>, DbError> {
        read!(
            self,
            fetch_optional,
            "SELECT id, subaccount_id, name, created_ms, properties FROM instances \
             WHERE subaccount_id = $1 AND (id = $2 OR name = $2) ORDER BY CASE WHEN id = $2 THEN 0 ELSE 1 END LIMIT 1",
            [subaccount_id, id_or_name]
        )
    }

    /// All instances of a tenant, by name.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn instances(&self, subaccount_id: &str) -> Result<Vec<InstanceRow>, DbError> {
        read!(
            self,
            fetch_all,
            "SELECT id, subaccount_id, name, created_ms, properties FROM instances \
             WHERE subaccount_id = $1 ORDER BY name",
            [subaccount_id]
        )
    }

    /// Writes what an instance was configured with.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn replace_instance_properties(&self, id: &str, properties: &str) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        let rows = execute!(
            &mut transaction,
            "UPDATE instances SET properties = $1 WHERE id = $2",
            [properties, id]
        )?;
        transaction.commit().await?;
        Ok(found(rows))
    }

    /// Removes an instance with its keys and everything it has, for subscribers too.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn delete_instance(&self, id: &str) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        execute!(&mut transaction, "DELETE FROM items WHERE owner = $1", [id])?;
        let owner: Option<(String,)> = read_within!(
            &mut transaction,
            fetch_optional,
            "SELECT subaccount_id FROM instances WHERE id = $1",
            [id]
        )?;
        let rows = execute!(&mut transaction, "DELETE FROM instances WHERE id = $1", [id])?;
        let last = match &owner {
            Some((subaccount,)) => Some(note_everything(&mut transaction, subaccount).await?),
            None => None,
        };
        transaction.commit().await?;
        self.announce(last);
        Ok(found(rows))
    }

    /// Lets a tenant use another one's instance.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn insert_subscription(
        &self,
        instance_id: &str,
        subaccount_id: &str,
        created_ms: i64,
    ) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        let rows = execute!(
            &mut transaction,
            "INSERT INTO subscriptions (instance_id, subaccount_id, created_ms) VALUES ($1, $2, $3) \
             ON CONFLICT DO NOTHING",
            [instance_id, subaccount_id, created_ms]
        )?;
        transaction.commit().await?;
        Ok(inserted(rows))
    }

    /// The subscriber of an instance with that id or subdomain.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn subscriber(
        &self,
        instance_id: &str,
        id_or_subdomain: &str,
    ) -> Result<Option<SubaccountRow>, DbError> {
        read!(
            self,
            fetch_optional,
            "SELECT s.id, s.subdomain, s.created_ms FROM subscriptions p \
             JOIN subaccounts s ON s.id = p.subaccount_id \
             WHERE p.instance_id = $1 AND (s.id = $2 OR s.subdomain = $2) \
             ORDER BY CASE WHEN s.id = $2 THEN 0 ELSE 1 END LIMIT 1",
            [instance_id, id_or_subdomain]
        )
    }

    /// Whether a tenant may use any instance of another one.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn is_subscriber(&self, provider_id: &str, subaccount_id: &str) -> Result<bool, DbError> {
        let found: Option<(String,)> = read!(
            self,
            fetch_optional,
            "SELECT p.instance_id FROM subscriptions p JOIN instances i ON i.id = p.instance_id \
             WHERE i.subaccount_id = $1 AND p.subaccount_id = $2 LIMIT 1",
            [provider_id, subaccount_id]
        )?;
        Ok(found.is_some())
    }

    /// Who may use an instance beside its owner, by subdomain.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn subscribers(&self, instance_id: &str) -> Result<Vec<SubaccountRow>, DbError> {
        read!(
            self,
            fetch_all,
            "SELECT s.id, s.subdomain, s.created_ms FROM subscriptions p \
             JOIN subaccounts s ON s.id = p.subaccount_id WHERE p.instance_id = $1 ORDER BY s.subdomain",
            [instance_id]
        )
    }

    /// Ends a subscription, with everything the instance has for the subscriber.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn delete_subscription(
        &self,
        instance_id: &str,
        subaccount_id: &str,
    ) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        let rows = execute!(
            &mut transaction,
            "DELETE FROM subscriptions WHERE instance_id = $1 AND subaccount_id = $2",
            [instance_id, subaccount_id]
        )?;
        let mut last = None;
        if rows == 1 {
            execute!(
                &mut transaction,
                "DELETE FROM items WHERE owner = $1 AND subaccount_id = $2",
                [instance_id, subaccount_id]
            )?;
            last = Some(note_everything(&mut transaction, subaccount_id).await?);
        }
        transaction.commit().await?;
        self.announce(last);
        Ok(found(rows))
    }

    /// Adds a service key.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn insert_service_key(&self, row: &ServiceKeyRow) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        let rows = execute!(
            &mut transaction,
            "INSERT INTO service_keys \
             (client_id, instance_id, name, scopes, salt, secret_hash, created_ms, certificate) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            [
                &row.client_id,
                &row.instance_id,
                &row.name,
                &row.scopes,
                &row.salt,
                &row.secret_hash,
                row.created_ms,
                &row.certificate
            ]
        )?;
        transaction.commit().await?;
        Ok(inserted(rows))
    }

    /// The service keys of an instance, by name.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn service_keys(&self, instance_id: &str) -> Result<Vec<ServiceKeyRow>, DbError> {
        read!(
            self,
            fetch_all,
            "SELECT client_id, instance_id, name, scopes, salt, secret_hash, created_ms, certificate \
             FROM service_keys WHERE instance_id = $1 ORDER BY name",
            [instance_id]
        )
    }

    /// Gives a service key another secret.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn replace_secret(
        &self,
        client_id: &str,
        salt: &[u8],
        secret_hash: &[u8],
    ) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        let rows = execute!(
            &mut transaction,
            "UPDATE service_keys SET salt = $1, secret_hash = $2 WHERE client_id = $3",
            [salt, secret_hash, client_id]
        )?;
        transaction.commit().await?;
        Ok(found(rows))
    }

    /// Removes a service key.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn delete_service_key(&self, client_id: &str) -> Result<Written, DbError> {
        let mut transaction = self.begin().await?;
        let rows = execute!(
            &mut transaction,
            "DELETE FROM service_keys WHERE client_id = $1",
            [client_id]
        )?;
        transaction.commit().await?;
        Ok(found(rows))
    }

    /// A service key and its tenant.
    ///
    /// # Errors
    /// See [`DbError`].
    pub async fn client(&self, client_id: &str) -> Result<Option<ClientRow>, DbError> {
        // Strangers may ask for any; PostgreSQL refuses to look for such a one.
        if client_id.contains('\0') {
            return Ok(None);
        }
        read!(
            self,
            fetch_optional,
            "SELECT k.client_id, k.instance_id, k.name, k.scopes, k.salt, k.secret_hash, k.created_ms, \
             k.certificate, s.id AS subaccount_id, s.subdomain FROM service_keys k \
             JOIN instances i ON i.id = k.instance_id JOIN subaccounts s ON s.id = i.subaccount_id \
             WHERE k.client_id = $1",
            [client_id]
        )
    }
}
