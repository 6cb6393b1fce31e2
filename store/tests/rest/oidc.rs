//! An identity provider of somebody else, with real keys: discovery, key set, password and refresh grants.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, http::HeaderMap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use landbridge_store::TrustedIssuer;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const AUDIENCE: &str = "destinations-app";
const CLIENT: (&str, &str) = ("store-client", "store client's secret");

/// The provider.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) url: String,
    inner: Arc<Inner>,
}

struct Inner {
    issuer: Mutex<String>,
    keys: Mutex<Vec<(String, EncodingKey)>>,
    key_calls: AtomicUsize,
    sessions: AtomicUsize,
}

pub(crate) fn rsa_key() -> EncodingKey {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let text = STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
}

pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            issuer: Mutex::new(url.clone()),
            keys: Mutex::new(vec![("k1".to_owned(), rsa_key())]),
            key_calls: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
        });
        let this = Self { url, inner };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(this.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        this
    }

    /// As a subaccount trusts it.
    pub(crate) fn trusted(&self, name: &str) -> TrustedIssuer {
        let value = json!({ "name": name, "issuer": self.url, "audiences": [AUDIENCE],
            "client_id": CLIENT.0, "client_secret": CLIENT.1 });
        serde_json::from_value(value).unwrap()
    }

    /// Claims of its user.
    pub(crate) fn jane(&self) -> Value {
        json!({ "iss": self.url, "aud": AUDIENCE, "sub": "u-1", "exp": now() + 600, "iat": now(), "azp": "some-app",
            "preferred_username": "jane", "email": "jane@example.com", "given_name": "Jane", "family_name": "Doe",
            "groups": ["buyers"], "xs.user.attributes": { "cost-center": ["4711"] } })
    }

    /// A token signed with the newest key.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let keys = self.inner.keys.lock();
        let (kid, key) = keys.last().unwrap();
        signed(key, kid, claims)
    }

    /// From now on signs with another key.
    pub(crate) fn rotate(&self, kid: &str) {
        self.inner.keys.lock().push((kid.to_owned(), rsa_key()));
    }

    /// Claims to be somebody else in its discovery document.
    pub(crate) fn pretend(&self, issuer: &str) {
        *self.inner.issuer.lock() = issuer.to_owned();
    }

    pub(crate) fn key_calls(&self) -> usize {
        self.inner.key_calls.load(Ordering::SeqCst)
    }

    /// The published set.
    pub(crate) fn key_set(&self) -> Value {
        let published = |(kid, key): &(String, EncodingKey)| {
            let mut jwk = Jwk::from_encoding_key(key, Algorithm::RS256).unwrap();
            jwk.common.key_id = Some(kid.clone());
            serde_json::to_value(jwk).unwrap()
        };
        json!({ "keys": self.inner.keys.lock().iter().map(published).collect::<Vec<_>>() })
    }
}

pub(crate) fn signed(key: &EncodingKey, kid: &str, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some(kid.to_owned());
    encode(&header, claims, key).unwrap()
}

async fn discovery(State(this): State<Provider>) -> Json<Value> {
    let url = &this.url;
    let issuer = this.inner.issuer.lock().clone();
    Json(
        json!({ "issuer": issuer, "jwks_uri": format!("{url}/keys"), "token_endpoint": format!("{url}/token") }),
    )
}

async fn keys(State(this): State<Provider>) -> Json<Value> {
    this.inner.key_calls.fetch_add(1, Ordering::SeqCst);
    Json(this.key_set())
}

async fn token(State(this): State<Provider>, headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
    let form: HashMap<String, String> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let refused = |code: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": code })));
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(CLIENT.0), encode(CLIENT.1));
    let expected = format!("Basic {}", STANDARD.encode(pair));
    if headers.get("authorization").map(|value| value.as_bytes()) != Some(expected.as_bytes()) {
        return refused("invalid_client");
    }
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let session = this.inner.sessions.load(Ordering::SeqCst);
    let good = match field("grant_type") {
        "password" => (field("username"), field("password")) == ("jane@example.com", "jane's password"),
        // Each refresh token once.
        "refresh_token" => field("refresh_token") == format!("session-{session}"),
        _ => return refused("unsupported_grant_type"),
    };
    if !good {
        return refused("invalid_grant");
    }
    let next = this.inner.sessions.fetch_add(1, Ordering::SeqCst) + 1;
    let mut claims = this.jane();
    claims["aud"] = json!(CLIENT.0);
    let answer = json!({ "access_token": "opaque", "id_token": this.sign(&claims), "token_type": "Bearer",
        "expires_in": 600, "refresh_token": format!("session-{next}") });
    (StatusCode::OK, Json(answer))
}
