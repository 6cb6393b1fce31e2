//! Bytes through the connector.

use std::net::SocketAddr;

use landbridge_tunnel::{DenyReason, OpenError, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{World, mapping, patient};

/// Counts what it gets until the end of the stream, then answers, then closes.
async fn counting_host() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut all = Vec::new();
                socket.read_to_end(&mut all).await.unwrap();
                socket.write_u64(all.len() as u64).await.unwrap();
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_and_directions_end_alone() {
    let host = counting_host().await;
    let world = World::start(&mapping("bytes", 7, host, "TCP", "")).await;
    for size in [0, 1, 3_000_000] {
        let mut stream = world.open("bytes", 7, Protocol::Tcp).await.unwrap();
        stream.write_all(&vec![1; size]).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(
            patient("the count", stream.read_u64()).await.unwrap(),
            size as u64
        );
        assert_eq!(patient("the end", stream.read(&mut [0; 1])).await.unwrap(), 0);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_exposed_systems_are_reached() {
    let host = counting_host().await;
    let world = World::start(&mapping("bytes", 7, host, "TCP", "")).await;
    for (name, port, protocol, expected) in [
        ("bytes", 8, Protocol::Tcp, DenyReason::DeniedSystem),
        ("other", 7, Protocol::Tcp, DenyReason::DeniedSystem),
        ("127.0.0.1", host.port(), Protocol::Tcp, DenyReason::DeniedSystem),
        ("bytes", 7, Protocol::Http, DenyReason::RefusedProtocol),
    ] {
        match world.open(name, port, protocol).await.unwrap_err() {
            OpenError::Denied { reason, message } => assert_eq!(reason, expected, "{name}:{port} {message}"),
            other => panic!("{other}"),
        }
    }
    // Hosts are case-insensitive.
    assert!(world.open("BYTES", 7, Protocol::Tcp).await.is_ok());
    world.stop().await;
}
