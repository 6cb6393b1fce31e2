//! `landbridge proxy` between a real serve API and a real store: what a cluster has, without the API server.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use landbridge_destination::binding::Binding;
use landbridge_destination::client::StoreClient;
use landbridge_destination::serve::StoreChange;
use landbridge_destination::{DestinationSelector, FeedChange, Route, RouteKey, RouteProtocol, Scope};
use landbridge_operator::workloads::Caller;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client;
use landbridge_tests::client::send;
use landbridge_tests::process::{Process, run};
use landbridge_tests::serve_api::{Operator, TOKEN, authority};
use landbridge_tests::{client, eventually, free_port, target};
use serde_json::{Value, json};
use tempfile::TempDir;

fn route(name: &str, scope: Scope) -> Arc<Route> {
    Arc::new(Route {
        key: RouteKey::new("shop", name),
        selector: DestinationSelector::named("erp"),
        protocol: RouteProtocol::Http,
        // Chosen here, so that a restarted proxy has the same; tests of other processes may take others meanwhile.
        port: free_port(),
        scope,
        generation: 1,
        frontends: Vec::new(),
    })
}

pub(crate) fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

pub(crate) async fn ready(process: &mut Process, file: &str) -> Value {
    eventually("the process is ready", async || {
        if let Some(status) = process.ended() {
            return Err(format!("it ended with {status}: {}", process.log()));
        }
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    })
    .await
}

pub(crate) async fn store(folder: &TempDir) -> (Process, StoreClient) {
    let (data, file) = (path(folder, "data"), path(folder, "store.json"));
    let arguments = [
        "store",
        "serve",
        "--data-dir",
        &data,
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--ready-file",
        &file,
    ];
    let mut process = Process::start(&arguments, Path::new(&path(folder, "store.log")));
    let url = ready(&mut process, &file).await["store"]
        .as_str()
        .unwrap()
        .to_owned();
    let ended = run(&["store", "create-key", "--data-dir", &data, "--url", &url]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    std::fs::write(path(folder, "key.json"), &ended.stdout).unwrap();
    let http = http_client::standard(Dialer::new(AddressPolicy::Any).unwrap(), &[]).unwrap();
    (
        process,
        StoreClient::new(Binding::from_json(&ended.stdout).unwrap(), http),
    )
}

async fn proxy(folder: &TempDir, operator: SocketAddr) -> Process {
    let file = path(folder, "proxy.json");
    let _ = std::fs::remove_file(&file);
    let (url, key) = (
        format!("https://{operator}"),
        format!("default={}", path(folder, "key.json")),
    );
    let (ca, token, state) = (
        path(folder, "ca.crt"),
        path(folder, "token"),
        path(folder, "state.json"),
    );
    let arguments = [
        "proxy",
        "--operator",
        &url,
        "--operator-ca",
        &ca,
        "--token-file",
        &token,
        "--state-file",
        &state,
        "--listen-address",
        "127.0.0.1",
        "--admin-listen",
        "127.0.0.1:0",
        "--destination-service",
        &key,
        "--destination-ttl",
        "3600",
        "--drain-delay",
        "1",
        "--allow-local-targets",
        "--ready-file",
        &file,
    ];
    let mut process = Process::start(&arguments, Path::new(&path(folder, "proxy.log")));
    ready(&mut process, &file).await;
    process
}

async fn named(name: &'static str) -> SocketAddr {
    target::serve(Router::new().fallback(get(move || async move { name }))).await
}

fn destination(target: SocketAddr) -> landbridge_destination::DestinationConfig {
    let text = json!({"Name": "erp", "Type": "HTTP", "URL": format!("http://{target}"), "ProxyType": "Internet",
        "Authentication": "NoAuthentication"});
    serde_json::from_value(text).unwrap()
}

#[tokio::test]
async fn a_proxy_serves_what_the_operator_says_and_what_the_store_has() {
    let folder = TempDir::new().unwrap();
    let authority = authority();
    std::fs::write(path(&folder, "ca.crt"), &authority.pem).unwrap();
    std::fs::write(path(&folder, "token"), TOKEN).unwrap();
    let (_store, store) = store(&folder).await;
    store.put(&destination(named("old").await)).await.unwrap();
    let operator = Operator::start(authority).await;
    operator.hub.set_routes(
        vec![
            route("mine", Scope::Namespaced),
            route("open", Scope::ClusterWide),
        ],
        Vec::new(),
    );
    operator.hub.complete();
    let mut process = proxy(&folder, operator.address).await;
    let ((mine, _), (open, _)) = (operator.listening("mine").await, operator.listening("open").await);
    let (mine, open) = (
        SocketAddr::from(([127, 0, 0, 1], mine)),
        SocketAddr::from(([127, 0, 0, 1], open)),
    );

    assert_eq!(client::get(open, "/").await.text(), "old");
    let refused = client::get(mine, "/").await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("x-internal-error-code")),
        (403, "caller-forbidden")
    );
    let caller = Caller {
        namespace: "shop".into(),
        service_account: "default".into(),
    };
    operator
        .hub
        .set_workloads(vec![([127, 0, 0, 1].into(), Some(caller))]);
    client::until_ok("the pod is known", mine).await;

    // As the operator does: it follows the store's feed, and passes on what it says.
    let mut feed = store.changes(None).await.unwrap();
    assert_eq!(feed.next().await.unwrap().change, FeedChange::Reset);
    store.put(&destination(named("new").await)).await.unwrap();
    let FeedChange::Names(names) = feed.next().await.unwrap().change else {
        panic!("a reset");
    };
    assert_eq!(names, ["erp"]);
    operator.hub.store_changed(StoreChange {
        instance: Some("default".into()),
        names: Some(names),
    });
    eventually("the change has arrived", async || {
        match client::get(open, "/").await.text().as_str() {
            "new" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;

    // Killed, and started again while the operator is away: the same routes for the same callers.
    operator.shutdown.drain(std::time::Duration::from_secs(5)).await;
    eventually("pods are on disk, too", async || {
        let text = std::fs::read_to_string(path(&folder, "state.json")).map_err(|error| error.to_string())?;
        if text.contains("127.0.0.1") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    process.kill().await;
    let mut process = proxy(&folder, operator.address).await;
    for address in [mine, open] {
        client::until_ok("it serves again", address).await;
        let answer = send(address, client::request("GET", "/", &[], "")).await;
        assert_eq!(answer.text(), "new");
    }
    process.terminate();
    assert!(process.wait().await.success());
}

#[tokio::test]
async fn a_proxy_that_ends_says_so_first() {
    let folder = TempDir::new().unwrap();
    let authority = authority();
    std::fs::write(path(&folder, "ca.crt"), &authority.pem).unwrap();
    std::fs::write(path(&folder, "token"), TOKEN).unwrap();
    let (_store, store) = store(&folder).await;
    store.put(&destination(named("target").await)).await.unwrap();
    let operator = Operator::start(authority).await;
    operator
        .hub
        .set_routes(vec![route("open", Scope::ClusterWide)], Vec::new());
    operator.hub.complete();
    let mut process = proxy(&folder, operator.address).await;
    let (port, draining) = operator.listening("open").await;
    assert!(!draining);
    process.terminate();
    eventually("the operator knows", async || {
        match operator.listening("open").await {
            (_, true) => Ok(()),
            _ => Err("not yet".to_owned()),
        }
    })
    .await;
    let status = process.wait().await;
    assert!(status.success(), "{status}");
    let closed = client::try_send(
        ([127, 0, 0, 1], port).into(),
        client::request("GET", "/", &[], ""),
    )
    .await;
    assert!(closed.is_err());
}
