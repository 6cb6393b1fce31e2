//! Systems that destinations point to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use axum::{Form, Json};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Serves `router` on a free port of loopback.
pub async fn serve(router: Router) -> SocketAddr {
    serve_at(([127, 0, 0, 1], 0).into(), router).await
}

/// Serves `router` at this address.
pub async fn serve_at(address: SocketAddr, router: Router) -> SocketAddr {
    let listener = TcpListener::bind(address).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Answers every request with what it has received, as JSON: method, uri, headers (lists), body.
pub async fn mirror() -> SocketAddr {
    serve(mirror_router()).await
}

/// What [`mirror`] serves.
pub fn mirror_router() -> Router {
    Router::new().fallback(any(reflect))
}

async fn reflect(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Json<Value> {
    let mut map: HashMap<String, Vec<String>> = HashMap::new();
    for (name, value) in &headers {
        map.entry(name.to_string())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    Json(json!({
        "method": method.as_str(), "uri": uri.to_string(), "headers": map, "body": String::from_utf8_lossy(&body),
    }))
}

/// A TCP server that sends back what it gets.
pub async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
    address
}

/// Reads one request head and answers with exactly these bytes, then closes; for answers no real server would give.
pub async fn scripted(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                    match stream.read_buf(&mut head).await {
                        Ok(length) if length > 0 => {}
                        _ => return,
                    }
                }
                let _ = stream.write_all(answer).await;
            });
        }
    });
    address
}

/// An authorization server whose tokens can be revoked, and an API that accepts only the newest one.
#[derive(Clone, Default)]
pub struct Protected {
    state: Arc<ProtectedState>,
}

#[derive(Default)]
struct ProtectedState {
    issued: AtomicU64,
    accepted: AtomicU64,
    calls: AtomicU64,
    /// What the token endpoint answers instead, if anything: status and body.
    broken: Mutex<Option<(u16, String)>>,
}

impl Protected {
    /// Serves both; the token endpoint is `/oauth/token`.
    pub async fn start(&self) -> SocketAddr {
        serve(self.router()).await
    }

    /// What it serves.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/oauth/token", post(Self::token))
            .fallback(any(Self::api))
            .with_state(self.clone())
    }

    /// Tokens issued so far.
    pub fn issued(&self) -> u64 {
        self.state.issued.load(Ordering::SeqCst)
    }

    /// Requests at the API so far, refused ones included.
    pub fn calls(&self) -> u64 {
        self.state.calls.load(Ordering::SeqCst)
    }

    /// From now on only tokens issued later are accepted.
    pub fn revoke(&self) {
        self.state.accepted.store(self.issued() + 1, Ordering::SeqCst);
    }

    /// Makes the token endpoint answer with this, or work again.
    pub fn break_tokens(&self, answer: Option<(u16, &str)>) {
        *self.state.broken.lock() = answer.map(|(status, body)| (status, body.to_owned()));
    }

    async fn token(State(this): State<Self>, Form(form): Form<HashMap<String, String>>) -> Response {
        if let Some((status, body)) = this.state.broken.lock().clone() {
            return (axum::http::StatusCode::from_u16(status).expect("a status"), body).into_response();
        }
        let field = |name: &str| form.get(name).map(String::as_str);
        if (field("grant_type"), field("client_id"), field("client_secret"))
            != (Some("client_credentials"), Some("client"), Some("secret"))
        {
            return (
                axum::http::StatusCode::UNAUTHORIZED,
                Json(json!({"error": "invalid_client"})),
            )
                .into_response();
        }
        let number = this.state.issued.fetch_add(1, Ordering::SeqCst) + 1;
        Json(json!({"access_token": format!("token-{number}"), "token_type": "bearer", "expires_in": 3600}))
            .into_response()
    }

    async fn api(State(this): State<Self>, headers: HeaderMap) -> Response {
        this.state.calls.fetch_add(1, Ordering::SeqCst);
        let number = headers.get("authorization").and_then(|value| {
            value
                .to_str()
                .ok()?
                .strip_prefix("Bearer token-")?
                .parse::<u64>()
                .ok()
        });
        match number {
            Some(number) if number >= this.state.accepted.load(Ordering::SeqCst) => {
                format!("token {number}").into_response()
            }
            _ => (axum::http::StatusCode::UNAUTHORIZED, "no or revoked token").into_response(),
        }
    }
}

/// A [`mirror`] with TLS for the name `localhost`; its authority in PEM comes first.
pub async fn tls_mirror() -> (String, SocketAddr) {
    tls_mirror_at(([127, 0, 0, 1], 0).into(), "localhost").await
}

/// The same at this address, for this name or address.
pub async fn tls_mirror_at(address: SocketAddr, name: &str) -> (String, SocketAddr) {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::server::conn::auto;
    use hyper_util::service::TowerToHyperService;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls_pki_types::PrivatePkcs8KeyDer;

    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key");
    let pem = authority
        .self_signed(&authority_key)
        .expect("a certificate")
        .pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let leaf = parameters.signed_by(&key, &issuer).expect("a certificate");
    let config = rustls::ServerConfig::builder_with_provider(landbridge_runtime::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .expect("a usable certificate");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(address).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = TowerToHyperService::new(Router::new().fallback(any(reflect)));
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (pem, address)
}
