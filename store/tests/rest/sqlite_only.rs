//! What is about the file of SQLite: who can read it, what happens when it is full, and its key. Not run on PostgreSQL.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use landbridge_store::Store;
use landbridge_store::vault::KEY_FILE;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::durability::secretive;
use crate::support::{DESTINATIONS, Folder, Server, config};

#[tokio::test]
async fn no_secret_is_readable_on_disk() {
    let server = start().await;
    assert_eq!(
        server
            .call("POST", DESTINATIONS, &secretive().to_string())
            .await
            .status,
        201
    );
    let token = server.token().await;
    let secret = server.binding.client_secret.expose_secret().to_owned();
    let look = |folder: &Folder| {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder.data()).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let has = |needle: &str| {
                bytes
                    .windows(needle.len())
                    .any(|window| window == needle.as_bytes())
            };
            for needle in ["needle-", secret.as_str(), token.as_str(), "PRIVATE KEY"] {
                assert!(!has(needle), "{needle} in {path:?}");
            }
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{path:?}");
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
        assert_eq!(
            fs::metadata(folder.data()).unwrap().permissions().mode() & 0o777,
            0o700
        );
        names
    };
    // While it runs the log holds the newest data; after the stop the file does.
    let names = look(&server.folder);
    assert!(names.iter().any(|name| name == "store.db-wal"), "{names:?}");
    let folder = server.stop().await;
    look(&folder);
}

#[tokio::test]
async fn a_wrong_or_missing_key_is_refused() {
    let folder = start().await.stop().await;
    let key = folder.data().join(KEY_FILE);
    let saved = fs::read(&key).unwrap();

    fs::remove_file(&key).unwrap();
    let error = Store::bind(config(&folder)).await.unwrap_err().to_string();
    assert!(error.contains("restore it"), "{error}");
    assert!(!key.exists(), "no new key is made for an old database");

    let other = start().await.stop().await;
    fs::copy(other.data().join(KEY_FILE), &key).unwrap();
    let error = Store::bind(config(&folder)).await.unwrap_err().to_string();
    assert!(error.contains("another key"), "{error}");

    fs::write(&key, saved).unwrap();
    Server::start_with(folder.clone(), config(&folder)).await;
}

#[tokio::test]
async fn the_key_may_live_elsewhere() {
    let folder = Folder::in_a_file();
    let elsewhere = folder.path().join("kek");
    let mut config = config(&folder);
    config.key_file = Some(elsewhere.clone());
    let error = Store::bind(config.clone()).await.unwrap_err().to_string();
    assert!(
        error.contains("kek"),
        "a named key is not made by itself: {error}"
    );
    let donor = start().await.stop().await;
    fs::copy(donor.data().join(KEY_FILE), &elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::start_with(folder.clone(), config).await;
    assert!(!folder.data().join(KEY_FILE).exists());
    assert_eq!(server.call("GET", DESTINATIONS, "").await.status, 200);
}

#[tokio::test]
async fn a_full_disk_is_a_503_and_nothing_is_damaged() {
    let folder = Folder::in_a_file();
    let mut limited = config(&folder);
    limited.limits.max_database_bytes = Some(256 * 1024);
    let server = Server::start_with(folder, limited).await;
    assert_eq!(
        server
            .call("POST", DESTINATIONS, &secretive().to_string())
            .await
            .status,
        201
    );
    let large = json!({"Name": "large", "Type": "MAIL", "x": "x".repeat(250_000)});
    let answer = server.call("POST", DESTINATIONS, &large.to_string()).await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.message().contains("nothing was changed"),
        "{}",
        answer.text
    );
    assert_eq!(
        server.call("GET", DESTINATIONS, "").await.json(),
        json!([secretive()])
    );
    let small = json!({"Name": "small", "Type": "MAIL"});
    assert_eq!(
        server.call("POST", DESTINATIONS, &small.to_string()).await.status,
        201,
        "small ones still fit"
    );
    let folder = server.stop().await;
    let server = Server::start_with(folder.clone(), config(&folder)).await;
    assert_eq!(
        server.call("POST", DESTINATIONS, &large.to_string()).await.status,
        201
    );
    assert_eq!(
        server
            .call("GET", DESTINATIONS, "")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

/// On SQLite, whatever database the other tests use.
async fn start() -> Server {
    let folder = Folder::in_a_file();
    let config = config(&folder);
    Server::start_with(folder, config).await
}
