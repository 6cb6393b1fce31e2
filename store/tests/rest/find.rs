//! Finding destinations: D1, D2, D5, T01, T04, versions and options.

use landbridge_destination::client::FindQuery;
use landbridge_destination::{DestinationSelector, Level, StoreError};
use serde_json::{Value, json};

use crate::support::{DESTINATIONS, FIND, Server};

async fn with(destinations: Value) -> Server {
    let server = Server::start().await;
    let created = server.call("POST", DESTINATIONS, &destinations.to_string()).await;
    assert_eq!(created.status, 201, "{}", created.text);
    server
}

/// Seed L13478.
fn basic() -> Value {
    json!({"Name": "TestBasic", "Type": "HTTP", "URL": "http://sap.com", "Authentication": "BasicAuthentication", "ProxyType": "OnPremise", "User": "test", "Password": "pass12345"})
}

/// Seed L13221.
fn plain() -> Value {
    json!({"Name": "demo", "URL": "http://localhost", "ProxyType": "Internet", "Type": "HTTP", "Authentication": "NoAuthentication"})
}

#[tokio::test]
async fn without_authentication_d1_t01() {
    let server = with(plain()).await;
    let found = server.call("GET", &format!("{FIND}/demo"), "").await;
    let expected =
        json!({"owner": {"SubaccountId": "sub-1", "InstanceId": null}, "destinationConfiguration": plain()});
    assert_eq!(
        (found.status.as_u16(), found.text),
        (200, expected.to_string()),
        "exact structure, no authTokens"
    );
}

#[tokio::test]
async fn basic_authentication_d2_t04() {
    let server = with(basic()).await;
    let found = server.call("GET", &format!("{FIND}/TestBasic"), "").await;
    let token = json!({"type": "Basic", "value": "dGVzdDpwYXNzMTIzNDU=", "http_header": {"key": "Authorization", "value": "Basic dGVzdDpwYXNzMTIzNDU="}});
    let expected = json!({"owner": {"SubaccountId": "sub-1", "InstanceId": null}, "destinationConfiguration": basic(), "authTokens": [token]});
    assert_eq!((found.status.as_u16(), found.text), (200, expected.to_string()));
}

#[tokio::test]
async fn unknown_names_d5() {
    let server = Server::start().await;
    let answer = server.call("GET", &format!("{FIND}/nothing"), "").await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.text,
        r#"{"ErrorMessage":"Configuration with the specified name was not found"}"#
    );
    for name in ["%00", "..%2f..", "a%20b", "%f0%9f%98%80"] {
        assert_eq!(
            server.call("GET", &format!("{FIND}/{name}"), "").await.status,
            404,
            "{name}"
        );
    }
    let error = server
        .client()
        .find(&FindQuery::new(DestinationSelector::named("nothing")))
        .await
        .unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test]
async fn options_leave_credentials_out() {
    let server = with(basic()).await;
    let found = server
        .call("GET", &format!("{FIND}/TestBasic?$skipTokenRetrieval=true"), "")
        .await
        .json();
    assert!(found.get("authTokens").is_none());
    assert_eq!(found["destinationConfiguration"]["Password"], "pass12345");
    let found = server
        .call("GET", &format!("{FIND}/TestBasic?$skipCredentials=true"), "")
        .await;
    assert!(
        !found.text.contains("pass12345") && !found.text.contains("dGVzd"),
        "{}",
        found.text
    );
    assert_eq!(found.json()["destinationConfiguration"]["User"], "test");
    assert_eq!(
        server
            .call("GET", &format!("{FIND}/TestBasic?$skipCredentials=maybe"), "")
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn unchanged_destinations_are_304() {
    let server = with(plain()).await;
    let client = server.client();
    let mut query = FindQuery::new(DestinationSelector::named("demo"));
    let etag = client.find(&query).await.unwrap().etag.unwrap();
    query.if_none_match = Some(etag);
    assert!(client.find_if_changed(&query).await.unwrap().is_none());
    let mut changed = plain();
    changed["x"] = "y".into();
    assert_eq!(
        server
            .call("PUT", DESTINATIONS, &changed.to_string())
            .await
            .status,
        200
    );
    let found = client.find_if_changed(&query).await.unwrap().unwrap();
    assert_eq!(found.configuration.get("x"), Some("y"));
    assert_ne!(found.etag, query.if_none_match);
}

/// A version is that of the configuration; tokens end without it changing.
#[tokio::test]
async fn answers_with_tokens_are_never_304() {
    let server = with(basic()).await;
    let client = server.client();
    let mut query = FindQuery::new(DestinationSelector::named("TestBasic"));
    query.if_none_match = client.find(&query).await.unwrap().etag;
    assert!(query.if_none_match.is_some());
    let again = client.find_if_changed(&query).await.unwrap().unwrap();
    assert!(!again.auth_tokens.unwrap()[0].is_error());
    query.skip_token_retrieval = true;
    assert!(client.find_if_changed(&query).await.unwrap().is_none());
    let found = server.call("GET", &format!("{FIND}/TestBasic"), "").await;
    assert_eq!(found.header("cache-control"), "no-store");
}

#[tokio::test]
async fn named_levels_have_no_fallback_and_no_owner() {
    let server = with(basic()).await;
    let client = server.client();
    let mut query = FindQuery::new(DestinationSelector::named("TestBasic"));
    for (level, there) in [
        (Level::Subaccount, true),
        (Level::ProviderSubaccount, true),
        (Level::Instance, false),
        (Level::ProviderInstance, false),
    ] {
        query.selector.level = Some(level);
        match client.find(&query).await {
            Ok(found) => {
                assert!(there, "{level}");
                assert_eq!(found.owner.subaccount_id, None);
                assert!(!found.auth_tokens.unwrap()[0].is_error());
            }
            Err(StoreError::NotFound { .. }) => assert!(!there, "{level}"),
            Err(error) => panic!("{error}"),
        }
    }
    let path = "/destination-configuration/v2/destinations/TestBasic@moon";
    assert_eq!(server.call("GET", path, "").await.status, 400);
}

#[tokio::test]
async fn what_is_asked_for_and_not_there_is_told() {
    let server = with(plain()).await;
    let bearer = format!("Bearer {}", server.token().await);
    for (headers, status, told) in [
        (&[("x-fragment-name", "f")][..], 404, "fragment named f"),
        (
            &[("x-fragment-name", "f"), ("x-fragment-optional", "true")],
            200,
            "",
        ),
        (
            &[("x-fragment-name", "f"), ("x-fragment-optional", "yes")],
            400,
            "optional",
        ),
        (&[("x-fragment-name", "f,,g")], 400, "empty name"),
        (&[("x-chain-name", "x")], 400, "X-chain-name"),
        (&[("if-match", "\"other\"")], 412, "changed"),
    ] {
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        let answer = server.call_with("GET", &format!("{FIND}/demo"), "", &all).await;
        assert_eq!(answer.status, status, "{headers:?}");
        if status != 200 {
            assert!(answer.message().contains(told), "{}", answer.message());
        }
    }
}

#[tokio::test]
async fn metrics_and_health_are_on_the_admin_address() {
    let folder = crate::support::Folder::new();
    let mut config = crate::support::config(&folder);
    config.admin_listen = Some("127.0.0.1:0".parse().unwrap());
    let server = Server::start_with(folder, config).await;
    server.call("GET", &format!("{FIND}/nothing"), "").await;
    let admin = server.admin_address.unwrap();
    let get = async |path: &str| {
        let request = http::Request::get(format!("http://{admin}{path}"))
            .body(bytes::Bytes::new())
            .unwrap();
        crate::support::send(request).await
    };
    assert_eq!(get("/healthz").await.status, 200);
    assert_eq!(get("/readyz").await.status, 200);
    let text = get("/metrics").await.text;
    for line in [
        r#"landbridge_store_requests_total{route="/destination-configuration/v1/destinations/{name}",method="GET",status="404"} 1"#,
        "landbridge_store_request_duration_seconds_bucket",
        "landbridge_store_token_fetches_total 0",
        // On instance level, then on subaccount level.
        r#"landbridge_store_cache_misses_total{kind="destination"} 2"#,
        r#"landbridge_store_cache_hits_total{kind="destination"} 0"#,
    ] {
        assert!(text.contains(line), "{line} missing in {text}");
    }
}
