//! SAML assertions through the find call, with the key pair of the subaccount: T45, T47, T48. What is signed is checked
//! with the exported certificate by another implementation of XML signatures.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bergshamra::keys::loader::load_x509_cert_pem;
use bergshamra::{DsigContext, KeysManager, VerifyResult};
use serde_json::{Value, json};

use crate::oidc::Provider;
use crate::support::{FIND, Server, TokenService};
use crate::tokens::{assert_error, destination, put};

const METADATA: &str = "/destination-configuration/v1/saml2Metadata";

async fn certificate(server: &Server) -> String {
    let answer = server.call("GET", &format!("{METADATA}/certificate"), "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["certificate"].as_str().unwrap().to_owned()
}

fn is_signed(document: &str, pem: &str) -> bool {
    let mut keys = KeysManager::new();
    keys.add_key(load_x509_cert_pem(pem.as_bytes()).unwrap());
    let result = bergshamra::verify(&DsigContext::new(keys), document);
    matches!(result, Ok(VerifyResult::Valid { .. }))
}

/// A destination whose users are those of the provider.
fn of_users(kind: &str, provider: &Provider, url: &str, more: &Value) -> Value {
    let jwks = STANDARD.encode(provider.key_set().to_string());
    let mut all = destination(
        url,
        json!({"x_user_token.jwks": jwks, "audience": "aud.example.com"}),
    );
    all["Authentication"] = kind.into();
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    all
}

async fn token(server: &Server, user: &str) -> Value {
    let bearer = format!("Bearer {}", server.token().await);
    let headers = [("authorization", bearer.as_str()), ("x-user-token", user)];
    let found = server
        .call_with("GET", &format!("{FIND}/api"), "", &headers)
        .await;
    assert_eq!(found.status, 200, "{}", found.text);
    found.json()["authTokens"][0].clone()
}

/// T45 (seed L8924-L8943), T48 (L10646-L10659): signed with the active key, and with the other one as soon as they are
/// exchanged.
#[tokio::test]
async fn assertions_are_signed_with_the_active_key_t45_t48() {
    let (server, provider) = (Server::start().await, Provider::start().await);
    let user = provider.sign(&provider.jane());
    let more = json!({"userIdSource": "email", "authnContextClassRef": "urn:oasis:names:tc:SAML:2.0:ac:classes:X509"});
    put(
        &server,
        &of_users("SAMLAssertion", &provider, "https://t.example.com", &more),
    )
    .await;
    let document = async || {
        let token = token(&server, &user).await;
        assert_eq!(token["type"], "SAML2.0", "{token}");
        let value = token["value"].as_str().unwrap();
        let header = json!({"key": "Authorization", "value": format!("SAML2.0 {value}")});
        assert_eq!((&token["http_header"], token.get("expires_in")), (&header, None));
        String::from_utf8(STANDARD.decode(value).unwrap()).unwrap()
    };
    let first = document().await;
    for part in [
        ">jane@example.com</saml2:NameID>",
        "<saml2:Audience>aud.example.com<",
        "/sub-1</saml2:Issuer>",
        "Name=\"given_name\"><saml2:AttributeValue>Jane<",
        "Name=\"user_attributes.cost-center\"><saml2:AttributeValue>4711<",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
    let active = certificate(&server).await;
    assert!(is_signed(&first, &active));
    assert!(!is_signed(&first.replacen("jane@", "john@", 1), &active));
    assert_eq!(document().await, first, "kept, seed L8770");
    for path in ["/certificate/passive", "/rotateCertificate"] {
        let answer = server.call("POST", &format!("{METADATA}{path}"), "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    let (second, other) = (document().await, certificate(&server).await);
    assert_ne!(active, other);
    assert!(is_signed(&second, &other) && !is_signed(&second, &active));
}

/// T47 (seed L10566-L10581): user, assertion, token service, token.
#[tokio::test]
async fn saml_bearer_t47() {
    let (service, url) = TokenService::good().await;
    let (server, provider) = (Server::start().await, Provider::start().await);
    let user = provider.sign(&provider.jane());
    let more = json!({"clientKey": "key", "userIdSource": "$.email", "tokenServiceUser": "u", "tokenServicePassword": "p"});
    let kind = "OAuth2SAMLBearerAssertion";
    put(&server, &of_users(kind, &provider, &url, &more)).await;
    for _ in 0..2 {
        assert_eq!(token(&server, &user).await["value"], "token-1");
    }
    assert_eq!(service.calls(), 1, "kept, seed L6899");
    let (head, form) = service.last();
    assert_eq!(head.headers["authorization"], "Basic dTpw");
    let form: Vec<(String, String)> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    let names: Vec<_> = form.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["grant_type", "client_id", "assertion"]);
    assert_eq!(form[0].1, "urn:ietf:params:oauth:grant-type:saml2-bearer");
    assert_eq!(form[1].1, "key");
    let document = String::from_utf8(URL_SAFE_NO_PAD.decode(&form[2].1).unwrap()).unwrap();
    assert!(is_signed(&document, &certificate(&server).await), "{document}");
    assert!(
        document.contains(&format!("Recipient=\"{url}\"")),
        "T44: {document}"
    );
    // T41, T40: no user id, no assertion.
    for (source, format) in [("nothing", ""), ("", ""), ("", "urn:persistent")] {
        let more = json!({"clientKey": "key", "userIdSource": source, "nameIdFormat": format});
        put(&server, &of_users(kind, &provider, &url, &more)).await;
        assert_error(&token(&server, &user).await, "user ID could not be determined");
    }
    assert_eq!(service.calls(), 1);
}
