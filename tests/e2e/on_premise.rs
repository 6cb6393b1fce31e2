//! On-premise destinations: through the tunnel and the connector.

use axum::Router;
use axum::extract::Request;
use axum::routing::{any, get};
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use landbridge_tests::client::{self, Connection, request, send};
use landbridge_tests::standalone::Standalone;
use landbridge_tests::{PATIENCE, target};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A mapping of `erp.company:44300` to `internal`, with these resources (TOML).
pub fn mapping(internal: SocketAddr, resources: &str) -> String {
    format!(
        "[[mappings]]\nvirtual_host = \"erp.company\"\nvirtual_port = 44300\ninternal_host = \"{}\"\ninternal_port = {}\n\
         protocol = \"HTTP\"\n{resources}\n",
        internal.ip(),
        internal.port()
    )
}

/// Everything of the system may be called.
pub const ALL: &str = "[[mappings.resources]]\npath = \"/\"\nwebsocket_upgrade_allowed = true\n";

/// An HTTP destination at the virtual system.
pub fn destination() -> Value {
    json!({"Type": "HTTP", "URL": "http://erp.company:44300", "ProxyType": "OnPremise", "Authentication": "NoAuthentication"})
}

#[tokio::test]
async fn http_reaches_what_is_exposed_and_nothing_else() {
    let standalone = Standalone::start(&[]).await;
    let erp = target::mirror().await;
    let resources = "[[mappings.resources]]\npath = \"/sales\"\n\n[[mappings.resources]]\npath = \"/status\"\nexact_match_only = true\n";
    let _connector = standalone.connector("company", &mapping(erp, resources)).await;
    let address = standalone.serve("erp", destination()).await;

    let answer = send(
        address,
        request("POST", "/sales/orders?x=1", &[("accept", "a/b")], "order"),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = answer.json();
    assert_eq!(
        (seen["uri"].as_str(), seen["body"].as_str()),
        (Some("/sales/orders?x=1"), Some("order"))
    );
    assert_eq!(
        seen["headers"]["host"][0], "erp.company:44300",
        "the virtual host is the default (A-12)"
    );
    assert_eq!(seen["headers"]["x-request-id"][0], answer.header("x-request-id"));

    // (path, allowed), segment boundaries, and forms that try to get around.
    for (path, allowed) in [
        ("/sales", true),
        ("/sales/", true),
        ("/sales?q", true),
        ("/status", true),
        ("/status?q=1", true),
        ("/status/", false),
        ("/salesforce", false),
        ("/", false),
        ("/admin", false),
        ("/sales/../admin", false),
        ("/sales/%2e%2e/admin", false),
        ("/sales%2f..%2fadmin", false),
        ("/Sales", false),
    ] {
        let answer = client::get(address, path).await;
        let expected = if allowed { 200 } else { 403 };
        assert!(
            answer.status == expected || (!allowed && answer.status == 400),
            "{path}: {} {}",
            answer.status,
            answer.text()
        );
    }
    let denied = client::get(address, "/admin").await.text();
    assert!(
        denied.starts_with("Access denied to resource /admin on system erp.company:44300"),
        "{denied}"
    );
}

#[tokio::test]
async fn a_system_that_is_not_exposed_is_denied_with_the_documented_words() {
    let standalone = Standalone::start(&[]).await;
    let _connector = standalone
        .connector("company", &mapping(target::mirror().await, ALL))
        .await;
    let mut other = destination();
    other["URL"] = "http://virtual:1234".into();
    let address = standalone.serve("other", other).await;
    let answer = client::get(address, "/").await;
    // Seed L34185.
    let words = "Access denied to system virtual:1234: If this was a valid request, make sure you expose the system correctly";
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-error-origin")),
        (403, "Connector")
    );
    assert!(answer.text().starts_with(words), "{}", answer.text());
}

#[tokio::test]
async fn tcp_streams_are_opaque_and_half_close() {
    let standalone = Standalone::start(&[]).await;
    let echo = target::echo().await;
    let mapping = format!(
        "[[mappings]]\nvirtual_host = \"queue\"\nvirtual_port = 5672\ninternal_host = \"{}\"\ninternal_port = {}\nprotocol = \"TCP\"\n",
        echo.ip(),
        echo.port()
    );
    let _connector = standalone.connector("company", &mapping).await;
    let tcp = json!({"Type": "TCP", "Address": "queue:5672", "ProxyType": "OnPremise", "Authentication": "NoAuthentication"});
    let address = standalone.serve("queue", tcp).await;
    let data: Vec<u8> = (0..4_u32 << 20).map(|i| (i % 253) as u8).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let expected = data.clone();
    let sending = tokio::spawn(async move {
        writer.write_all(&data).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    timeout(PATIENCE, reader.read_to_end(&mut back))
        .await
        .unwrap()
        .unwrap();
    sending.await.unwrap();
    assert!(
        back == expected,
        "{} of {} bytes came back unchanged",
        back.len(),
        expected.len()
    );
}

#[tokio::test]
async fn bodies_and_upgrades_go_through_the_tunnel() {
    let router = Router::new()
        .route("/ws", get(super::internet::upgrade))
        .fallback(any(async |request: Request| {
            axum::body::Body::new(request.into_body())
        }));
    let standalone = Standalone::start(&[]).await;
    let erp = target::serve(router).await;
    let _connector = standalone.connector("company", &mapping(erp, ALL)).await;
    let address = standalone.serve("erp", destination()).await;

    let data: Bytes = (0..16_u32 << 20)
        .map(|i| (i % 249) as u8)
        .collect::<Vec<_>>()
        .into();
    let answer = send(address, request("POST", "/", &[], data.clone())).await;
    assert!(
        answer.status == 200 && answer.body == data,
        "16 MiB there and back: {}",
        answer.status
    );

    let mut connection = Connection::open(address).await.unwrap();
    let headers = [("connection", "Upgrade"), ("upgrade", "websocket")];
    let answer = connection
        .start(request("GET", "/ws", &headers, ""))
        .await
        .unwrap();
    assert_eq!(answer.status(), 101);
    let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    stream.write_all(b"through the tunnel").await.unwrap();
    let mut back = [0; 18];
    timeout(PATIENCE, stream.read_exact(&mut back))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&back, b"through the tunnel");
}

#[tokio::test]
async fn one_reader_that_stops_does_not_stop_the_others() {
    let big = Bytes::from(vec![7; 8 << 20]);
    let router = Router::new()
        .route("/big", get(async move || big.clone()))
        .route("/small", get(async || "small"));
    let standalone = Standalone::start(&[]).await;
    let _connector = standalone
        .connector("company", &mapping(target::serve(router).await, ALL))
        .await;
    let address = standalone.serve("erp", destination()).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut connection = Connection::open(address).await.unwrap();
        let answer = connection.start(request("GET", "/big", &[], "")).await.unwrap();
        assert_eq!(answer.status(), 200);
        stalled.push((connection, answer));
    }
    for _ in 0..50 {
        assert_eq!(client::get(address, "/small").await.text(), "small");
    }
}
