use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use secrecy::ExposeSecret;

use super::*;
use crate::properties::{DestinationConfig, ProxyType};

fn bag(pairs: &[(&str, &str)]) -> DestinationConfig {
    pairs.iter().copied().collect()
}

fn client_credentials(
    config: &DestinationConfig,
    subdomain: Option<&str>,
) -> Result<TokenRequest, RequestError> {
    token_request(
        config,
        subdomain,
        &Grant::ClientCredentials,
        ClientProof::Properties,
    )
}

fn with(base: &DestinationConfig, pairs: &[(&str, &str)]) -> DestinationConfig {
    let mut config = base.clone();
    for (key, value) in pairs {
        config.set(*key, *value);
    }
    config
}

fn common(url: &str) -> DestinationConfig {
    bag(&[("tokenServiceURL", url), ("tokenServiceURLType", "Common")])
}

fn header<'a>(request: &'a TokenRequest, name: &str) -> Option<&'a str> {
    request.headers.get(name).map(|value| value.to_str().unwrap())
}

/// The four vectors of the seed (L6971-L6993), then the query (T15, L10976).
#[test]
fn tenant_urls_t11_to_t15() {
    for (url, expected) in [
        (
            "https://authentication.us10.hana.ondemand.com/oauth/token",
            "https://mytenant.authentication.us10.hana.ondemand.com/oauth/token",
        ),
        (
            "https://{tenant}.authentication.us10.hana.ondemand.com/oauth/token",
            "https://mytenant.authentication.us10.hana.ondemand.com/oauth/token",
        ),
        (
            "https://authentication.myauthserver.com/tenant/{tenant}/oauth/token",
            "https://authentication.myauthserver.com/tenant/mytenant/oauth/token",
        ),
        (
            "https://oauth.{tenant}.myauthserver.com/token",
            "https://oauth.mytenant.myauthserver.com/token",
        ),
        (
            "https://auth.example.com:8443/t?company_id=SFPART019820",
            "https://mytenant.auth.example.com:8443/t?company_id=SFPART019820",
        ),
    ] {
        assert_eq!(
            token_service_url(&common(url), Some("mytenant"))
                .unwrap()
                .as_str(),
            expected
        );
    }
    let dedicated = bag(&[("tokenServiceURL", "https://h.example/t?company_id=1")]);
    for tenant in [None, Some("mytenant")] {
        assert_eq!(
            token_service_url(&dedicated, tenant).unwrap().as_str(),
            "https://h.example/t?company_id=1"
        );
    }
}

#[test]
fn a_tenant_cannot_redirect_the_request() {
    let config = common("https://{tenant}.auth.example.com/t");
    for tenant in ["evil.com/", "a.b", "-a", "a-", "a@b", "\u{e4}", &"a".repeat(64)] {
        assert_eq!(
            token_service_url(&config, Some(tenant)),
            Err(TenantError::BadTenant),
            "{tenant}"
        );
    }
    for tenant in [None, Some("")] {
        assert_eq!(token_service_url(&config, tenant), Err(TenantError::NoTenant));
    }
    assert_eq!(
        token_service_url(&common("https://10.0.0.1/t"), Some("a")),
        Err(TenantError::NoSubdomain)
    );
    assert_eq!(
        token_service_url(&common("https://u:p@h/t"), Some("a")),
        Err(TenantError::UserInfo)
    );
    assert!(matches!(
        token_service_url(&common("ftp://h/t"), Some("a")),
        Err(TenantError::Malformed(_))
    ));
}

/// Seed L7651-L7662: both pairs are set, so both are sent.
#[test]
fn both_pairs_t20() {
    let config = bag(&[
        ("tokenServiceURL", "http://demo.sapjam.com/api/v1/auth/token"),
        ("tokenServiceUser", "tokenserviceuser"),
        ("tokenServicePassword", "pass"),
        ("clientId", "clientId"),
        ("clientSecret", "secret"),
    ]);
    let request = client_credentials(&config, None).unwrap();
    assert_eq!(
        header(&request, "authorization"),
        Some("Basic dG9rZW5zZXJ2aWNldXNlcjpwYXNz")
    );
    assert_eq!(
        request.body.expose_secret(),
        "grant_type=client_credentials&client_id=clientId&client_secret=secret"
    );
    assert_eq!(
        header(&request, "content-type"),
        Some("application/x-www-form-urlencoded")
    );
    let shown = format!("{request:?}");
    assert!(!shown.contains("secret") && !shown.contains("dG9r"), "{shown}");
}

/// Seed L7637-L7649: `grant_type` stays in the query.
#[test]
fn query_is_kept_t21() {
    let config = bag(&[
        (
            "tokenServiceURL",
            "https://api.example.com/oauth2/apitoken/v1?grant_type=client_credentials",
        ),
        ("tokenServiceUser", "clientIdValue"),
        ("tokenServicePassword", "secretValue"),
        ("clientId", "clientIdValue"),
        ("clientSecret", "secretValue"),
    ]);
    let request = client_credentials(&config, None).unwrap();
    assert_eq!(
        header(&request, "authorization"),
        Some("Basic Y2xpZW50SWRWYWx1ZTpzZWNyZXRWYWx1ZQ==")
    );
    assert_eq!(request.url.query(), Some("grant_type=client_credentials"));
}

#[test]
fn credentials_not_in_body_t22() {
    let plain = bag(&[
        ("tokenServiceURL", "https://h.example/t"),
        ("clientId", "clientId"),
        ("clientSecret", "secret"),
        ("tokenService.addClientCredentialsInBody", "FALSE"),
    ]);
    let request = client_credentials(&plain, None).unwrap();
    assert_eq!(
        header(&request, "authorization"),
        Some("Basic Y2xpZW50SWQ6c2VjcmV0")
    );
    assert_eq!(request.body.expose_secret(), "grant_type=client_credentials");

    let other = with(
        &plain,
        &[("tokenServiceUser", "u"), ("tokenServicePassword", "p")],
    );
    let request = client_credentials(&other, None).unwrap();
    assert_eq!(header(&request, "authorization"), Some("Basic dTpw"));
    assert_eq!(request.body.expose_secret(), "grant_type=client_credentials");
}

/// Seed L7463-L7530.
#[test]
fn additions_t23() {
    let config = bag(&[
        ("tokenServiceURL", "https://h.example/t?a=1"),
        ("clientId", "c"),
        ("clientSecret", "s"),
        ("scope", "read write"),
        ("tokenServiceURL.headers.X-Api-Key", "k"),
        ("tokenServiceURL.queries.foo", "b r&"),
        ("tokenService.body.resource", "urn:x"),
        ("tokenService.body.client_id", "other"),
    ]);
    let request = client_credentials(&config, None).unwrap();
    assert_eq!(header(&request, "x-api-key"), Some("k"));
    assert_eq!(request.url.query(), Some("a=1&foo=b+r%26"));
    assert_eq!(
        request.body.expose_secret(),
        "grant_type=client_credentials&client_id=other&client_secret=s&scope=read+write&resource=urn%3Ax",
        "one value per name (RFC 6749 section 3.2)"
    );
}

/// Seed L7078-L7092; 0 is allowed and means the longest, since nothing waits without a limit.
#[test]
fn timeouts_t24() {
    let base = bag(&[
        ("tokenServiceURL", "https://h.example/t"),
        ("clientId", "c"),
        ("clientSecret", "s"),
    ]);
    for (value, connect, read) in [
        ("60", 60, 60),
        ("61", 10, 61),
        ("600", 10, 600),
        ("601", 10, 10),
        ("0", 60, 600),
        ("-1", 10, 10),
        ("abc", 10, 10),
    ] {
        let config = with(
            &base,
            &[
                ("tokenServiceURL.ConnectionTimeoutInSeconds", value),
                ("tokenServiceURL.SocketReadTimeoutInSeconds", value),
            ],
        );
        let request = client_credentials(&config, None).unwrap();
        assert_eq!(
            (request.connect_timeout.as_secs(), request.read_timeout.as_secs()),
            (connect, read),
            "{value}"
        );
    }
}

#[test]
fn what_is_missing_or_not_offered_is_named() {
    let base = bag(&[("tokenServiceURL", "https://h.example/t"), ("clientId", "c")]);
    assert_eq!(
        client_credentials(&base, None).unwrap_err(),
        RequestError::Missing("clientSecret")
    );
    assert_eq!(
        client_credentials(&bag(&[]), None).unwrap_err(),
        RequestError::Missing("clientId")
    );
    let secret = with(&base, &[("clientSecret", "s"), ("ProxyType", "OnPremise")]);
    assert_eq!(
        client_credentials(&secret, None).unwrap().proxy_type,
        ProxyType::OnPremise
    );
    let split = with(&secret, &[("tokenServiceURL.ProxyType", "Internet")]);
    assert_eq!(
        client_credentials(&split, None).unwrap().proxy_type,
        ProxyType::Internet
    );
}

#[test]
fn service_token_request_of_a_binding() {
    let base = "https://sub.auth.example.com/uaa/".parse().unwrap();
    let second = Duration::from_secs(1);
    let request = service_token(&base, "id", &"secret".into(), second, second);
    assert_eq!(
        request.url.as_str(),
        "https://sub.auth.example.com/uaa/oauth/token"
    );
    assert_eq!(
        request.body.expose_secret(),
        "grant_type=client_credentials&client_id=id",
        "seed L13187"
    );
    assert_eq!(header(&request, "authorization"), Some("Basic aWQ6c2VjcmV0"));
}

fn jwt(expiry: u64) -> String {
    let payload = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{expiry}}}"#));
    format!("e30.{payload}.c2ln")
}

fn read(body: &str) -> Result<Token, AnswerError> {
    read_answer(
        StatusCode::OK,
        body.as_bytes(),
        UNIX_EPOCH + Duration::from_secs(1_000_000),
    )
}

#[test]
fn life_of_a_token() {
    let own = jwt(1_000_600);
    let own = own.as_str();
    for (token, stated, life) in [
        ("t", r#""expires_in":43199"#, 43_199),
        ("t", r#""expires_in":"3600""#, 3600),
        ("t", r#""expires_in":"soon""#, 300),
        ("t", r#""expires_in":null"#, 300),
        ("t", r#""x":1"#, 300),
        (own, r#""expires_in":43199"#, 600),
        ("a.b.c", r#""expires_in":60"#, 60),
        ("t", r#""expires_in":1e300"#, 30 * 24 * 3600),
    ] {
        let body = format!(r#"{{"access_token":"{token}","token_type":"bearer",{stated}}}"#);
        let token = read(&body).unwrap();
        assert_eq!(token.life.as_secs(), life, "{body}");
        assert_eq!(
            token.usable,
            token.life.saturating_sub(Duration::from_secs(30)),
            "{body}"
        );
    }
}

#[test]
fn unusable_answers() {
    let expired = format!(r#"{{"access_token":"{}"}}"#, jwt(999_999));
    for (body, expected) in [
        ("<html>", "not the JSON"),
        ("{}", "no access_token"),
        (r#"{"access_token":""}"#, "cannot be sent"),
        (r#"{"access_token":"a\r\nX: y"}"#, "cannot be sent"),
        (r#"{"access_token":"a","token_type":"mac"}"#, "not Bearer"),
        (r#"{"access_token":"a","expires_in":0}"#, "expired already"),
        (r#"{"access_token":"a","expires_in":-5}"#, "expired already"),
        (expired.as_str(), "expired already"),
    ] {
        let error = read(body).unwrap_err();
        assert!(error.to_string().contains(expected), "{body}: {error}");
        assert!(!error.is_retryable());
    }
}

#[test]
fn refusals_say_why_and_do_not_repeat_pages() {
    let now = SystemTime::now();
    let refused = read_answer(
        StatusCode::UNAUTHORIZED,
        br#"{"error":"invalid_client","error_description":"Bad\ncredentials"}"#,
        now,
    )
    .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the token service answered 401: invalid_client (Bad credentials)"
    );
    assert!(!refused.is_retryable());
    let page = read_answer(StatusCode::BAD_GATEWAY, b"<p>client_secret=hunter2</p>", now).unwrap_err();
    assert_eq!(page.to_string(), "the token service answered 502");
    assert!(page.is_retryable());
    assert!(
        read_answer(StatusCode::TOO_MANY_REQUESTS, b"", now)
            .unwrap_err()
            .is_retryable()
    );
}

#[test]
fn what_comes_with_a_token_is_bounded() {
    for (name, length, good) in [
        ("scope", 16 * 1024, true),
        ("scope", 16 * 1024 + 1, false),
        ("refresh_token", 16 * 1024, true),
        ("refresh_token", 16 * 1024 + 1, false),
    ] {
        let body = format!(r#"{{"access_token":"t","{name}":"{}"}}"#, "x".repeat(length));
        let read = read_answer(
            http::StatusCode::OK,
            body.as_bytes(),
            std::time::SystemTime::now(),
        );
        assert_eq!(read.is_ok(), good, "{name} {length}");
    }
}
