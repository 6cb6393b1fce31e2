use std::sync::Arc;
use std::time::Duration;

use crate::auth::tenant::Tenant;
use crate::auth::token::Grant;
use crate::auth::{Issuer, SigningKeys, Verifier};
use crate::config::TokenAlgorithm;
use crate::db::{ClientRow, ServiceKeyRow, now_ms};
use crate::storage::Storage;
use crate::testing::Home;

const ISSUER: &str = "https://store.example.com";

async fn keys(home: &Home, algorithm: TokenAlgorithm) -> Arc<SigningKeys> {
    let storage = Arc::new(Storage::open(&home.config()).await.unwrap());
    Arc::new(SigningKeys::load_or_create(&storage, algorithm).await.unwrap())
}

fn client() -> ClientRow {
    let key = ServiceKeyRow {
        client_id: "c".into(),
        instance_id: "i".into(),
        name: "k".into(),
        scopes: "destination.read".into(),
        salt: Vec::new(),
        secret_hash: Vec::new(),
        created_ms: 0,
        certificate: None,
    };
    ClientRow {
        key,
        subaccount_id: "s".into(),
        subdomain: "sub".into(),
    }
}

fn token(keys: &Arc<SigningKeys>, issuer: &str, life: u64) -> String {
    let issuer = Issuer::new(issuer.into(), Arc::clone(keys), Duration::from_secs(life));
    let client = client();
    let tenant = Tenant {
        id: "s".into(),
        subdomain: "sub".into(),
    };
    let grant = Grant {
        client: &client,
        tenant: &tenant,
        grant_type: "client_credentials",
        scopes: vec!["destination.read".into()],
        user: None,
        thumbprint: None,
    };
    issuer.issue(grant).unwrap().token
}

#[tokio::test]
async fn an_expired_token_is_refused_although_it_was_remembered() {
    let home = Home::new();
    let keys = keys(&home, TokenAlgorithm::Es256).await;
    let verifier = Verifier::new(ISSUER, Arc::clone(&keys));
    let token = token(&keys, ISSUER, 4);
    assert_eq!(verifier.caller(&token).await.unwrap().subaccount_id, "s");
    let mut valid = true;
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        valid = verifier.caller(&token).await.is_some();
        if !valid {
            break;
        }
    }
    assert!(!valid);
    assert!(
        Verifier::new(ISSUER, keys).caller(&token).await.is_none(),
        "also when it is seen for the first time"
    );
}

#[tokio::test]
async fn issuer_and_keys_must_be_ours() {
    let (one, two) = (Home::new(), Home::new());
    let ours = keys(&one, TokenAlgorithm::Es256).await;
    let theirs = keys(&two, TokenAlgorithm::Es256).await;
    let verifier = Verifier::new(ISSUER, Arc::clone(&ours));
    assert!(verifier.caller(&token(&ours, ISSUER, 60)).await.is_some());
    assert!(
        verifier
            .caller(&token(&ours, "https://other.example.com", 60))
            .await
            .is_none()
    );
    assert!(verifier.caller(&token(&theirs, ISSUER, 60)).await.is_none());
    for rubbish in ["", ".", "a.b.c", "..."] {
        assert!(verifier.caller(rubbish).await.is_none(), "{rubbish}");
    }
}

/// After a change of algorithm tokens signed before it stay good until they expire.
#[tokio::test]
async fn keys_survive_a_restart_and_a_change_of_algorithm() {
    let home = Home::new();
    let before = keys(&home, TokenAlgorithm::Es256).await;
    let old = token(&before, ISSUER, 60);
    let after = keys(&home, TokenAlgorithm::Rs256).await;
    assert_eq!(published(&after), 2);
    let verifier = Verifier::new(ISSUER, Arc::clone(&after));
    assert!(verifier.caller(&old).await.is_some());
    assert!(verifier.caller(&token(&after, ISSUER, 60)).await.is_some());
    let again = keys(&home, TokenAlgorithm::Rs256).await;
    assert_eq!(published(&again), 2);
    let signer = |keys: &SigningKeys| {
        keys.ring()
            .signer(keys.algorithm(), now_ms())
            .unwrap()
            .kid
            .clone()
    };
    assert_eq!(signer(&again), signer(&after));
}

fn published(keys: &SigningKeys) -> usize {
    keys.ring().public()["keys"].as_array().unwrap().len()
}
