//! The systems outside.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{any, get, post};
use futures_util::StreamExt as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::netns::Netns;
use crate::target::{self, Protected};

/// Bytes of a long body: more than all buffers on the way.
pub const BULK: usize = 10 << 20;

/// Bytes of a stream, for those who measure.
pub const STREAM: usize = 256 << 20;

/// Their ports.
pub struct Targets;

impl Targets {
    /// Answers with what it was asked, and takes and gives long bodies.
    pub const MIRROR: u16 = 8000;
    /// An API with an authorization server.
    pub const PROTECTED: u16 = 8001;
    /// Switches protocols, and sends back what it gets.
    pub const UPGRADE: u16 = 8002;
    /// Says that it is another.
    pub const OTHER: u16 = 8003;
    /// The mirror with TLS, of an authority that nobody knows.
    pub const TLS: u16 = 8004;
    /// Sends back what it gets.
    pub const ECHO: u16 = 9000;
    /// Speaks first.
    pub const GREETER: u16 = 9001;

    /// Starts all of them. The authority of the one with TLS (PEM).
    pub async fn start(outside: &Netns, address: IpAddr) -> String {
        let at = move |port| SocketAddr::new(address, port);
        outside
            .run(async move {
                let mirror = target::mirror_router()
                    .route("/digest", post(take))
                    .route("/bulk", get(async || Body::from(bulk())))
                    .route("/short", get(async || "short"))
                    .route("/stream", get(stream));
                target::serve_at(at(Self::MIRROR), mirror).await;
                target::serve_at(at(Self::PROTECTED), Protected::default().router()).await;
                let other = Router::new().fallback(any(async || "the other one"));
                target::serve_at(at(Self::OTHER), other).await;
                for (port, way) in [
                    (Self::UPGRADE, Way::Upgrade),
                    (Self::ECHO, Way::Echo),
                    (Self::GREETER, Way::Greet),
                ] {
                    let listener = TcpListener::bind(at(port)).await.expect("a free port");
                    tokio::spawn(serve(listener, way));
                }
                let (authority, _) = target::tls_mirror_at(at(Self::TLS), &address.to_string()).await;
                authority
            })
            .await
    }
}

/// [`BULK`] bytes that differ from place to place.
pub(super) fn bulk() -> Vec<u8> {
    (0..BULK).map(|place| (place % 251) as u8).collect()
}

/// SHA-256 of [`BULK`] bytes.
pub fn bulk_digest() -> String {
    digest(&bulk())
}

/// SHA-256, in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn stream() -> Body {
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    let pieces = (0..STREAM / piece.len()).map(move |_| Ok::<_, std::convert::Infallible>(piece.clone()));
    Body::from_stream(futures_util::stream::iter(pieces))
}

async fn take(body: Body) -> axum::Json<serde_json::Value> {
    let (mut hash, mut length) = (Sha256::new(), 0);
    let mut pieces = body.into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        hash.update(&piece);
        length += piece.len();
    }
    axum::Json(json!({"length": length, "digest": hex(&hash.finalize())}))
}

#[derive(Clone, Copy)]
enum Way {
    Upgrade,
    Echo,
    Greet,
}

async fn serve(listener: TcpListener, way: Way) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            // Whoever goes away in the middle is the test's own doing.
            let _ = match way {
                Way::Upgrade => upgrade(stream).await,
                Way::Echo => echo(stream).await,
                Way::Greet => greet(stream).await,
            };
        });
    }
}

async fn upgrade(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    stream
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\nx-first: yes\r\n\r\n",
        )
        .await?;
    echo(stream).await
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

async fn greet(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(b"220 ready\r\n").await?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    stream.write_all(format!("250 {line}").as_bytes()).await?;
    stream.shutdown().await
}
