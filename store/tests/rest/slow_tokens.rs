//! Token services that are slow, busy or asked too often: what callers are told, and what the others notice.

use std::time::Duration;

use serde_json::json;

use crate::support::{DESTINATIONS, FIND, Folder, Server, TokenService, config, good_token};
use crate::tokens::{assert_error, destination, put, token};

/// A token service slower than the caller: the caller learns why it has no token, the next one has it.
#[tokio::test]
async fn a_slow_token_arrives_although_its_caller_gave_up() {
    let (service, url) = TokenService::start(async |number| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        (200, good_token(number))
    })
    .await;
    let folder = Folder::new();
    let mut config = config(&folder);
    config.limits.token_patience = Duration::from_millis(200);
    let server = Server::start_with(folder, config).await;
    put(&server, &destination(&url, json!({}))).await;
    assert_error(&token(&server).await, "has not answered yet");
    let mut last = token(&server).await;
    while last["value"] == "" {
        assert_error(&last, "has not answered yet");
        tokio::time::sleep(Duration::from_millis(50)).await;
        last = token(&server).await;
    }
    assert_eq!((last["value"].as_str(), service.calls()), (Some("token-1"), 1));
}

/// One tenant's slow token services do not take the store from the others.
#[tokio::test]
async fn a_tenant_waits_for_tokens_within_its_share() {
    let (service, url) = TokenService::start(async |_| std::future::pending().await).await;
    let (_, good) = TokenService::good().await;
    let folder = Folder::new();
    let mut config = config(&folder);
    config.limits.max_token_waits = 2;
    config.limits.token_patience = Duration::from_secs(60);
    let server = Server::start_with(folder.clone(), config).await;
    let bearer = format!("Bearer {}", server.token().await);
    let mut waiting = Vec::new();
    for name in ["a", "b", "c"] {
        put(&server, &destination(&url, json!({"Name": name}))).await;
    }
    for name in ["a", "b"] {
        let request = http::Request::get(server.url(&format!("{FIND}/{name}")))
            .header("authorization", &bearer)
            .body(bytes::Bytes::new())
            .unwrap();
        waiting.push(tokio::spawn(crate::support::send(request)));
    }
    while service.calls() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = server.call("GET", &format!("{FIND}/c"), "").await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("retry-after")),
        (503, "1")
    );
    assert!(refused.message().contains("this subaccount"), "{}", refused.text);

    let other = crate::support::key(&folder, &server, "sub-2", "k", landbridge_store::Access::Full).await;
    let other = format!(
        "Bearer {}",
        crate::support::token_of(server.address, &other, "").await
    );
    let headers = [("authorization", other.as_str())];
    let body = destination(&good, json!({})).to_string();
    let created = server.call_with("POST", DESTINATIONS, &body, &headers).await;
    assert_eq!(created.status, 201);
    let found = server
        .call_with("GET", &format!("{FIND}/api"), "", &headers)
        .await;
    assert_eq!(found.json()["authTokens"][0]["value"], "token-1");
    for task in waiting {
        task.abort();
    }
}

/// A caller that never trusts the cache does not become a flood, and takes nothing from the others.
#[tokio::test]
async fn renewals_on_request_are_limited_and_keep_the_old_token() {
    let (service, url) = TokenService::start(async |number| {
        if number == 2 {
            (400, r#"{"error":"down"}"#.to_owned())
        } else {
            (200, good_token(number))
        }
    })
    .await;
    let server = Server::start().await;
    put(&server, &destination(&url, json!({}))).await;
    assert_eq!(token(&server).await["value"], "token-1");
    let bearer = format!("Bearer {}", server.token().await);
    let headers = [("authorization", bearer.as_str()), ("cache-control", "no-cache")];
    let renew = async || {
        let path = format!("{FIND}/api");
        let found = server.call_with("GET", &path, "", &headers).await;
        found.json()["authTokens"][0].clone()
    };
    assert_error(&renew().await, "down");
    assert_eq!(token(&server).await["value"], "token-1", "still there for others");
    for number in 3..=7 {
        assert_eq!(
            renew().await["value"],
            format!("token-{number}"),
            "a burst is possible"
        );
    }
    for _ in 0..50 {
        renew().await;
    }
    assert!(service.calls() < 25, "{} calls", service.calls());
}

#[tokio::test]
async fn a_long_retry_after_is_obeyed() {
    use axum::response::IntoResponse;
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = std::sync::Arc::clone(&calls);
    let router = axum::Router::new().fallback(move || {
        seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        std::future::ready((http::StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "30")]).into_response())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/t", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let server = Server::start().await;
    put(&server, &destination(&url, json!({}))).await;
    assert_error(&token(&server).await, "answered 503");
    // Longer than a failure is remembered otherwise (5 s).
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_error(&token(&server).await, "answered 503");
    assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 1);
}
