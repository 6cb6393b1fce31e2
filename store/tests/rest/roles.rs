//! Service keys with roles: each may do its own kind of work on its own level, and is told what it lacks.

use landbridge_destination::Binding;
use landbridge_store::{Credential, NewKey, Permissions, Role};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::{Answer, DESTINATIONS, FIND, Server, admin, token_of};

async fn key(server: &Server, role: &str) -> Binding {
    let admin = admin(server).await;
    let new = NewKey {
        subaccount: "sub-1",
        instance: None,
        name: &role.replace(' ', "-"),
        address: &format!("http://{}", server.address),
        permissions: Permissions::Roles(vec![Role::named(role).unwrap()]),
        credential: Credential::Secret,
    };
    let key = admin.create_key(&new).await.unwrap();
    admin.close().await;
    Binding::from_json(key.expose_secret()).unwrap()
}

async fn call(server: &Server, key: &Binding, method: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {}", token_of(server.address, key, "").await);
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    server.call_with(method, path, body, &headers).await
}

#[tokio::test]
async fn what_a_role_lacks_is_told() {
    let server = Server::start().await;
    let crm = json!({ "Name": "crm", "Type": "HTTP", "URL": "https://crm.example.com",
        "ProxyType": "Internet", "Authentication": "NoAuthentication" })
    .to_string();
    let find = format!("{FIND}/crm");
    // List, create, find (which also sees the instance level).
    for (role, statuses) in [
        ("Destination Administrator", [200, 201, 403]),
        ("Destination Configuration Administrator", [200, 409, 403]),
        ("Destination Viewer", [200, 403, 403]),
        ("Destination Configuration Viewer", [200, 403, 403]),
        ("Destination Certificate Administrator", [403, 403, 403]),
        ("Destination Subaccount Trust Viewer", [403, 403, 403]),
        ("Destination Administrator Instance", [403, 403, 200]),
        ("Destination Certificate Instance Viewer", [403, 403, 403]),
    ] {
        let key = key(&server, role).await;
        let calls = [
            ("GET", DESTINATIONS, ""),
            ("POST", DESTINATIONS, crm.as_str()),
            ("GET", &find, ""),
        ];
        for ((method, path, body), status) in calls.into_iter().zip(statuses) {
            let answer = call(&server, &key, method, path, body).await;
            assert_eq!(
                answer.status.as_u16(),
                status,
                "{role}: {method} {path}: {}",
                answer.text
            );
            if status == 403 {
                let challenge = answer.header("www-authenticate");
                assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
                assert!(
                    answer.message().contains("lacks the scope destination."),
                    "{}",
                    answer.text
                );
            }
        }
    }
}

#[tokio::test]
async fn a_key_asks_for_fewer_scopes_but_not_for_more() {
    let server = Server::start().await;
    let key = key(&server, "Destination Configuration Administrator").await;
    let ask = async |scope: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", key.client_id.as_str()),
            ("client_secret", key.client_secret.expose_secret()),
            ("scope", scope),
        ];
        crate::support::post_form(&server, "/oauth/token", &form, &[]).await
    };
    let narrow = "destination.configuration.subaccount.read";
    assert_eq!(ask(narrow).await.json()["scope"], narrow);
    for scope in [
        "destination.read",
        "destination.trust.subaccount.read",
        "uaa.user",
    ] {
        let answer = ask(scope).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]),
            (400, &json!("invalid_scope")),
            "{scope}"
        );
    }
}
