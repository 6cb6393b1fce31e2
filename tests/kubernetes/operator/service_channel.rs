//! Service channels with everything that is ours as processes: the manifest and the connector's configuration are those of
//! docs/how-to/reach-the-cluster-from-the-company.md.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use landbridge_destination::serve::AUDIENCE;
use landbridge_tests::client::{request, try_send};
use landbridge_tests::operator::{Installation, OperatorProcess, PROXY_ACCOUNT, Workspace};
use landbridge_tests::process::{Process, run};
use landbridge_tests::{PATIENCE, eventually, free_port, target};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

const PAGE: &str = include_str!("../../../docs/how-to/reach-the-cluster-from-the-company.md");

/// Address of the proxy's pod; the API server takes no loopback one.
const POD: &str = "10.71.1.1";

/// The first block of a language in the page that has these words.
fn block(language: &str, words: &str) -> String {
    let start = format!("```{language}\n");
    let blocks = PAGE.split(&start).skip(1);
    let mut texts = blocks.map(|rest| rest.split("```").next().expect("a closed block"));
    texts
        .find(|text| text.contains(words))
        .expect("the page has it")
        .to_owned()
}

/// The page's manifest, for a service that is on loopback instead of in a pod.
fn manifest(service: SocketAddr) -> String {
    let text = block("yaml", "kind: ServiceChannel");
    let theirs = "serviceRef: {name: orders, port: 8080}";
    assert!(text.contains(theirs), "{text}");
    text.replace(theirs, &format!("internalAddress: {service}"))
}

fn path(installation: &Installation, name: &str) -> String {
    installation.path(name).to_str().expect("a path").to_owned()
}

/// The proxy with an acceptor, and with what a pod would have mounted.
async fn proxy(installation: &Installation, operator: &OperatorProcess, tunnel: u16) -> Process {
    let pods = &installation.pods;
    let uid = pods.create("proxy", PROXY_ACCOUNT, false).await;
    pods.runs("proxy", &[POD], true).await;
    let token = pods.token(PROXY_ACCOUNT, "proxy", &uid, AUDIENCE).await;
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
    let arguments = [
        "proxy".to_owned(),
        "--allow-local-targets".to_owned(),
        format!("--operator=https://{}", operator.serve()),
        format!("--operator-ca={}", path(installation, "ca.crt")),
        format!("--token-file={}", path(installation, "token")),
        format!("--state-file={}", path(installation, "state.json")),
        "--listen-address=127.0.0.1".to_owned(),
        "--admin-listen=127.0.0.1:0".to_owned(),
        format!("--tunnel-listen=127.0.0.1:{tunnel}"),
        format!("--data-dir={}", path(installation, "proxy-data")),
        format!("--destination-service=default={}", path(installation, "key.json")),
        "--drain-delay=0".to_owned(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Process::start(&arguments, &installation.path("proxy.log"))
}

/// A connector with the page's channel on another port.
async fn connector(installation: &Installation, tunnel: u16, port: u16) -> Process {
    let (data, key) = (path(installation, "proxy-data"), path(installation, "key.json"));
    let created = run(&[
        "tunnel",
        "create-token",
        "--data-dir",
        &data,
        "--tenant-of",
        &key,
        "--connector",
        "company",
    ])
    .await;
    assert_eq!(created.code, Some(0), "{created:?}");
    std::fs::write(installation.path("enrolment"), created.stdout).expect("written");
    let channel = block("toml", "[[service_channels]]");
    let theirs = "local_port = 8080";
    assert!(channel.contains(theirs), "{channel}");
    let text = format!(
        "[[tunnels]]\nserver = \"localhost:{tunnel}\"\nidentity_dir = \"{}\"\nenrolment_token_file = \"{}\"\n\n{}",
        path(installation, "identity"),
        path(installation, "enrolment"),
        channel.replace(theirs, &format!("local_port = {port}"))
    );
    let file = path(installation, "connector.toml");
    std::fs::write(&file, text).expect("written");
    Process::start(
        &["connector", "run", "--config", &file],
        &installation.path("connector.log"),
    )
}

/// Type=status of the conditions, in their order.
async fn until_conditions(workspace: &Workspace, expected: &[(&str, &str)]) {
    eventually(&format!("conditions {expected:?}"), async || {
        let arguments = ["get", "servicechannel", "orders", "-o", "json"];
        let said = workspace.namespace.kubectl(&arguments).await.success();
        let channel: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        let conditions = channel["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let holds = expected.iter().all(|(kind, status)| {
            conditions
                .iter()
                .any(|one| one["type"] == *kind && one["status"] == *status)
        });
        if holds {
            Ok(())
        } else {
            Err(channel["status"].to_string())
        }
    })
    .await;
}

async fn until_answer(port: u16) {
    eventually("the service answers through the connector's port", async || {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let answer = try_send(address, request("GET", "/", &[], "")).await?;
        if answer.text() == "the orders" {
            Ok(())
        } else {
            Err(answer.text())
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_of_the_company_reaches_a_service_of_the_cluster() {
    let installation = Installation::new("channel").await;
    let service = target::serve(Router::new().fallback(get(async || "the orders"))).await;
    let operator = installation
        .operator("operator", &["--allow-local-targets"])
        .await;
    let workspace = installation.workspace("shop").await;
    let (tunnel, port) = (free_port(), free_port());
    let _proxy = proxy(&installation, &operator, tunnel).await;
    workspace.namespace.apply(&manifest(service)).await.success();
    until_conditions(
        &workspace,
        &[("Programmed", "True"), ("Ready", "True"), ("Reachable", "False")],
    )
    .await;

    let mut connector = connector(&installation, tunnel, port).await;
    until_answer(port).await;
    until_conditions(&workspace, &[("Ready", "True"), ("Reachable", "True")]).await;

    // Deleted while a client is connected: the client is cut off, and nothing keeps the resource.
    let mut client = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("the port is open");
    until_answer(port).await;
    let deleted = ["delete", "servicechannel", "orders", "--timeout=60s"];
    workspace.namespace.kubectl(&deleted).await.success();
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, client.read_to_end(&mut rest))
        .await
        .expect("it is closed");
    assert!(ended.is_err() && rest.is_empty(), "a reset: {ended:?}");

    // Declared again, and the connector goes away.
    workspace.namespace.apply(&manifest(service)).await.success();
    until_answer(port).await;
    until_conditions(&workspace, &[("Reachable", "True")]).await;
    connector.terminate();
    assert!(connector.wait().await.success());
    until_conditions(&workspace, &[("Ready", "True"), ("Reachable", "False")]).await;
}
