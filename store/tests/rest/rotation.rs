//! Signing keys that come and go, with several stores on one database.

use std::time::Duration;

use landbridge_store::{Config, Store};
use serde_json::Value;

use crate::support::{DESTINATIONS, Folder, Server, admin, config, token_of};

/// Stores on one database speak for one issuer.
fn shared(folder: &Folder) -> Config {
    Config {
        public_url: Some("http://store.example.com".into()),
        ..config(folder)
    }
}

async fn kids(server: &Server) -> Vec<String> {
    let set = server.call_with("GET", "/token_keys", "", &[]).await.json();
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    set["keys"].as_array().unwrap().iter().map(kid).collect()
}

async fn status(server: &Server, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let answer = server
        .call_with("GET", DESTINATIONS, "", &[("authorization", &bearer)])
        .await;
    answer.status.as_u16()
}

fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

#[tokio::test]
async fn published_keys_have_the_form_that_clients_read() {
    let server = Server::start().await;
    let set = server.call_with("GET", "/token_keys", "", &[]).await.json();
    let key = &set["keys"][0];
    assert_eq!(key["use"], "sig");
    let names: &[&str] = match key["kty"].as_str().unwrap() {
        "RSA" => &["kid", "alg", "e", "n"],
        _ => &["kid", "alg", "crv", "x", "y"],
    };
    for name in names {
        assert!(key[*name].is_string(), "{name}: {key}");
    }
    let pem = key["value"].as_str().unwrap();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n") && pem.ends_with("-----END PUBLIC KEY-----"));
    let header = jsonwebtoken::decode_header(server.token().await).unwrap();
    assert_eq!(
        header.jku.unwrap(),
        format!("http://{}/token_keys", server.address)
    );
}

#[tokio::test]
async fn a_new_key_is_published_before_it_signs() {
    let server = Server::start().await;
    let before = kids(&server).await;
    let old = server.token().await;
    let admin = admin(&server).await;
    let made = admin.rotate_signing_keys(false).await.unwrap();
    admin.close().await;
    let mut known = false;
    for _ in 0..240 {
        known = kids(&server).await.contains(&made[0]);
        if known {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(known, "the running store takes it over");
    assert_eq!(kids(&server).await.len(), before.len() + 1);
    let new = server.token().await;
    assert_eq!((kid(&new), kid(&new)), (kid(&old), before[0].clone()), "not yet");
    assert_eq!(status(&server, &old).await, 200);
}

#[tokio::test]
async fn stores_on_one_database_know_each_others_keys() {
    let folder = Folder::new();
    let one = Server::start_with(folder.clone(), shared(&folder)).await;
    let old = one.token().await;
    assert_eq!(status(&one, &old).await, 200);
    // The old key became known to somebody.
    let admin = admin(&one).await;
    let made = admin.rotate_signing_keys(true).await.unwrap();
    admin.close().await;
    let two = Server::start_with(folder.clone(), shared(&folder)).await;
    let new = token_of(two.address, &two.binding, "").await;
    assert_eq!(kid(&new), made[0]);
    let mut known = 0;
    for _ in 0..100 {
        known = status(&one, &new).await;
        if known == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(known, 200, "looked up when a token names it");
    assert_eq!(status(&two, &old).await, 401);
    let mut refused = 0;
    for _ in 0..360 {
        refused = status(&one, &old).await;
        if refused == 401 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(refused, 401, "what the old key signed is not valid any more");
}

#[tokio::test]
async fn the_age_of_keys_has_bounds() {
    let folder = Folder::new();
    let config = Config {
        signing_key_age: Duration::from_secs(60),
        ..config(&folder)
    };
    let error = Store::bind(config).await.unwrap_err().to_string();
    assert!(error.contains("signing_key_age"), "{error}");
}
