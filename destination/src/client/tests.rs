use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;

use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::*;
use crate::selector::DestinationSelector;

/// What the server does with the n-th request (from 0) of a kind.
type Handler =
    fn(kind: &str, number: usize, request: &http::request::Parts, body: &str) -> Response<Full<Bytes>>;

#[derive(Default)]
struct Seen {
    token_calls: AtomicUsize,
    store_calls: AtomicUsize,
    lines: Mutex<Vec<String>>,
}

fn answer(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::new(body.into()))
        .unwrap()
}

fn token(number: usize) -> Response<Full<Bytes>> {
    answer(
        200,
        format!(r#"{{"access_token":"t{number}","token_type":"bearer","expires_in":3600}}"#),
    )
}

const FOUND: &str = r#"{"owner":{"SubaccountId":"s","InstanceId":null},"destinationConfiguration":{"Name":"erp","Type":"HTTP"},"extra":1}"#;

async fn start(handler: Handler) -> (StoreClient, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&shared);
            tokio::spawn(async move {
                let service = service_fn(move |request| serve(Arc::clone(&seen), handler, request));
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (client(address), seen)
}

async fn serve(
    seen: Arc<Seen>,
    handler: Handler,
    request: http::Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    seen.lines.lock().push(format!("{} {}", parts.method, parts.uri));
    let (kind, counter) = match parts.uri.path() {
        "/oauth/token" => ("token", &seen.token_calls),
        _ => ("store", &seen.store_calls),
    };
    let number = counter.fetch_add(1, Ordering::SeqCst);
    Ok(handler(kind, number, &parts, &body))
}

fn client(address: SocketAddr) -> StoreClient {
    let key = format!(
        r#"{{"clientid":"id","clientsecret":"secret","url":"http://{address}","uri":"http://{address}"}}"#
    );
    let http = http_client::standard(Dialer::new(AddressPolicy::Any).unwrap(), &[]).unwrap();
    let limits = ClientLimits {
        read: Duration::from_secs(30),
        ..ClientLimits::default()
    };
    StoreClient::with_limits(Binding::from_json(&key).unwrap(), http, limits)
}

fn query() -> FindQuery {
    FindQuery::new(DestinationSelector::named("erp"))
}

fn bearer(parts: &http::request::Parts) -> &str {
    parts.headers["authorization"].to_str().unwrap()
}

#[tokio::test]
async fn finds_with_one_token_for_many_calls() {
    let (client, seen) = start(|kind, number, parts, body| {
        if kind == "token" {
            assert_eq!(bearer(parts), "Basic aWQ6c2VjcmV0");
            assert_eq!(body, "grant_type=client_credentials&client_id=id");
            return token(number);
        }
        assert_eq!(bearer(parts), "Bearer t0");
        let mut found = answer(200, FOUND);
        found.headers_mut().insert("etag", "\"e1\"".parse().unwrap());
        found
    })
    .await;
    let calls = (0..10).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.find(&query()).await.unwrap() })
    });
    for call in calls.collect::<Vec<_>>() {
        let found = call.await.unwrap();
        assert_eq!(
            (found.configuration.name(), found.etag.as_deref()),
            ("erp", Some("\"e1\""))
        );
    }
    assert_eq!(seen.token_calls.load(Ordering::SeqCst), 1);
    assert_eq!(client.token_fetches(), 1);
}

#[tokio::test]
async fn conditional_find() {
    let (client, _) = start(|kind, number, parts, _| match kind {
        "token" => token(number),
        _ if parts
            .headers
            .get("if-none-match")
            .is_some_and(|etag| etag == "\"e1\"") =>
        {
            answer(304, "")
        }
        _ => answer(200, FOUND),
    })
    .await;
    let mut query = query();
    assert!(client.find_if_changed(&query).await.unwrap().is_some());
    query.if_none_match = Some("\"e1\"".into());
    assert!(client.find_if_changed(&query).await.unwrap().is_none());
    assert_eq!(
        client.find(&query).await.unwrap().configuration.name(),
        "erp",
        "find asks without condition"
    );
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let (client, seen) = start(|kind, number, parts, _| match (kind, bearer(parts)) {
        ("token", _) => token(number),
        (_, "Bearer t0") => answer(401, ""),
        _ => answer(200, FOUND),
    })
    .await;
    client.find(&query()).await.unwrap();
    assert_eq!(seen.token_calls.load(Ordering::SeqCst), 2);

    let (client, seen) = start(|kind, number, _, _| {
        if kind == "token" {
            token(number)
        } else {
            answer(401, "")
        }
    })
    .await;
    assert!(matches!(
        client.find(&query()).await,
        Err(StoreError::Unauthorized { .. })
    ));
    assert_eq!(
        (
            seen.token_calls.load(Ordering::SeqCst),
            seen.store_calls.load(Ordering::SeqCst)
        ),
        (2, 2)
    );
}

#[tokio::test]
async fn overload_is_retried_once_and_told() {
    let (client, _) = start(|kind, number, _, _| match (kind, number) {
        ("token", 0) => answer(503, ""),
        ("token", _) => token(number),
        (_, 0) => answer(503, "busy"),
        _ => answer(200, FOUND),
    })
    .await;
    client.find(&query()).await.unwrap();

    let (client, _) = start(|kind, number, _, _| match (kind, number) {
        ("token", _) => token(number),
        (_, 0) => answer(429, "too often"),
        _ => answer(200, FOUND),
    })
    .await;
    client.find(&query()).await.unwrap();

    let (client, seen) = start(|kind, number, _, _| {
        if kind == "token" {
            token(number)
        } else {
            answer(503, r#"{"ErrorMessage":"busy"}"#)
        }
    })
    .await;
    let error = client.find(&query()).await.unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains("503: busy"),
        "{error}"
    );
    assert_eq!(seen.store_calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn answers_become_errors_with_a_remedy() {
    let cases: &[(Handler, &str)] = &[
        (
            |_, _, _, _| answer(404, r#"{"ErrorMessage":"x"}"#),
            "no destination \"erp\"",
        ),
        (
            |_, _, _, _| answer(403, "no scope"),
            "does not permit this (no scope)",
        ),
        (|_, _, _, _| answer(400, "bad"), "status 400: bad"),
        (|_, _, _, _| answer(200, "<html>"), "cannot be read"),
        (|_, _, _, _| answer(302, ""), "status 302"),
        (|_, _, _, _| answer(500, "<h1>oops</h1>"), "HTML page"),
    ];
    for (handler, expected) in cases {
        // One process-wide slot per case is not needed: the token comes from a server of its own.
        let (store, _) = start(*handler).await;
        let (tokens, _) = start(|_, number, _, _| token(number)).await;
        let mut binding = store.binding().clone();
        binding.url = tokens.binding().url.clone();
        let client = StoreClient::new(binding, store.inner.http.clone());
        let error = client.find(&query()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[tokio::test]
async fn refused_credentials_and_dead_servers() {
    let (client, seen) = start(|_, _, _, _| answer(401, r#"{"error":"invalid_client"}"#)).await;
    let error = client.find(&query()).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Unauthorized { .. }) && error.to_string().contains("service key"),
        "{error}"
    );
    assert_eq!(
        seen.token_calls.load(Ordering::SeqCst),
        1,
        "wrong credentials are not tried again"
    );

    let dead = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = self::client(dead).find(&query()).await.unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains("not available"),
        "{error}"
    );
}

#[tokio::test]
async fn writes_and_lists() {
    let (client, seen) = start(|kind, number, parts, body| {
        if kind == "token" {
            return token(number);
        }
        match (parts.method.as_str(), parts.uri.path()) {
            ("PUT", "/destination-configuration/v1/subaccountDestinations") => answer(404, ""),
            ("POST", "/destination-configuration/v1/subaccountDestinations") => {
                assert_eq!(body, r#"{"Name":"erp","Type":"HTTP"}"#);
                answer(201, "")
            }
            ("DELETE", "/destination-configuration/v1/subaccountDestinations/erp") => {
                answer(200, r#"{"Count":1}"#)
            }
            ("DELETE", _) => answer(404, ""),
            _ => answer(200, r#"[{"Name":"erp"},{"Name":"crm","$metadata":"x"}]"#),
        }
    })
    .await;
    let destination: DestinationConfig = [("Name", "erp"), ("Type", "HTTP")].into_iter().collect();
    client.put(&destination).await.unwrap();
    assert!(client.delete("erp").await.unwrap());
    assert!(!client.delete("other").await.unwrap());
    assert_eq!(client.list().await.unwrap().len(), 2);
    assert_eq!(seen.token_calls.load(Ordering::SeqCst), 1);
}

/// A server that closes the connection with the request read: what only reads is sent once more, the rest is not.
#[tokio::test]
async fn a_reading_exchange_that_broke_off_is_repeated_once() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(listener.local_addr().unwrap());
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let lines = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 16 * 1024];
            let length = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let method = head.split(' ').next().unwrap().to_owned();
            let token = head.contains("/oauth/token");
            let body = if token {
                r#"{"access_token":"t","expires_in":3600}"#
            } else {
                lines.lock().push(method.clone());
                // The first reading and every deletion are cut off.
                if method == "DELETE" || lines.lock().len() == 1 {
                    continue;
                }
                FOUND
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    assert_eq!(client.find(&query()).await.unwrap().configuration.name(), "erp");
    assert!(client.delete("erp").await.is_err());
    assert_eq!(*seen.lock(), ["GET", "GET", "DELETE"]);
}

/// Published as readTimeoutSeconds (seed L35688).
#[tokio::test]
async fn the_deadline_is_that_of_the_connections() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let key =
        format!(r#"{{"clientid":"i","clientsecret":"s","url":"http://{address}","uri":"http://{address}"}}"#);
    let deadlines = http_client::Deadlines {
        answer: Duration::from_secs(1),
        ..http_client::Deadlines::default()
    };
    let http =
        http_client::standard_within(Dialer::new(AddressPolicy::Any).unwrap(), &[], deadlines).unwrap();
    let client = StoreClient::new(Binding::from_json(&key).unwrap(), http);
    // The backlog takes the connection, and nobody answers: with the usual 10 s this would not end in time.
    let ended = tokio::time::timeout(Duration::from_secs(8), client.find(&query())).await;
    assert!(matches!(ended, Ok(Err(StoreError::Timeout { .. }))), "{ended:?}");
    drop(listener);
}
