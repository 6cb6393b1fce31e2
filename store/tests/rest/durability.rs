//! What is on disk: nothing acknowledged is lost, nothing secret is readable, nothing opens with the wrong key.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use landbridge_store::vault::KEY_FILE;
use landbridge_store::{Access, Admin, Store};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::{DESTINATIONS, Folder, Server, config, token_of};

fn secretive() -> serde_json::Value {
    json!({"Name": "secretive", "Type": "HTTP", "URL": "https://needle-url.example.com", "Authentication": "BasicAuthentication", "User": "needle-user", "Password": "needle-password"})
}

#[tokio::test]
async fn acknowledged_data_survives_and_old_keys_work() {
    let server = Server::start().await;
    let binding = server.binding.clone();
    assert_eq!(
        server
            .call("POST", DESTINATIONS, &secretive().to_string())
            .await
            .status,
        201
    );
    let folder = server.stop().await;
    let server = Server::start_with(folder.clone(), config(&folder)).await;
    assert_eq!(
        server
            .call("GET", &format!("{DESTINATIONS}/secretive"), "")
            .await
            .json(),
        secretive()
    );
    assert!(!token_of(server.address, &binding, "").await.is_empty());
}

#[tokio::test]
async fn a_stable_address_keeps_tokens_valid_over_a_restart() {
    let folder = Folder::new();
    let mut config = config(&folder);
    config.public_url = Some("https://store.example.com/base/".into());
    let server = Server::start_with(folder, config.clone()).await;
    let token = server.token().await;
    assert_eq!(
        crate::support::claims(&token)["iss"],
        "https://store.example.com/base"
    );
    let folder = server.stop().await;
    let server = Server::start_with(folder, config).await;
    let bearer = format!("Bearer {token}");
    assert_eq!(
        server
            .call_with("GET", DESTINATIONS, "", &[("authorization", &bearer)])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn no_secret_is_readable_on_disk() {
    let server = Server::start().await;
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
    let folder = Server::start().await.stop().await;
    let key = folder.data().join(KEY_FILE);
    let saved = fs::read(&key).unwrap();

    fs::remove_file(&key).unwrap();
    let error = Store::bind(config(&folder)).await.unwrap_err().to_string();
    assert!(error.contains("restore it"), "{error}");
    assert!(!key.exists(), "no new key is made for an old database");

    let other = Server::start().await.stop().await;
    fs::copy(other.data().join(KEY_FILE), &key).unwrap();
    let error = Store::bind(config(&folder)).await.unwrap_err().to_string();
    assert!(error.contains("another key"), "{error}");

    fs::write(&key, saved).unwrap();
    Server::start_with(folder.clone(), config(&folder)).await;
}

#[tokio::test]
async fn the_key_may_live_elsewhere() {
    let folder = Folder::new();
    let elsewhere = folder.path().join("kek");
    let mut config = config(&folder);
    config.key_file = Some(elsewhere.clone());
    let error = Store::bind(config.clone()).await.unwrap_err().to_string();
    assert!(
        error.contains("kek"),
        "a named key is not made by itself: {error}"
    );
    let donor = Server::start().await.stop().await;
    fs::copy(donor.data().join(KEY_FILE), &elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).unwrap();
    let server = Server::start_with(folder.clone(), config).await;
    assert!(!folder.data().join(KEY_FILE).exists());
    assert_eq!(server.call("GET", DESTINATIONS, "").await.status, 200);
}

/// Disk full: a clear 503, nothing changed, reading goes on, and it recovers.
#[tokio::test]
async fn a_full_disk_is_a_503_and_nothing_is_damaged() {
    let folder = Folder::new();
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

#[tokio::test]
async fn more_destinations_than_allowed_are_refused() {
    let folder = Folder::new();
    let mut config = config(&folder);
    config.limits.max_destinations = 2;
    let server = Server::start_with(folder, config).await;
    let three: Vec<_> = (0..3)
        .map(|n| json!({"Name": format!("d{n}"), "Type": "MAIL"}))
        .collect();
    let answer = server.call("POST", DESTINATIONS, &json!(three).to_string()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()[2]["status"].as_u64()),
        (207, Some(400))
    );
    assert_eq!(
        server
            .call("GET", DESTINATIONS, "")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn administration_says_what_is_wrong() {
    let folder = Folder::new();
    let admin = Admin::open(&config(&folder)).await.unwrap();
    let made = admin.create_subaccount(None, "MyTenant").await.unwrap();
    assert_eq!((made.subdomain.as_str(), made.id.len()), ("mytenant", 36));
    assert_eq!(admin.subaccounts().await.unwrap(), [made]);
    for (id, subdomain, expected) in [
        (None, "mytenant", "exists"),
        (None, "a.b", "no subdomain"),
        (Some("a/b"), "x", "letters"),
        (Some(""), "x", "letters"),
    ] {
        let error = admin
            .create_subaccount(id, subdomain)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let url = "https://store.example.com";
    let binding = admin
        .create_service_key("mytenant", "k", url, Access::Full)
        .await
        .unwrap();
    assert_eq!(
        (binding.text("identityzone"), binding.text("tenantmode")),
        (Some("mytenant"), Some("dedicated"))
    );
    for (subaccount, name, url, expected) in [
        ("mytenant", "k", url, "exists"),
        ("nobody", "k", url, "does not exist"),
        ("mytenant", "", url, "letters"),
        ("mytenant", "k2", "ftp://x", "http"),
    ] {
        let error = admin
            .create_service_key(subaccount, name, url, Access::Full)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    admin.delete_service_key(&binding.client_id).await.unwrap();
    assert!(
        admin
            .delete_service_key(&binding.client_id)
            .await
            .unwrap_err()
            .to_string()
            .contains("does not exist")
    );
}

#[tokio::test]
async fn a_port_in_use_names_the_setting() {
    let server = Server::start().await;
    let folder = Folder::new();
    let mut config = config(&folder);
    config.listen = server.address;
    let error = Store::bind(config).await.unwrap_err().to_string();
    assert!(
        error.contains("store.listen") && error.contains("in use"),
        "{error}"
    );
    assert!(!folder.data().exists(), "nothing was touched");
}
