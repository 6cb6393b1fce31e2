//! The authorization server: form and errors of RFC 6749, keys, discovery, C15.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use landbridge_store::{Access, TokenAlgorithm};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::{DESTINATIONS, Folder, Server, claims, config, key, token_of};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

#[tokio::test]
async fn credentials_in_the_body_and_as_basic_c15() {
    let server = Server::start().await;
    let (id, secret) = (
        server.binding.client_id.clone(),
        server.binding.client_secret.expose_secret().to_owned(),
    );
    let header = basic(&id, &secret);
    // Seed L13187: Basic, with the client id repeated in the body.
    let body = format!("client_id={id}&grant_type=client_credentials");
    let answer = server
        .call_with("POST", "/oauth/token", &body, &[FORM, ("authorization", &header)])
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(
        (answer.header("cache-control"), answer.header("pragma")),
        ("no-store", "no-cache")
    );
    let body = answer.json();
    assert_eq!(
        (&body["token_type"], &body["expires_in"]),
        (&json!("bearer"), &json!(43199)),
        "seed L12366"
    );
    let claims = claims(body["access_token"].as_str().unwrap());
    assert_eq!(claims["iss"], format!("http://{}", server.address));
    assert_eq!(claims["zid"], "sub-1");
    assert_eq!(claims["ext_attr"]["zdn"], "mytenant");
    assert_eq!(claims["ext_attr"]["subaccountid"], "sub-1");
    for claim in ["sub", "client_id", "cid", "azp"] {
        assert_eq!(claims[claim], id, "{claim}");
    }
    assert_eq!(claims["scope"], json!(["destination.read", "destination.write"]));
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        43200
    );
    assert_eq!(claims["jti"], body["jti"]);
    // Seed L12354: all in the body.
    assert!(!server.token().await.is_empty());
}

#[tokio::test]
async fn refusals_follow_rfc_6749() {
    let server = Server::start().await;
    let (id, secret) = (
        server.binding.client_id.clone(),
        server.binding.client_secret.expose_secret().to_owned(),
    );
    let good = basic(&id, &secret);
    let grant = "grant_type=client_credentials";
    let cases: &[(&str, Option<String>, u16, &str)] = &[
        (grant, Some(basic(&id, "wrong")), 401, "invalid_client"),
        (grant, Some(basic("nobody", "wrong")), 401, "invalid_client"),
        (grant, Some(basic("no\0body", "wrong")), 401, "invalid_client"),
        (grant, Some("Basic !!!".into()), 401, "invalid_client"),
        (grant, None, 401, "invalid_client"),
        (
            "grant_type=client_credentials&client_id=a&client_secret=b",
            None,
            401,
            "invalid_client",
        ),
        (
            "grant_type=client_credentials&client_id=other",
            Some(good.clone()),
            400,
            "invalid_request",
        ),
        (
            "grant_type=implicit",
            Some(good.clone()),
            400,
            "unsupported_grant_type",
        ),
        ("grant_type=password", Some(good.clone()), 400, "invalid_request"),
        (
            "grant_type=client_credentials&token_format=opaque",
            Some(good.clone()),
            400,
            "invalid_request",
        ),
        ("a=b", Some(good.clone()), 400, "invalid_request"),
        (
            "grant_type=client_credentials&grant_type=password",
            Some(good.clone()),
            400,
            "invalid_request",
        ),
        (
            "grant_type=client_credentials&scope=admin",
            Some(good.clone()),
            400,
            "invalid_scope",
        ),
    ];
    for (body, authorization, status, error) in cases {
        let mut headers = vec![FORM];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        let answer = server.call_with("POST", "/oauth/token", body, &headers).await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["error"].as_str().unwrap()),
            (*status, *error),
            "{body}"
        );
        assert_eq!(answer.header("cache-control"), "no-store", "{body}");
        assert!(!answer.text.contains(&secret));
    }
    let json = [
        ("content-type", "application/json"),
        ("authorization", good.as_str()),
    ];
    assert_eq!(
        server.call_with("POST", "/oauth/token", "{}", &json).await.status,
        400
    );
    let large = format!("grant_type=client_credentials&x={}", "y".repeat(70_000));
    let answer = server
        .call_with("POST", "/oauth/token", &large, &[FORM, ("authorization", &good)])
        .await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let server = Server::start().await;
    let guess = basic("sb-guess", "x");
    let mut last = 0;
    for _ in 0..11 {
        let headers = [FORM, ("authorization", guess.as_str())];
        last = server
            .call_with("POST", "/oauth/token", "grant_type=client_credentials", &headers)
            .await
            .status
            .as_u16();
    }
    assert_eq!(last, 429);
    assert!(!server.token().await.is_empty(), "other clients are not affected");
}

/// Behind a TLS terminator the stranger and the real client have the same address.
#[tokio::test]
async fn guessing_does_not_lock_out_who_knows_the_secret() {
    let server = Server::start().await;
    let guess = basic(&server.binding.client_id, "x");
    let mut last = 0;
    for _ in 0..11 {
        let headers = [FORM, ("authorization", guess.as_str())];
        last = server
            .call_with("POST", "/oauth/token", "grant_type=client_credentials", &headers)
            .await
            .status
            .as_u16();
    }
    assert_eq!(last, 429);
    assert!(!server.token().await.is_empty());
}

#[tokio::test]
async fn published_keys_verify_tokens_of_both_algorithms() {
    for (choice, algorithm) in [
        (TokenAlgorithm::Es256, Algorithm::ES256),
        (TokenAlgorithm::Rs256, Algorithm::RS256),
    ] {
        let folder = Folder::new();
        let mut config = config(&folder);
        config.token_algorithm = choice;
        let server = Server::start_with(folder, config).await;
        let discovery = server
            .call_with("GET", "/.well-known/openid-configuration", "", &[])
            .await
            .json();
        let issuer = format!("http://{}", server.address);
        assert_eq!(discovery["issuer"], issuer);
        assert_eq!(discovery["token_endpoint"], format!("{issuer}/oauth/token"));
        assert_eq!(discovery["jwks_uri"], format!("{issuer}/token_keys"));
        let answer = server.call_with("GET", "/token_keys", "", &[]).await;
        for private in ["\"d\"", "\"p\"", "\"q\""] {
            assert!(!answer.text.contains(private), "{}", answer.text);
        }
        let set: JwkSet = serde_json::from_str(&answer.text).unwrap();
        let token = server.token().await;
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.alg, algorithm);
        let jwk = set.find(header.kid.as_deref().unwrap()).unwrap();
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[&server.binding.client_id]);
        let key = DecodingKey::from_jwk(jwk).unwrap();
        jsonwebtoken::decode::<serde_json::Value>(&token, &key, &validation).unwrap();
        assert_eq!(server.call("GET", DESTINATIONS, "").await.status, 200);
    }
}

/// T05, D5: who has no valid token learns how to get one, and nothing else.
#[tokio::test]
async fn callers_without_a_valid_token_get_401() {
    let server = Server::start().await;
    let good = server.token().await;
    let mut parts: Vec<String> = good.split('.').map(str::to_owned).collect();
    let kid = jsonwebtoken::decode_header(&good).unwrap().kid;

    let mut foreign_header = Header::new(Algorithm::HS256);
    foreign_header.kid = kid;
    let forged = jsonwebtoken::encode(
        &foreign_header,
        &claims(&good),
        &EncodingKey::from_secret(b"secret"),
    )
    .unwrap();
    let none = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#),
        parts[1]
    );
    let mut other_tenant = claims(&good);
    other_tenant["zid"] = "sub-2".into();
    parts[1] = URL_SAFE_NO_PAD.encode(other_tenant.to_string());
    let changed = parts.join(".");
    let foreign = Server::start().await.token().await;

    for (name, value) in [
        ("nothing", None),
        ("no scheme", Some(good.clone())),
        ("wrong scheme", Some(format!("Basic {good}"))),
        ("rubbish", Some("Bearer x".to_owned())),
        ("algorithm none", Some(format!("Bearer {none}"))),
        ("other algorithm", Some(format!("Bearer {forged}"))),
        ("changed claims", Some(format!("Bearer {changed}"))),
        ("another store's", Some(format!("Bearer {foreign}"))),
        ("too long", Some(format!("Bearer {}", "a".repeat(20_000)))),
    ] {
        let headers: Vec<_> = value
            .iter()
            .map(|value| ("authorization", value.as_str()))
            .collect();
        let answer = server.call_with("GET", DESTINATIONS, "", &headers).await;
        assert_eq!(answer.status, 401, "{name}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{name}");
        assert!(!answer.message().is_empty(), "{name}");
    }
    let bearer = format!("bearer {good}");
    let answer = server
        .call_with("GET", DESTINATIONS, "", &[("authorization", &bearer)])
        .await;
    assert_eq!(answer.status, 200, "the scheme is compared without case");
    let twice = [
        ("authorization", bearer.as_str()),
        ("authorization", bearer.as_str()),
    ];
    assert_eq!(
        server.call_with("GET", DESTINATIONS, "", &twice).await.status,
        401
    );
}

/// T05: a scope that is missing is a 403 that names it.
#[tokio::test]
async fn scopes_are_required() {
    let folder = Folder::new();
    let server = Server::start_with(folder.clone(), config(&folder)).await;
    let reader = key(&folder, &server, "sub-1", "reader", Access::ReadOnly).await;
    let narrowed = token_of(server.address, &server.binding, "destination.read").await;
    for token in [token_of(server.address, &reader, "").await, narrowed] {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        assert_eq!(
            server.call_with("GET", DESTINATIONS, "", &headers).await.status,
            200
        );
        for (method, path) in [
            ("POST", DESTINATIONS.to_owned()),
            ("PUT", DESTINATIONS.to_owned()),
            ("DELETE", format!("{DESTINATIONS}/x")),
        ] {
            let answer = server.call_with(method, &path, "{}", &headers).await;
            assert_eq!(answer.status, 403, "{method}");
            assert!(answer.header("www-authenticate").contains("destination.write"));
        }
    }
}

/// Strangers who promise a body and do not send it take nothing from those who do.
#[tokio::test]
async fn unsent_bodies_do_not_block_the_store() {
    use tokio::io::AsyncWriteExt;
    let folder = Folder::new();
    let mut config = config(&folder);
    config.limits.max_requests = 2;
    let server = Server::start_with(folder, config).await;
    let mut strangers = Vec::new();
    for _ in 0..5 {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let head = "POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\
                    content-type: application/x-www-form-urlencoded\r\nexpect: 100-continue\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        // The store asks for the body: the handler waits for it now.
        stream.readable().await.unwrap();
        strangers.push(stream);
    }
    assert_eq!(server.call("GET", DESTINATIONS, "").await.status, 200);
}
