use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use landbridge_destination::DestinationConfig;

use super::*;
use crate::admin::{Access, Credential, NewKey, Permissions};
use crate::db::Place;
use crate::records::{Label, New, Records};
use crate::testing::Home;
use crate::vault::KEY_FILE;

fn records(admin: &Admin) -> Records<DestinationConfig> {
    Records::new(Arc::clone(admin.storage()), 1000, 0)
}

/// A store with something in every table.
async fn filled(home: &Home) -> (Admin, Place) {
    let admin = Admin::open(&home.config()).await.unwrap();
    let shop = admin.create_subaccount(None, "shop").await.unwrap();
    admin.create_subaccount(None, "branch").await.unwrap();
    admin.create_instance("shop", "main").await.unwrap();
    admin.subscribe("shop", Some("main"), "branch").await.unwrap();
    for (name, credential) in [
        ("one", Credential::Secret),
        ("two", Credential::Certificate { days: 1 }),
    ] {
        let key = NewKey {
            subaccount: "shop",
            instance: Some("main"),
            name,
            address: "https://store.example",
            permissions: Permissions::Access(Access::Full),
            credential,
        };
        admin.create_key(&key).await.unwrap();
    }
    crate::auth::SigningKeys::load_or_create(admin.storage(), crate::TokenAlgorithm::Es256)
        .await
        .unwrap();
    let place = Place::subaccount(shop.id);
    let things = (0..130).map(|number| New {
        value: [
            ("Name", format!("d{number}").as_str()),
            ("Description", "Grüße"),
            ("Password", "secret"),
        ]
        .into_iter()
        .collect::<DestinationConfig>(),
        labels: vec![Label {
            key: "stage".into(),
            values: vec!["test".into(), format!("v{number}")],
        }],
        renew_ms: (number == 3).then_some(77),
    });
    records(&admin).create(&place, things.collect()).await.unwrap();
    (admin, place)
}

/// Everything of a database, as the archive has it.
async fn all(admin: &Admin) -> Vec<Entry> {
    let mut snapshot = admin.storage().database.snapshot().await.unwrap();
    let mut all = Vec::new();
    loop {
        let rows = snapshot.next().await.unwrap();
        if rows.is_empty() {
            return all;
        }
        all.extend(rows);
    }
}

fn with_key_of(home: &Home, other: &Home) -> Config {
    std::fs::copy(home.path().join(KEY_FILE), other.path().join(KEY_FILE)).unwrap();
    other.config()
}

#[tokio::test]
async fn what_was_backed_up_is_restored() {
    let (home, other) = (Home::new(), Home::new());
    let (admin, place) = filled(&home).await;
    let file = home.path().join("backup");
    let made = admin.backup(&file).await.unwrap();
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!((made.counts["items"], made.counts["labels"]), (130, 260));
    assert_eq!(made.counts.len(), Entry::TABLES.len(), "something of every table");
    let again = admin.backup(&file).await.unwrap_err().to_string();
    assert!(again.contains("exists already"), "{again}");
    assert_eq!(verify_backup(&home.config(), &file).await.unwrap(), made);

    let config = with_key_of(&home, &other);
    assert_eq!(restore_backup(&config, &file).await.unwrap(), made);
    let restored = Admin::open(&config).await.unwrap();
    assert_eq!(all(&restored).await, all(&admin).await);
    let found = records(&restored).get(&place, "d129").await.unwrap().unwrap();
    assert_eq!(found.value.password(), Some("secret"));
    // Not into what has something already.
    let refused = restore_backup(&config, &file).await.unwrap_err().to_string();
    assert!(refused.contains("not empty"), "{refused}");
    assert_eq!(all(&restored).await, all(&admin).await);
}

/// A store that was started once, and made its keys, is still empty.
#[tokio::test]
async fn a_new_store_may_be_filled() {
    let (home, other) = (Home::new(), Home::new());
    let (admin, _) = filled(&home).await;
    let file = home.path().join("backup");
    admin.backup(&file).await.unwrap();
    let config = with_key_of(&home, &other);
    let fresh = Admin::open(&config).await.unwrap();
    fresh.rotate_signing_keys(false).await.unwrap();
    fresh.close().await;
    restore_backup(&config, &file).await.unwrap();
    let restored = Admin::open(&config).await.unwrap();
    assert_eq!(all(&restored).await, all(&admin).await);
}

#[tokio::test]
async fn a_wrong_key_is_told() {
    let (home, other) = (Home::new(), Home::new());
    let (admin, _) = filled(&home).await;
    let file = home.path().join("backup");
    admin.backup(&file).await.unwrap();
    let none = tempfile::tempdir().unwrap();
    let missing = verify_backup(&Config::new(none.path()), &file).await.unwrap_err();
    assert!(missing.to_string().contains("does not exist"), "{missing}");
    let key = other.path().join("other.key");
    crate::vault::read_or_create(&key, crate::vault::Missing::Create).unwrap();
    let config = Config {
        key_file: Some(key),
        ..other.config()
    };
    for refused in [
        verify_backup(&config, &file).await.unwrap_err(),
        restore_backup(&config, &file).await.unwrap_err(),
    ] {
        assert!(refused.to_string().contains("another key"), "{refused}");
    }
    // Nothing was begun.
    let config = with_key_of(&home, &other);
    restore_backup(&config, &file).await.unwrap();
}

#[tokio::test]
async fn a_changed_byte_is_refused_wherever_it_is() {
    let home = Home::new();
    let admin = Admin::open(&home.config()).await.unwrap();
    admin.create_subaccount(None, "shop").await.unwrap();
    let file = home.path().join("backup");
    admin.backup(&file).await.unwrap();
    let good = std::fs::read(&file).unwrap();
    let changed = home.path().join("changed");
    let refused = async |bytes: &[u8], what: &str| {
        std::fs::write(&changed, bytes).unwrap();
        let read = verify_backup(&home.config(), &changed).await;
        let Err(Error::Backup { error, .. }) = read else {
            panic!("{what}: {read:?}");
        };
        assert!(
            matches!(
                error,
                BackupError::Damaged(_) | BackupError::NoBackup | BackupError::Newer(_)
            ),
            "{what}: {error}"
        );
    };
    // The last byte before the checksum and length of gzip (8 bytes) is filled up with bits that carry nothing.
    let filled_up = good.len() - 9;
    for at in (0..good.len()).filter(|at| *at != filled_up) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        refused(&bytes, &format!("byte {at}")).await;
    }
    for at in [0, 5, good.len() / 2, good.len() - 1] {
        refused(&good[..at], &format!("cut at {at}")).await;
    }
    refused(&[good.as_slice(), b"x"].concat(), "more").await;
    refused(b"hello", "text").await;
}

/// A record that was put into another place of the file, with a digest that fits, does not open.
#[tokio::test]
async fn a_moved_record_is_refused() {
    let home = Home::new();
    let (admin, _) = filled(&home).await;
    let rows = all(&admin).await;
    let moved = rows.iter().cloned().map(|entry| match entry {
        Entry::Items(mut item) if item.name == "d5" => {
            item.name = "renamed".into();
            Entry::Items(item)
        }
        Entry::Labels(mut label) if label.name == "d5" => {
            label.name = "renamed".into();
            Entry::Labels(label)
        }
        other => other,
    });
    let file = home.path().join("moved");
    let (send, receive) = mpsc::channel(4);
    let path = file.clone();
    let writing = tokio::task::spawn_blocking(move || super::file::write(&path, receive));
    send.send(super::file::Step::Rows(moved.collect())).await.ok();
    send.send(super::file::Step::End).await.ok();
    writing.await.unwrap().unwrap();
    let refused = verify_backup(&home.config(), &file)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("does not open"), "{refused}");
}

/// From a file to PostgreSQL and back.
mod postgres_only {
    use super::*;

    #[tokio::test]
    #[ignore = "needs PostgreSQL"]
    async fn a_store_moves_between_kinds_of_databases() {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [one, two, three] = folders.each_ref().map(|folder| folder.path());
        let admin = Admin::open(&Config::new(one)).await.unwrap();
        admin.create_subaccount(None, "shop").await.unwrap();
        let first = one.join("backup");
        admin.backup(&first).await.unwrap();
        for folder in [two, three] {
            std::fs::copy(one.join(KEY_FILE), folder.join(KEY_FILE)).unwrap();
        }
        let database = tokio::task::spawn_blocking(|| landbridge_test_postgres::database().unwrap())
            .await
            .unwrap();
        let postgres = Config {
            database_url: Some(database.url().into()),
            ..Config::new(two)
        };
        restore_backup(&postgres, &first).await.unwrap();
        let middle = Admin::open(&postgres).await.unwrap();
        let second = two.join("backup");
        middle.backup(&second).await.unwrap();
        restore_backup(&Config::new(three), &second).await.unwrap();
        let last = Admin::open(&Config::new(three)).await.unwrap();
        assert_eq!(all(&middle).await, all(&admin).await);
        assert_eq!(all(&last).await, all(&admin).await);
    }
}
