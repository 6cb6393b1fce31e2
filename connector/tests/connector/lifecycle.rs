//! First start, next start, start without anything, end.

use std::time::Duration;

use landbridge_connector::{Error, run};
use landbridge_runtime::shutdown::{Drained, Shutdown};
use landbridge_tunnel::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{PATIENCE, World, configuration, http_host, mapping, patient};

const ALL: &str = "resources = [{ path = \"/\" }]";

#[tokio::test(flavor = "multi_thread")]
async fn the_next_start_needs_no_token() {
    let internal = http_host().await;
    let mappings = mapping("virtual", 80, internal, "HTTP", ALL);
    let world = World::start(&mappings).await;
    world.connector.drain(Duration::from_secs(5)).await;
    patient("the first run", world.running).await.unwrap().unwrap();
    std::fs::remove_file(world.dir.path().join("token")).unwrap();

    // This time with an admin port.
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let config = configuration(
        world.dir.path(),
        world.acceptor,
        &mappings,
        &format!("admin_listen = \"{free}\""),
    );
    let connector = Shutdown::new();
    let running = tokio::spawn(run(config, connector.clone()));
    let world = World {
        connector,
        running,
        ..world
    };
    world.connected().await;
    patient("readiness", async {
        while !admin(free, "/readyz").await.starts_with("HTTP/1.1 200") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let answer = world
        .http(
            "virtual",
            80,
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let metrics = admin(free, "/metrics").await;
    for line in [
        "landbridge_tunnel_sessions 2",
        "landbridge_connector_requests_total{result=\"Answered\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert!(admin(free, "/healthz").await.starts_with("HTTP/1.1 200"));
    world.stop().await;
}

async fn admin(address: std::net::SocketAddr, path: &str) -> String {
    let Ok(mut socket) = TcpStream::connect(address).await else {
        return String::new();
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    patient("the admin answer", socket.read_to_string(&mut answer))
        .await
        .unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn without_identity_and_token_it_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    std::fs::write(
        &path,
        "[[tunnels]]\nserver = \"127.0.0.1:1\"\nidentity_dir = \"identity\"\n",
    )
    .unwrap();
    let config = landbridge_connector::Config::load(&path, |_| None).unwrap();
    let error = patient("the refusal", run(config, Shutdown::new()))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotEnrolled { .. }), "{error}");
    assert!(error.to_string().contains("enrolment_token_file"), "{error}");

    std::fs::write(dir.path().join("token"), "not a token").unwrap();
    let config = configuration(dir.path(), "127.0.0.1:1".parse().unwrap(), "", "");
    let error = patient("the refusal", run(config, Shutdown::new()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is not an enrolment token"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_open_streams_finish() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::start(&mapping("bytes", 7, listener.local_addr().unwrap(), "TCP", "")).await;
    let mut stream = world.open("bytes", 7, Protocol::Tcp).await.unwrap();
    let (mut internal, _) = listener.accept().await.unwrap();
    let draining = world.connector.clone();
    let drained = tokio::spawn(async move { draining.drain(PATIENCE).await });
    world.connector.started().await;
    stream.write_all(b"still").await.unwrap();
    let mut buffer = [0; 5];
    patient("the bytes", internal.read_exact(&mut buffer))
        .await
        .unwrap();
    internal.write_all(b"alive").await.unwrap();
    patient("the bytes", stream.read_exact(&mut buffer))
        .await
        .unwrap();
    assert_eq!(&buffer, b"alive");
    drop((stream, internal));
    assert_eq!(patient("the drain", drained).await.unwrap(), Drained::Complete);
    world.stop().await;
}
