//! Exchange of the key that everything is encrypted with, beside running stores.
//!
//! In steps, each of which may be repeated after a crash: the new key comes into the key file; when all stores know it,
//! the database says that it seals; when all stores heed that, everything that another key has sealed is sealed anew; only
//! when nothing of another key is left may that one go.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use super::Admin;
use crate::auth::reseal_signing_key;
use crate::db::{ItemRow, Kind, Place, Written};
use crate::error::Error;
use crate::records::{open_item, seal_item};
use crate::storage::{KEY_CHECK, LOOK_FOR_KEYS};
use crate::vault::{self, KeyBytes, KeyId, Missing, VaultError, read_or_create};

/// Things resealed in one transaction. One may have 1 MB; others write only between transactions.
const BATCH: u32 = 50;

/// Most passes over everything. One is enough when nobody writes, two when stores run.
const PASSES: u32 = 10;

/// How to exchange the key.
#[derive(Debug, Clone, Default)]
pub struct KeyRotation {
    /// File with the new key, made elsewhere; a fresh one is made when not given.
    pub new_key_file: Option<PathBuf>,
    /// Take keys out of the key file that nothing uses any more.
    pub drop_old: bool,
    /// No store runs, so nobody is waited for.
    pub offline: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRotated {
    /// The key that seals now.
    pub key: KeyId,
    /// Things that were sealed anew.
    pub resealed: u64,
    /// Keys in the file that nothing uses any more.
    pub unused: Vec<KeyId>,
    /// Files into which such keys were taken out.
    pub dropped: Vec<PathBuf>,
}

impl Admin {
    /// Encrypts everything with another key. Interrupted, it goes on when it is called again.
    ///
    /// # Errors
    /// The key file, the database, or [`Error::Invalid`] when somebody else does the same.
    pub async fn rotate_key(&self, rotation: &KeyRotation) -> Result<KeyRotated, Error> {
        self.storage.look_for_keys().await?;
        let target = self.next_key(rotation).await?;
        // Three looks of a store: one may just have been, one may fail.
        let pause = if rotation.offline {
            Duration::ZERO
        } else {
            LOOK_FOR_KEYS * 3
        };
        if target != self.storage.vault.sealing() {
            tracing::info!(key = %target, "the new key is in the key file; waiting until all stores know it");
            sleep(pause).await;
            self.seal_with(target).await?;
        }
        tracing::info!(key = %target, "this key seals now; waiting until all stores heed it");
        sleep(pause).await;
        let mut resealed = 0;
        for _ in 0..PASSES {
            let pass = self.reseal(target).await?;
            resealed += pass;
            if pass == 0 {
                return self.finish(target, resealed, rotation.drop_old).await;
            }
            tracing::info!(resealed, "encrypted anew");
        }
        Err(Error::Invalid(format!(
            "something goes on writing with another key than {target}: give all stores the same key file, then run this \
             again"
        )))
    }

    /// The key that shall seal: the given one, the newest of the file if it does not yet, the one that does if something
    /// is left to be done, else a fresh one.
    async fn next_key(&self, rotation: &KeyRotation) -> Result<KeyId, Error> {
        let sealing = self.storage.vault.sealing();
        let new = match rotation.new_key_file.clone() {
            Some(file) => {
                let keys = blocking(move || read_or_create(&file, Missing::Named)).await?;
                match <[KeyBytes; 1]>::try_from(keys) {
                    Ok([key]) => key,
                    Err(keys) => {
                        return Err(Error::Invalid(format!(
                            "the file of the new key has {} keys; give one",
                            keys.len()
                        )));
                    }
                }
            }
            None => {
                let newest = self.keys_of_file().await?.last().map(KeyId::of);
                if let Some(newest) = newest.filter(|newest| *newest != sealing) {
                    return Ok(newest);
                }
                if self.something_left(sealing).await? {
                    return Ok(sealing);
                }
                vault::new_key()?
            }
        };
        let id = KeyId::of(&new);
        if id != sealing {
            let file = self.storage.key_file.clone();
            blocking(move || vault::add(&file, new)).await?;
            self.storage.vault.replace(&self.keys_of_file().await?)?;
        }
        Ok(id)
    }

    async fn keys_of_file(&self) -> Result<Vec<KeyBytes>, Error> {
        let file = self.storage.key_file.clone();
        blocking(move || read_or_create(&file, Missing::Lost)).await
    }

    async fn seal_with(&self, target: KeyId) -> Result<(), Error> {
        let (database, vault) = (&self.storage.database, &self.storage.vault);
        let known = database.meta("key_check").await?.ok_or(VaultError::WrongKey)?;
        vault.choose(target)?;
        let check = vault.seal(KEY_CHECK, b"fits")?;
        match database.replace_meta("key_check", &known, &check).await? {
            Written::Done => Ok(()),
            _ => Err(Error::Invalid(
                "another command exchanges the key at the same time; let it finish".to_owned(),
            )),
        }
    }

    async fn something_left(&self, target: KeyId) -> Result<bool, Error> {
        let database = &self.storage.database;
        let of_other = |sealed: &[u8]| KeyId::of_sealed(sealed) != Some(target);
        if database
            .signing_keys()
            .await?
            .iter()
            .any(|row| of_other(&row.sealed))
        {
            return Ok(true);
        }
        for kind in Kind::ALL {
            let mut after = Cursor::default();
            while let Some(rows) = self.next(kind, &mut after).await? {
                if rows.iter().any(|row| of_other(&row.sealed)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// One pass: seals anew what another key has sealed.
    async fn reseal(&self, target: KeyId) -> Result<u64, Error> {
        let (database, vault) = (&self.storage.database, &self.storage.vault);
        let of_other = |sealed: &[u8]| KeyId::of_sealed(sealed) != Some(target);
        let mut resealed = 0;
        for row in database.signing_keys().await? {
            if of_other(&row.sealed) {
                reseal_signing_key(&self.storage, &row).await?;
                resealed += 1;
            }
        }
        for kind in Kind::ALL {
            let mut after = Cursor::default();
            while let Some(rows) = self.next(kind, &mut after).await? {
                let mut changed: Vec<ItemRow> =
                    rows.into_iter().filter(|row| of_other(&row.sealed)).collect();
                for row in &mut changed {
                    let plain = open_item(vault, kind, row)?;
                    row.sealed = seal_item(vault, kind, row, &plain)?;
                }
                if !changed.is_empty() {
                    // What somebody has written meanwhile is looked at in the next pass.
                    database.reseal_items(kind, &changed).await?;
                    resealed += changed.len() as u64;
                }
            }
        }
        Ok(resealed)
    }

    async fn next(&self, kind: Kind, after: &mut Cursor) -> Result<Option<Vec<ItemRow>>, Error> {
        let database = &self.storage.database;
        let rows = database
            .all_items_after(kind, &after.place, &after.name, BATCH)
            .await?;
        let Some(last) = rows.last() else {
            return Ok(None);
        };
        after.place.subaccount_id.clone_from(&last.subaccount_id);
        after.place.owner.clone_from(&last.owner);
        after.name.clone_from(&last.name);
        Ok(Some(rows))
    }

    async fn finish(&self, key: KeyId, resealed: u64, drop_old: bool) -> Result<KeyRotated, Error> {
        let unused: Vec<_> = self
            .keys_of_file()
            .await?
            .iter()
            .map(KeyId::of)
            .filter(|id| *id != key)
            .collect();
        let mut dropped = Vec::new();
        if drop_old {
            for id in unused.iter().copied() {
                let file = self.storage.key_file.clone();
                dropped.push(blocking(move || vault::remove(&file, id)).await?);
            }
        }
        Ok(KeyRotated {
            key,
            resealed,
            unused: if drop_old { Vec::new() } else { unused },
            dropped,
        })
    }
}

/// Up to where everything was read.
struct Cursor {
    place: Place,
    name: String,
}

impl Default for Cursor {
    fn default() -> Self {
        Self {
            place: Place::subaccount(""),
            name: String::new(),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(std::io::Error::other)??)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use landbridge_destination::DestinationConfig;

    use super::*;
    use crate::config::Config;
    use crate::records::{New, Records};
    use crate::testing::Home;

    fn records(admin: &Admin) -> Records<DestinationConfig> {
        Records::new(Arc::clone(&admin.storage), 1000, 0)
    }

    async fn filled(config: &Config, count: usize) -> (Admin, Place) {
        let admin = Admin::open(config).await.unwrap();
        let tenant = admin.create_subaccount(None, "shop").await.unwrap();
        let place = Place::subaccount(tenant.id);
        let things = (0..count).map(|number| {
            let name = format!("d{number}");
            let config: DestinationConfig = [("Name", name.as_str()), ("Password", "secret")]
                .into_iter()
                .collect();
            New::from(config)
        });
        records(&admin).create(&place, things.collect()).await.unwrap();
        admin.rotate_signing_keys(false).await.unwrap();
        (admin, place)
    }

    fn offline(drop_old: bool) -> KeyRotation {
        KeyRotation {
            drop_old,
            offline: true,
            ..KeyRotation::default()
        }
    }

    #[tokio::test]
    async fn everything_is_sealed_anew_and_the_old_key_may_go() {
        let home = Home::new();
        let (admin, place) = filled(&home.config(), 120).await;
        let old = admin.storage.vault.sealing();
        let before = records(&admin).get(&place, "d7").await.unwrap().unwrap();
        let done = admin.rotate_key(&offline(false)).await.unwrap();
        assert_eq!(done.unused, [old]);
        assert!(done.resealed >= 120, "{done:?}");
        let after = records(&admin).get(&place, "d7").await.unwrap().unwrap();
        assert_eq!(
            (&after.etag, after.value.password()),
            (&before.etag, Some("secret"))
        );
        // Another one that knew the old key only learns the new one.
        let other = Admin::open(&home.config()).await.unwrap();
        assert_eq!(other.storage.vault.sealing(), done.key);
        let again = admin.rotate_key(&offline(true)).await.unwrap();
        assert_ne!(again.key, done.key, "nothing was left: a fresh key");
        assert_eq!(again.dropped.len(), 2);
        let fresh = Admin::open(&home.config()).await.unwrap();
        for number in [0, 119] {
            let found = records(&fresh).get(&place, &format!("d{number}")).await.unwrap();
            assert_eq!(found.unwrap().value.password(), Some("secret"));
        }
        // The old key alone opens nothing any more.
        let mut wrong = home.config();
        wrong.key_file = Some(again.dropped[0].clone());
        assert!(matches!(
            Admin::open(&wrong).await,
            Err(Error::Vault(VaultError::WrongKey))
        ));
    }

    #[tokio::test]
    async fn what_was_interrupted_goes_on() {
        let home = Home::new();
        let (admin, place) = filled(&home.config(), 60).await;
        // The key was added, and the process ended.
        let key = vault::new_key().unwrap();
        let id = KeyId::of(&key);
        vault::add(&admin.storage.key_file, key).unwrap();
        admin.storage.look_for_keys().await.unwrap();
        assert_ne!(
            admin.storage.vault.sealing(),
            id,
            "it is not used before all know it"
        );
        // It was made to seal, and the process ended: everything opens, new things are sealed with it.
        admin.seal_with(id).await.unwrap();
        let next = Admin::open(&home.config()).await.unwrap();
        assert_eq!(next.storage.vault.sealing(), id);
        assert!(records(&next).get(&place, "d0").await.unwrap().is_some());
        assert!(next.something_left(id).await.unwrap());
        let done = next.rotate_key(&offline(true)).await.unwrap();
        assert_eq!((done.key, done.dropped.len()), (id, 1));
        assert!(!next.something_left(id).await.unwrap());
    }

    /// A store that runs meanwhile and has not looked yet: what it writes with the old key is found by the next run.
    #[tokio::test]
    async fn the_old_key_stays_while_something_uses_it() {
        let home = Home::new();
        let (admin, place) = filled(&home.config(), 3).await;
        let late = Admin::open(&home.config()).await.unwrap();
        let done = admin.rotate_key(&offline(false)).await.unwrap();
        let config: DestinationConfig = [("Name", "late")].into_iter().collect();
        records(&late)
            .create(&place, vec![New::from(config)])
            .await
            .unwrap();
        assert!(admin.something_left(done.key).await.unwrap());
        let again = admin.rotate_key(&offline(true)).await.unwrap();
        assert_eq!((again.key, again.resealed), (done.key, 1));
        late.storage.look_for_keys().await.unwrap();
        assert_eq!(late.storage.vault.sealing(), done.key);
        assert!(records(&late).get(&place, "late").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn the_new_key_may_be_made_elsewhere() {
        let home = Home::new();
        let (admin, _) = filled(&home.config(), 1).await;
        let file = home.path().join("new.key");
        let keys = read_or_create(&file, Missing::Create).unwrap();
        let rotation = KeyRotation {
            new_key_file: Some(file.clone()),
            ..offline(true)
        };
        let done = admin.rotate_key(&rotation).await.unwrap();
        assert_eq!(done.key, KeyId::of(&keys[0]));
        vault::add(&file, vault::new_key().unwrap()).unwrap();
        let error = admin.rotate_key(&rotation).await.unwrap_err();
        assert!(error.to_string().contains("2 keys"), "{error}");
    }
}
