//! Streams over a real tunnel: bytes, half-close, refusals, stalls, losses, drains.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{Cluster, echo_once, eventually, open, patient};
use landbridge_tunnel::{ConnectionState, DenyReason, OpenError, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread")]
async fn bytes_go_both_ways_and_directions_end_alone() {
    let cluster = Cluster::start().await;
    let company = cluster.enrol("c1").await.start(|_| {});
    cluster.connected(2).await;
    echo_once(&cluster.registry, b"").await;
    let large: Vec<u8> = (0..5_000_000_u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect();
    // Written and read at the same time: an echo of more than the windows would otherwise wait for itself.
    let stream = cluster.registry.open("acme", "", &open("echo")).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let sent = large.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    patient("the echo", reader.read_to_end(&mut back)).await.unwrap();
    writing.await.unwrap();
    assert_eq!(back.len(), large.len());
    assert!(back == large);

    // Half-close: the answer comes after the whole request was read.
    let mut stream = cluster.registry.open("acme", "", &open("sink")).await.unwrap();
    stream.write_all(&large).await.unwrap();
    stream.shutdown().await.unwrap();
    let total = patient("the count", stream.read_u64()).await.unwrap();
    assert_eq!(total, large.len() as u64);
    assert!(stream.write_all(b"more").await.is_err(), "closed for writing");

    drop((stream, reader));
    let registry = cluster.registry.clone();
    eventually("no stream is open", || {
        registry
            .sessions()
            .iter()
            .all(|session| session.stats.active == 0)
    })
    .await;
    let sessions = cluster.registry.sessions();
    assert!(
        sessions
            .iter()
            .all(|session| session.identity.connector == "c1" && session.identity.tenant == "acme")
    );
    assert!(sessions.iter().map(|session| session.stats.bytes_in).sum::<u64>() > 5_000_000);
    company.shutdown.drain(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_read_takes_all_frames_that_have_arrived() {
    let cluster = Cluster::start().await;
    let company = cluster.enrol("c1").await.start(|_| {});
    cluster.connected(2).await;
    let mut stream = cluster.registry.open("acme", "", &open("flood")).await.unwrap();
    // The window is full soon; then a read of two frames must find two.
    let mut buffer = vec![0; 40_000];
    patient("a read of more than one frame", async {
        while stream.read(&mut buffer).await.unwrap() < buffer.len() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    drop(stream);
    company.shutdown.drain(Duration::from_millis(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_arrive_with_reason_and_words() {
    let cluster = Cluster::start().await;
    let company = cluster.enrol("c1").await.start(|_| {});
    cluster.connected(2).await;
    for expected in DenyReason::ALL {
        let error = cluster
            .registry
            .open("acme", "", &open(expected.as_str()))
            .await
            .unwrap_err();
        match error {
            OpenError::Denied { reason, message } => {
                assert_eq!(reason, expected);
                assert_eq!(message, format!("Access denied to system {expected}:7"));
            }
            // A busy or lost connection may be tried again on the other one; a denial never is.
            other => panic!("{expected}: {other}"),
        }
    }
    let request = landbridge_tunnel::OpenRequest::new("slow", 7, Protocol::Http).unwrap();
    let request = request.with_deadline(Duration::from_millis(100));
    let error = cluster.registry.open("acme", "", &request).await.unwrap_err();
    assert!(matches!(error, OpenError::Timeout { .. }), "{error}");
    let error = cluster
        .registry
        .open("acme", "elsewhere", &open("echo"))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::NoConnector { .. }), "{error}");
    company.shutdown.drain(Duration::from_millis(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_readers_do_not_stall_a_neighbour() {
    let cluster = Cluster::start().await;
    // One connection, so that everybody shares it.
    let company = cluster.enrol("c1").await.start(|config| config.connections = 1);
    cluster.connected(1).await;
    let mut stalled = Vec::new();
    for _ in 0..100 {
        let mut stream = cluster.registry.open("acme", "", &open("flood")).await.unwrap();
        // The flood runs; from now on nobody reads it.
        let mut first = [0; 1];
        patient("the flood", stream.read_exact(&mut first)).await.unwrap();
        stalled.push(stream);
    }
    for _ in 0..20 {
        patient(
            "the neighbour",
            echo_once(&cluster.registry, &[1; 300_000][..100_000]),
        )
        .await;
    }
    assert_eq!(cluster.registry.sessions()[0].stats.active, 100);
    drop(stalled);
    company.shutdown.drain(Duration::from_millis(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_dropped_streams_do_not_hurt_the_connection() {
    const STREAMS: u64 = 20_000;
    let cluster = Cluster::start().await;
    let company = cluster.enrol("c1").await.start(|config| config.connections = 1);
    cluster.connected(1).await;
    let workers: Vec<_> = (0..16)
        .map(|_| {
            let registry = cluster.registry.clone();
            tokio::spawn(async move {
                for _ in 0..STREAMS / 16 {
                    let mut stream = registry.open("acme", "", &open("echo")).await.unwrap();
                    stream.write_all(b"x").await.unwrap();
                    drop(stream);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    echo_once(&cluster.registry, b"alive").await;
    let session = &cluster.registry.sessions()[0];
    assert!(
        session.stats.opened > STREAMS,
        "the first connection is still the one: {:?}",
        session.stats
    );
    company.shutdown.drain(Duration::from_millis(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_limit_of_streams_answers_first() {
    let cluster = Cluster::start().await;
    let company = cluster.enrol("c1").await.start(|config| {
        config.connections = 1;
        config.max_streams = 3;
    });
    cluster.connected(1).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(cluster.registry.open("acme", "", &open("echo")).await.unwrap());
    }
    let error = cluster
        .registry
        .open("acme", "", &open("echo"))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Busy { limit: 3 }), "{error}");
    held.pop();
    let registry = cluster.registry.clone();
    patient("a free stream", async {
        while registry.open("acme", "", &open("echo")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    company.shutdown.drain(Duration::from_millis(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_acceptor_is_found_again_under_the_same_identity() {
    let cluster = Cluster::start().await;
    let company = cluster.enrol("c1").await.start(|_| {});
    cluster.connected(2).await;
    let mut open_stream = cluster.registry.open("acme", "", &open("echo")).await.unwrap();
    let (state, address) = cluster.kill().await;
    let mut buffer = [0; 1];
    assert!(
        patient("the stream to fail", open_stream.read(&mut buffer))
            .await
            .is_err()
    );
    let status = company.status.clone();
    eventually("the dialer notices", || status.borrow().connected() == 0).await;

    let cluster = Cluster::start_with(state, address, |_| {}).await;
    cluster.connected(2).await;
    assert!(
        cluster
            .registry
            .sessions()
            .iter()
            .all(|session| session.identity.connector == "c1")
    );
    echo_once(&cluster.registry, b"back").await;
    eventually("the dialer is connected", || status.borrow().connected() == 2).await;
    company.shutdown.drain(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_connector_takes_over_and_a_draining_one_finishes() {
    let cluster = Cluster::start().await;
    let site = cluster.enrol("c1").await;
    let company = site.start(|_| {});
    cluster.connected(2).await;
    let mut running = cluster.registry.open("acme", "", &open("echo")).await.unwrap();
    running.write_all(b"before").await.unwrap();
    let mut buffer = [0; 6];
    patient("the echo", running.read_exact(&mut buffer))
        .await
        .unwrap();

    let draining = company.shutdown.clone();
    let drained = tokio::spawn(async move { draining.drain(crate::support::PATIENCE).await });
    let registry = cluster.registry.clone();
    eventually("new streams are refused", || {
        registry.sessions().iter().all(|session| session.stats.leaving)
    })
    .await;
    let error = cluster
        .registry
        .open("acme", "", &open("echo"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, OpenError::Lost { .. } | OpenError::NoConnector { .. }),
        "{error}"
    );
    // The open stream goes on.
    running.write_all(b"during").await.unwrap();
    patient("the echo", running.read_exact(&mut buffer))
        .await
        .unwrap();
    assert_eq!(&buffer, b"during");
    // Its successor takes over before it has finished.
    let successor = site.start(|_| {});
    let registry = cluster.registry.clone();
    eventually("the successor is connected", || {
        registry
            .sessions()
            .iter()
            .filter(|session| !session.stats.leaving)
            .count()
            == 2
    })
    .await;
    echo_once(&cluster.registry, b"successor").await;
    drop(running);
    assert_eq!(
        patient("the drain", drained).await.unwrap(),
        landbridge_runtime::shutdown::Drained::Complete
    );
    cluster.connected(2).await;
    successor.shutdown.drain(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_acceptor_is_replaced_before_it_goes() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let replicas = vec!["a".to_owned(), "b".to_owned()];
    let any = "127.0.0.1:0".parse().unwrap();
    let start = |name: &str| {
        let (name, replicas) = (name.to_owned(), replicas.clone());
        Cluster::start_with(Arc::clone(&dir), any, move |config| {
            config.replica = name;
            config.replicas = replicas;
        })
    };
    let (a, b) = (start("a").await, start("b").await);
    let site = a.enrol("c1").await;
    let servers = vec![a.server(), b.server()];
    let company = site.start(|config| config.servers = servers);
    // The connections end at different replicas.
    a.connected(1).await;
    b.connected(1).await;
    let mut running = a.registry.open("acme", "", &open("echo")).await.unwrap();

    let draining = a.shutdown.clone();
    let drained = tokio::spawn(async move { draining.drain(crate::support::PATIENCE).await });
    b.connected(2).await;
    echo_once(&b.registry, b"at the other replica").await;
    running.write_all(b"during").await.unwrap();
    let mut buffer = [0; 6];
    patient("the echo", running.read_exact(&mut buffer))
        .await
        .unwrap();
    drop(running);
    assert_eq!(
        patient("the drain", drained).await.unwrap(),
        landbridge_runtime::shutdown::Drained::Complete
    );
    let status = company.status.borrow().clone();
    let at_b = |state: &ConnectionState| matches!(state, ConnectionState::Connected { replica, .. } if replica == "b");
    assert!(status.connections.iter().all(at_b), "{status:?}");
    company.shutdown.drain(Duration::from_secs(5)).await;
}
