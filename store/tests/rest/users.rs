//! The grants password, refresh_token and user_token: users of an identity provider that a subaccount trusts.

use landbridge_destination::Binding;
use landbridge_store::Access;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::oidc::Provider;
use crate::support::{Answer, Server, admin, claims, key, post_form};

async fn ask(server: &Server, binding: &Binding, pairs: &[(&str, &str)]) -> Answer {
    let mut form = vec![
        ("client_id", binding.client_id.as_str()),
        ("client_secret", binding.client_secret.expose_secret()),
    ];
    form.extend(pairs);
    post_form(server, "/oauth/token", &form, &[]).await
}

fn password(password: &str) -> [(&'static str, &str); 3] {
    [
        ("grant_type", "password"),
        ("username", "jane@example.com"),
        ("password", password),
    ]
}

#[tokio::test]
async fn passwords_are_the_providers_to_check_and_sessions_its_to_keep() {
    let (server, provider) = (Server::start().await, Provider::start().await);
    let refused = ask(&server, &server.binding, &password("x")).await;
    assert_eq!(refused.json()["error"], "invalid_grant", "nobody is trusted yet");
    let admin = admin(&server).await;
    admin
        .trust_issuer("sub-1", provider.trusted("idp"))
        .await
        .unwrap();

    let answer = ask(&server, &server.binding, &password("jane's password")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    let said = claims(body["access_token"].as_str().unwrap());
    assert_eq!(
        (&said["user_name"], &said["origin"]),
        (&json!("jane"), &json!("idp"))
    );
    assert_eq!(
        (&said["grant_type"], &said["zid"]),
        (&json!("password"), &json!("sub-1"))
    );
    let first = body["refresh_token"].as_str().unwrap().to_owned();
    assert!(!first.contains("session-1"));

    // Only the client that got it may use it.
    let other = key(&server.folder, &server, "sub-1", "other", Access::Full).await;
    let refresh = |token: &str| {
        [
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", token.to_owned()),
        ]
    };
    let as_pairs = |pairs: &[(&'static str, String); 2]| pairs.clone();
    let send = async |binding: &Binding, token: &str| {
        let pairs = as_pairs(&refresh(token));
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        ask(&server, binding, &pairs).await
    };
    assert_eq!(send(&other, &first).await.json()["error"], "invalid_grant");
    let body = send(&server.binding, &first).await;
    assert_eq!(body.status, 200, "{}", body.text);
    let body = body.json();
    assert_eq!(
        claims(body["access_token"].as_str().unwrap())["user_name"],
        "jane"
    );
    let second = body["refresh_token"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    // The provider gives each of its tokens once, and says so.
    assert_eq!(
        send(&server.binding, &first).await.json()["error"],
        "invalid_grant"
    );
    assert_eq!(
        send(&server.binding, "rubbish").await.json()["error"],
        "invalid_grant"
    );
    admin.distrust_issuer("sub-1", "idp").await.unwrap();
    assert_eq!(
        send(&server.binding, &second).await.json()["error"],
        "invalid_grant"
    );
    admin.close().await;
}

#[tokio::test]
async fn whoever_guesses_passwords_has_to_wait() {
    let (server, provider) = (Server::start().await, Provider::start().await);
    let admin = admin(&server).await;
    admin
        .trust_issuer("sub-1", provider.trusted("idp"))
        .await
        .unwrap();
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let answer = ask(&server, &server.binding, &password("guess")).await;
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses[..10], [400; 10]);
    assert_eq!(statuses[10..], [429; 2]);
    admin.close().await;
}

#[tokio::test]
async fn with_several_providers_the_user_says_which() {
    let (server, one, two) = (
        Server::start().await,
        Provider::start().await,
        Provider::start().await,
    );
    let admin = admin(&server).await;
    admin.trust_issuer("sub-1", one.trusted("one")).await.unwrap();
    let mut wrong = two.trusted("two");
    wrong.client_secret = Some("wrong".into());
    admin.trust_issuer("sub-1", wrong).await.unwrap();
    admin.close().await;
    let good = password("jane's password");
    let answer = ask(&server, &server.binding, &good).await;
    assert!(answer.text.contains("login_hint"), "{}", answer.text);
    let with = |hint: &'static str| [&good[..], &[("login_hint", hint)]].concat();
    let answer = ask(&server, &server.binding, &with(r#"{"origin":"one"}"#)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = ask(&server, &server.binding, &with(r#"{"origin":"two"}"#)).await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text.contains("correct the trusted issuer"),
        "{}",
        answer.text
    );
    for hint in [r#"{"origin":"three"}"#, "one"] {
        assert_eq!(
            ask(&server, &server.binding, &with(hint)).await.status,
            400,
            "{hint}"
        );
    }
}

#[tokio::test]
async fn a_user_token_is_handed_over_to_another_client() {
    let (server, provider) = (Server::start().await, Provider::start().await);
    let admin = admin(&server).await;
    admin
        .trust_issuer("sub-1", provider.trusted("idp"))
        .await
        .unwrap();
    admin.close().await;
    let other = key(&server.folder, &server, "sub-1", "other", Access::ReadOnly).await;
    let foreign = key(&server.folder, &server, "sub-9", "foreign", Access::Full).await;
    let answer = ask(&server, &server.binding, &password("jane's password"))
        .await
        .json();
    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    let hand = async |client: &str, bearer: &str| {
        let form = [
            ("grant_type", "user_token"),
            ("client_id", client),
            ("response_type", "token"),
        ];
        post_form(&server, "/oauth/token", &form, &[("authorization", bearer)]).await
    };
    let body = hand(&other.client_id, &bearer).await;
    assert_eq!(body.status, 200, "{}", body.text);
    let token = body.json()["refresh_token"].as_str().unwrap().to_owned();
    let redeem = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
    assert_eq!(
        ask(&server, &server.binding, &redeem).await.status,
        400,
        "not for this client"
    );
    let answer = ask(&server, &other, &redeem).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let said = claims(answer.json()["access_token"].as_str().unwrap());
    assert_eq!(
        (&said["user_name"], &said["cid"]),
        (&json!("jane"), &json!(other.client_id))
    );
    assert_eq!(said["scope"], json!(["destination.read", "uaa.user"]));
    // Neither a client's token nor a client of another tenant will do.
    let technical = format!("Bearer {}", server.token().await);
    let refused = hand(&other.client_id, &technical).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").starts_with("Bearer "));
    let (unknown, foreign) = (
        hand("nobody", &bearer).await,
        hand(&foreign.client_id, &bearer).await,
    );
    assert_eq!(
        (unknown.status.as_u16(), unknown.text.clone()),
        (400, foreign.text.clone())
    );
}
