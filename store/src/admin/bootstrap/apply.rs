//! Brings about what a bootstrap file says.

use std::collections::HashSet;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use landbridge_destination::DestinationConfig;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use super::{Bootstrap, InstanceSpec, KeySpec, SubaccountSpec};
use crate::admin::{Access, Admin, Credential, NewKey, Permissions, checked};
use crate::auth::Role;
use crate::config::Limits;
use crate::db::{InstanceRow, Place, SubaccountRow, Written};
use crate::error::Error;
use crate::fragment::Fragment;
use crate::records::{New, Records, Stored};

/// Names read at a time when what is not named is deleted.
const PAGE: u32 = 500;

pub(super) struct Run<'a> {
    pub(super) admin: &'a Admin,
    pub(super) bootstrap: &'a Bootstrap,
    pub(super) address: &'a str,
}

/// Says where in the file something is.
fn at<T>(place: &str, result: Result<T, Error>) -> Result<T, Error> {
    result.map_err(|error| match error {
        told @ Error::Bootstrap { .. } => told,
        error => Error::Bootstrap {
            place: place.to_owned(),
            error: Box::new(error),
        },
    })
}

impl Run<'_> {
    pub(super) async fn all(&self) -> Result<(), Error> {
        // All tenants first: subscriptions may name later ones.
        let mut tenants = Vec::new();
        for (index, spec) in self.bootstrap.subaccounts.iter().enumerate() {
            let place = format!("subaccounts[{index}]");
            tenants.push(at(&place, self.subaccount(spec).await)?);
        }
        for (index, (spec, tenant)) in self.bootstrap.subaccounts.iter().zip(&tenants).enumerate() {
            let place = format!("subaccounts[{index}]");
            self.content(&place, spec, tenant).await?;
        }
        Ok(())
    }

    async fn subaccount(&self, spec: &SubaccountSpec) -> Result<SubaccountRow, Error> {
        let database = &self.admin.storage.database;
        if let Some(row) = database.subaccount(&spec.subdomain.to_ascii_lowercase()).await? {
            return match &spec.id {
                Some(id) if *id != row.id => Err(Error::Invalid(format!(
                    "the subaccount {} has the id {} here, not {id}; correct the file",
                    spec.subdomain, row.id
                ))),
                _ => Ok(row),
            };
        }
        let made = self
            .admin
            .create_subaccount(spec.id.as_deref(), &spec.subdomain)
            .await?;
        self.admin.tenant(&made.id).await
    }

    async fn content(&self, place: &str, spec: &SubaccountSpec, tenant: &SubaccountRow) -> Result<(), Error> {
        for (index, issuer) in spec.trusted_issuers.iter().enumerate() {
            let place = format!("{place}.trustedIssuers[{index}]");
            at(&place, self.admin.trust_issuer(&tenant.id, issuer.clone()).await)?;
        }
        for (index, instance) in spec.instances.iter().enumerate() {
            let place = format!("{place}.instances[{index}]");
            self.instance(&place, instance, tenant).await?;
        }
        let shared = Place::subaccount(tenant.id.clone());
        let valid = |config: &DestinationConfig| config.validate().map_err(|error| error.to_string());
        let destinations = self.admin.destination_records();
        let files = format!("{place}.destinations");
        self.things(&files, &spec.destinations, &shared, &destinations, valid)
            .await?;
        let valid = |fragment: &Fragment| fragment.validate().map_err(|error| error.to_string());
        let fragments = Records::new(
            std::sync::Arc::clone(&self.admin.storage),
            Limits::default().max_destinations,
            0,
        );
        let files = format!("{place}.fragments");
        self.things(&files, &spec.fragments, &shared, &fragments, valid)
            .await?;
        if self.bootstrap.prune {
            at(place, self.prune(spec, tenant).await)?;
        }
        Ok(())
    }

    async fn instance(&self, place: &str, spec: &InstanceSpec, tenant: &SubaccountRow) -> Result<(), Error> {
        let database = &self.admin.storage.database;
        let config = spec.config.clone().unwrap_or_default();
        if database.instance(&tenant.id, &spec.name).await?.is_none() {
            let made = self
                .admin
                .create_configured_instance(&tenant.id, &spec.name, &config)
                .await;
            at(place, made)?;
        }
        let row = at(place, self.admin.known_instance(tenant, &spec.name).await)?;
        for (index, key) in spec.keys.iter().enumerate() {
            at(
                &format!("{place}.keys[{index}]"),
                self.key(key, tenant, &row).await,
            )?;
        }
        for (index, subscriber) in spec.subscribers.iter().enumerate() {
            let subscribed = self.admin.subscribe(&tenant.id, Some(&row.id), subscriber).await;
            at(&format!("{place}.subscribers[{index}]"), subscribed)?;
        }
        if self.bootstrap.prune {
            at(place, self.prune_instance(spec, tenant, &row).await)?;
        }
        Ok(())
    }

    async fn key(&self, spec: &KeySpec, tenant: &SubaccountRow, instance: &InstanceRow) -> Result<(), Error> {
        let name = checked("key name", &spec.name)?;
        let file = self.bootstrap.folder.join(&spec.file);
        let keys = self.admin.storage.database.service_keys(&instance.id).await?;
        let known = keys.iter().find(|key| key.name == name);
        let written = tokio::fs::try_exists(&file).await?;
        match (known, written) {
            (Some(_), true) => return Ok(()),
            (Some(key), false) => {
                return Err(Error::Invalid(format!(
                    "the key {name} exists, but its file {} does not, and its secret cannot be read again; put the file \
                     back, or delete the key {} so that another one is made",
                    file.display(),
                    key.client_id
                )));
            }
            (None, true) => {
                return Err(Error::Invalid(format!(
                    "the file {} exists, but the key {name} does not; remove the file so that a key is made",
                    file.display()
                )));
            }
            (None, false) => {}
        }
        let new = NewKey {
            subaccount: &tenant.id,
            instance: Some(&instance.id),
            name,
            address: self.address,
            permissions: permissions(spec)?,
            credential: spec
                .certificate_days
                .map_or(Credential::Secret, |days| Credential::Certificate { days }),
        };
        let made = self.admin.create_key(&new).await?;
        let path = file.clone();
        let writing = tokio::task::spawn_blocking(move || write_private(&path, &made));
        let Err(source) = writing.await.map_err(std::io::Error::other)? else {
            return Ok(());
        };
        // A key that nobody has is of no use, and would be in the way of the next try.
        let keys = self.admin.storage.database.service_keys(&instance.id).await?;
        if let Some(key) = keys.iter().find(|key| key.name == name) {
            self.admin.delete_service_key(&key.client_id).await?;
        }
        Err(Error::File {
            what: "file of a service key",
            path: file,
            source,
        })
    }

    /// Makes or replaces the things of files; what is the same stays untouched.
    async fn things<T: Stored + PartialEq>(
        &self,
        place: &str,
        files: &[PathBuf],
        shared: &Place,
        records: &Records<T>,
        valid: impl Fn(&T) -> Result<(), String>,
    ) -> Result<(), Error> {
        for (index, file) in files.iter().enumerate() {
            let place = format!("{place}[{index}]");
            for (number, thing) in at(&place, self.read::<T>(file).await)?.into_iter().enumerate() {
                let place = format!("{place} ({} [{number}])", file.display());
                at(&place, valid(&thing).map_err(Error::Invalid))?;
                at(&place, put(records, shared, thing).await)?;
            }
        }
        Ok(())
    }

    async fn read<T: DeserializeOwned + Send + 'static>(&self, file: &Path) -> Result<Vec<T>, Error> {
        let path = self.bootstrap.folder.join(file);
        let failed = |source| Error::File {
            what: "file",
            path: path.clone(),
            source,
        };
        let text = tokio::fs::read_to_string(&path).await.map_err(failed)?;
        let wrong = |error: serde_json::Error| Error::Invalid(format!("{}: {error}", path.display()));
        if text.trim_start().starts_with('[') {
            serde_json::from_str(&text).map_err(wrong)
        } else {
            Ok(vec![serde_json::from_str(&text).map_err(wrong)?])
        }
    }

    async fn prune_instance(
        &self,
        spec: &InstanceSpec,
        tenant: &SubaccountRow,
        row: &InstanceRow,
    ) -> Result<(), Error> {
        let database = &self.admin.storage.database;
        for key in database.service_keys(&row.id).await? {
            if !spec.keys.iter().any(|named| named.name == key.name) {
                tracing::warn!(key = key.name, instance = row.name, "pruned a service key");
                self.admin.delete_service_key(&key.client_id).await?;
            }
        }
        for subscriber in database.subscribers(&row.id).await? {
            let named =
                |name: &String| *name == subscriber.id || name.eq_ignore_ascii_case(&subscriber.subdomain);
            if !spec.subscribers.iter().any(named) {
                tracing::warn!(
                    subscriber = subscriber.subdomain,
                    instance = row.name,
                    "pruned a subscription"
                );
                self.admin
                    .unsubscribe(&tenant.id, Some(&row.id), &subscriber.id)
                    .await?;
            }
        }
        Ok(())
    }

    async fn prune(&self, spec: &SubaccountSpec, tenant: &SubaccountRow) -> Result<(), Error> {
        for instance in self.admin.storage.database.instances(&tenant.id).await? {
            if !spec.instances.iter().any(|named| named.name == instance.name) {
                tracing::warn!(
                    instance = instance.name,
                    subaccount = tenant.subdomain,
                    "pruned an instance"
                );
                self.admin.delete_instance(&tenant.id, &instance.id, true).await?;
            }
        }
        for issuer in self.admin.trusted_issuers(&tenant.id).await? {
            if !spec.trusted_issuers.iter().any(|named| named.name == issuer.name) {
                tracing::warn!(
                    issuer = issuer.name,
                    subaccount = tenant.subdomain,
                    "pruned a trusted issuer"
                );
                self.admin.distrust_issuer(&tenant.id, &issuer.name).await?;
            }
        }
        let shared = Place::subaccount(tenant.id.clone());
        self.prune_things(&spec.destinations, &shared, &self.admin.destination_records())
            .await?;
        let limit = Limits::default().max_destinations;
        let fragments: Records<Fragment> = Records::new(std::sync::Arc::clone(&self.admin.storage), limit, 0);
        self.prune_things(&spec.fragments, &shared, &fragments).await
    }

    async fn prune_things<T: Stored>(
        &self,
        files: &[PathBuf],
        shared: &Place,
        records: &Records<T>,
    ) -> Result<(), Error> {
        let mut named = HashSet::new();
        for file in files {
            let things = self.read::<T>(file).await?;
            named.extend(things.iter().map(|thing| thing.name().to_owned()));
        }
        let mut after = String::new();
        loop {
            let heads = records.heads(shared, &after, PAGE).await?;
            let Some(last) = heads.last() else {
                return Ok(());
            };
            after.clone_from(&last.name);
            for head in heads.iter().filter(|head| !named.contains(&head.name)) {
                tracing::warn!(kind = T::KIND.as_str(), name = head.name, "pruned");
                records.delete(shared, &head.name, None).await?;
            }
        }
    }
}

async fn put<T: Stored + PartialEq>(records: &Records<T>, place: &Place, thing: T) -> Result<(), Error> {
    let name = thing.name().to_owned();
    let written = match records.get(place, &name).await? {
        Some(record) if record.value == thing => return Ok(()),
        Some(_) => records.replace(place, vec![New::from(thing)], None).await?,
        None => records.create(place, vec![New::from(thing)]).await?,
    };
    match written.first() {
        Some((Written::Done, _)) => Ok(()),
        Some((Written::Full, _)) => Err(Error::Invalid(format!("there is no room for {name}"))),
        // Somebody else was faster; the next start sees to it.
        _ => Err(Error::Invalid(format!(
            "{name} was changed by somebody else at the same time; start again"
        ))),
    }
}

fn permissions(spec: &KeySpec) -> Result<Permissions, Error> {
    match (spec.read_only, spec.roles.as_slice()) {
        (true, []) => Ok(Permissions::Access(Access::ReadOnly)),
        (false, []) => Ok(Permissions::Access(Access::Full)),
        (true, _) => Err(Error::Invalid("say readOnly or roles, not both".to_owned())),
        (false, roles) => {
            let named = |name: &String| {
                Role::named(name).ok_or_else(|| Error::Invalid(format!("there is no role {name}")))
            };
            Ok(Permissions::Roles(
                roles.iter().map(named).collect::<Result<_, _>>()?,
            ))
        }
    }
}

fn write_private(file: &Path, text: &SecretString) -> std::io::Result<()> {
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    let written = out
        .write_all(text.expose_secret().as_bytes())
        .and_then(|()| out.sync_all());
    if written.is_err() {
        let _ = std::fs::remove_file(file);
    }
    written
}
