//! A world, and what happens in it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use landbridge_destination::binding::Binding;
use landbridge_destination::client::StoreClient;
use landbridge_destination::serve::StoreChange;
use landbridge_destination::{FeedChange, RouteKey};
use landbridge_operator::workloads::Caller;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client;
use serde_json::Value;
use tempfile::TempDir;

use super::landscape::LANDSCAPE;
use super::metrics::{self, Samples};
use super::network::{Family, KubeProxy, Network, Wiring};
use super::targets::Targets;
use crate::netns::Netns;
use crate::process::{Process, run};
use crate::serve_api::{GATEWAY, Known, Operator, authority};
use crate::{client, eventually};

mod beside;

pub use beside::{Addressed, Beside};

/// Who serves what is not the gateways' alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The gateways.
    Gateway,
    /// A proxy in each pod.
    Sidecar,
    /// A proxy on the node.
    Node,
}

/// What a world is like.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Who serves.
    pub mode: Mode,
    /// Addresses.
    pub family: Family,
    /// Cables.
    pub wiring: Wiring,
    /// Rules of Services.
    pub kube_proxy: KubeProxy,
}

impl Options {
    /// The usual: IPv4, cables as `ptp` lays them, one rule for each Service.
    pub fn of(mode: Mode) -> Self {
        Self {
            mode,
            family: Family::V4,
            wiring: Wiring::Ptp,
            kube_proxy: KubeProxy::Iptables,
        }
    }
}

/// Numbers of the pods.
pub const SHOP: u8 = 2;
/// See [`SHOP`].
pub const DEV: u8 = 3;
const GATEWAY_POD: u8 = 10;

const OPERATOR_PORT: u16 = 8443;
const STORE_PORT: u16 = 20_080;
const ADMIN_PORT: u16 = 9494;
const RESOLVE_PORT: u16 = 8444;
const TUNNEL_PORT: u16 = 7843;

/// Whose tokens the operator knows beside the gateway's.
const KNOWN: [Known; 4] = [
    GATEWAY,
    ["token-of-the-node", "landbridge", "node", "node-1"],
    ["token-of-shop", "shop", "default", "shop-1"],
    ["token-of-dev", "dev", "default", "dev-1"],
];

/// A node with two pods, a gateway, a store, an operator and the systems outside.
pub struct World {
    /// What it is like.
    pub options: Options,
    /// Cables and namespaces.
    pub network: Network,
    /// A pod of the namespace `shop`.
    pub shop: Netns,
    /// A pod of another namespace.
    pub dev: Netns,
    gateway_pod: Netns,
    /// The operator's serving half; in the node's namespace.
    pub operator: Operator,
    store: StoreClient,
    /// The store.
    pub store_process: Process,
    /// The gateway.
    pub gateway: Process,
    /// The proxies beside the workloads, as the mode has them.
    pub beside: Vec<Beside>,
    _connector: Option<Process>,
    /// Everything on disk. The last one, so that the logs are there when a test that has failed prints them.
    pub folder: TempDir,
}

impl World {
    /// Builds it, and waits until all of it works.
    pub async fn start(options: Options) -> Self {
        let mut world = Self::without_proxies(options).await;
        match options.mode {
            Mode::Gateway => {}
            Mode::Sidecar => {
                for pod in [world.shop.clone(), world.dev.clone()] {
                    let sidecar = world.start_sidecar(pod.name(), &pod).await;
                    world.beside.push(sidecar);
                }
            }
            Mode::Node => {
                let node = world.start_node(1).await;
                world.beside.push(node);
            }
        }
        world
    }

    /// The same with the gateway alone.
    pub async fn without_proxies(options: Options) -> Self {
        let family = options.family;
        let folder = open_folder();
        let network = Network::new(family, options.wiring, options.kube_proxy);
        let (shop, dev) = (network.pod("shop", SHOP), network.pod("dev", DEV));
        let gateway_pod = network.pod("gateway", GATEWAY_POD);
        let authority = Targets::start(&network.outside, family.outside()).await;
        std::fs::write(folder.path().join("targets.crt"), authority).expect("a file");
        let (store_process, store) = start_store(&folder, &network).await;
        let operator = start_operator(&folder, &network).await;
        tell(&operator, family);
        network.services(&frontends(family));
        let pods = (shop, dev, gateway_pod);
        let gateway = start_gateway(&folder, family, &pods.2).await;
        let mut world = Self {
            options,
            folder,
            network,
            shop: pods.0,
            dev: pods.1,
            gateway_pod: pods.2,
            operator,
            store,
            store_process,
            gateway,
            beside: Vec::new(),
            _connector: None,
        };
        for destination in LANDSCAPE.iter().filter_map(|entry| entry.destination(family)) {
            world.put(destination).await;
        }
        world.pass_on_changes().await;
        world._connector = Some(world.start_connector().await);
        world
    }

    /// A file of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Puts a destination into the store.
    pub async fn put(&self, destination: Value) {
        let config = serde_json::from_value(destination).expect("a destination");
        let store = self.store.clone();
        let put = self.network.node.run(async move { store.put(&config).await });
        put.await.expect("the store takes it");
    }

    /// Takes one away.
    pub async fn delete(&self, name: &'static str) {
        let store = self.store.clone();
        let delete = self.network.node.run(async move { store.delete(name).await });
        delete.await.expect("the store takes it away");
    }

    /// As the operator does: it follows the store's feed, and passes on what it says.
    async fn pass_on_changes(&self) {
        let (store, hub) = (self.store.clone(), self.operator.hub.clone());
        let (tell, told) = tokio::sync::oneshot::channel();
        self.network.node.spawn(async move {
            let mut feed = store.changes(None).await.expect("the store has a feed");
            let mut tell = Some(tell);
            while let Ok(change) = feed.next().await {
                if let FeedChange::Names(names) = change.change {
                    hub.store_changed(StoreChange {
                        instance: Some("default".into()),
                        names: Some(names),
                    });
                }
                tell.take().map(|tell| tell.send(()));
            }
        });
        told.await.expect("the feed begins");
    }

    /// The gateway's address for what this entry is about.
    pub fn gateway_address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.options.family.pod(GATEWAY_POD), port)
    }

    /// What the gateway has counted.
    pub async fn gateway_samples(&self) -> Samples {
        samples(&self.gateway_pod, self.gateway_address(ADMIN_PORT)).await
    }

    /// Starts the gateway again, after it has ended.
    pub async fn restart_gateway(&mut self) {
        self.gateway = start_gateway(&self.folder, self.options.family, &self.gateway_pod).await;
    }

    /// Starts the store again, after it has ended.
    pub async fn restart_store(&mut self) {
        (self.store_process, self.store) = start_store(&self.folder, &self.network).await;
        self.pass_on_changes().await;
    }

    fn operator_url(&self) -> String {
        format!(
            "https://{}",
            SocketAddr::new(self.options.family.node(), OPERATOR_PORT)
        )
    }

    async fn start_connector(&self) -> Process {
        let key = std::fs::read_to_string(self.path("key.json")).expect("the service key");
        let key: Value = serde_json::from_str(&key).expect("JSON");
        let tenant = key["tenantid"].as_str().expect("a subaccount");
        let data = self.file("gateway-data");
        let create = [
            "tunnel",
            "create-token",
            "--data-dir",
            &data,
            "--tenant",
            tenant,
            "--connector",
            "company",
        ];
        let created = run(&create).await;
        assert_eq!(created.code, Some(0), "{created:?}");
        std::fs::write(self.path("connector.token"), created.stdout).expect("a file");
        let text = format!(
            "[[tunnels]]\nserver = \"{}\"\nidentity_dir = \"{}\"\nenrolment_token_file = \"{}\"\n\n\
             [[mappings]]\nvirtual_host = \"erp.company\"\nvirtual_port = 44300\ninternal_host = \"{}\"\n\
             internal_port = {}\nprotocol = \"HTTP\"\n[[mappings.resources]]\npath = \"/\"\n",
            self.gateway_address(TUNNEL_PORT),
            self.file("connector-identity"),
            self.file("connector.token"),
            match self.options.family.outside() {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            },
            Targets::MIRROR,
        );
        std::fs::write(self.path("connector.toml"), text).expect("a file");
        let arguments = [
            "connector".to_owned(),
            "run".to_owned(),
            format!("--config={}", self.file("connector.toml")),
        ];
        let log = self.path("connector.log");
        let connector = self.network.outside.start(&arguments, &log).await;
        let admin = self.gateway_address(ADMIN_PORT);
        eventually("the connector is connected", async || {
            let page = get(&self.gateway_pod, admin, "/tunnels").await?;
            let page: Value = serde_json::from_str(&page).map_err(|error| error.to_string())?;
            match page["sessions"].as_array() {
                Some(sessions) if !sessions.is_empty() => Ok(()),
                _ => Err(connector.log()),
            }
        })
        .await;
        connector
    }
}

/// A folder in which a sidecar, which has a user of its own, can write as well.
fn open_folder() -> TempDir {
    let folder = TempDir::with_prefix("landbridge-netns-").expect("a folder");
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), everybody).expect("it is ours");
    folder
}

/// What kube-proxy knows at the beginning.
fn frontends(family: Family) -> BTreeMap<SocketAddr, SocketAddr> {
    let gateway = family.pod(GATEWAY_POD);
    let services = LANDSCAPE
        .iter()
        .map(|entry| (entry.frontend(family), SocketAddr::new(gateway, entry.port())));
    services.collect()
}

fn tell(operator: &Operator, family: Family) {
    let caller = |namespace: &str| {
        Some(Caller {
            namespace: namespace.into(),
            service_account: "default".into(),
        })
    };
    let routes = LANDSCAPE.iter().map(|entry| entry.route(family)).collect();
    operator.hub.set_routes(routes, Vec::<RouteKey>::new());
    operator.hub.set_workloads(vec![
        (family.pod(SHOP), caller("shop")),
        (family.pod(DEV), caller("dev")),
    ]);
    operator.hub.complete();
}

async fn start_operator(folder: &TempDir, network: &Network) -> Operator {
    let authority = authority();
    std::fs::write(folder.path().join("operator.crt"), &authority.pem).expect("a file");
    for [token, _, account, pod] in KNOWN {
        let file = folder.path().join(if account == "default" {
            format!("{}.token", pod.trim_end_matches("-1"))
        } else {
            format!("{account}.token")
        });
        std::fs::write(file, token).expect("a file");
    }
    let address = SocketAddr::new(network.family.node(), OPERATOR_PORT);
    network
        .node
        .run(async move { Operator::start_at(address, authority, KNOWN.to_vec()).await })
        .await
}

async fn start_store(folder: &TempDir, network: &Network) -> (Process, StoreClient) {
    let file = |name: &str| folder.path().join(name).display().to_string();
    let url = format!("http://{}", SocketAddr::new(network.family.node(), STORE_PORT));
    let _ = std::fs::remove_file(file("store.json"));
    let arguments = [
        "store".to_owned(),
        "serve".to_owned(),
        format!("--data-dir={}", file("store-data")),
        format!("--listen={}", url.trim_start_matches("http://")),
        "--admin-listen=127.0.0.1:0".to_owned(),
        format!("--ready-file={}", file("store.json")),
    ];
    let mut process = network
        .node
        .start(&arguments, &folder.path().join("store.log"))
        .await;
    ready(&mut process, &file("store.json")).await;
    if !folder.path().join("key.json").exists() {
        let ended = run(&[
            "store",
            "create-key",
            "--data-dir",
            &file("store-data"),
            "--url",
            &url,
        ])
        .await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        std::fs::write(file("key.json"), &ended.stdout).expect("a file");
    }
    let key = std::fs::read_to_string(file("key.json")).expect("the service key");
    let client = network.node.run(async move {
        let http = http_client::standard(Dialer::new(AddressPolicy::Any).expect("a dialer"), &[]);
        StoreClient::new(Binding::from_json(&key).expect("a key"), http.expect("a client"))
    });
    (process, client.await)
}

async fn start_gateway(folder: &TempDir, family: Family, pod: &Netns) -> Process {
    let own = family.pod(GATEWAY_POD);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut arguments = common(folder, family, "proxy", SocketAddr::new(own, ADMIN_PORT));
    arguments.extend([
        format!("--listen-address={own}"),
        format!("--tunnel-listen={}", SocketAddr::new(own, TUNNEL_PORT)),
        format!("--tunnel-names={own}"),
        format!("--data-dir={}", file("gateway-data")),
        format!("--destination-service=default={}", file("key.json")),
        format!("--additional-ca={}", file("targets.crt")),
    ]);
    if beside::gateways_resolve() {
        arguments.push(format!("--resolve-listen={}", SocketAddr::new(own, RESOLVE_PORT)));
    }
    let mut process = pod.start(&arguments, &folder.path().join("proxy.log")).await;
    ready(&mut process, &file("proxy.json")).await;
    process
}

/// What all proxies are told. Names of files are those of the process; removes the one that says that it is ready.
fn common(folder: &TempDir, family: Family, name: &str, admin: SocketAddr) -> Vec<String> {
    let file = |name: &str| folder.path().join(name).display().to_string();
    let ready = file(&format!("{name}.json"));
    let _ = std::fs::remove_file(&ready);
    vec![
        "proxy".to_owned(),
        format!(
            "--operator=https://{}",
            SocketAddr::new(family.node(), OPERATOR_PORT)
        ),
        format!("--operator-ca={}", file("operator.crt")),
        format!("--admin-listen={admin}"),
        format!("--token-file={}", file(&format!("{name}.token"))),
        "--destination-ttl=3600".to_owned(),
        "--drain-delay=0".to_owned(),
        format!("--ready-file={ready}"),
    ]
}

/// Waits until a process says so.
async fn ready(process: &mut Process, file: &str) -> Value {
    eventually("the process is ready", async || {
        if let Some(status) = process.ended() {
            return Err(format!("it ended with {status}: {}", process.log()));
        }
        let text = std::fs::read_to_string(file).map_err(|error| format!("{error}: {}", process.log()))?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    })
    .await
}

/// A page of an admin port, asked from a namespace.
async fn get(from: &Netns, admin: SocketAddr, path: &'static str) -> Result<String, String> {
    let answer =
        from.run(async move { client::try_send(admin, client::request("GET", path, &[], "")).await });
    answer.await.map(|answer| answer.text())
}

/// What a proxy has counted.
async fn samples(from: &Netns, admin: SocketAddr) -> Samples {
    let page = get(from, admin, "/metrics")
        .await
        .expect("the admin port answers");
    metrics::samples(&page)
}
