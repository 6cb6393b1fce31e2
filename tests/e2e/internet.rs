//! Internet destinations: what reaches the target, what comes back, streaming and upgrades.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{any, get};
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use landbridge_tests::PATIENCE;
use landbridge_tests::client::{self, Connection, request, send};
use landbridge_tests::standalone::Standalone;
use landbridge_tests::target;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

fn http(url: String) -> Value {
    json!({"Type": "HTTP", "URL": url, "ProxyType": "Internet", "Authentication": "NoAuthentication"})
}

fn header<'a>(seen: &'a Value, name: &str) -> Vec<&'a str> {
    seen["headers"][name]
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default()
}

#[tokio::test]
async fn adds_what_the_destination_says_and_nothing_else() {
    let standalone = Standalone::start(&[]).await;
    let target = target::mirror().await;
    let mut destination = http(format!("http://{target}/base?$format=json"));
    // Seed L34967 and L35005: duplicates of the caller are kept, the destination's come second.
    destination["URL.headers.foo"] = "bar".into();
    destination["URL.queries.foo"] = "bar".into();
    let address = standalone.serve("mirror", destination).await;
    let headers = [
        ("foo", "bar2"),
        ("connection", "close, x-secret-hop"),
        ("x-secret-hop", "1"),
        ("authorization", "Bearer own"),
        ("x-request-id", "req-1"),
        ("accept", "*/*"),
    ];
    let answer = send(address, request("PUT", "/items/1?foo=bar2", &headers, "hello")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-request-id")),
        (200, "req-1"),
        "{}",
        answer.text()
    );
    let seen = answer.json();
    assert_eq!(
        (seen["method"].as_str(), seen["body"].as_str()),
        (Some("PUT"), Some("hello"))
    );
    assert_eq!(seen["uri"], "/base/items/1?$format=json&foo=bar2&foo=bar");
    assert_eq!(header(&seen, "foo"), ["bar2", "bar"]);
    assert_eq!(header(&seen, "host"), [target.to_string()]);
    assert_eq!(header(&seen, "x-request-id"), ["req-1"]);
    assert_eq!(
        header(&seen, "authorization"),
        ["Bearer own"],
        "NoAuthentication leaves it to the application"
    );
    assert!(
        header(&seen, "x-secret-hop").is_empty() && header(&seen, "connection").is_empty(),
        "{seen}"
    );
}

#[tokio::test]
async fn basic_replaces_the_applications_own_credential() {
    let standalone = Standalone::start(&[]).await;
    let mut destination = http(format!("http://{}", target::mirror().await));
    destination["Authentication"] = "BasicAuthentication".into();
    destination["User"] = "test".into();
    destination["Password"] = "pass12345".into();
    let address = standalone.serve("basic", destination).await;
    let seen = send(
        address,
        request("GET", "/", &[("authorization", "Bearer own")], ""),
    )
    .await
    .json();
    // D2, seed L13478.
    assert_eq!(header(&seen, "authorization"), ["Basic dGVzdDpwYXNzMTIzNDU="]);
    let log = standalone.process.log();
    assert!(
        !log.contains("dGVzdDpwYXNzMTIzNDU") && !log.contains("pass12345"),
        "no secret in the log"
    );
}

#[tokio::test]
async fn streams_both_ways_without_waiting_for_the_end() {
    // The target answers each piece of the request's body while the request is still being sent.
    let router = Router::new().fallback(any(async |request: Request| Body::new(request.into_body())));
    let standalone = Standalone::start(&[]).await;
    let address = standalone
        .serve("stream", http(format!("http://{}", target::serve(router).await)))
        .await;
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let (pieces, source) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(futures_util::stream::unfold(source, async |mut source| {
        source
            .recv()
            .await
            .map(|piece| (Ok::<_, Infallible>(Frame::data(piece)), source))
    }));
    let request = http::Request::post("/")
        .header("host", "stream")
        .body(body)
        .unwrap();
    let mut answer = timeout(PATIENCE, sender.send_request(request))
        .await
        .unwrap()
        .unwrap();
    for piece in ["one", "two", "three"] {
        pieces.send(Bytes::from(piece)).await.unwrap();
        let frame = timeout(PATIENCE, answer.frame())
            .await
            .expect("the piece comes back")
            .unwrap()
            .unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(pieces);
    assert!(timeout(PATIENCE, answer.frame()).await.unwrap().is_none());
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let router = Router::new().fallback(any(async |request: Request| Body::new(request.into_body())));
    let standalone = Standalone::start(&[]).await;
    let address = standalone
        .serve("bulk", http(format!("http://{}", target::serve(router).await)))
        .await;
    let data: Bytes = (0..32_u32 << 20)
        .map(|i| (i % 251) as u8)
        .collect::<Vec<_>>()
        .into();
    let answer = send(address, request("POST", "/", &[], data.clone())).await;
    assert!(
        answer.status == 200 && answer.body == data,
        "32 MiB there and back"
    );
}

#[tokio::test]
async fn upgrades_are_carried() {
    let router = Router::new().route("/ws", get(upgrade));
    let standalone = Standalone::start(&[]).await;
    let address = standalone
        .serve("ws", http(format!("http://{}", target::serve(router).await)))
        .await;
    let headers = [("connection", "Upgrade"), ("upgrade", "echo")];
    let mut connection = Connection::open(address).await.unwrap();
    let answer = connection
        .start(request("GET", "/ws", &headers, ""))
        .await
        .unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["upgrade"].as_bytes()),
        (101, &b"echo"[..])
    );
    let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    stream.write_all(b"both ways").await.unwrap();
    let mut back = [0; 9];
    timeout(PATIENCE, stream.read_exact(&mut back))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&back, b"both ways");
}

pub async fn upgrade(mut request: Request) -> http::Response<Body> {
    let asked = request.headers()["upgrade"].clone();
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgraded.await.expect("an upgrade"));
        let (mut reader, mut writer) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    });
    let builder = http::Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", asked);
    builder.body(Body::empty()).expect("a response")
}

#[tokio::test]
async fn redirects_and_errors_of_the_target_are_its_answers() {
    let router = Router::new()
        .route(
            "/moved",
            get(async || {
                (
                    http::StatusCode::FOUND,
                    [("location", "http://elsewhere.example/")],
                    "",
                )
            }),
        )
        .route(
            "/broken",
            get(async || (http::StatusCode::INTERNAL_SERVER_ERROR, "mine")),
        );
    let standalone = Standalone::start(&[]).await;
    let address = standalone
        .serve("answers", http(format!("http://{}", target::serve(router).await)))
        .await;
    let moved = client::get(address, "/moved").await;
    assert_eq!(
        (moved.status.as_u16(), moved.header("location")),
        (302, "http://elsewhere.example/")
    );
    let broken = client::get(address, "/broken").await;
    assert_eq!(
        (
            broken.status.as_u16(),
            broken.text().as_str(),
            broken.header("x-error-origin")
        ),
        (500, "mine", "")
    );
}

#[tokio::test]
async fn every_request_is_counted_and_logged_once() {
    let standalone = Standalone::start(&[]).await;
    let address = standalone
        .serve("counted", http(format!("http://{}", target::mirror().await)))
        .await;
    let mut connection = Connection::open(address).await.unwrap();
    for index in 0..5 {
        let id = format!("counted-{index}");
        let answer = connection
            .send(request("GET", "/a?secret=1", &[("x-request-id", &id)], ""))
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
    }
    let metrics = client::get(standalone.admin(), "/metrics").await.text();
    let line =
        "landbridge_proxy_requests_total{namespace=\"default\",destination=\"counted\",code=\"Success\"} 5";
    assert!(metrics.contains(line), "{metrics}");
    let reused =
        "landbridge_proxy_upstream_connections_reused_total{namespace=\"default\",destination=\"counted\"} 4";
    assert!(metrics.contains(reused), "{metrics}");
    landbridge_tests::eventually("five access lines", async || {
        let log = standalone.process.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("counted-")).collect();
        assert!(
            lines.iter().all(|line| !line.contains("secret=1")),
            "the query stays out of the log"
        );
        if lines.len() == 5 {
            Ok(())
        } else {
            Err(lines.join("\n"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_changed_destination_is_seen_without_restart() {
    let standalone = Standalone::start(&["--destination-ttl", "1"]).await;
    let first = target::serve(Router::new().fallback(any(async || "first"))).await;
    let second = target::serve(Router::new().fallback(any(async || "second"))).await;
    let address = standalone.serve("moving", http(format!("http://{first}"))).await;
    assert_eq!(client::get(address, "/").await.text(), "first");
    let mut destination = http(format!("http://{second}"));
    destination["Name"] = "moving".into();
    standalone.put(destination).await;
    landbridge_tests::eventually("the new target", async || {
        let text = client::get(address, "/").await.text();
        if text == "second" { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn tls_targets_are_verified() {
    let (authority, tls) = landbridge_tests::target::tls_mirror().await;
    let port = tls.port();
    let standalone = Standalone::start(&[]).await;
    let untrusted = standalone
        .serve("untrusted", http(format!("https://localhost:{port}")))
        .await;
    let refused = client::get(untrusted, "/").await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("x-internal-error-code")),
        (502, "target-tls")
    );
    let mut destination = http(format!("https://localhost:{port}"));
    destination["TrustAll"] = "TRUE".into();
    let all = standalone.serve("all", destination).await;
    assert_eq!(client::get(all, "/").await.status, 200);
    drop(standalone);

    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority).unwrap();
    let standalone = Standalone::start(&["--additional-ca", file.to_str().unwrap()]).await;
    let trusted = standalone
        .serve("trusted", http(format!("https://localhost:{port}")))
        .await;
    assert_eq!(client::get(trusted, "/").await.status, 200);
    let wrong_name = standalone
        .serve("wrong-name", http(format!("https://127.0.0.1:{port}")))
        .await;
    assert_eq!(
        client::get(wrong_name, "/").await.header("x-internal-error-code"),
        "target-tls"
    );
}
