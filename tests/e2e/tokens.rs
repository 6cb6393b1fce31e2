//! Tokens: fetched once, kept, replaced when refused, never made up.

use landbridge_tests::client::{self, request, send};
use landbridge_tests::standalone::Standalone;
use landbridge_tests::target::Protected;
use serde_json::{Value, json};
use std::net::SocketAddr;

fn oauth(api: SocketAddr) -> Value {
    json!({"Type": "HTTP", "URL": format!("http://{api}"), "ProxyType": "Internet", "Authentication": "OAuth2ClientCredentials",
        "tokenServiceURL": format!("http://{api}/oauth/token"), "tokenServiceURLType": "Dedicated",
        "clientId": "client", "clientSecret": "secret"})
}

#[tokio::test]
async fn many_callers_share_one_token() {
    let standalone = Standalone::start(&[]).await;
    let protected = Protected::default();
    let address = standalone.serve("orders", oauth(protected.start().await)).await;
    let calls: Vec<_> = (0..100)
        .map(|_| tokio::spawn(client::get(address, "/")))
        .collect();
    for call in calls {
        let answer = call.await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "token 1"));
    }
    assert_eq!(protected.issued(), 1, "one token call for a hundred requests");
}

#[tokio::test]
async fn a_refused_token_is_replaced_and_the_safe_request_repeated() {
    let standalone = Standalone::start(&[]).await;
    let protected = Protected::default();
    let address = standalone.serve("orders", oauth(protected.start().await)).await;
    assert_eq!(client::get(address, "/").await.text(), "token 1");
    protected.revoke();
    assert_eq!(
        client::get(address, "/").await.text(),
        "token 2",
        "the application does not notice"
    );
    assert_eq!(protected.issued(), 2);

    // A burst of refusals makes one token call.
    protected.revoke();
    let calls: Vec<_> = (0..50).map(|_| tokio::spawn(client::get(address, "/"))).collect();
    for call in calls {
        assert_eq!(call.await.unwrap().text(), "token 3");
    }
    assert_eq!(protected.issued(), 3);

    // What may do something twice is not repeated, but the next request has a new token.
    protected.revoke();
    let before = protected.calls();
    let posted = send(address, request("POST", "/", &[], "pay")).await;
    assert_eq!((posted.status.as_u16(), protected.calls() - before), (401, 1));
    assert_eq!(client::get(address, "/").await.text(), "token 4");
}

#[tokio::test]
async fn no_token_is_an_answer_with_origin_and_reason() {
    let standalone = Standalone::start(&[]).await;
    let protected = Protected::default();
    protected.break_tokens(Some((
        400,
        r#"{"error":"invalid_scope","error_description":"no such scope"}"#,
    )));
    let api = protected.start().await;
    let address = standalone.serve("orders", oauth(api)).await;
    let answer = client::get(address, "/").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-error-origin")),
        (502, "Token Service")
    );
    assert!(
        answer.header("x-error-message").contains("invalid_scope"),
        "{}",
        answer.header("x-error-message")
    );
    assert_eq!(protected.calls(), 0, "nothing is sent without a token");
    protected.break_tokens(None);
    client::until_ok("a token", address).await;
}

#[tokio::test]
async fn kept_tokens_survive_an_outage_of_the_token_service() {
    let standalone = Standalone::start(&["--destination-ttl", "1"]).await;
    let protected = Protected::default();
    let address = standalone.serve("orders", oauth(protected.start().await)).await;
    assert_eq!(client::get(address, "/").await.text(), "token 1");
    protected.break_tokens(Some((503, "down")));
    for _ in 0..30 {
        assert_eq!(client::get(address, "/").await.text(), "token 1");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
