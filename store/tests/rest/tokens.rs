//! The token engine against real token services on loopback: T07, T08, T11-T15, T20-T24, D8-D10.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{DESTINATIONS, FIND, Folder, Server, TokenService, config, good_token};

pub(crate) fn destination(url: &str, more: Value) -> Value {
    let mut all = json!({"Name": "api", "Type": "HTTP", "URL": "https://api.example.com", "ProxyType": "Internet", "Authentication": "OAuth2ClientCredentials", "clientId": "id", "clientSecret": "hunter2", "tokenServiceURL": url});
    for (key, value) in more.as_object().unwrap() {
        all[key] = value.clone();
    }
    all
}

pub(crate) async fn put(server: &Server, destination: &Value) {
    let text = destination.to_string();
    let replaced = server.call("PUT", DESTINATIONS, &text).await;
    if replaced.status == 404 {
        let created = server.call("POST", DESTINATIONS, &text).await;
        assert_eq!(created.status, 201, "{}", created.text);
    } else {
        assert_eq!(replaced.status, 200, "{}", replaced.text);
    }
}

/// The first token of the destination `api`.
pub(crate) async fn token(server: &Server) -> Value {
    let found = server.call("GET", &format!("{FIND}/api"), "").await;
    assert_eq!(found.status, 200, "{}", found.text);
    found.json()["authTokens"][0].clone()
}

/// D8: empty type and value, an error, status 200.
pub(crate) fn assert_error(token: &Value, expected: &str) {
    assert_eq!((&token["type"], &token["value"]), (&json!(""), &json!("")));
    assert!(token.get("http_header").is_none());
    let error = token["error"].as_str().unwrap();
    assert!(
        error.starts_with("Retrieval of OAuthToken failed due to: "),
        "{error}"
    );
    assert!(error.contains(expected), "{expected}: {error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn client_credentials_end_to_end() {
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    let more = json!({
        "scope": "read write", "tokenServiceURL.headers.X-Key": "k", "tokenServiceURL.queries.q": "1",
        "tokenService.body.resource": "r",
    });
    put(&server, &destination(&format!("{url}?company_id=S1"), more)).await;
    let token = token(&server).await;
    assert_eq!(token["type"], "Bearer");
    assert_eq!(token["value"], "token-1");
    assert_eq!(
        token["http_header"],
        json!({"key": "Authorization", "value": "Bearer token-1"})
    );
    assert_eq!(
        (&token["scope"], &token["refresh_token"]),
        (&json!("read"), &json!("r"))
    );
    let left: u64 = token["expires_in"]
        .as_str()
        .expect("a text, D10")
        .parse()
        .unwrap();
    assert!((3500..=3600).contains(&left), "{left}");
    let (head, body) = service.last();
    assert_eq!(head.method, "POST");
    assert_eq!(head.uri.query(), Some("company_id=S1&q=1"), "T15, T23");
    assert_eq!(head.headers["x-key"], "k");
    assert_eq!(
        body,
        "grant_type=client_credentials&client_id=id&client_secret=hunter2&scope=read+write&resource=r"
    );
}

/// T20-T22 on the wire.
#[tokio::test]
async fn client_authentication_on_the_wire() {
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    let both = json!({"tokenServiceUser": "u", "tokenServicePassword": "p"});
    let header = json!({"tokenService.addClientCredentialsInBody": "false"});
    let header_user = json!({"tokenService.addClientCredentialsInBody": "false", "tokenServiceUser": "u", "tokenServicePassword": "p"});
    for (more, authorization, in_body) in [
        (json!({}), None, true),
        (both, Some("Basic dTpw"), true),
        (header, Some("Basic aWQ6aHVudGVyMg=="), false),
        (header_user, Some("Basic dTpw"), false),
    ] {
        put(&server, &destination(&url, more.clone())).await;
        assert_eq!(token(&server).await["type"], "Bearer");
        let (head, body) = service.last();
        let sent = head
            .headers
            .get("authorization")
            .map(|value| value.to_str().unwrap());
        assert_eq!(
            (sent, body.contains("client_secret=hunter2")),
            (authorization, in_body),
            "{more}"
        );
    }
    assert_eq!(
        service.calls(),
        4,
        "what was configured differently is never served from the same entry"
    );
}

/// T08: kept, with the life that is left.
#[tokio::test]
async fn tokens_are_kept_and_their_life_counted_down() {
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    put(&server, &destination(&url, json!({}))).await;
    let left = |token: &Value| token["expires_in"].as_str().unwrap().parse::<u64>().unwrap();
    let first = left(&token(&server).await);
    loop {
        let again = token(&server).await;
        assert_eq!(again["value"], "token-1");
        if left(&again) < first {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(service.calls(), 1);
}

#[tokio::test]
async fn parallel_finds_make_one_token_call() {
    let (service, url) = TokenService::start(async |number| {
        tokio::time::sleep(Duration::from_millis(300)).await;
        (200, good_token(number))
    })
    .await;
    let server = Server::start().await;
    put(&server, &destination(&url, json!({}))).await;
    let bearer = format!("Bearer {}", server.token().await);
    let path = format!("{FIND}/api");
    let headers = [("authorization", bearer.as_str())];
    let finds = (0..20).map(|_| server.call_with("GET", &path, "", &headers));
    for found in futures_util::future::join_all(finds).await {
        assert_eq!(found.json()["authTokens"][0]["value"], "token-1");
    }
    assert_eq!(service.calls(), 1);
}

#[tokio::test]
async fn failing_token_services_become_error_entries() {
    let server = Server::start().await;
    let cases: [(u16, &str, &str, usize); 6] = [
        (
            401,
            r#"{"error":"invalid_client","error_description":"bad secret"}"#,
            "401: invalid_client (bad secret)",
            1,
        ),
        (400, "hunter2", "answered 400", 1),
        (200, "<html>hunter2</html>", "not the JSON", 1),
        (
            200,
            r#"{"access_token":"a","expires_in":0}"#,
            "expired already",
            1,
        ),
        (302, "", "answered 302", 1),
        (500, "oops hunter2", "answered 500", 3),
    ];
    for (status, body, expected, calls) in cases {
        let (service, url) =
            TokenService::start(move |_| std::future::ready((status, body.to_owned()))).await;
        put(&server, &destination(&url, json!({}))).await;
        assert_error(&token(&server).await, expected);
        assert_error(&token(&server).await, expected);
        assert_eq!(
            service.calls(),
            calls,
            "status {status}: repeated where it helps, and remembered for a moment"
        );
    }
}

#[tokio::test]
async fn trouble_that_passes_is_not_seen() {
    let (service, url) = TokenService::start(async |number| match number {
        1 => (503, String::new()),
        2 => (429, String::new()),
        number => (200, good_token(number)),
    })
    .await;
    let server = Server::start().await;
    put(&server, &destination(&url, json!({}))).await;
    assert_eq!(token(&server).await["value"], "token-3");
    assert_eq!(service.calls(), 3);
}

#[tokio::test]
async fn a_slow_token_service_is_given_up() {
    let (_, url) = TokenService::start(async |_| std::future::pending().await).await;
    let server = Server::start().await;
    let more = json!({"tokenServiceURL.ConnectionTimeoutInSeconds": "1", "tokenServiceURL.SocketReadTimeoutInSeconds": "1"});
    put(&server, &destination(&url, more)).await;
    assert_error(&token(&server).await, "within 2 s");
}

#[tokio::test]
async fn a_huge_answer_is_cut_off() {
    let (_, url) =
        TokenService::start(async |_| (200, format!("{{\"access_token\":\"{}\"}}", "a".repeat(1 << 20))))
            .await;
    let server = Server::start().await;
    put(&server, &destination(&url, json!({}))).await;
    assert_error(&token(&server).await, "larger than");
}

/// T07, D9: by name and by address, without a single packet sent.
#[tokio::test]
async fn private_token_services_are_refused_unless_allowed() {
    let (service, url) = TokenService::good().await;
    let folder = Folder::new();
    let mut config = config(&folder);
    config.allow_private_token_services = false;
    let server = Server::start_with(folder, config).await;
    for url in [
        url.clone(),
        url.replace("127.0.0.1", "localhost"),
        url.replace("127.0.0.1", "[::1]"),
        "http://10.0.0.1/t".into(),
        "http://169.254.169.254/latest".into(),
    ] {
        // Another kind of network makes no difference: it would be the writer of the destination who grants it.
        for more in [
            json!({}),
            json!({"ProxyType": "PrivateLink"}),
            json!({"tokenServiceURL.ProxyType": "PrivateLink"}),
        ] {
            put(&server, &destination(&url, more)).await;
            let token = token(&server).await;
            assert_error(&token, "private or local address");
        }
    }
    assert_eq!(service.calls(), 0);
}

/// T11-T15 through the find call: the tenant of the caller, or the one it names.
#[tokio::test]
async fn tenants_of_common_token_services() {
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    let common = url.replace("/oauth/token", "/tenant/{tenant}/oauth/token?a=b");
    put(
        &server,
        &destination(&common, json!({"tokenServiceURLType": "Common"})),
    )
    .await;
    assert_eq!(token(&server).await["value"], "token-1");
    assert_eq!(
        service.last().0.uri.path_and_query().unwrap().as_str(),
        "/tenant/mytenant/oauth/token?a=b"
    );
    let bearer = format!("Bearer {}", server.token().await);
    let path = format!("{FIND}/api");
    let find = async |tenant: &str| {
        server
            .call_with(
                "GET",
                &path,
                "",
                &[("authorization", &bearer), ("x-tenant", tenant)],
            )
            .await
    };
    assert_eq!(
        find("other").await.json()["authTokens"][0]["value"],
        "token-2",
        "another tenant, another token"
    );
    assert_eq!(service.last().0.uri.path(), "/tenant/other/oauth/token");
    for tenant in ["a.b", "evil/", ""] {
        assert_eq!(find(tenant).await.status, 400, "{tenant}");
    }
    put(&server, &destination(&url, json!({}))).await;
    assert_eq!(find("other").await.status, 400, "Dedicated serves one tenant");
    assert_eq!(service.calls(), 2);
}

#[tokio::test]
async fn kinds_without_tokens() {
    let server = Server::start().await;
    for (kind, more) in [
        (
            "ClientCertificateAuthentication",
            json!({"KeyStoreLocation": "k.p12"}),
        ),
        ("PrincipalPropagation", json!({"ProxyType": "OnPremise"})),
    ] {
        let mut destination = destination("https://t.example.com/t", more);
        destination["Authentication"] = kind.into();
        put(&server, &destination).await;
        assert!(token(&server).await.is_null(), "{kind} has no tokens");
    }
    let mut destination = destination("https://t.example.com/t", json!({}));
    destination["Authentication"] = "SAPAssertionSSO".into();
    put(&server, &destination).await;
    assert_error(&token(&server).await, "SAPAssertionSSO is not supported");
}

#[tokio::test]
async fn token_services_that_cannot_be_asked_say_why() {
    let server = Server::start().await;
    for (more, expected) in [
        (json!({"ProxyType": "OnPremise"}), "connector"),
        (
            json!({"clientAssertion.destinationName": "x"}),
            "\"x\", which is to provide the client assertion, is not there",
        ),
        (json!({"clientSecret": ""}), "no clientSecret"),
        (
            json!({"tokenServiceURL.headers.Host Name": "x"}),
            "no header name",
        ),
    ] {
        put(&server, &destination("https://t.example.com/t", more)).await;
        assert_error(&token(&server).await, expected);
    }
    let (_, url) = TokenService::good().await;
    put(
        &server,
        &destination(
            &url,
            json!({"ProxyType": "OnPremise", "tokenServiceURL.ProxyType": "Internet"}),
        ),
    )
    .await;
    assert_eq!(token(&server).await["type"], "Bearer");
}

/// Overload is refused at once instead of queued, and what runs is finished when the store stops.
#[tokio::test]
async fn overload_is_shed_and_a_stop_waits_for_what_runs() {
    let (service, url) = TokenService::start(async |number| {
        tokio::time::sleep(Duration::from_secs(2)).await;
        (200, good_token(number))
    })
    .await;
    let folder = Folder::new();
    let mut config = config(&folder);
    config.limits.max_requests = 1;
    let server = Server::start_with(folder, config).await;
    put(&server, &destination(&url, json!({}))).await;
    let bearer = format!("Bearer {}", server.token().await);
    let path = server.url(&format!("{FIND}/api"));
    let request = http::Request::get(path)
        .header("authorization", bearer)
        .body(bytes::Bytes::new())
        .unwrap();
    let slow = tokio::spawn(crate::support::send(request));
    while service.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = server.call_with("GET", "/token_keys", "", &[]).await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("retry-after")),
        (503, "1")
    );
    assert!(refused.message().contains("overloaded"));
    server.stop().await;
    assert_eq!(slow.await.unwrap().json()["authTokens"][0]["value"], "token-1");
}

/// A caller whose token was refused by the target asks with `Cache-Control: no-cache`: it gets a token that was not
/// there before, and so does everybody after it.
#[tokio::test]
async fn a_refused_token_is_renewed_on_request() {
    let (service, url) = TokenService::good().await;
    let server = Server::start().await;
    put(&server, &destination(&url, json!({}))).await;
    assert_eq!(token(&server).await["value"], "token-1");
    let bearer = format!("Bearer {}", server.token().await);
    let headers = [("authorization", bearer.as_str()), ("cache-control", "no-cache")];
    let found = server
        .call_with("GET", &format!("{FIND}/api"), "", &headers)
        .await
        .json();
    assert_eq!(found["authTokens"][0]["value"], "token-2");
    assert_eq!(token(&server).await["value"], "token-2");
    assert_eq!(service.calls(), 2);
}
