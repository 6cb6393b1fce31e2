//! Everything that is ours as processes: store, operator, proxy. A workload calls a destination, which is a system on
//! loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use landbridge_destination::serve::AUDIENCE;
use landbridge_tests::operator::{Installation, OperatorProcess, PROXY_ACCOUNT, Workspace};
use landbridge_tests::pods::Pods;
use landbridge_tests::process::Process;
use landbridge_tests::{eventually, target};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

/// Where the proxy listens. Its pod has another address: the API server takes no loopback one for an endpoint.
const PROXY: &str = "127.70.0.1";
const POD: &str = "10.70.1.1";

/// Addresses of workloads; every one of 127.0.0.0/8 is this machine's.
const MINE: &str = "127.70.0.2";
const THEIRS: &str = "127.70.0.3";

async fn system(name: &'static str) -> SocketAddr {
    target::serve(Router::new().route("/", get(async move || name))).await
}

fn destination(name: &str, target: SocketAddr) -> Value {
    json!({"Name": name, "Type": "HTTP", "ProxyType": "Internet", "URL": format!("http://{target}")})
}

/// `GET /` as a workload with this address.
async fn call(from: &str, port: u16) -> Result<(StatusCode, String), String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    let socket = TcpSocket::new_v4().map_err(|error| words(&error))?;
    let from = format!("{from}:0").parse().expect("an address");
    socket.bind(from).map_err(|error| words(&error))?;
    let to = format!("{PROXY}:{port}").parse().expect("an address");
    let stream = socket.connect(to).await.map_err(|error| words(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| words(&error))?;
    tokio::spawn(connection);
    let request = http::Request::get("/")
        .header("host", "erp")
        .body(Empty::<Bytes>::new());
    let answer = sender
        .send_request(request.expect("a request"))
        .await
        .map_err(|error| words(&error))?;
    let status = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|error| words(&error))?
        .to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

async fn until_answer(what: &str, from: &str, port: u16, status: u16, text: &str) {
    eventually(what, async || {
        let (found, body) = call(from, port).await?;
        if found == status && body.contains(text) {
            Ok(())
        } else {
            Err(format!("{found} {body}"))
        }
    })
    .await;
}

/// A pod of a workload at an address.
async fn workload(installation: &Installation, workspace: &Workspace, address: &str) {
    let pods = Pods::of(&installation.plane, &workspace.namespace).await;
    pods.create("workload", "default", false).await;
    pods.runs("workload", &[address], true).await;
}

/// The real proxy, with what a pod would have mounted.
struct Proxy {
    process: Process,
    arguments: Vec<String>,
    installation: Arc<Installation>,
}

impl Proxy {
    async fn start(installation: &Arc<Installation>, operator: &OperatorProcess) -> Self {
        let pods = &installation.pods;
        let uid = pods.create("proxy", PROXY_ACCOUNT, false).await;
        pods.runs("proxy", &[POD], true).await;
        let token = pods.token(PROXY_ACCOUNT, "proxy", &uid, AUDIENCE).await;
        let path = |name: &str| installation.path(name).to_str().expect("a path").to_owned();
        let write = |name: &str, text: &str| std::fs::write(installation.path(name), text).expect("written");
        write("token", token.expose_secret());
        write("key.json", &installation.store.key().await);
        let client = installation.plane.client().await;
        let maps: Api<ConfigMap> = Api::namespaced(client, installation.system.name());
        let authority = eventually("the authority is published", async || {
            let map = maps
                .get_opt("landbridge-ca")
                .await
                .map_err(|error| error.to_string())?;
            map.and_then(|map| map.data?.remove("ca.crt"))
                .ok_or("not yet".to_owned())
        })
        .await;
        write("ca.crt", &authority);
        let arguments: Vec<String> = [
            ["--operator", &format!("https://{}", operator.serve())],
            ["--operator-ca", &path("ca.crt")],
            ["--token-file", &path("token")],
            ["--state-file", &path("state.json")],
            ["--listen-address", PROXY],
            ["--admin-listen", "127.0.0.1:0"],
            ["--destination-service", &format!("default={}", path("key.json"))],
            ["--drain-delay", "1"],
            ["--drain", "1"],
        ]
        .into_iter()
        .flatten()
        .map(ToOwned::to_owned)
        .collect();
        let process = launch(installation, &arguments);
        Self {
            process,
            arguments,
            installation: Arc::clone(installation),
        }
    }

    fn restart(&mut self) {
        self.process = launch(&self.installation, &self.arguments);
    }
}

fn launch(installation: &Installation, arguments: &[String]) -> Process {
    let mut all = vec!["proxy", "--allow-local-targets"];
    all.extend(arguments.iter().map(String::as_str));
    Process::start(&all, &installation.path("proxy.log"))
}

#[tokio::test]
async fn a_workload_calls_a_destination() {
    let installation = Arc::new(Installation::new("end").await);
    let (first, second) = (system("the first").await, system("the second").await);
    installation.store.put(&[destination("erp", first)]).await;
    let mut operator = installation
        .operator("operator", &["--allow-local-targets"])
        .await;
    let (mine, theirs) = (
        installation.workspace("mine").await,
        installation.workspace("theirs").await,
    );
    workload(&installation, &mine, MINE).await;
    workload(&installation, &theirs, THEIRS).await;
    mine.declare_named("erp").await;
    let mut proxy = Proxy::start(&installation, &operator).await;
    mine.until_usable("erp").await;
    mine.until_endpoints("erp", &[(POD, true, false)]).await;
    let port = mine.target_port("erp").await.expect("a port");
    until_answer("the workload reaches it", MINE, port, 200, "the first").await;
    until_answer("a workload of another namespace does not", THEIRS, port, 403, "").await;

    // Seen at once, long before anything that is kept is too old.
    installation.store.put(&[destination("erp", second)]).await;
    until_answer("the change is in effect", MINE, port, 200, "the second").await;
    let spec = json!({"destinationRef": {"name": "erp"}, "accessControl": {"scope": "clusterWide"}});
    mine.declare("erp", spec).await;
    until_answer("now it may", THEIRS, port, 200, "the second").await;

    // It writes to its disk about a second later.
    eventually("what it serves is on its disk", async || {
        let file = std::fs::read_to_string(installation.path("state.json"));
        let file = file.map_err(|error| error.to_string())?;
        if file.contains("clusterWide") {
            Ok(())
        } else {
            Err(file)
        }
    })
    .await;
    // The operator is away: everything goes on, also in a proxy that starts now.
    operator.process.kill().await;
    until_answer("served on", MINE, port, 200, "the second").await;
    proxy.process.kill().await;
    proxy.restart();
    until_answer("served from what it keeps on disk", MINE, port, 200, "the second").await;
    operator.restart().await;
    theirs.declare_named("erp").await;
    theirs.until_usable("erp").await;
    mine.until_usable("erp").await;
    mine.until_endpoints("erp", &[(POD, true, false)]).await;

    // Asked to end: its endpoint goes first.
    proxy.process.terminate();
    mine.until_endpoints("erp", &[(POD, false, true)]).await;
    assert!(proxy.process.wait().await.success());
    mine.until("erp", "False", "FailedToApplyConfiguration").await;
}
