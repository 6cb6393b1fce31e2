//! Links that die without a word, and strangers that hold connections open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use landbridge_tunnel::TunnelMetrics;
use landbridge_tunnel::dialer::ServerAddress;
use landbridge_tunnel::registry::RegistryLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::{Cluster, PATIENCE, echo_once, eventually, open, patient};

/// A relay whose present connections can be made to swallow everything while they stay open.
async fn relay(to: SocketAddr) -> (ServerAddress, watch::Sender<u64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let swallow = watch::Sender::new(0);
    let signal = swallow.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.unwrap();
            let mut signal = signal.subscribe();
            tokio::spawn(async move {
                let (mut near, mut far) = (near, far);
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = signal.changed() => {
                        // Reads on both sides, forwards nothing, closes nothing.
                        let (mut a, mut b) = ([0; 1024], [0; 1024]);
                        loop {
                            tokio::select! {
                                read = near.read(&mut a) => if !matches!(read, Ok(1..)) { break },
                                read = far.read(&mut b) => if !matches!(read, Ok(1..)) { break },
                            }
                        }
                    }
                }
            });
        }
    });
    (
        ServerAddress {
            host: address.ip().to_string(),
            port: address.port(),
        },
        swallow,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_swallows_bytes_is_replaced() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let metrics = TunnelMetrics::default();
    let cluster = Cluster::start_with(dir, "127.0.0.1:0".parse().unwrap(), |config| {
        config.metrics = metrics.clone();
    })
    .await;
    let mut site = cluster.enrol("c1").await;
    let (address, swallow) = relay(cluster.address).await;
    site.server = address;
    let company = site.start(|_| {});
    cluster.connected(2).await;
    echo_once(&cluster.registry, b"before").await;
    let registry = cluster.registry.clone();
    eventually("round trips are measured", || {
        registry
            .sessions()
            .iter()
            .all(|session| session.stats.rtt.is_some())
    })
    .await;

    let mut victim = cluster.registry.open("acme", "", &open("echo")).await.unwrap();
    swallow.send_modify(|count| *count += 1);
    // Nobody closes anything, yet the stream ends with an error and new connections come up.
    victim.write_all(b"lost").await.unwrap();
    assert!(
        patient("the stream to fail", victim.read(&mut [0; 4]))
            .await
            .is_err()
    );
    patient("the replacement", async {
        loop {
            let request = open("echo").with_deadline(Duration::from_secs(1));
            if let Ok(mut stream) = cluster.registry.open("acme", "", &request).await {
                stream.write_all(b"after").await.unwrap();
                let mut back = [0; 5];
                if matches!(
                    tokio::time::timeout(PATIENCE, stream.read_exact(&mut back)).await,
                    Ok(Ok(_))
                ) {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    cluster.connected(2).await;
    eventually("both are counted", || metrics.sessions_lost.get() == 2).await;
    company.shutdown.drain(Duration::from_secs(5)).await;
    cluster.connected(0).await;
    let lost = metrics.sessions_lost.get();
    assert_eq!(lost, 2, "one that ends in order is not lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_hold_a_bounded_number_of_connections() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let any = "127.0.0.1:0".parse().unwrap();
    let metrics = TunnelMetrics::default();
    let cluster = Cluster::start_with(dir, any, |config| {
        config.limits.unverified = 2;
        config.metrics = metrics.clone();
    })
    .await;
    let site = cluster.enrol("c1").await;
    let mut strangers = Vec::new();
    for _ in 0..2 {
        let mut stranger = TcpStream::connect(cluster.address).await.unwrap();
        stranger.write_all(&[0x16]).await.unwrap();
        strangers.push(stranger);
    }
    let mut third = TcpStream::connect(cluster.address).await.unwrap();
    let read = patient("the third to be closed", third.read(&mut [0; 1])).await;
    assert!(!matches!(read, Ok(1..)), "{read:?}");
    // It was the limit, not the deadline of the handshake.
    let mut figures = prometheus_client::registry::Registry::default();
    metrics.register(&mut figures);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &figures).unwrap();
    assert!(
        text.contains("tunnel_connections_total{result=\"Overload\"}"),
        "{text}"
    );
    // Once they are gone, everything works.
    drop(strangers);
    let company = site.start(|_| {});
    cluster.connected(2).await;
    company.shutdown.drain(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_has_a_bounded_number_of_sessions() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let any = "127.0.0.1:0".parse().unwrap();
    let limits = RegistryLimits {
        per_identity: 1,
        total: 10,
    };
    let cluster = Cluster::start_with(dir, any, |config| config.limits.sessions = limits).await;
    let company = cluster.enrol("c1").await.start(|_| {});
    let status = company.status.clone();
    eventually("the connector hears why", || {
        format!("{:?}", status.borrow()).contains("too-many-sessions")
    })
    .await;
    cluster.connected(1).await;
    // Another connector has a limit of its own.
    let other = cluster.enrol("c2").await.start(|config| config.connections = 1);
    cluster.connected(2).await;
    company.shutdown.drain(Duration::from_secs(5)).await;
    other.shutdown.drain(Duration::from_secs(5)).await;
}
