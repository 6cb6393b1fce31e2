//! Service keys with a client certificate (seed L11587, D20), with curl as the client.

use std::path::{Path, PathBuf};

use landbridge_store::{Access, Credential, NewKey, Permissions, Role};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::{Folder, Server, admin, claims};
use crate::tls::{curl, text, tls_config};

struct Key {
    client_id: String,
    certificate: PathBuf,
    key: PathBuf,
    json: Value,
}

async fn new_key(server: &Server, folder: &Path, name: &str, permissions: Permissions) -> Key {
    let admin = admin(server).await;
    let address = server.binding.url.to_string();
    let new = NewKey {
        subaccount: "sub-1",
        instance: None,
        name,
        address: &address,
        permissions,
        credential: Credential::Certificate { days: 30 },
    };
    let json = admin.create_key(&new).await.unwrap();
    admin.close().await;
    let json: Value = serde_json::from_str(json.expose_secret()).unwrap();
    let write = |entry: &str| {
        let path = folder.join(format!("{name}.{entry}"));
        std::fs::write(&path, json[entry].as_str().unwrap()).unwrap();
        path
    };
    Key {
        client_id: json["clientid"].as_str().unwrap().to_owned(),
        certificate: write("certificate"),
        key: write("key"),
        json,
    }
}

async fn ask(server: &Server, folder: &Folder, key: Option<&Key>, form: &str, more: &[&str]) -> Value {
    let url = format!("https://{}/oauth/token", server.address);
    let mut arguments = vec![url.as_str(), "--data", form];
    if let Some(key) = key {
        arguments.extend([
            "--cert",
            key.certificate.to_str().unwrap(),
            "--key",
            key.key.to_str().unwrap(),
        ]);
    }
    arguments.extend(more);
    let output = curl(&folder.path().join("tls.crt"), &arguments).await;
    serde_json::from_str(&text(&output)).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
}

#[tokio::test]
async fn the_certificate_of_the_key_stands_for_its_secret() {
    let folder = Folder::new();
    let server = Server::start_with(folder.clone(), tls_config(&folder)).await;
    let one = new_key(&server, folder.path(), "one", Permissions::Access(Access::Full)).await;
    let viewer = Permissions::Roles(vec![Role::named("Destination Viewer").unwrap()]);
    let two = new_key(&server, folder.path(), "two", viewer).await;
    assert_eq!(one.json["credential-type"], "x509");
    assert_eq!(one.json["certurl"], one.json["url"]);
    assert_eq!(one.json["uaadomain"], server.address.to_string());
    assert!(one.json.get("clientsecret").is_none());

    let form = |key: &Key| format!("grant_type=client_credentials&client_id={}", key.client_id);
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"][..]] {
        let answer = ask(&server, &folder, Some(&one), &form(&one), version).await;
        let said = claims(
            answer["access_token"]
                .as_str()
                .unwrap_or_else(|| panic!("{answer}")),
        );
        assert_eq!(said["cid"], one.client_id);
        assert_eq!(said["cnf"]["x5t#S256"].as_str().unwrap().len(), 43);
    }
    let answer = ask(&server, &folder, Some(&two), &form(&two), &[]).await;
    let said = claims(answer["access_token"].as_str().unwrap());
    assert_eq!(
        said["scope"].as_array().unwrap().len(),
        3,
        "a viewer of three areas"
    );

    let secret = format!("{}&client_secret=", form(&one));
    let basic = format!("{}:", one.client_id);
    let stranger = format!(
        "grant_type=client_credentials&client_id={}",
        server.binding.client_id
    );
    for (key, form, more) in [
        (Some(&two), form(&one), &[][..]),
        (None, form(&one), &[]),
        (None, format!("{secret}x"), &[]),
        (Some(&one), "grant_type=client_credentials".to_owned(), &[]),
        // A client with a secret has no certificate.
        (Some(&one), stranger, &[]),
        (
            None,
            "grant_type=client_credentials".to_owned(),
            &["--user", basic.as_str()],
        ),
    ] {
        let answer = ask(&server, &folder, key, &form, more).await;
        assert_eq!(answer["error"], json!("invalid_client"), "{form}");
    }
    server.stop().await;
}
