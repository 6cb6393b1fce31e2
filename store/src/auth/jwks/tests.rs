use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, encode};
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::tls;
use serde_json::json;

use super::*;

fn rsa() -> EncodingKey {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
}

fn jwk(key: &EncodingKey, kid: Option<&str>, algorithm: Option<&str>) -> Value {
    let mut jwk = Jwk::from_encoding_key(key, Algorithm::RS256).unwrap();
    jwk.common.key_id = kid.map(str::to_owned);
    jwk.common.key_algorithm = algorithm.map(|name| name.parse().unwrap());
    serde_json::to_value(jwk).unwrap()
}

fn jwks() -> Jwks {
    let dialer = Dialer::new(AddressPolicy::PublicOnly).unwrap();
    Jwks::new(RemoteClient::new(&dialer, tls::roots(&[]).unwrap(), false).unwrap())
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn sign(key: &EncodingKey, algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    encode(&header, claims, key).unwrap()
}

fn good() -> Value {
    json!({ "iss": "https://idp", "aud": ["app"], "sub": "u", "exp": now() + 600 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

#[tokio::test]
async fn only_tokens_that_say_what_is_expected() {
    let (key, other, jwks) = (rsa(), rsa(), jwks());
    let set = json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0", "kid": "h" }, { "kty": "new" }, 7, jwk(&key, Some("k1"), None)] });
    let source = jwks.inline(set.to_string().as_bytes()).unwrap();
    let audiences = ["app".to_owned()];
    let expected = Expected {
        issuer: Some("https://idp"),
        audiences: &audiences,
        algorithms: &[Algorithm::RS256],
    };
    let rs256 = |claims: &Value| sign(&key, Algorithm::RS256, Some("k1"), claims);
    let none = {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(json!({ "alg": "none" })), part(good()))
    };
    // The public key as the secret of an HMAC.
    let public = serde_json::to_vec(&jwk(&key, None, None)).unwrap();
    let hmac = |kid| {
        sign(
            &EncodingKey::from_secret(&public),
            Algorithm::HS256,
            Some(kid),
            &good(),
        )
    };
    let secret = sign(
        &EncodingKey::from_secret(b"secret"),
        Algorithm::HS256,
        Some("h"),
        &good(),
    );
    let cases = [
        (rs256(&good()), None),
        (sign(&key, Algorithm::RS256, None, &good()), None),
        (rs256(&with("aud", json!("app"))), None),
        (rs256(&with("exp", json!(now() - 60))), Some(JwtError::Expired)),
        (rs256(&with("nbf", json!(now() + 600))), Some(JwtError::NotYet)),
        (
            rs256(&with("iss", json!("https://other"))),
            Some(JwtError::Issuer),
        ),
        (rs256(&with("aud", json!(["x"]))), Some(JwtError::Audience)),
        (
            rs256(&json!({ "iss": "https://idp", "aud": "app" })),
            Some(JwtError::Claim("exp".into())),
        ),
        (
            sign(&other, Algorithm::RS256, Some("k1"), &good()),
            Some(JwtError::Signature),
        ),
        (
            sign(&key, Algorithm::RS256, Some("k2"), &good()),
            Some(JwtError::UnknownKey("k2".into())),
        ),
        (
            sign(&key, Algorithm::RS512, Some("k1"), &good()),
            Some(JwtError::Algorithm(Algorithm::RS512)),
        ),
        (none, Some(JwtError::Malformed)),
        (hmac("k1"), Some(JwtError::Malformed)),
        (secret, Some(JwtError::Malformed)),
        ("a.b.c".to_owned(), Some(JwtError::Malformed)),
        ("x".repeat(MAX_TOKEN + 1), Some(JwtError::TooLong)),
    ];
    for (number, (token, error)) in cases.iter().enumerate() {
        let result = jwks.verify_as(&source, token, &expected).await;
        assert_eq!(result.err(), *error, "case {number}");
    }
    let any = jwks
        .verify(&source, &rs256(&with("aud", json!("x"))))
        .await
        .unwrap();
    assert_eq!(any["sub"], "u");
}

#[test]
fn sets_leave_out_what_cannot_be_used() {
    let key = rsa();
    let cases = [
        (json!({ "keys": [jwk(&key, None, Some("RS256"))] }), true),
        (json!({ "keys": [jwk(&key, None, Some("RSA-OAEP"))] }), false),
        (json!({ "keys": [] }), false),
        (json!({ "keys": "x" }), false),
        (json!([]), false),
        (json!({ "keys": [{ "kty": "oct", "k": "AA" }] }), false),
    ];
    for (set, usable) in cases {
        assert_eq!(KeySet::parse(set.to_string().as_bytes()).is_ok(), usable, "{set}");
    }
    let mut encryption = jwk(&key, None, None);
    encryption["use"] = json!("enc");
    assert!(KeySet::parse(json!({ "keys": [encryption] }).to_string().as_bytes()).is_err());
}

#[test]
fn keys_are_found_by_id_then_by_kind() {
    let (one, two) = (rsa(), rsa());
    let set = json!({ "keys": [jwk(&one, Some("a"), Some("RS256")), jwk(&two, None, None)] });
    let set = KeySet::parse(set.to_string().as_bytes()).unwrap();
    for (kid, algorithm, found) in [
        (Some("a"), Algorithm::RS256, 1),
        (Some("b"), Algorithm::RS256, 1),
        (Some("a"), Algorithm::RS512, 1),
        (None, Algorithm::RS256, 2),
        (None, Algorithm::ES256, 0),
    ] {
        assert_eq!(
            set.candidates(kid, algorithm).len(),
            found,
            "{kid:?} {algorithm:?}"
        );
    }
}
