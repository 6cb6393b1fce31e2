//! The grant jwt-bearer (C14), and what becomes of tokens that are not good.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::oidc::{Provider, now, rsa_key, signed};
use crate::support::{Answer, DESTINATIONS, Folder, Server, admin, claims, config, post_form};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The form of seed L12351-L12358.
pub(crate) async fn exchange(server: &Server, assertion: &str, headers: &[(&str, &str)]) -> Answer {
    let form = [
        ("client_id", server.binding.client_id.as_str()),
        ("client_secret", server.binding.client_secret.expose_secret()),
        ("grant_type", JWT_BEARER),
        ("token_format", "jwt"),
        ("response_type", "token"),
        ("assertion", assertion),
    ];
    post_form(server, "/oauth/token", &form, headers).await
}

async fn trusting() -> (Server, Provider) {
    let (server, provider) = (Server::start().await, Provider::start().await);
    let admin = admin(&server).await;
    admin
        .trust_issuer("sub-1", provider.trusted("idp"))
        .await
        .unwrap();
    admin.close().await;
    (server, provider)
}

#[tokio::test]
async fn the_user_of_a_trusted_issuer_gets_a_token_of_the_client_c14() {
    let (server, provider) = trusting().await;
    let answer = exchange(&server, &provider.sign(&provider.jane()), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    let names: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["access_token", "token_type", "expires_in", "scope", "jti"]
    );
    assert_eq!(
        (&body["token_type"], &body["expires_in"]),
        (&json!("bearer"), &json!(43199))
    );
    assert_eq!(body["scope"], "destination.read destination.write uaa.user");
    let token = body["access_token"].as_str().unwrap();
    let said = claims(token);
    for (name, value) in [
        ("user_name", json!("jane")),
        ("email", json!("jane@example.com")),
        ("user_uuid", json!("u-1")),
        ("sub", json!("u-1")),
        ("given_name", json!("Jane")),
        ("family_name", json!("Doe")),
        ("origin", json!("idp")),
        ("grant_type", json!(JWT_BEARER)),
        ("zid", json!("sub-1")),
        ("cid", json!(server.binding.client_id)),
        ("jti", body["jti"].clone()),
        ("xs.system.attributes", json!({ "xs.saml.groups": ["buyers"] })),
        ("xs.user.attributes", json!({ "cost-center": ["4711"] })),
    ] {
        assert_eq!(said[name], value, "{name}");
    }
    // Such a token calls the REST API, and can be exchanged itself.
    let bearer = format!("Bearer {token}");
    let list = server
        .call_with("GET", DESTINATIONS, "", &[("authorization", &bearer)])
        .await;
    assert_eq!(list.status, 200);
    let again = exchange(&server, token, &[]).await.json();
    let again = claims(again["access_token"].as_str().unwrap());
    for name in [
        "user_name",
        "email",
        "user_uuid",
        "sub",
        "origin",
        "xs.user.attributes",
    ] {
        assert_eq!(again[name], said[name], "{name}");
    }
}

fn unsigned(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.",
        part(&json!({ "alg": "none", "kid": "k1" })),
        part(claims)
    )
}

/// The public key as the secret of an HMAC.
fn confused(set: &Value, kid: &str, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(kid.to_owned());
    let key = serde_json::to_vec(&set["keys"][0]).unwrap();
    encode(&header, claims, &EncodingKey::from_secret(&key)).unwrap()
}

#[tokio::test]
async fn assertions_that_are_no_users_are_refused() {
    let (server, provider) = trusting().await;
    let with = |changes: Value| {
        let mut claims = provider.jane();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let technical =
        json!({ "iss": provider.url, "aud": "destinations-app", "sub": "c", "azp": "c", "exp": now() + 60 });
    let cases = [
        (server.token().await, "stands for a client"),
        (provider.sign(&technical), "stands for a client"),
        (
            provider.sign(&with(json!({ "grant_type": "client_credentials" }))),
            "stands for a client",
        ),
        (provider.sign(&with(json!({ "exp": now() - 120 }))), "expired"),
        (provider.sign(&with(json!({ "aud": "other-app" }))), "audience"),
        (
            provider.sign(&with(json!({ "iss": "https://other.example.com" }))),
            "does not trust",
        ),
        (signed(&rsa_key(), "k1", &provider.jane()), "signature"),
        (unsigned(&provider.jane()), "not a JWT signed"),
        (
            confused(&provider.key_set(), "k1", &provider.jane()),
            "not a JWT signed",
        ),
        ("rubbish".to_owned(), "not a JWT signed"),
    ];
    for (assertion, reason) in cases {
        let answer = exchange(&server, &assertion, &[]).await;
        let body = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &body["error"]),
            (400, &json!("invalid_grant")),
            "{reason}"
        );
        let text = body["error_description"].as_str().unwrap();
        assert!(text.contains(reason), "{reason}: {text}");
    }
    assert_eq!(provider.key_calls(), 1, "keys are fetched once");
}

/// The same kinds of tokens at the REST API itself.
#[tokio::test]
async fn the_rest_api_tells_bad_tokens_with_a_challenge() {
    let (server, provider) = trusting().await;
    let own = server.token().await;
    let said = claims(&own);
    let set = server
        .call_with("GET", "/token_keys?zid=sub-1", "", &[])
        .await
        .json();
    let kid = set["keys"][0]["kid"].as_str().unwrap();
    let mut expired = said.clone();
    expired["exp"] = json!(now() - 10);
    let cases = [
        None,
        Some(provider.sign(&provider.jane())),
        Some(provider.sign(&said)),
        Some(signed(&rsa_key(), kid, &said)),
        Some(signed(&rsa_key(), kid, &expired)),
        Some(unsigned(&said)),
        Some(confused(&set, kid, &said)),
        Some(format!("{own}x")),
    ];
    for (number, token) in cases.iter().enumerate() {
        let bearer = token.as_ref().map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer
            .iter()
            .map(|value| ("authorization", value.as_str()))
            .collect();
        let answer = server.call_with("GET", DESTINATIONS, "", &headers).await;
        assert_eq!(answer.status, 401, "case {number}");
        assert!(
            answer.header("www-authenticate").starts_with("Bearer "),
            "case {number}"
        );
    }
}

#[tokio::test]
async fn the_keys_of_an_issuer_are_fetched_again_when_it_has_new_ones() {
    let (server, provider) = trusting().await;
    assert_eq!(
        exchange(&server, &provider.sign(&provider.jane()), &[])
            .await
            .status,
        200
    );
    provider.rotate("k2");
    let token = provider.sign(&provider.jane());
    let mut status = 0;
    for _ in 0..600 {
        status = exchange(&server, &token, &[]).await.status.as_u16();
        if status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(status, 200);
    assert_eq!(
        provider.key_calls(),
        2,
        "and not for every token that names an unknown key"
    );
}

#[tokio::test]
async fn an_issuer_that_is_down_or_not_what_it_says_is_told() {
    let (server, provider) = trusting().await;
    let gone = "http://127.0.0.1:9";
    let mut other = provider.trusted("gone");
    other.issuer = gone.to_owned();
    let admin = admin(&server).await;
    admin.trust_issuer("sub-1", other).await.unwrap();
    let mut claims = provider.jane();
    claims["iss"] = json!(gone);
    let answer = exchange(&server, &provider.sign(&claims), &[]).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (503, "1"),
        "{}",
        answer.text
    );

    let liar = Provider::start().await;
    liar.pretend(&provider.url);
    admin.trust_issuer("sub-1", liar.trusted("liar")).await.unwrap();
    let answer = exchange(&server, &liar.sign(&liar.jane()), &[]).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("names the issuer"), "{}", answer.text);
    admin.close().await;
}

#[tokio::test]
async fn issuers_at_local_addresses_need_the_administrators_word() {
    let (folder, provider) = (Folder::new(), Provider::start().await);
    let mut config = config(&folder);
    config.allow_private_token_services = false;
    let server = Server::start_with(folder, config).await;
    let admin = admin(&server).await;
    admin
        .trust_issuer("sub-1", provider.trusted("idp"))
        .await
        .unwrap();
    admin.close().await;
    let answer = exchange(&server, &provider.sign(&provider.jane()), &[]).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.text.contains("https address"), "{}", answer.text);
    assert_eq!(provider.key_calls(), 0);
}

/// A provider that accepts connections and never answers holds up a bounded number of its own subaccount's calls.
#[tokio::test]
async fn a_silent_issuer_does_not_hold_up_the_store() {
    let folder = Folder::new();
    let mut config = config(&folder);
    config.limits.max_token_waits = 2;
    let (server, provider) = (Server::start_with(folder, config).await, Provider::start().await);
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut trusted = provider.trusted("silent");
    trusted.issuer = format!("http://{}", silent.local_addr().unwrap());
    let mut claims = provider.jane();
    claims["iss"] = json!(trusted.issuer);
    let admin = admin(&server).await;
    admin.trust_issuer("sub-1", trusted).await.unwrap();
    admin.close().await;
    let token = provider.sign(&claims);
    let calls = futures_util::future::join_all((0..5).map(|_| exchange(&server, &token, &[]))).await;
    assert!(calls.iter().all(|answer| answer.status == 503));
    let at_once = calls
        .iter()
        .filter(|answer| answer.text.contains("too many calls"));
    // Three, unless the machine is so slow that the first have given up by then.
    assert!(at_once.count() >= 1);
    assert_eq!(
        exchange(&server, &server.token().await, &[]).await.status,
        400,
        "others go on"
    );
}
