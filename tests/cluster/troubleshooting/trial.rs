//! An installation to break, beside the one that the other suites share. It looks after the namespaces with its label only,
//! so that others can be installed in namespaces of their own.

use std::path::PathBuf;

use landbridge_test_node::{Ended, Options};
use landbridge_tests::eventually;
use landbridge_tests::process::binary;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::company::Connector;
use super::page::{Row, said};
use crate::images::REGISTRY;
use crate::world::{BACKENDS, OTHER, SHOP, SYSTEM, TUNNEL_PORT, World, bare, client};

/// The label of a namespace that an installation looks after.
const LABEL: &str = "transparent-proxy.connectivity.api.sap/namespace";

/// Values of the proxies that connectors dial, here.
const TUNNEL: &str = "config.servers.businessDataTunnel.externalHost=198.51.100.1,\
    config.servers.businessDataTunnel.externalPort=30842,service.type=NodePort,service.nodePort=30842";

/// The service that the connector has a port for.
pub const HELD: &str = "held";

/// The installation, and a connector that is connected to it.
pub struct Trial {
    pub world: World,
    pub connector: Connector,
}

/// Made by the first test that asks. Who breaks something mends it.
pub async fn trial() -> &'static Trial {
    static TRIAL: OnceCell<Trial> = OnceCell::const_new();
    TRIAL.get_or_init(install).await
}

async fn install() -> Trial {
    let world = bare(Options::default()).await;
    let definitions = [
        "install",
        "landbridge-crds",
        "charts/landbridge-crds",
        "-n",
        SYSTEM,
    ];
    world.helm(&definitions).await.success();
    let values = "store.enabled=true,store.allowLocalTargets=true,operator.replicas=1,\
        operator.webhook.failClosed=true,config.managedNamespacesMode=labelSelector";
    release(&world, "landbridge", SYSTEM, values).await.success();
    release(&world, "landbridge-connectivity", SYSTEM, TUNNEL)
        .await
        .success();
    let label = format!("{LABEL}={SYSTEM}");
    world
        .kubectl(&["label", "namespace", SHOP, OTHER, BACKENDS, &label])
        .await
        .success();
    for namespace in [SHOP, OTHER] {
        world.apply(namespace, &client()).await;
    }
    for resource in [
        "deployment/landbridge-operator",
        "deployment/landbridge-proxy",
        "statefulset/landbridge-store",
        "statefulset/landbridge-connectivity",
    ] {
        rollout(&world, SYSTEM, resource).await;
    }
    let connector = Connector::new(&world, "trial").await.holding(HELD);
    let token = connector.token(&world).await;
    connector.enrol(&token);
    connector.start(&world, &format!("{}:{TUNNEL_PORT}", world.cluster.node_address()));
    connected(&world, "trial").await;
    Trial { world, connector }
}

/// `helm upgrade --install` of the chart with the release's name, keeping what was set before.
pub async fn release(world: &World, chart: &str, namespace: &str, values: &str) -> Ended {
    let folder = format!("charts/{chart}");
    let image = format!("deployment.image.registry={REGISTRY}");
    let install = [
        "upgrade",
        "--install",
        chart,
        &folder,
        "-n",
        namespace,
        "--create-namespace",
        "--reuse-values",
        "--set",
        &image,
        "--set",
        values,
    ];
    world.helm(&install).await
}

pub async fn rollout(world: &World, namespace: &str, resource: &str) {
    let status = ["rollout", "status", resource, "-n", namespace, "--timeout=120s"];
    world.kubectl(&status).await.success();
}

pub async fn scale(world: &World, namespace: &str, resource: &str, replicas: u8) {
    let replicas = format!("--replicas={replicas}");
    let scale = ["scale", resource, "-n", namespace, &replicas];
    world.kubectl(&scale).await.success();
}

/// Waits until the connector has a tunnel.
pub async fn connected(world: &World, name: &str) {
    let path = format!("/api/v1/namespaces/{SYSTEM}/pods/landbridge-connectivity-0:9494/proxy/tunnels");
    eventually("the connector is connected", async || {
        let said = said(&world.kubectl(&["get", "--raw", &path]).await);
        if said.contains(name) { Ok(()) } else { Err(said) }
    })
    .await;
}

/// A command of the page, as its reader types it.
pub async fn shell(world: &World, command: &str) -> Ended {
    let own = binary().parent().expect("the folder of the binary").to_owned();
    let environment = world.cluster.environment();
    let path = environment.iter().find(|(name, _)| name == "PATH");
    let path = path.map(|(_, path)| path.as_str()).unwrap_or_default();
    let mut shell = world.cluster.command("sh");
    shell
        .args(["-c", command])
        .env("PATH", format!("{}:{path}", own.display()))
        .current_dir(folder(world))
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    let limit = std::time::Duration::from_secs(120);
    match tokio::time::timeout(limit, shell.output()).await {
        Ok(output) => Ended::new(command, &output.expect("sh starts")),
        Err(_) => Ended::without(command, "does not end"),
    }
}

/// Where the commands run: the charts are there, and the reader's files.
pub fn folder(world: &World) -> PathBuf {
    let folder = world.cluster.folder().join("reader");
    std::fs::create_dir_all(&folder).expect("a folder");
    let charts = landbridge_tests::control_plane::repository().join("charts");
    // There already, from the second time on.
    let _ = std::os::unix::fs::symlink(charts, folder.join("charts"));
    folder
}

/// Runs a command until it says text `number` of the row; what it has said.
pub async fn says(world: &World, row: &Row, number: usize, command: &str) -> String {
    eventually(&row.id, async || {
        let said = said(&shell(world, command).await);
        row.found(number, &said).map(|()| said)
    })
    .await
}

/// Runs a command until what it says has `wanted`.
pub async fn until(world: &World, command: &str, wanted: &str) -> String {
    eventually(command, async || {
        let said = said(&shell(world, command).await);
        if said.contains(wanted) {
            Ok(said)
        } else {
            Err(format!("no '{wanted}' in: {said}"))
        }
    })
    .await
}

/// A `Destination` of the store under its own name.
pub fn declared(name: &str) -> Value {
    json!({
        "apiVersion": "destination.connectivity.api.sap/v1", "kind": "Destination",
        "metadata": {"name": name}, "spec": {"destinationRef": {"name": name}},
    })
}

/// Reason and message of the condition that `kubectl get` shows.
pub fn condition(namespace: &str, name: &str) -> String {
    format!(
        "kubectl get dst {name} -n {namespace} -o \
         jsonpath='{{range .status.conditions[?(@.type==\"Available\")]}}{{.reason}}: {{.message}}{{end}}'"
    )
}

/// The service key of the store.
pub async fn service_key(world: &World) -> String {
    let get = format!(
        "kubectl get secret destination-service-key -n {SYSTEM} -o jsonpath='{{.data.service_key}}' | base64 -d"
    );
    shell(world, &get).await.success()
}

/// A namespace of its own, removed by [`remove`].
pub async fn namespace(world: &World, name: &str) {
    world.kubectl(&["create", "namespace", name]).await.success();
}

/// Removes the releases of a namespace, and the namespace.
pub async fn remove(world: &World, name: &str, releases: &[&str]) {
    for release in releases {
        let uninstall = ["uninstall", release, "-n", name, "--no-hooks"];
        world.helm(&uninstall).await.success();
    }
    let delete = ["delete", "namespace", name, "--wait=false"];
    world.kubectl(&delete).await.success();
}
