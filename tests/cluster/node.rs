//! The cluster itself, without Landbridge: what the other suites rely on.

mod left_over;

use std::path::Path;

use landbridge_test_node::{Cluster, KubeProxy, Options};
use landbridge_tests::eventually;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::images;

/// A server in two pods and its Service, which has a port of the node too; and a client.
const PODS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: mirror}
spec: {type: NodePort, selector: {app: mirror}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: mirror}
spec:
  replicas: 2
  selector: {matchLabels: {app: mirror}}
  template:
    metadata: {labels: {app: mirror}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: mirror
          image: test.local/probe:test
          args: [serve, ":8080"]
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: client, image: "test.local/probe:test", args: [pause]}]
"#;

/// Starts the pods above and waits until all are ready.
async fn pods(cluster: &Cluster) {
    cluster.kubectl_with(&["apply", "-f", "-"], PODS).await.success();
    let rollout = ["rollout", "status", "deployment/mirror", "--timeout=60s"];
    cluster.kubectl(&rollout).await.success();
    let wait = ["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"];
    cluster.kubectl(&wait).await.success();
}

/// Calls until the server answers, and returns what it has seen: rules for a new Service come a moment later.
async fn seen_by_server(cluster: &Cluster, url: &str) -> Value {
    let call = ["exec", "client", "--", "/probe", "get", "--timeout", "2s", url];
    eventually(url, async || {
        let ended = cluster.kubectl(&call).await;
        answer(&ended.stdout, &ended.stderr)
    })
    .await
}

/// What the server has seen, from the line that the client prints.
fn answer(line: &str, errors: &str) -> Result<Value, String> {
    let read = || {
        let answer: Value = serde_json::from_str(line).ok()?;
        serde_json::from_str(answer["body"].as_str()?).ok()
    };
    read().ok_or_else(|| format!("{line}{errors}"))
}

async fn works_with(kube_proxy: KubeProxy) {
    let start = Instant::now();
    let cluster = Cluster::start(Options { kube_proxy }).await.expect("a cluster");
    println!("{kube_proxy:?}: the node was ready after {:?}", start.elapsed());
    let ready = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
    assert_eq!(
        cluster.kubectl(&["get", "nodes", "-o", ready]).await.success(),
        "True"
    );
    cluster.import(&images::probe()).await.expect("an image");
    pods(&cluster).await;

    // Through the name server, by the short name and by the long one.
    let short = seen_by_server(&cluster, "http://mirror/").await;
    assert!(
        short["server"].as_str().unwrap().starts_with("mirror-"),
        "{short}"
    );
    let long = seen_by_server(&cluster, "http://mirror.default.svc.cluster.local/").await;
    assert_eq!(long["host"], "mirror.default.svc.cluster.local");
    // A pod sees the address of its caller, which is in the range of pods.
    assert!(
        long["client"].as_str().unwrap().starts_with("198.18.0."),
        "{long}"
    );
    let unknown = [
        "exec",
        "client",
        "--",
        "/probe",
        "dns",
        "nobody.default.svc.cluster.local",
    ];
    let unknown = cluster.kubectl(&unknown).await;
    assert!(
        unknown.stdout.contains("no such host"),
        "{}{}",
        unknown.stdout,
        unknown.stderr
    );
    // The API server, as pods know it, and the way of `kubectl logs` from it to the kubelet.
    let api = ["exec", "client", "--", "/probe", "dns", "kubernetes.default.svc"];
    assert!(cluster.kubectl(&api).await.success().contains("198.19.0.1"));
    let logs = cluster.kubectl(&["logs", "deployment/mirror"]).await.success();
    assert!(logs.contains("listening on"), "{logs}");
    cluster.stop().await;
}

#[tokio::test]
async fn pods_call_services_by_name() {
    works_with(KubeProxy::Iptables).await;
}

#[tokio::test]
async fn pods_call_services_by_name_over_nftables() {
    works_with(KubeProxy::Nftables).await;
}

/// A server in the company, which answers there.
async fn inside(cluster: &Cluster, program: &Path, address: &str) -> Child {
    let mut server = cluster.company().command(program);
    server
        .args(["serve", address, "--name", "inside"])
        .kill_on_drop(true);
    let server = server.spawn().expect("it starts");
    let url = format!("http://{address}/");
    eventually("the server of the company", async || {
        let mut client = cluster.company().command(program);
        let seen = get(client.arg("get").arg(&url)).await?;
        (seen["server"] == "inside").then_some(()).ok_or(seen.to_string())
    })
    .await;
    server
}

async fn get(client: &mut Command) -> Result<Value, String> {
    let output = client
        .args(["--timeout", "3s"])
        .output()
        .await
        .expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    answer(&text(&output.stdout), &text(&output.stderr))
}

#[tokio::test]
async fn a_company_calls_the_node_and_nobody_calls_the_company() {
    let cluster = Cluster::start(Options::default()).await.expect("a cluster");
    cluster.import(&images::probe()).await.expect("an image");
    pods(&cluster).await;
    let (program, company) = (images::probe_program(), cluster.company());
    let on_node = format!("http://{}:30080/", cluster.node_address());
    eventually("the company calls a pod by the node's port", async || {
        let seen = get(company.command(&program).arg("get").arg(&on_node)).await?;
        let server = seen["server"].as_str().unwrap_or_default();
        server
            .starts_with("mirror-")
            .then_some(())
            .ok_or(seen.to_string())
    })
    .await;
    for address in [
        format!("{}:8000", company.address()),
        format!("{}:8001", company.uplink()),
    ] {
        let _server = inside(&cluster, &program, &address).await;
        let url = format!("http://{address}/");
        let from_node = get(cluster.command(&program).arg("get").arg(&url)).await;
        assert!(
            from_node.is_err_and(|reason| reason.contains("\"error\"")),
            "the node has called {url}"
        );
        let call = ["exec", "client", "--", "/probe", "get", "--timeout", "3s", &url];
        let from_pod = cluster.kubectl(&call).await;
        assert!(
            from_pod.code != Some(0) && from_pod.stdout.contains("\"error\""),
            "a pod has called {url}: {} {}",
            from_pod.stdout,
            from_pod.stderr
        );
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_node_that_nobody_reaches_is_noticed_and_taken_back() {
    let cluster = Cluster::start(Options::default()).await.expect("a cluster");
    let start = Instant::now();
    let second = cluster.add_node("node2").await.expect("a second node");
    println!("the second node was ready after {:?}", start.elapsed());
    for import in [
        cluster.import(&images::probe()).await,
        second.import(&images::probe()).await,
    ] {
        import.expect("an image");
    }
    pods(&cluster).await;
    let ready = async |wanted: &str| {
        let status = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        eventually(&format!("the second node is {wanted}"), async || {
            let ended = cluster
                .kubectl(&["get", "node", second.name(), "-o", status])
                .await;
            (ended.stdout == wanted)
                .then_some(())
                .ok_or(ended.stdout + &ended.stderr)
        })
        .await;
    };
    ready("True").await;
    // A pod there and a client here, over the link between the two.
    let there = PODS.replace(
        "spec:\n      termination",
        "spec:\n      nodeName: node2\n      termination",
    );
    cluster
        .kubectl_with(&["apply", "-f", "-"], &there)
        .await
        .success();
    let rollout = ["rollout", "status", "deployment/mirror", "--timeout=60s"];
    cluster.kubectl(&rollout).await.success();
    let pin = ["get", "pod", "client", "-o", "jsonpath={.spec.nodeName}"];
    println!("the client is on {}", cluster.kubectl(&pin).await.success());
    seen_by_server(&cluster, "http://mirror/").await;

    second.cut().await.expect("the link");
    let cut = Instant::now();
    ready("Unknown").await;
    println!("it was noticed after {:?}", cut.elapsed());
    second.restore().await.expect("the link");
    let restored = Instant::now();
    ready("True").await;
    println!("it was taken back after {:?}", restored.elapsed());
    seen_by_server(&cluster, "http://mirror/").await;
    cluster.stop().await;
}
