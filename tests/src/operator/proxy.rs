//! A proxy that is a pod and speaks the serve API, but opens no ports: for what a real one does not do on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use landbridge_destination::serve::{
    AUDIENCE, Message, REPORT_PATH, Report, ReportAnswer, RouteReport, SERVER_NAME, STREAM_PATH,
};
use landbridge_destination::serve::{StoreChange, Workload};
use landbridge_destination::{Route, RouteKey, RouteState};
use landbridge_operator::certificates::{BUNDLE_CONFIG_MAP, BUNDLE_KEY};
use landbridge_runtime::tls;
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::{Installation, PROXY_ACCOUNT};
use crate::eventually;
use crate::pods::Pods;

/// Renewal of the report; the operator takes three times as much for silence.
const RENEW: Duration = Duration::from_secs(4);

/// Longest wait for an answer.
const CALL: Duration = Duration::from_secs(10);

/// What it knows, and how it behaves.
#[derive(Default)]
struct State {
    routes: BTreeMap<RouteKey, Route>,
    workloads: BTreeMap<IpAddr, Workload>,
    changes: Vec<StoreChange>,
    leader: Option<SocketAddr>,
    authority: Option<String>,
    streams: u64,
    following: bool,
    failing: BTreeMap<RouteKey, String>,
    silent: BTreeSet<RouteKey>,
    draining: bool,
    sequence: u64,
}

struct Shared {
    state: Mutex<State>,
    news: Notify,
    token: SecretString,
    authorities: Api<ConfigMap>,
    servers: Vec<SocketAddr>,
    process: u64,
}

/// A pod of the proxies. It serves every route that it is told, unless it is made to do otherwise.
pub struct StubProxy {
    /// Address of its pod.
    pub address: String,
    /// Name of its pod.
    pub name: String,
    pods: Pods,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl StubProxy {
    pub(super) async fn start(installation: &Installation, name: &str, servers: Vec<SocketAddr>) -> Self {
        // One address for each of a test process: pods of one cluster do not share any.
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let address = format!("10.70.0.{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let pods = installation.pods.clone();
        let uid = pods.create(name, PROXY_ACCOUNT, false).await;
        pods.runs(name, &[&address], true).await;
        let token = pods.token(PROXY_ACCOUNT, name, &uid, AUDIENCE).await;
        let client = installation.plane.client().await;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            news: Notify::new(),
            token,
            authorities: Api::namespaced(client, installation.system.name()),
            servers,
            process: u64::from(std::process::id()),
        });
        let this = Self {
            address,
            name: name.to_owned(),
            pods,
            tasks: vec![
                tokio::spawn(follow(Arc::clone(&shared))),
                tokio::spawn(report(Arc::clone(&shared))),
            ],
            shared,
        };
        eventually("the proxy follows an operator", async || {
            let following = this.shared.state.lock().following;
            following.then_some(()).ok_or("not yet".to_owned())
        })
        .await;
        this
    }

    /// The routes it was told.
    pub fn routes(&self) -> Vec<Route> {
        self.shared.state.lock().routes.values().cloned().collect()
    }

    /// Who it was told to call from an address.
    pub fn workload(&self, address: &str) -> Option<Workload> {
        let address: IpAddr = address.parse().expect("an address");
        self.shared.state.lock().workloads.get(&address).cloned()
    }

    /// How often it was told that a store has something new.
    pub fn store_changes(&self) -> Vec<StoreChange> {
        self.shared.state.lock().changes.clone()
    }

    /// Streams that it has opened so far.
    pub fn streams(&self) -> u64 {
        self.shared.state.lock().streams
    }

    /// Whether a stream is open at the moment.
    pub fn is_following(&self) -> bool {
        self.shared.state.lock().following
    }

    /// From now on it cannot serve this one, or can again.
    pub fn fail(&self, namespace: &str, name: &str, why: Option<&str>) {
        let key = RouteKey::new(namespace, name);
        self.change(|state| match why {
            Some(why) => _ = state.failing.insert(key, why.to_owned()),
            None => _ = state.failing.remove(&key),
        });
    }

    /// From now on it says nothing of this one.
    pub fn conceal(&self, namespace: &str, name: &str) {
        self.change(|state| _ = state.silent.insert(RouteKey::new(namespace, name)));
    }

    /// It is about to end.
    pub fn drain(&self) {
        self.change(|state| state.draining = true);
    }

    /// Whether its pod passes its readiness probe.
    pub async fn ready(&self, ready: bool) {
        self.pods.runs(&self.name, &[&self.address], ready).await;
    }

    /// Deletes its pod, and ends.
    pub async fn delete(self) {
        self.pods.delete(&self.name).await;
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock());
        self.shared.news.notify_one();
    }
}

impl Drop for StubProxy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Reads a stream of any replica, over and over.
async fn follow(shared: Arc<Shared>) {
    for server in shared.servers.iter().cycle() {
        if let Err(error) = read(&shared, *server).await {
            eprintln!("stream of {server}: {error}");
        }
        shared.state.lock().following = false;
        sleep(Duration::from_millis(100)).await;
    }
}

async fn read(shared: &Shared, server: SocketAddr) -> Result<(), String> {
    let request = shared.request("GET", STREAM_PATH, Bytes::new());
    let answer = shared.send(server, request).await?;
    if answer.status() != StatusCode::OK {
        return Err(answer.status().to_string());
    }
    shared.state.lock().streams += 1;
    let (mut body, mut text) = (answer.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let message = serde_json::from_slice(&line).map_err(|error| error.to_string())?;
            shared.state.lock().hear(message);
            shared.news.notify_one();
        }
    }
    Ok(())
}

impl State {
    fn hear(&mut self, message: Message) {
        match message {
            Message::Snapshot(whole) => {
                self.following = true;
                self.leader = whole.leader;
                let routes = whole.routes.into_iter();
                self.routes = routes.map(|route| (route.key.clone(), route)).collect();
                let workloads = whole.workloads.into_iter();
                self.workloads = workloads.map(|one| (one.address, one)).collect();
            }
            Message::Delta(delta) => {
                for key in &delta.removed_routes {
                    self.routes.remove(key);
                }
                let routes = delta.routes.into_iter();
                self.routes.extend(routes.map(|route| (route.key.clone(), route)));
                for address in &delta.removed_workloads {
                    self.workloads.remove(address);
                }
                let workloads = delta.workloads.into_iter();
                self.workloads.extend(workloads.map(|one| (one.address, one)));
            }
            Message::StoreChanged(change) => self.changes.push(change),
            Message::Leader { address } => self.leader = address,
            Message::Alive => {}
        }
    }

    fn report(&mut self, process: u64) -> Report {
        self.sequence += 1;
        let routes = self
            .routes
            .values()
            .filter(|route| !self.silent.contains(&route.key));
        Report {
            process,
            sequence: self.sequence,
            whole: true,
            routes: routes
                .map(|route| RouteReport {
                    key: route.key.clone(),
                    state: match self.failing.get(&route.key) {
                        Some(why) => RouteState::Failed(why.clone()),
                        None => RouteState::Listening(([0, 0, 0, 0], route.port).into()),
                    },
                })
                .collect(),
            draining: self.draining,
            ..Report::default()
        }
    }
}

/// Reports whatever is new to whoever leads.
async fn report(shared: Arc<Shared>) {
    loop {
        let (report, leader) = {
            let mut state = shared.state.lock();
            (state.report(shared.process), state.leader)
        };
        let pause = match leader {
            Some(leader) => match shared.tell(leader, &report).await {
                Ok(ReportAnswer::Taken) => RENEW,
                Ok(_) | Err(_) => Duration::from_millis(100),
            },
            None => Duration::from_millis(100),
        };
        let _ = timeout(pause, shared.news.notified()).await;
    }
}

impl Shared {
    async fn tell(&self, leader: SocketAddr, report: &Report) -> Result<ReportAnswer, String> {
        let body = serde_json::to_vec(report).map_err(|error| error.to_string())?;
        let answer = self
            .send(leader, self.request("POST", REPORT_PATH, body.into()))
            .await?;
        let body = timeout(CALL, answer.into_body().collect())
            .await
            .map_err(|_| "no body")?;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }

    fn request(&self, method: &str, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", SERVER_NAME)
            .header("authorization", format!("Bearer {}", self.token.expose_secret()))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .expect("a request")
    }

    /// As from a mounted ConfigMap, which stays when the API server is away.
    async fn authority(&self) -> Result<String, String> {
        let read = timeout(CALL, self.authorities.get(BUNDLE_CONFIG_MAP)).await;
        let read = read.ok().and_then(Result::ok);
        let now = read.and_then(|map| map.data?.remove(BUNDLE_KEY));
        let mut state = self.state.lock();
        state.authority = now.or(state.authority.take());
        state.authority.clone().ok_or_else(|| "no authority".to_owned())
    }

    async fn send(
        &self,
        server: SocketAddr,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, String> {
        timeout(CALL, self.exchange(server, request))
            .await
            .map_err(|_| "no answer".to_owned())?
    }

    async fn exchange(
        &self,
        server: SocketAddr,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, String> {
        let words = |error: &dyn std::error::Error| error.to_string();
        let pem = self.authority().await?;
        let mut roots = RootCertStore::empty();
        for certificate in tls::certificates(pem.as_bytes()).map_err(|error| words(&error))? {
            roots.add(certificate).map_err(|error| words(&error))?;
        }
        let config = tls::client_config(roots, &[b"http/1.1"]).map_err(|error| words(&error))?;
        let stream = TcpStream::connect(server).await.map_err(|error| words(&error))?;
        let name = ServerName::try_from(SERVER_NAME).expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| words(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| words(&error))?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| words(&error))
    }
}
