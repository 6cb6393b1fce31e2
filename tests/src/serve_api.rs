//! The operator's serving half, without the API server: the real calls on a real socket, for tokens that a test chooses.

use std::net::SocketAddr;
use std::sync::Arc;

use landbridge_destination::RouteKey;
use landbridge_destination::serve::SERVER_NAME;
use landbridge_operator::certificates::workload::{CurrentSigner, Signer};
use landbridge_operator::serve::api::{Api, router};
use landbridge_operator::serve::hub::Hub;
use landbridge_operator::serve::identity::{Gate, GateTiming, Identity, Policy, ReviewError, TokenReviewer};
use landbridge_operator::serve::reports::{Board, PodId};
use landbridge_operator::serve::server::{Limits, serve};
use landbridge_operator::serve::{Leadership, ServeMetrics};
use landbridge_operator::workloads::ProxyAccount;
use landbridge_runtime::shutdown::Shutdown;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::eventually;

/// Token of `landbridge/proxy`, a gateway.
pub const TOKEN: &str = "the-proxys-token";

/// Who is known: token, namespace, service account, pod.
pub type Known = [&'static str; 4];

/// The gateway alone.
pub const GATEWAY: Known = [TOKEN, "landbridge", "proxy", "proxy-1"];

/// Knows some tokens.
struct Those(Vec<Known>);

impl TokenReviewer for Those {
    async fn review(&self, token: &SecretString) -> Result<Identity, ReviewError> {
        let known = self.0.iter().find(|[known, ..]| *known == token.expose_secret());
        let Some([_, namespace, account, pod]) = known else {
            return Err(ReviewError::Refused("unknown".into()));
        };
        Ok(Identity {
            namespace: (*namespace).into(),
            service_account: (*account).into(),
            pod: Some(PodId {
                namespace: (*namespace).into(),
                name: (*pod).into(),
                uid: format!("uid-of-{pod}"),
            }),
            expires: None,
        })
    }
}

fn account(name: &str) -> ProxyAccount {
    ProxyAccount {
        namespace: "landbridge".into(),
        service_account: name.into(),
    }
}

/// What the operator shows, and what it signs with.
pub struct Authority {
    /// Its certificate, PEM.
    pub pem: String,
    tls: rustls::ServerConfig,
    signer: Arc<CurrentSigner>,
}

/// A new authority.
pub fn authority() -> Authority {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let pem = ca.self_signed(&ca_key).unwrap().pem();
    let signer = Arc::<CurrentSigner>::default();
    let secret = SecretString::from(ca_key.serialize_pem());
    signer.replace(Signer::new(&pem, &secret, pem.clone()).unwrap());
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
    let certificate = leaf.signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut tls = rustls::ServerConfig::builder_with_provider(landbridge_runtime::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Authority { pem, tls, signer }
}

/// The operator's serving half.
pub struct Operator {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it tells.
    pub hub: Arc<Hub>,
    /// What it was told.
    pub board: Arc<Board>,
    /// Ends it.
    pub shutdown: Shutdown,
    _leadership: watch::Sender<Leadership>,
}

impl Operator {
    /// Serves the gateway on loopback.
    pub async fn start(authority: Authority) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), authority, vec![GATEWAY]).await
    }

    /// Serves these at this address, with a hub of its own.
    pub async fn start_at(address: SocketAddr, authority: Authority, known: Vec<Known>) -> Self {
        let hub = Arc::new(Hub::new());
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (board, shutdown) = (Board::new(), Shutdown::new());
        let (leadership, led) = watch::channel(Leadership::Leading);
        let metrics = ServeMetrics::default();
        let api = Api {
            hub: Arc::clone(&hub),
            board: Arc::clone(&board),
            gate: Gate::new(Those(known), GateTiming::default(), metrics.clone()),
            policy: Policy {
                proxies: vec![account("proxy")],
                nodes: vec![account("node")],
            },
            leadership: led,
            signer: Some(authority.signer),
            metrics,
        };
        shutdown.spawn(serve(
            listener,
            authority.tls,
            router(api),
            Limits::default(),
            shutdown.clone(),
        ));
        Self {
            address,
            hub,
            board,
            shutdown,
            _leadership: leadership,
        }
    }

    /// Where the proxy says that a route of the namespace `shop` is served, and whether it drains.
    pub async fn listening(&self, name: &str) -> (u16, bool) {
        let key = RouteKey::new("shop", name);
        eventually(&format!("{name} is served"), async || {
            let found = self.board.read(|reports| {
                reports
                    .listening(&key)
                    .next()
                    .map(|serving| (serving.port, serving.draining))
            });
            found.ok_or_else(|| "nobody serves it".to_owned())
        })
        .await
    }
}
