//! What is kept: nothing acknowledged is lost, and what cannot be kept is refused in clear words.

use landbridge_store::{Access, Admin, Store};
use serde_json::json;

use crate::support::{DESTINATIONS, Folder, Server, config, token_of};

pub(crate) fn secretive() -> serde_json::Value {
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

/// Disk full: a clear 503, nothing changed, reading goes on, and it recovers.
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
    let folder = Folder::in_a_file();
    let mut config = config(&folder);
    config.listen = server.address;
    let error = Store::bind(config).await.unwrap_err().to_string();
    assert!(
        error.contains("store.listen") && error.contains("in use"),
        "{error}"
    );
    assert!(!folder.data().exists(), "nothing was touched");
}
