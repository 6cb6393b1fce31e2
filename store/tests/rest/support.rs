//! A store in a folder of its own, and clients of it.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use landbridge_destination::{Binding, StoreClient};
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client::{self, CallLimits, HttpClient};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_store::vault::{KEY_FILE, Missing, read_or_create};
use landbridge_store::{Access, Config, Error, Store};
use landbridge_test_postgres::Database;
use secrecy::ExposeSecret;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) const DESTINATIONS: &str = "/destination-configuration/v1/subaccountDestinations";
pub(crate) const FIND: &str = "/destination-configuration/v1/destinations";

/// A running store.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) admin_address: Option<SocketAddr>,
    pub(crate) binding: Binding,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), Error>>,
    pub(crate) folder: Folder,
}

/// The folder lives as long as the last server that uses it. On PostgreSQL a database of its own belongs to it.
#[derive(Clone)]
pub(crate) struct Folder(Arc<TempDir>, Option<Database>);

impl Folder {
    /// On the database that `LANDBRIDGE_TEST_DATABASE` names: `sqlite`, as without it, or `postgresql`.
    pub(crate) fn new() -> Self {
        match std::env::var("LANDBRIDGE_TEST_DATABASE").as_deref() {
            Ok("postgresql") => Self::on(landbridge_test_postgres::database().unwrap()),
            Ok("sqlite") | Err(_) => Self::in_a_file(),
            Ok(other) => panic!("LANDBRIDGE_TEST_DATABASE is {other}: say sqlite or postgresql"),
        }
    }

    /// On SQLite, whatever the variable says.
    pub(crate) fn in_a_file() -> Self {
        Self(Arc::new(tempfile::tempdir().unwrap()), None)
    }

    /// On this database.
    pub(crate) fn on(database: Database) -> Self {
        let this = Self(Arc::new(tempfile::tempdir().unwrap()), Some(database));
        // Stores with a shared database are given a key; one of SQLite makes its own, as here.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(this.data())
            .unwrap();
        let made = read_or_create(&this.data().join(KEY_FILE), Missing::Create);
        made.unwrap();
        this
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

pub(crate) fn config(folder: &Folder) -> Config {
    let mut config = Config::new(folder.data());
    config.allow_private_token_services = true;
    config.database_url = folder.1.as_ref().map(|database| database.url().into());
    config
}

impl Server {
    pub(crate) async fn start() -> Self {
        let folder = Folder::new();
        let config = config(&folder);
        Self::start_with(folder, config).await
    }

    /// Starts with a tenant `mytenant` of id `sub-1`, made if there is none, and a new key.
    pub(crate) async fn start_with(folder: Folder, config: Config) -> Self {
        let store = Store::bind(config).await.unwrap();
        let admin = store.admin();
        match admin.create_subaccount(Some("sub-1"), "mytenant").await {
            Ok(_) | Err(Error::Exists(_)) => {}
            Err(error) => panic!("{error}"),
        }
        let name = format!(
            "key-{}",
            std::process::id() as usize + COUNTER.fetch_add(1, Ordering::SeqCst)
        );
        let binding = admin
            .create_service_key("sub-1", &name, store.url(), Access::Full)
            .await
            .unwrap();
        let (address, admin_address, shutdown) = (store.local_addr(), store.admin_addr(), Shutdown::new());
        let task = tokio::spawn(store.serve(shutdown.clone()));
        Self {
            address,
            admin_address,
            binding,
            shutdown,
            task,
            folder,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn client(&self) -> StoreClient {
        StoreClient::new(self.binding.clone(), http())
    }

    /// A token of the server's key.
    pub(crate) async fn token(&self) -> String {
        token_of(self.address, &self.binding, "").await
    }

    /// Calls with a token of the server's key.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call_with(
            method,
            path,
            body,
            &[("authorization", &format!("Bearer {}", self.token().await))],
        )
        .await
    }

    pub(crate) async fn call_with(
        &self,
        method: &str,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()).await
    }

    /// Stops in an orderly way and leaves the folder.
    pub(crate) async fn stop(self) -> Folder {
        self.shutdown.begin();
        self.task.await.unwrap().unwrap();
        self.folder
    }
}

static COUNTER: AtomicUsize = AtomicUsize::new(0);

/// A second key of the same tenant, or of another one.
pub(crate) async fn key(
    folder: &Folder,
    server: &Server,
    subaccount: &str,
    name: &str,
    access: Access,
) -> Binding {
    let admin = landbridge_store::Admin::open(&config(folder)).await.unwrap();
    match admin
        .create_subaccount(Some(subaccount), &format!("tenant-{subaccount}"))
        .await
    {
        Ok(_) | Err(Error::Exists(_)) => {}
        Err(error) => panic!("{error}"),
    }
    let url = format!("http://{}", server.address);
    let binding = admin
        .create_service_key(subaccount, name, &url, access)
        .await
        .unwrap();
    admin.close().await;
    binding
}

pub(crate) async fn token_of(address: SocketAddr, binding: &Binding, scope: &str) -> String {
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_id", &binding.client_id)
        .append_pair("client_secret", binding.client_secret.expose_secret())
        .append_pair("scope", scope)
        .finish();
    let request = Request::post(format!("http://{address}/oauth/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.into())
        .unwrap();
    let answer = send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// Administration of a running store's data.
pub(crate) async fn admin(server: &Server) -> landbridge_store::Admin {
    landbridge_store::Admin::open(&config(&server.folder))
        .await
        .unwrap()
}

/// Sends a form.
pub(crate) async fn post_form(
    server: &Server,
    path: &str,
    form: &[(&str, &str)],
    headers: &[(&str, &str)],
) -> Answer {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
    all.extend(headers);
    server.call_with("POST", path, &body, &all).await
}

/// An answer, read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn message(&self) -> String {
        self.json()["ErrorMessage"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

pub(crate) fn http() -> HttpClient {
    http_client::standard(Dialer::new(AddressPolicy::Any).unwrap(), &[]).unwrap()
}

pub(crate) async fn send(request: Request<Bytes>) -> Answer {
    let limits = CallLimits {
        answer: Duration::from_secs(120),
        max_body: 64 << 20,
    };
    let (head, body) = http().call(request, limits).await.unwrap().into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        text: String::from_utf8(body.to_vec()).unwrap(),
    }
}

/// Claims of a token, not verified.
pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A token service of somebody else: remembers its calls.
#[derive(Clone, Default)]
pub(crate) struct TokenService {
    calls: Arc<AtomicUsize>,
    seen: Arc<parking_lot::Mutex<Vec<(http::request::Parts, String)>>>,
}

impl TokenService {
    /// Starts it; `answer` gets the number of the call, from 1.
    pub(crate) async fn start<F, Fut>(answer: F) -> (Self, String)
    where
        F: Fn(usize) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = (u16, String)> + Send,
    {
        let this = Self::default();
        let (seen, listener) = (this.clone(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(move |request: Request<Body>| {
            let (seen, answer) = (seen.clone(), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let body = String::from_utf8(body.to_vec()).unwrap();
                seen.seen.lock().push((head, body));
                let number = seen.calls.fetch_add(1, Ordering::SeqCst) + 1;
                let (status, body) = answer(number).await;
                Response::builder().status(status).body(Body::from(body)).unwrap()
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (this, format!("http://{address}/oauth/token"))
    }

    /// One that always gives `token-<number>` for an hour.
    pub(crate) async fn good() -> (Self, String) {
        Self::start(async |number| (200, good_token(number))).await
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn last(&self) -> (http::request::Parts, String) {
        self.seen.lock().last().cloned().unwrap()
    }

    /// The form of each call, from the first.
    pub(crate) fn forms(&self) -> Vec<String> {
        self.seen.lock().iter().map(|(_, body)| body.clone()).collect()
    }
}

pub(crate) fn good_token(number: usize) -> String {
    format!(
        r#"{{"access_token":"token-{number}","token_type":"bearer","expires_in":3600,"scope":"read","refresh_token":"r"}}"#
    )
}
