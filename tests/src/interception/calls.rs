//! What an application does, and what it gets.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::targets::{bulk, digest};
use crate::PATIENCE;
use crate::client::{Answer, request, try_send};
use crate::netns::Netns;

/// A call.
#[derive(Debug, Clone, Copy)]
pub enum Call {
    /// A request: method, path, headers, body.
    Http(
        &'static str,
        &'static str,
        &'static [(&'static str, &'static str)],
        &'static str,
    ),
    /// A body longer than all buffers, up: its digest comes back.
    Upload,
    /// The same down.
    Download,
    /// Another protocol, after an upgrade.
    Upgrade,
    /// Bytes both ways, each direction ended alone.
    Echo,
    /// A peer that speaks first.
    Greeting,
}

/// What came of it: everything that must be the same whoever serves it.
pub type Outcome = Value;

/// Does it from `pod`.
pub async fn carry_out(pod: &Netns, address: SocketAddr, call: Call) -> Outcome {
    let task = async move {
        match call {
            Call::Http(method, path, headers, body) => {
                http(address, request(method, path, headers, body)).await
            }
            Call::Upload => http(address, request("POST", "/digest", &[], bulk())).await,
            Call::Download => download(address).await,
            Call::Upgrade => bytes(upgrade(address).await),
            Call::Echo => bytes(echo(address).await),
            Call::Greeting => bytes(greeting(address).await),
        }
    };
    pod.run(async move {
        timeout(PATIENCE, task)
            .await
            .unwrap_or_else(|_| json!({"failed": "no end"}))
    })
    .await
}

async fn http(address: SocketAddr, request: Request<http_body_util::Full<Bytes>>) -> Value {
    match try_send(address, request).await {
        Ok(answer) => told(&answer),
        Err(error) => json!({"failed": error}),
    }
}

async fn download(address: SocketAddr) -> Value {
    match try_send(address, request("GET", "/bulk", &[], "")).await {
        Ok(answer) => json!({"status": answer.status.as_u16(), "length": answer.body.len(),
            "digest": digest(&answer.body)}),
        Err(error) => json!({"failed": error}),
    }
}

fn told(answer: &Answer) -> Value {
    let mut names: Vec<&str> = answer.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    names.dedup();
    json!({
        "status": answer.status.as_u16(),
        "code": answer.header("x-internal-error-code"),
        "origin": answer.header("x-error-origin"),
        "message": answer.header("x-error-message"),
        "headers": names,
        "body": serde_json::from_slice(&answer.body).map_or_else(|_| answer.text().into(), seen),
    })
}

/// What the target saw, without what is another at each call.
fn seen(mut body: Value) -> Value {
    if let Some(headers) = body.get_mut("headers").and_then(Value::as_object_mut) {
        for (name, value) in headers {
            // The proxy's own name in `via` keeps it from calling itself.
            if ["x-request-id", "via"].contains(&name.as_str()) {
                *value = "one".into();
            }
        }
    }
    body
}

fn bytes(result: std::io::Result<Value>) -> Value {
    // A refusal may come as a reset or as an end, before or after the first byte: all of them are no service.
    result.unwrap_or_else(|error| json!({"refused": kind(&error)}))
}

fn kind(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error.kind() {
        ConnectionReset | BrokenPipe | UnexpectedEof => "closed",
        std::io::ErrorKind::ConnectionRefused => "refused",
        _ => "failed",
    }
}

async fn upgrade(address: SocketAddr) -> std::io::Result<Value> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: upgrade\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let mut back = [0; 12];
    stream.write_all(b"two-way talk").await.ok();
    stream.read_exact(&mut back).await?;
    let said = |line: &str| head.contains(line);
    Ok(
        json!({"status": head.lines().next(), "upgrade": said("upgrade: echo\r\n"), "first": said("x-first: yes\r\n"),
        "back": String::from_utf8_lossy(&back)}),
    )
}

async fn echo(address: SocketAddr) -> std::io::Result<Value> {
    let stream = TcpStream::connect(address).await?;
    let (mut reader, mut writer) = stream.into_split();
    let sending = tokio::spawn(async move {
        writer.write_all(&bulk()).await?;
        writer.shutdown().await
    });
    let mut back = Vec::new();
    reader.read_to_end(&mut back).await?;
    let sent = sending.await.expect("no panic");
    if back.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    sent?;
    Ok(json!({"length": back.len(), "digest": digest(&back)}))
}

async fn greeting(address: SocketAddr) -> std::io::Result<Value> {
    let mut stream = TcpStream::connect(address).await?;
    let mut first = [0; 11];
    stream.read_exact(&mut first).await?;
    // Whoever waits for the client's first byte would never have come here.
    tokio::time::sleep(Duration::from_millis(1)).await;
    stream.write_all(b"HELO pod\r\n").await?;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await?;
    Ok(json!({"first": String::from_utf8_lossy(&first), "rest": rest}))
}
