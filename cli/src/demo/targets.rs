//! The systems the demo calls: an API "on the Internet" with TLS, Basic authentication and an authorization server of
//! its own, and two systems "in the company network": an HTTP server and a TCP echo.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use landbridge_runtime::redact;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Requests remembered; the demo makes a dozen, a visitor with curl may make many.
const MAX_SEEN: usize = 1000;

/// Life of the API's tokens: long enough for a visit.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// What the targets have received, by request id.
pub(super) type Seen = Arc<Mutex<HashMap<String, Received>>>;

/// One request as a target received it; the credential is redacted before it is kept.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// Method, path and query.
    pub line: String,
    /// Scheme and last four characters, if there was a credential.
    pub credential: Option<String>,
}

/// Secrets of the demo, made afresh for each run.
#[derive(Clone)]
pub(super) struct Secrets {
    /// Basic user and password of the API.
    pub basic: (String, String),
    /// OAuth client and secret at the API's authorization server.
    pub client: (String, String),
    token: String,
}

/// The running targets.
pub(super) struct Targets {
    /// `https://localhost:port` of the API.
    pub internet: String,
    /// Authority to trust for it, in PEM.
    pub authority: String,
    /// The company's HTTP server.
    pub erp: SocketAddr,
    /// The company's TCP echo.
    pub echo: SocketAddr,
    /// Secrets the destinations need.
    pub secrets: Secrets,
    /// What arrived.
    pub seen: Seen,
}

impl Targets {
    /// Starts all of them on free ports of loopback. They live as long as the process.
    pub(super) async fn start() -> Result<Self> {
        let secrets = Secrets::fresh();
        let seen = Seen::default();
        let (authority, tls) = certificates()?;
        let internet = serve_tls(internet_api(&secrets, &seen), tls).await?;
        let erp_listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("starting the on-premise server")?;
        let erp = erp_listener.local_addr()?;
        let router = erp_server(&seen);
        tokio::spawn(async move { axum::serve(erp_listener, router).await });
        let echo = serve_echo().await?;
        Ok(Self {
            internet: format!("https://localhost:{}", internet.port()),
            authority,
            erp,
            echo,
            secrets,
            seen,
        })
    }
}

impl Secrets {
    fn fresh() -> Self {
        let random = || uuid::Uuid::new_v4().simple().to_string();
        Self {
            basic: ("demo-user".to_owned(), random()),
            client: ("demo-client".to_owned(), random()),
            token: random(),
        }
    }

    fn basic_header(&self) -> String {
        format!(
            "Basic {}",
            STANDARD.encode(format!("{}:{}", self.basic.0, self.basic.1))
        )
    }
}

/// An authority and a server certificate of it for `localhost`.
fn certificates() -> Result<(String, Arc<rustls::ServerConfig>)> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Landbridge demo Internet authority");
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
    let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone()];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(landbridge_runtime::tls::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok((authority_certificate.pem(), Arc::new(config)))
}

async fn serve_tls(router: Router, config: Arc<rustls::ServerConfig>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("starting the Internet API")?;
    let address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(config);
    tokio::spawn(async move {
        loop {
            let (stream, _) = landbridge_runtime::listener::accept(&listener).await;
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(Ok(stream)) =
                    tokio::time::timeout(Duration::from_secs(10), acceptor.accept(stream)).await
                else {
                    return;
                };
                let service = TowerToHyperService::new(router);
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(address)
}

async fn serve_echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .context("starting the on-premise echo")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = landbridge_runtime::listener::accept(&listener).await;
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(length) = stream.read(&mut buffer).await {
                    if length == 0 || stream.write_all(&buffer[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    Ok(address)
}

fn internet_api(secrets: &Secrets, seen: &Seen) -> Router {
    Router::new()
        .route(
            "/weather",
            get(async || Json(json!({"city": "Lisbon", "celsius": 21}))),
        )
        .route("/invoices", get(invoices))
        .route("/orders", get(orders))
        .layer(from_fn_with_state(Arc::clone(seen), remember))
        .route("/oauth/token", post(token))
        .with_state(secrets.clone())
}

fn erp_server(seen: &Seen) -> Router {
    Router::new()
        .route(
            "/stock",
            get(async || Json(json!({"item": "bolt M8", "pieces": 1200}))).post(async |body: String| body),
        )
        .route(
            "/admin/users",
            get(async || "the connector must never let this be seen"),
        )
        .layer(from_fn_with_state(Arc::clone(seen), remember))
}

/// Notes what has arrived, under the id that the proxy gave the request.
async fn remember(State(seen): State<Seen>, request: Request, next: Next) -> Response {
    note(&seen, &request);
    next.run(request).await
}

fn note(seen: &Seen, request: &Request) {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let Some(id) = text("x-request-id") else { return };
    let received = Received {
        line: format!("{} {}", request.method(), request.uri()),
        credential: text(header::AUTHORIZATION.as_str()).map(redact::credential),
    };
    let mut seen = seen.lock();
    if seen.len() >= MAX_SEEN {
        seen.clear();
    }
    seen.insert(id.to_owned(), received);
}

async fn invoices(State(secrets): State<Secrets>, headers: HeaderMap) -> Response {
    guarded(
        &headers,
        &secrets.basic_header(),
        "Basic",
        json!({"invoices": [4711, 4712]}),
    )
}

async fn orders(State(secrets): State<Secrets>, headers: HeaderMap) -> Response {
    guarded(
        &headers,
        &format!("Bearer {}", secrets.token),
        "Bearer",
        json!({"orders": ["A-1", "A-2"]}),
    )
}

fn guarded(headers: &HeaderMap, expected: &str, scheme: &'static str, answer: Value) -> Response {
    use subtle::ConstantTimeEq;
    let sent = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.as_bytes())
        .unwrap_or_default();
    if bool::from(sent.ct_eq(expected.as_bytes())) {
        return Json(answer).into_response();
    }
    (
        StatusCode::UNAUTHORIZED,
        [(header::WWW_AUTHENTICATE, scheme)],
        "no or wrong credential\n",
    )
        .into_response()
}

/// Client credentials (RFC 6749, section 4.4), with the client in the body or as Basic.
async fn token(
    State(secrets): State<Secrets>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let (id, secret) = &secrets.client;
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let in_header = headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes() == basic.as_bytes());
    let in_body = field("client_id") == id && field("client_secret") == secret;
    if field("grant_type") != "client_credentials" || !(in_header || in_body) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    Json(json!({"access_token": secrets.token, "token_type": "bearer", "expires_in": TOKEN_LIFE.as_secs()}))
        .into_response()
}
