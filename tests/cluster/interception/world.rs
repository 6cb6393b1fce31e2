//! Installations with every mode, one for each way in which kube-proxy programs the kernel.

use landbridge_test_node::{KubeProxy, Options};
use landbridge_tests::eventually;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::images::REGISTRY;
use crate::world::{BACKENDS, OTHER, SHOP, SYSTEM, World, bare, client, pod};

/// Where pods get a sidecar: the namespace asks for it.
pub const INJECTED: &str = "injected";

/// Port of the node's proxy for metrics, on the node's address.
const NODE_ADMIN: u16 = 20_414;

/// An installation.
pub struct Modes {
    pub world: World,
    /// For messages.
    pub kube_proxy: KubeProxy,
}

/// Tries it with kube-proxy in both modes, side by side; the installations are made by the first test that asks.
pub async fn in_both(test: impl AsyncFn(&'static Modes)) {
    static IPTABLES: OnceCell<Modes> = OnceCell::const_new();
    static NFTABLES: OnceCell<Modes> = OnceCell::const_new();
    let with = async |installation: &'static OnceCell<Modes>, kube_proxy| {
        test(installation.get_or_init(|| install(kube_proxy)).await).await;
    };
    tokio::join!(
        with(&IPTABLES, KubeProxy::Iptables),
        with(&NFTABLES, KubeProxy::Nftables)
    );
}

async fn install(kube_proxy: KubeProxy) -> Modes {
    let world = bare(Options { kube_proxy }).await;
    let modes = Modes { world, kube_proxy };
    let world = &modes.world;
    // What docs/how-to/run-the-node-proxy.md says: the node's proxy has the network of the node.
    let level = "pod-security.kubernetes.io/enforce=privileged";
    world
        .kubectl(&["label", "namespace", SYSTEM, level, "--overwrite"])
        .await
        .success();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": INJECTED,
        "labels": {"connectivity.landbridge.dev/inject": "enabled"}}});
    world.apply("", &namespace.to_string()).await;
    let definitions = [
        "install",
        "landbridge-crds",
        "charts/landbridge-crds",
        "-n",
        SYSTEM,
    ];
    world.helm(&definitions).await.success();
    modes
        .upgrade("store.enabled=true,store.allowLocalTargets=true,operator.replicas=1,node.enabled=true,sidecar.enabled=true")
        .await;
    world.apply(SHOP, &client()).await;
    world.apply(OTHER, &client()).await;
    for (name, scope) in [("erp", "namespaced"), ("open", "clusterWide")] {
        world
            .put(&json!({
                "Name": name, "Type": "HTTP", "URL": format!("http://echo.{BACKENDS}.svc.cluster.local/base"),
                "ProxyType": "Internet", "Authentication": "BasicAuthentication", "User": "me", "Password": "s3cret",
                "URL.headers.x-name": name,
            }))
            .await;
        for namespace in [SHOP, INJECTED] {
            let scope = json!({"accessControl": {"scope": scope}});
            world.declare(namespace, name, scope).await;
        }
    }
    world
        .put(&json!({"Name": "line", "Type": "TCP", "Address": format!("lines.{BACKENDS}.svc.cluster.local:7000"),
            "ProxyType": "Internet"}))
        .await;
    for namespace in [SHOP, INJECTED] {
        let service = json!({"service": {"port": 7000}});
        world.declare(namespace, "line", service).await;
    }
    modes.lines().await;
    modes.injected_client().await;
    modes
}

impl Modes {
    /// `helm upgrade --install` with what was set before and this.
    pub async fn upgrade(&self, values: &str) {
        let image = format!("deployment.image.registry={REGISTRY}");
        let arguments = [
            "upgrade",
            "--install",
            "landbridge",
            "charts/landbridge",
            "-n",
            SYSTEM,
            "--reuse-values",
            "--set",
            &image,
            "--set",
            values,
            "--wait",
            "--timeout=120s",
        ];
        self.world.helm(&arguments).await.success();
    }

    /// A server that speaks TCP and nothing else.
    async fn lines(&self) {
        let mut server: Value = serde_json::from_str(&pod(
            "lines",
            "test.local/probe:test",
            &["/probe", "echo", ":7000"],
        ))
        .expect("JSON");
        server["metadata"]["labels"] = json!({"app": "lines"});
        self.world.apply(BACKENDS, &server.to_string()).await;
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "lines"},
            "spec": {"selector": {"app": "lines"}, "ports": [{"port": 7000}]}});
        self.world.apply(BACKENDS, &service.to_string()).await;
    }

    /// An application with a sidecar. The webhook may not be there yet: then the pod is made again.
    async fn injected_client(&self) {
        let world = &self.world;
        eventually("a pod with a sidecar", async || {
            world.apply(INJECTED, &client()).await;
            let containers = "jsonpath={.spec.initContainers[*].name}";
            let names = world
                .kubectl(&["get", "pod", "client", "-n", INJECTED, "-o", containers])
                .await
                .success();
            if names.contains("landbridge-proxy") {
                return Ok(());
            }
            let delete = ["delete", "pod", "client", "-n", INJECTED, "--grace-period=1"];
            world.kubectl(&delete).await.success();
            Err(format!("its init containers: {names}"))
        })
        .await;
        for namespace in [SHOP, OTHER, INJECTED] {
            world.pod_ready(namespace, "client").await;
        }
    }

    /// Connections that the node's proxy has served so far.
    pub async fn served_on_node(&self) -> u64 {
        let path = format!("/api/v1/nodes/node1:{NODE_ADMIN}/proxy/metrics");
        let text = self.world.kubectl(&["get", "--raw", &path]).await;
        served(&text.stdout)
    }

    /// Connections that the sidecar of the client in [`INJECTED`] has served so far.
    pub async fn served_by_sidecar(&self) -> u64 {
        let path = format!("/api/v1/namespaces/{INJECTED}/pods/client:20412/proxy/metrics");
        let text = self.world.kubectl(&["get", "--raw", &path]).await;
        served(&text.stdout)
    }

    /// Calls that the gateways have answered so far.
    pub async fn answered_by_gateways(&self) -> u64 {
        let selector = "landbridge.dev/mode=gateway,app.kubernetes.io/component=proxy";
        let names = "jsonpath={.items[*].metadata.name}";
        let pods = self
            .world
            .kubectl(&["get", "pods", "-n", SYSTEM, "-l", selector, "-o", names])
            .await
            .success();
        let mut sum = 0;
        for pod in pods.split_whitespace() {
            let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}:9494/proxy/metrics");
            let text = self.world.kubectl(&["get", "--raw", &path]).await.stdout;
            sum += total(&text, "landbridge_proxy_requests_total");
        }
        sum
    }
}

fn served(metrics: &str) -> u64 {
    total(
        metrics,
        "landbridge_intercepted_connections_total{outcome=\"Served\"}",
    )
}

/// Sum of the series that begin so.
fn total(metrics: &str, series: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(series));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum::<f64>() as u64
}
