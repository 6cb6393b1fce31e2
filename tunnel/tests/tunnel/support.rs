//! A real acceptor and a real dialer on loopback, with everything in temporary folders.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::dial::{AddressPolicy, Dialer as Network};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tunnel::dialer::ServerAddress;
use landbridge_tunnel::enrol::{IdentityFiles, NewToken, create_token, enrol};
use landbridge_tunnel::{
    Acceptor, AcceptorConfig, DenyReason, Dialer, DialerConfig, DialerStatus, IncomingStream, OpenRequest,
    PeerIdentity, Protocol, Registry, StreamHandler,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// Machines are slow: waiting longer costs nothing when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn network() -> Network {
    Network::new(AddressPolicy::Any).unwrap()
}

/// Polls a condition until it holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "gave up waiting until {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn patient<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("gave up waiting for {what}"))
}

/// A running acceptor.
pub(crate) struct Cluster {
    pub(crate) dir: Arc<TempDir>,
    pub(crate) address: SocketAddr,
    pub(crate) registry: Registry,
    pub(crate) shutdown: Shutdown,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(
            Arc::new(tempfile::tempdir().unwrap()),
            "127.0.0.1:0".parse().unwrap(),
            |_| {},
        )
        .await
    }

    pub(crate) async fn start_with(
        dir: Arc<TempDir>,
        listen: SocketAddr,
        change: impl FnOnce(&mut AcceptorConfig),
    ) -> Self {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut config = AcceptorConfig::new(listen, dir.path(), names);
        change(&mut config);
        let acceptor = Acceptor::bind(config).await.unwrap();
        let (address, registry, shutdown) = (acceptor.local_addr(), acceptor.registry(), Shutdown::new());
        let inner = shutdown.clone();
        shutdown.spawn(acceptor.serve(inner));
        Self {
            dir,
            address,
            registry,
            shutdown,
        }
    }

    /// As SIGKILL would: nothing is finished, nobody is told.
    pub(crate) async fn kill(self) -> (Arc<TempDir>, SocketAddr) {
        self.shutdown.drain(Duration::ZERO).await;
        (self.dir, self.address)
    }

    pub(crate) fn server(&self) -> ServerAddress {
        ServerAddress {
            host: self.address.ip().to_string(),
            port: self.address.port(),
        }
    }

    pub(crate) fn token(&self, connector: &str) -> secrecy::SecretString {
        let identity = PeerIdentity::new("acme", connector, None).unwrap();
        create_token(
            self.dir.path(),
            &NewToken {
                identity,
                ttl: Duration::from_secs(600),
            },
        )
        .unwrap()
    }

    /// Enrols a connector into a folder of its own.
    pub(crate) async fn enrol(&self, connector: &str) -> Site {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let identity = IdentityFiles::new(dir.path().join("identity"));
        enrol(
            &network(),
            &self.server(),
            "127.0.0.1",
            &self.token(connector),
            &identity,
        )
        .await
        .unwrap();
        Site {
            identity: identity.dir().to_owned(),
            _dir: dir,
            server: self.server(),
        }
    }

    pub(crate) async fn connected(&self, count: usize) {
        let registry = self.registry.clone();
        eventually(&format!("{count} sessions are connected"), || {
            registry.len() == count
        })
        .await;
    }
}

/// An enrolled connector.
pub(crate) struct Site {
    /// Removed with the connector.
    pub(crate) _dir: Arc<TempDir>,
    pub(crate) identity: PathBuf,
    pub(crate) server: ServerAddress,
}

/// A running connector.
pub(crate) struct Company {
    pub(crate) shutdown: Shutdown,
    pub(crate) status: watch::Receiver<DialerStatus>,
}

impl Site {
    pub(crate) fn start(&self, change: impl FnOnce(&mut DialerConfig)) -> Company {
        let mut config = DialerConfig::new(vec![self.server.clone()], &self.identity);
        change(&mut config);
        let dialer = Dialer::new(config, network()).unwrap();
        let (status, shutdown) = (dialer.status(), Shutdown::new());
        let inner = shutdown.clone();
        shutdown.spawn(dialer.run(Arc::new(Backends), inner));
        Company { shutdown, status }
    }
}

pub(crate) fn open(host: &str) -> OpenRequest {
    OpenRequest::new(host, 7, Protocol::Tcp)
        .unwrap()
        .with_deadline(PATIENCE)
}

/// Systems behind the connector, told apart by the virtual host.
pub(crate) struct Backends;

impl StreamHandler for Backends {
    async fn handle(&self, stream: IncomingStream) {
        let host = stream.request().host().to_owned();
        match host.as_str() {
            "echo" => echo(stream).await,
            "sink" => {
                let mut stream = stream.accept().unwrap();
                let mut total = 0_u64;
                let mut buffer = vec![0; 65_536];
                while let Ok(count) = stream.read(&mut buffer).await {
                    if count == 0 {
                        let _ = stream.write_all(&total.to_be_bytes()).await;
                        let _ = stream.shutdown().await;
                        return;
                    }
                    total += count as u64;
                }
            }
            // Sends for ever, whoever reads.
            "flood" => {
                let mut stream = stream.accept().unwrap();
                while stream.write_all(&[7; 16_384]).await.is_ok() {}
            }
            "slow" => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                drop(stream);
            }
            other => match DenyReason::ALL
                .into_iter()
                .find(|reason| reason.as_str() == other)
            {
                Some(reason) => stream.deny(reason, &format!("Access denied to system {other}:7")),
                None => stream.deny(DenyReason::DeniedSystem, "not exposed"),
            },
        }
    }
}

async fn echo(stream: IncomingStream) {
    let mut stream = stream.accept().unwrap();
    let mut buffer = vec![0; 16_384];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => {
                if stream.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
    let _ = stream.shutdown().await;
}

/// Sends one message and expects it back.
pub(crate) async fn echo_once(registry: &Registry, text: &[u8]) {
    let mut stream = registry.open("acme", "", &open("echo")).await.unwrap();
    stream.write_all(text).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = Vec::new();
    patient("the echo", stream.read_to_end(&mut back)).await.unwrap();
    assert_eq!(back, text);
}
