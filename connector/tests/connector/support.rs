//! The parts of the tests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use landbridge_connector::Config;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tunnel::enrol::{NewToken, create_token};
use landbridge_tunnel::{
    Acceptor, AcceptorConfig, OpenError, OpenRequest, PeerIdentity, Protocol, Registry, TunnelStream,
};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Machines are slow: waiting longer costs nothing when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn patient<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("gave up waiting for {what}"))
}

/// A cluster side with one connector.
pub(crate) struct World {
    pub(crate) dir: Arc<TempDir>,
    pub(crate) acceptor: SocketAddr,
    pub(crate) registry: Registry,
    pub(crate) cluster: Shutdown,
    pub(crate) connector: Shutdown,
    pub(crate) running: JoinHandle<Result<(), landbridge_connector::Error>>,
}

impl World {
    /// Starts both sides; `mappings` is the part of the connector's configuration that matters.
    pub(crate) async fn start(mappings: &str) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let state = dir.path().join("state");
        let config = AcceptorConfig::new(
            "127.0.0.1:0".parse().unwrap(),
            &state,
            vec!["127.0.0.1".to_owned()],
        );
        let acceptor = Acceptor::bind(config).await.unwrap();
        let (address, registry, cluster) = (acceptor.local_addr(), acceptor.registry(), Shutdown::new());
        cluster.spawn(acceptor.serve(cluster.clone()));
        write_token(&state, dir.path());
        let connector = Shutdown::new();
        let config = configuration(dir.path(), address, mappings, "");
        let running = tokio::spawn(landbridge_connector::run(config, connector.clone()));
        let world = Self {
            dir,
            acceptor: address,
            registry,
            cluster,
            connector,
            running,
        };
        world.connected().await;
        world
    }

    pub(crate) async fn connected(&self) {
        let mut changed = self.registry.changed();
        patient("the connector", async {
            while self.registry.len() < 2 {
                changed.changed().await.unwrap();
            }
        })
        .await;
    }

    pub(crate) async fn open(
        &self,
        host: &str,
        port: u16,
        protocol: Protocol,
    ) -> Result<TunnelStream, OpenError> {
        let request = OpenRequest::new(host, port, protocol)
            .unwrap()
            .with_deadline(PATIENCE);
        self.registry.open("acme", "", &request).await
    }

    /// Sends the text of a request on a new stream and reads until the connector closes it.
    pub(crate) async fn http(&self, host: &str, port: u16, request: &str) -> String {
        let mut stream = self.open(host, port, Protocol::Http).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        patient("the answer", stream.read_to_end(&mut answer))
            .await
            .unwrap();
        String::from_utf8(answer).unwrap()
    }

    pub(crate) async fn stop(self) {
        self.connector.drain(Duration::from_secs(5)).await;
        patient("the connector to end", self.running)
            .await
            .unwrap()
            .unwrap();
        self.cluster.drain(Duration::from_secs(5)).await;
    }
}

pub(crate) fn write_token(state: &Path, dir: &Path) {
    let identity = PeerIdentity::new("acme", "c1", None).unwrap();
    let token = create_token(
        state,
        &NewToken {
            identity,
            ttl: Duration::from_secs(600),
        },
    )
    .unwrap();
    std::fs::write(dir.join("token"), format!("{}\n", token.expose_secret())).unwrap();
}

/// A configuration as a user writes it, read from a file.
pub(crate) fn configuration(dir: &Path, acceptor: SocketAddr, mappings: &str, more: &str) -> Config {
    let text = format!(
        "{more}\n[[tunnels]]\nserver = \"{acceptor}\"\nidentity_dir = \"identity\"\nenrolment_token_file = \"token\"\n\n{mappings}"
    );
    let path = dir.join("connector.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path, |_| None).unwrap()
}

/// An internal HTTP host that tells what it got. `/redirect` redirects to itself, `/upgrade` changes to an echo (named
/// as `Upgrade` or `X-Answer` asks),
/// `/close` closes after its answer.
pub(crate) async fn http_host() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve_http(socket, address));
        }
    });
    address
}

pub(crate) async fn serve_http<T>(socket: T, address: SocketAddr)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service =
        service_fn(move |request| async move { Ok::<_, Infallible>(answer(request, address).await) });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    let _ = connection.with_upgrades().await;
}

async fn answer(mut request: Request<Incoming>, address: SocketAddr) -> Response<Full<Bytes>> {
    let response = Response::builder();
    let text = |text: String| Full::new(Bytes::from(text));
    match request.uri().path() {
        "/redirect" => {
            let target = format!("http://{address}/target?x=%20");
            response
                .status(302)
                .header("location", target)
                .body(text(String::new()))
                .unwrap()
        }
        "/upgrade" => {
            let asked = request.headers().get("x-answer");
            let asked = asked.or_else(|| request.headers().get("upgrade")).cloned();
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let Ok(upgraded) = upgrade.await else { return };
                let mut stream = TokioIo::new(upgraded);
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    stream.write_all(&buffer[..count]).await.unwrap();
                }
            });
            let response = response.status(StatusCode::SWITCHING_PROTOCOLS);
            response
                .header("connection", "upgrade")
                .header("upgrade", asked.unwrap())
                .body(text(String::new()))
                .unwrap()
        }
        "/close" => response
            .header("connection", "close")
            .body(text("bye".to_owned()))
            .unwrap(),
        _ => {
            let head = format!("{} {}\n", request.method(), request.uri());
            let mut lines: Vec<String> = request
                .headers()
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            lines.sort();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let seen = format!(
                "{head}{}\nbody: {}\n",
                lines.join("\n"),
                String::from_utf8_lossy(&body)
            );
            response
                .header("keep-alive", "timeout=5")
                .header("x-internal", "1")
                .body(text(seen))
                .unwrap()
        }
    }
}

/// A mapping as it stands in a configuration.
pub(crate) fn mapping(name: &str, port: u16, internal: SocketAddr, protocol: &str, rest: &str) -> String {
    format!(
        "[[mappings]]\nvirtual_host = \"{name}\"\nvirtual_port = {port}\ninternal_host = \"{}\"\ninternal_port = {}\nprotocol = \"{protocol}\"\n{rest}\n\n",
        internal.ip(),
        internal.port()
    )
}
