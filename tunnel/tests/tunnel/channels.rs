//! Streams that the connector opens: the table, refusals, limits, drains, restarts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tunnel::channel::LocalSide;
use landbridge_tunnel::{
    ChannelError, ChannelHandler, ChannelName, ChannelPeer, ChannelRequest, ChannelService, Channels,
    ConnectionState, DenyReason, Dialer, DialerConfig, IncomingChannel, Offered, TunnelMetrics,
};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::support::{Backends, Cluster, Company, Site, echo_once, eventually, network, patient};

/// What a cluster side does in these tests: echoes, or refuses with the reason that the id names.
#[derive(Debug)]
struct Services {
    revision: watch::Sender<u64>,
    offered: Mutex<Vec<Offered>>,
    held: Mutex<BTreeMap<std::net::SocketAddr, (String, Vec<ChannelName>)>>,
    /// Answers nobody.
    mute: bool,
    ignored: AtomicUsize,
}

impl Services {
    fn new() -> Arc<Self> {
        Self::that_is_mute(false)
    }

    fn that_is_mute(mute: bool) -> Arc<Self> {
        Arc::new(Self {
            revision: watch::Sender::new(0),
            offered: Mutex::default(),
            held: Mutex::default(),
            mute,
            ignored: AtomicUsize::new(0),
        })
    }

    fn offer(&self, channels: Vec<Offered>) {
        *self.offered.lock() = channels;
        self.revision.send_modify(|revision| *revision += 1);
    }

    fn holders(&self) -> Vec<(String, Vec<ChannelName>)> {
        self.held.lock().values().cloned().collect()
    }
}

impl ChannelHandler for Services {
    fn revision(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    fn offered(&self, _: &ChannelPeer) -> Vec<Offered> {
        self.offered.lock().clone()
    }

    fn held(&self, peer: &ChannelPeer, channels: Vec<ChannelName>) {
        let mut held = self.held.lock();
        if channels.is_empty() {
            held.remove(&peer.peer);
        } else {
            held.insert(peer.peer, (peer.identity.to_string(), channels));
        }
    }

    fn serve(self: Arc<Self>, peer: Arc<ChannelPeer>, stream: IncomingChannel) -> BoxFuture<'static, ()> {
        assert_eq!(peer.identity.tenant, "acme");
        let id = stream.request().name().id().to_owned();
        async move {
            let refused = DenyReason::ALL.into_iter().find(|reason| reason.as_str() == id);
            if let Some(reason) = refused {
                return stream.deny(reason, "do this about it");
            }
            if id == "slow" || self.mute {
                self.ignored.fetch_add(1, Ordering::Relaxed);
                let mut stream = stream;
                return stream.abandoned().await;
            }
            let mut stream = stream.accept().unwrap();
            let mut buffer = vec![0; 16_384];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
            let _ = stream.shutdown().await;
        }
        .boxed()
    }
}

fn name(id: &str) -> ChannelName {
    ChannelName::new("TCP", id).unwrap()
}

fn request(id: &str) -> ChannelRequest {
    ChannelRequest::new(name(id)).with_deadline(crate::support::PATIENCE)
}

fn offered(id: &str, port: Option<u16>) -> Offered {
    Offered {
        name: name(id),
        local: port.map(|port| LocalSide {
            port,
            connections: 1,
            enabled: true,
        }),
    }
}

/// A cluster side that serves channels, and what it serves with.
async fn cluster(services: &Arc<Services>) -> (Cluster, Shutdown, TunnelMetrics) {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    cluster_at(services, dir, "127.0.0.1:0".parse().unwrap()).await
}

async fn cluster_at(
    services: &Arc<Services>,
    dir: Arc<tempfile::TempDir>,
    listen: std::net::SocketAddr,
) -> (Cluster, Shutdown, TunnelMetrics) {
    let (shutdown, metrics) = (Shutdown::new(), TunnelMetrics::default());
    let service = ChannelService {
        handler: Arc::clone(services) as Arc<dyn ChannelHandler>,
        shutdown: shutdown.clone(),
    };
    let cluster = Cluster::start_with(dir, listen, |config| {
        config.channels = Some(service);
        config.metrics = metrics.clone();
    })
    .await;
    (cluster, shutdown, metrics)
}

/// A connector with so many connections for channels.
fn company(site: &Site, outbound: u16) -> (Company, Channels) {
    let config = DialerConfig {
        outbound,
        ..DialerConfig::new(vec![site.server.clone()], &site.identity)
    };
    let dialer = Dialer::new(config, network()).unwrap();
    let (status, channels, shutdown) = (dialer.status(), dialer.channels(), Shutdown::new());
    let inner = shutdown.clone();
    shutdown.spawn(dialer.run(Arc::new(Backends), inner));
    (Company { shutdown, status }, channels)
}

async fn echoes(channels: &Channels, text: &[u8]) {
    let mut stream = channels.open(&request("echo")).await.unwrap();
    stream.write_all(text).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = Vec::new();
    patient("the echo", stream.read_to_end(&mut back)).await.unwrap();
    assert_eq!(back, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_the_table_go_both_ways() {
    let services = Services::new();
    services.offer(vec![offered("echo", Some(8080))]);
    let (cluster, _, metrics) = cluster(&services).await;
    let (company, channels) = company(&cluster.enrol("c1").await, 2);
    let mut told = channels.offered();
    let first = patient("the table", told.wait_for(Option::is_some))
        .await
        .unwrap()
        .clone();
    assert_eq!(first.as_deref(), Some(&vec![offered("echo", Some(8080))]));

    echoes(&channels, b"").await;
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let (mut reader, mut writer) = tokio::io::split(channels.open(&request("echo")).await.unwrap());
    let sent = large.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    patient("the echo", reader.read_to_end(&mut back)).await.unwrap();
    writing.await.unwrap();
    assert!(back == large);
    // The other direction is not disturbed by it.
    cluster.connected(2).await;
    echo_once(&cluster.registry, b"inbound").await;

    // What changes is told, in both directions.
    services.offer(vec![offered("echo", None), offered("more", None)]);
    let changed = |table: &Option<Arc<Vec<Offered>>>| table.as_ref().is_some_and(|table| table.len() == 2);
    patient("the new table", told.wait_for(changed)).await.unwrap();
    for held in [vec![name("echo")], vec![name("echo"), name("more")], vec![]] {
        channels.hold(held.clone());
        let expected = if held.is_empty() {
            vec![]
        } else {
            // Over each connection.
            vec![("acme/c1".to_owned(), held.clone()); 2]
        };
        eventually(&format!("{held:?} is held"), || services.holders() == expected).await;
    }

    channels.hold(vec![name("echo")]);
    eventually("it is held again", || services.holders().len() == 2).await;
    assert_eq!(metrics.outbound_sessions.get(), 2);
    company.shutdown.drain(Duration::from_secs(5)).await;
    eventually("nobody holds anything", || services.holders().is_empty()).await;
    eventually("both are gone", || metrics.outbound_sessions.get() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_arrive_with_reason_and_words() {
    let services = Services::new();
    let (cluster, ..) = cluster(&services).await;
    let (_company, channels) = company(&cluster.enrol("c1").await, 1);
    for expected in DenyReason::ALL {
        let error = channels.open(&request(expected.as_str())).await.unwrap_err();
        let ChannelError::Refused { reason, message } = error else {
            panic!("{error}");
        };
        assert_eq!((reason, message.as_str()), (expected, "do this about it"));
    }
    let slow = ChannelRequest::new(name("slow")).with_deadline(Duration::from_millis(200));
    let error = channels.open(&slow).await.unwrap_err();
    assert!(matches!(error, ChannelError::Timeout { .. }), "{error}");
    echoes(&channels, b"still there").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptor_without_channels_says_so_and_serves_on() {
    let cluster = Cluster::start().await;
    let (company, channels) = company(&cluster.enrol("c1").await, 1);
    cluster.connected(2).await;
    let mut status = company.status.clone();
    let waits = |status: &landbridge_tunnel::DialerStatus| matches!(&status.outbound[0], ConnectionState::Waiting { reason, .. } if reason.contains("outbound"));
    patient("the refusal", status.wait_for(waits)).await.unwrap();
    echo_once(&cluster.registry, b"inbound").await;
    let hasty = ChannelRequest::new(name("echo")).with_deadline(Duration::from_millis(50));
    let error = channels.open(&hasty).await.unwrap_err();
    assert!(matches!(error, ChannelError::NotConnected), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_waits_for_a_killed_acceptor_to_come_back() {
    let services = Services::new();
    let (first, shutdown, _) = cluster(&services).await;
    let (_company, channels) = company(&first.enrol("c1").await, 2);
    channels.hold(vec![name("echo")]);
    echoes(&channels, b"before").await;
    let mut victim = channels.open(&request("echo")).await.unwrap();
    shutdown.drain(Duration::ZERO).await;
    let (dir, address) = first.kill().await;
    let mut rest = Vec::new();
    let ended = patient("the stream's end", victim.read_to_end(&mut rest)).await;
    assert!(ended.is_err(), "a cut stream must not look complete");
    // Asked for while nobody is there.
    let waiting = tokio::spawn({
        let channels = channels.clone();
        async move { echoes(&channels, b"after").await }
    });
    let services = Services::new();
    let (_second, ..) = cluster_at(&services, dir, address).await;
    patient("the new stream", waiting).await.unwrap();
    eventually("what is held is told again", || !services.holders().is_empty()).await;
}

/// The acceptor is killed while it is asked, or before its death is noticed: which one is a matter of luck.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_being_opened_is_opened_at_the_next_acceptor() {
    let mute = Services::that_is_mute(true);
    let (first, shutdown, _) = cluster(&mute).await;
    let (_company, channels) = company(&first.enrol("c1").await, 2);
    let waiting = tokio::spawn(async move { echoes(&channels, b"after").await });
    eventually("the first one is asked", || {
        mute.ignored.load(Ordering::Relaxed) == 1
    })
    .await;
    shutdown.drain(Duration::ZERO).await;
    let (dir, address) = first.kill().await;
    let services = Services::new();
    let (_second, ..) = cluster_at(&services, dir, address).await;
    patient("the stream", waiting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_acceptor_lets_streams_finish_and_takes_no_new_connections() {
    let services = Services::new();
    let (cluster, shutdown, metrics) = cluster(&services).await;
    let (company, channels) = company(&cluster.enrol("c1").await, 1);
    let mut running = channels.open(&request("echo")).await.unwrap();
    running.write_all(b"one").await.unwrap();
    let draining = tokio::spawn(async move { shutdown.drain(crate::support::PATIENCE).await });
    // It was asked to go elsewhere, and there is no other.
    let mut status = company.status.clone();
    let refused = |status: &landbridge_tunnel::DialerStatus| matches!(&status.outbound[0], ConnectionState::Waiting { reason, .. } if reason.contains("stopping"));
    patient("the refusal", status.wait_for(refused)).await.unwrap();
    running.write_all(b"two").await.unwrap();
    running.shutdown().await.unwrap();
    let mut back = Vec::new();
    patient("the rest", running.read_to_end(&mut back)).await.unwrap();
    assert_eq!(back, b"onetwo");
    drop(running);
    let drained = patient("the drain", draining).await.unwrap();
    assert_eq!(drained, landbridge_runtime::shutdown::Drained::Complete);
    eventually("the connection is closed", || {
        metrics.outbound_sessions.get() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded_on_each_connection() {
    let services = Services::new();
    let (cluster, ..) = cluster(&services).await;
    let (_company, channels) = company(&cluster.enrol("c1").await, 1);
    let mut open = Vec::new();
    let refused = loop {
        match channels.open(&request("echo")).await {
            Ok(stream) => open.push(stream),
            Err(error) => break error,
        }
        assert!(open.len() <= 1024, "no bound");
    };
    assert_eq!(open.len(), 1024);
    let busy = ChannelError::Refused {
        reason: DenyReason::Busy,
        message: String::new(),
    };
    assert_eq!(
        std::mem::discriminant(&refused),
        std::mem::discriminant(&busy),
        "{refused}"
    );
    open.truncate(1000);
    // The other side learns of it a moment later.
    patient("room", async {
        while channels.open(&request("echo")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaving_acceptor_is_replaced_before_it_goes() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let services = Services::new();
    let start = |name: &str| {
        let (name, shutdown) = (name.to_owned(), Shutdown::new());
        let service = ChannelService {
            handler: Arc::clone(&services) as Arc<dyn ChannelHandler>,
            shutdown: shutdown.clone(),
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let cluster = Cluster::start_with(Arc::clone(&dir), any, move |config| {
            config.replica = name;
            config.replicas = vec!["a".to_owned(), "b".to_owned()];
            config.channels = Some(service);
        });
        async move { (cluster.await, shutdown) }
    };
    let ((a, leaving), (b, _staying)) = (start("a").await, start("b").await);
    let site = a.enrol("c1").await;
    let config = DialerConfig {
        outbound: 2,
        ..DialerConfig::new(vec![a.server(), b.server()], &site.identity)
    };
    let dialer = Dialer::new(config, network()).unwrap();
    let (mut status, channels, shutdown) = (dialer.status(), dialer.channels(), Shutdown::new());
    shutdown.spawn(dialer.run(Arc::new(Backends), shutdown.clone()));
    let replicas = |status: &landbridge_tunnel::DialerStatus| {
        let mut ends: Vec<_> = status
            .outbound
            .iter()
            .map(|state| match state {
                ConnectionState::Connected { replica, .. } => replica.clone(),
                _ => String::new(),
            })
            .collect();
        ends.sort_unstable();
        ends
    };
    // They end at different replicas.
    let spread = patient(
        "both replicas",
        status.wait_for(|status| replicas(status) == ["a", "b"]),
    )
    .await;
    drop(spread.unwrap());
    channels.hold(vec![name("echo")]);
    eventually("both know what is held", || services.holders().len() == 2).await;
    let mut running = Vec::new();
    for _ in 0..8 {
        running.push(channels.open(&request("echo")).await.unwrap());
    }
    let drained = tokio::spawn(async move { leaving.drain(crate::support::PATIENCE).await });
    let moved = patient(
        "the move",
        status.wait_for(|status| replicas(status) == ["b", "b"]),
    )
    .await;
    drop(moved.unwrap());
    echoes(&channels, b"at the other replica").await;
    eventually("both connections tell it again", || services.holders().len() == 2).await;
    for stream in &mut running {
        stream.write_all(b"during").await.unwrap();
        let mut back = [0; 6];
        patient("the echo", stream.read_exact(&mut back)).await.unwrap();
    }
    drop(running);
    let drained = patient("the drain", drained).await.unwrap();
    assert_eq!(drained, landbridge_runtime::shutdown::Drained::Complete);
    shutdown.drain(Duration::from_secs(5)).await;
}
