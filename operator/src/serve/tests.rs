//! The serve API over real connections, with a reviewer that knows a few tokens by name.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use landbridge_destination::serve::{
    MAX_MESSAGE_BYTES, Message, REPORT_PATH, Report, ReportAnswer, SERVER_NAME, STREAM_PATH, StoreChange,
    Whole,
};
use landbridge_destination::{DestinationSelector, Route, RouteKey, RouteProtocol, Scope};
use landbridge_runtime::shutdown::{Drained, Shutdown};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::api::{Api, router};
use super::hub::Hub;
use super::identity::{Gate, GateTiming, Identity, Policy, ReviewError, TokenReviewer};
use super::server::{Limits, serve, tls_for_proxies};
use super::*;
use crate::certificates::CurrentCertificate;
use crate::certificates::material::Material;
use crate::certificates::workload::CurrentSigner;
use crate::serve::reports::{Board, PodId};
use crate::workloads::ProxyAccount;

mod certificates;
mod connections;
mod reports;
mod streams;

/// Generous: machines are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tokens are `namespace/account/pod` (no pod: bound to none); everything else is refused. One that holds two dots is
/// taken for a JWT whose namespace is "landbridge".
struct Named;

impl TokenReviewer for Named {
    async fn review(&self, token: &SecretString) -> Result<Identity, ReviewError> {
        let token = token.expose_secret();
        let named = if token.matches('.').count() == 2 {
            "landbridge/proxy/p-jwt"
        } else {
            token
        };
        let parts: Vec<&str> = named.split('/').collect();
        let (namespace, account, pod) = match parts[..] {
            [namespace, account, pod] => (namespace, account, Some(pod)),
            [namespace, account] => (namespace, account, None),
            _ => return Err(ReviewError::Refused("unknown".into())),
        };
        Ok(Identity {
            namespace: namespace.into(),
            service_account: account.into(),
            pod: pod.map(|name| PodId {
                namespace: namespace.into(),
                name: name.into(),
                uid: format!("uid-{name}"),
            }),
            expires: None,
        })
    }
}

struct Server {
    address: std::net::SocketAddr,
    roots: RootCertStore,
    hub: Arc<Hub>,
    board: Arc<Board>,
    leadership: watch::Sender<Leadership>,
    shutdown: Shutdown,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let signer = Arc::<CurrentSigner>::default();
        signer.replace(material().signer().unwrap());
        Self::signing(limits, Some(signer)).await
    }

    async fn signing(limits: Limits, signer: Option<Arc<CurrentSigner>>) -> Self {
        let material = material();
        let mut roots = RootCertStore::empty();
        for authority in landbridge_runtime::tls::certificates(material.bundle().as_bytes()).unwrap() {
            roots.add(authority).unwrap();
        }
        let certificate = Arc::<CurrentCertificate>::default();
        certificate.replace(material.certified().unwrap());
        let (hub, board) = (Arc::new(Hub::new()), Board::new());
        let leadership = watch::Sender::new(Leadership::Leading);
        let metrics = ServeMetrics::default();
        let api = Api {
            hub: Arc::clone(&hub),
            board: Arc::clone(&board),
            gate: Gate::new(Named, GateTiming::default(), metrics.clone()),
            policy: Policy {
                proxies: vec![ProxyAccount {
                    namespace: "landbridge".into(),
                    service_account: "proxy".into(),
                }],
                nodes: Vec::new(),
            },
            leadership: leadership.subscribe(),
            signer,
            metrics,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let tls = tls_for_proxies(certificate).unwrap();
        shutdown.spawn(serve(listener, tls, router(api), limits, shutdown.clone()));
        Self {
            address,
            roots,
            hub,
            board,
            leadership,
            shutdown,
        }
    }

    async fn with_routes() -> Self {
        let server = Self::start(Limits::default()).await;
        let routes = vec![
            route("shop", "erp", Scope::Namespaced, 1),
            route("hr", "people", Scope::Namespaced, 2),
            route("hr", "time", Scope::ClusterWide, 3),
        ];
        server.hub.set_routes(routes, Vec::new());
        server.hub.complete();
        server
    }

    async fn tls(&self, alpn: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = ClientConfig::builder_with_provider(landbridge_runtime::tls::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// A connection of its own for each call.
    async fn call(&self, request: Request<Body>) -> Response<Incoming> {
        let io = TokioIo::new(self.tls("h2").await.unwrap());
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        timeout(PATIENCE, sender.send_request(request))
            .await
            .unwrap()
            .unwrap()
    }

    async fn stream(&self, token: &str) -> Lines {
        let response = self.call(get(STREAM_PATH, token)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Lines::of(response)
    }

    async fn report(&self, token: &str, report: &Report) -> (StatusCode, serde_json::Value) {
        self.post(token, serde_json::to_vec(report).unwrap().into()).await
    }

    async fn post(&self, token: &str, body: Body) -> (StatusCode, serde_json::Value) {
        self.post_to(REPORT_PATH, token, body).await
    }

    async fn post_to(&self, path: &str, token: &str, body: Body) -> (StatusCode, serde_json::Value) {
        let request = Request::post(format!("https://{SERVER_NAME}{path}"));
        let request = request.header("authorization", format!("Bearer {token}"));
        json(self.call(request.body(body).unwrap()).await).await
    }
}

fn material() -> Material {
    let now = jiff::Timestamp::now().as_second();
    Material::afresh(vec![SERVER_NAME.into()], now).unwrap()
}

async fn json(response: Response<Incoming>) -> (StatusCode, serde_json::Value) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

fn get(path: &str, token: &str) -> Request<Body> {
    let request = Request::get(format!("https://{SERVER_NAME}{path}"));
    let request = request.header("host", SERVER_NAME);
    request
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .unwrap()
}

struct Lines {
    body: Incoming,
    rest: BytesMut,
}

impl Lines {
    fn of(response: Response<Incoming>) -> Self {
        Self {
            body: response.into_body(),
            rest: BytesMut::new(),
        }
    }

    /// None at the end of the stream.
    async fn any(&mut self) -> Option<Message> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line = self.rest.split_to(end + 1);
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = timeout(PATIENCE, self.body.frame())
                .await
                .expect("a line or an end");
            self.rest
                .extend_from_slice(&frame?.ok()?.into_data().unwrap_or_default());
        }
    }

    /// Passes over signs of life.
    async fn next(&mut self) -> Option<Message> {
        loop {
            match self.any().await {
                Some(Message::Alive) => {}
                other => return other,
            }
        }
    }

    async fn snapshot(&mut self) -> Whole {
        match self.next().await {
            Some(Message::Snapshot(whole)) => whole,
            other => panic!("no snapshot: {other:?}"),
        }
    }
}

fn route(namespace: &str, name: &str, scope: Scope, port: u16) -> Arc<Route> {
    Arc::new(Route {
        key: RouteKey::new(namespace, name),
        selector: DestinationSelector::named(name),
        protocol: RouteProtocol::Http,
        port,
        scope,
        generation: 1,
        frontends: Vec::new(),
    })
}

fn names(whole: &Whole) -> Vec<String> {
    whole.routes.iter().map(|route| route.key.to_string()).collect()
}

fn whole(sequence: u64) -> Report {
    Report {
        process: 1,
        sequence,
        whole: true,
        ..Report::default()
    }
}

const PROXY: &str = "landbridge/proxy/p1";
