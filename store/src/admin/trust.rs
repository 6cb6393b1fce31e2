//! Whom tenants trust, who may use their instances, and what tokens are signed with.

use super::Admin;
use crate::auth::users::MAX_ISSUERS;
use crate::auth::{TrustedIssuer, rotate_keys};
use crate::db::{Place, Written, now_ms};
use crate::error::Error;
use crate::records::{RecordError, Records};

impl From<RecordError> for Error {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Database(error) => Self::Database(error),
            RecordError::Vault(error) => Self::Vault(error),
        }
    }
}

impl Admin {
    /// Lets the users of an identity provider use a tenant's destinations; replaces what was said of the provider of that
    /// name before.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NotFound`] or the database.
    pub async fn trust_issuer(&self, subaccount: &str, issuer: TrustedIssuer) -> Result<(), Error> {
        // Whether plain HTTP will do is known where the store is served.
        issuer
            .check(true)
            .map_err(|error| Error::Invalid(error.to_string()))?;
        let place = Place::subaccount(self.tenant(subaccount).await?.id);
        let replaced = self
            .issuer_records()
            .replace(&place, vec![issuer.clone().into()], None)
            .await?;
        if matches!(replaced.first(), Some((Written::Done, _))) {
            return Ok(());
        }
        let name = issuer.name.clone();
        let created = self.issuer_records().create(&place, vec![issuer.into()]).await?;
        match created.first() {
            Some((Written::Done, _)) => Ok(()),
            Some((Written::Full, _)) => Err(Error::Invalid(format!(
                "a subaccount can trust {MAX_ISSUERS} identity providers; remove one"
            ))),
            _ => Err(Error::Exists(format!("a trusted issuer named {name}"))),
        }
    }

    /// The identity providers that a tenant trusts, by name.
    ///
    /// # Errors
    /// [`Error::NotFound`] or the database.
    pub async fn trusted_issuers(&self, subaccount: &str) -> Result<Vec<TrustedIssuer>, Error> {
        let place = Place::subaccount(self.tenant(subaccount).await?.id);
        let records = self.issuer_records().page(&place, "", MAX_ISSUERS).await?;
        Ok(records.into_iter().map(|record| record.value).collect())
    }

    /// Trusts an identity provider no more. Its tokens are refused within 30 s.
    ///
    /// # Errors
    /// [`Error::NotFound`] or the database.
    pub async fn distrust_issuer(&self, subaccount: &str, name: &str) -> Result<(), Error> {
        let place = Place::subaccount(self.tenant(subaccount).await?.id);
        match self.issuer_records().delete(&place, name, None).await? {
            Written::Done => Ok(()),
            _ => Err(Error::NotFound(format!("trusted issuer {name}"))),
        }
    }

    fn issuer_records(&self) -> Records<TrustedIssuer> {
        Records::new(std::sync::Arc::clone(&self.storage), MAX_ISSUERS, 0)
    }

    /// Lets a tenant use an instance of another one (seed L13877-L13926). Done already is done.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] or the database.
    pub async fn subscribe(
        &self,
        provider: &str,
        instance: Option<&str>,
        subscriber: &str,
    ) -> Result<(), Error> {
        let owner = self.tenant(provider).await?;
        let subscriber = self.tenant(subscriber).await?;
        if owner.id == subscriber.id {
            return Err(Error::Invalid(format!(
                "{} owns the instance and needs no subscription",
                owner.subdomain
            )));
        }
        let instance = self.instance_of(&owner, instance).await?;
        self.storage
            .database
            .insert_subscription(&instance.id, &subscriber.id, now_ms())
            .await?;
        Ok(())
    }

    /// Ends a subscription, with everything the instance has for the subscriber. Tokens that it has stay valid until they
    /// expire.
    ///
    /// # Errors
    /// [`Error::NotFound`] or the database.
    pub async fn unsubscribe(
        &self,
        provider: &str,
        instance: Option<&str>,
        subscriber: &str,
    ) -> Result<(), Error> {
        let owner = self.tenant(provider).await?;
        let subscriber = self.tenant(subscriber).await?;
        let instance = self.instance_of(&owner, instance).await?;
        let ended = self
            .storage
            .database
            .delete_subscription(&instance.id, &subscriber.id);
        match ended.await? {
            Written::Done => {
                self.storage.freshness.everything_changed();
                Ok(())
            }
            _ => Err(Error::NotFound(format!(
                "a subscription of {}",
                subscriber.subdomain
            ))),
        }
    }

    /// Makes new keys that sign tokens; returns their ids. They are published at once and sign in an hour, when all
    /// clients know them. `at_once`: for keys that became known to others; the new ones sign now, the old ones are
    /// removed, and all tokens that they signed are refused within a minute.
    ///
    /// # Errors
    /// The database or the vault.
    pub async fn rotate_signing_keys(&self, at_once: bool) -> Result<Vec<String>, Error> {
        rotate_keys(&self.storage, at_once).await
    }
}
