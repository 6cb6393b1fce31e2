//! An installation as the charts leave it, with processes in place of containers.

use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use landbridge_destination::serve::AUDIENCE;
use landbridge_tests::control_plane::ControlPlane;
use landbridge_tests::operator::{Installation, OperatorProcess, PROXY_ACCOUNT, SECRET, SECRET_KEY};
use landbridge_tests::process::Process;
use landbridge_tests::{eventually, free_port};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{Checked, until};

pub(super) struct Site {
    pub(super) installation: Installation,
    pub(super) operator: OperatorProcess,
    pub(super) proxy: Process,
    /// Pod of the operator, which the controllers of the cluster made.
    pub(super) pod: String,
    pub(super) webhook: String,
    address: String,
}

/// An address of this machine that the API server may call: it refuses loopback.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Nothing is sent: the route says which address would be used.
    socket
        .connect("198.51.100.1:9")
        .expect("a route; this test needs an address other than loopback");
    socket.local_addr().expect("an address").ip()
}

impl Site {
    pub(super) async fn start(plane: &ControlPlane) -> Self {
        plane.apply_crds().await;
        let installation = Installation::on(plane, "checked").await;
        let address = own_address().to_string();
        let (admin, webhook_port) = (free_port(), free_port());
        let listen = format!("127.0.0.1:{webhook_port}");
        let webhook = format!("https://{listen}");
        let admin_listen = format!("0.0.0.0:{admin}");
        let options = [
            "--admin-listen",
            &admin_listen,
            "--webhook-listen",
            &listen,
            "--webhook-url",
            &webhook,
        ];
        let operator = installation.operator("landbridge-operator", &options).await;
        deploy(&installation, admin).await;
        let pod = own_pod(&installation).await;
        installation.pods.runs(&pod, &[&address], true).await;
        let proxy = start_proxy(&installation, &operator, &address).await;
        Self {
            installation,
            operator,
            proxy,
            pod,
            webhook,
            address,
        }
    }

    pub(super) fn plane(&self) -> &ControlPlane {
        &self.installation.plane
    }

    /// Says whether these pods pass their readiness probes: there is no kubelet.
    pub(super) async fn ready(&self, pod: &str, ready: bool) {
        self.installation.pods.runs(pod, &[&self.address], ready).await;
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.plane().kubeconfig()
    }

    pub(super) fn options(&self) -> [&str; 2] {
        ["-n", self.installation.system.name()]
    }

    pub(super) async fn check(&self) -> Checked {
        Checked::run(&self.kubeconfig(), &self.options()).await
    }

    /// Checks until there is this line: result, name, parts of message and remedy.
    pub(super) async fn until(&self, line: (&str, &str, &str, &str)) {
        until(&self.kubeconfig(), &self.options(), line).await;
    }

    /// Checks until nothing has failed.
    pub(super) async fn until_well(&self) {
        eventually("all is well", async || {
            let checked = self.check().await;
            if checked.code == Some(0) {
                Ok(())
            } else {
                Err(format!("{checked:#?}"))
            }
        })
        .await;
    }

    pub(super) async fn kubectl(&self, arguments: &[&str]) -> String {
        self.installation.system.kubectl(arguments).await.success()
    }
}

/// The Deployment as the chart has it, as far as it is looked at.
async fn deploy(installation: &Installation, admin: u16) {
    let labels = json!({"app.kubernetes.io/name": "landbridge", "app.kubernetes.io/component": "operator"});
    let instance = format!(
        "--destination-service=default=secret:{}/{SECRET}/{SECRET_KEY}",
        installation.system.name()
    );
    let container = json!({"name": "operator", "image": "none", "ports": [{"name": "admin", "containerPort": admin}],
        "args": ["operator", instance, "--managed-namespaces=labelSelector"]});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "landbridge-operator"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"serviceAccountName": "landbridge-operator", "containers": [container]}}}});
    installation.system.apply(&deployment.to_string()).await.success();
}

async fn pods(installation: &Installation) -> Api<Pod> {
    Api::namespaced(installation.plane.client().await, installation.system.name())
}

async fn own_pod(installation: &Installation) -> String {
    let pods = pods(installation).await;
    let selected = ListParams::default().labels("app.kubernetes.io/component=operator");
    eventually("the controllers make the pod", async || {
        let found = pods.list(&selected).await.map_err(|error| error.to_string())?;
        found
            .items
            .first()
            .map(Pod::name_any)
            .ok_or_else(|| "not yet".to_owned())
    })
    .await
}

/// A pod, and a real proxy that is it.
async fn start_proxy(installation: &Installation, operator: &OperatorProcess, address: &str) -> Process {
    let admin = free_port();
    let labels = json!({"app.kubernetes.io/name": "landbridge", "app.kubernetes.io/component": "proxy",
        "landbridge.dev/mode": "connectivity"});
    let container =
        json!({"name": "proxy", "image": "none", "ports": [{"name": "admin", "containerPort": admin}]});
    let pod = json!({"metadata": {"name": "proxy", "labels": labels},
        "spec": {"serviceAccountName": PROXY_ACCOUNT, "containers": [container]}});
    let pod = serde_json::from_value(pod).expect("a pod");
    let created = pods(installation)
        .await
        .create(&PostParams::default(), &pod)
        .await
        .expect("created");
    installation.pods.runs("proxy", &[address], true).await;
    let uid = created.metadata.uid.expect("a uid");
    let token = installation
        .pods
        .token(PROXY_ACCOUNT, "proxy", &uid, AUDIENCE)
        .await;
    let path = |name: &str| installation.path(name).to_str().expect("a path").to_owned();
    std::fs::write(path("token"), token.expose_secret()).expect("written");
    std::fs::write(path("key.json"), installation.store.key().await).expect("written");
    let bundle = "jsonpath={.data.ca\\.crt}";
    let authority = eventually("the authority is published", async || {
        let asked = installation
            .system
            .kubectl(&["get", "configmap", "landbridge-ca", "-o", bundle])
            .await;
        if asked.code == Some(0) {
            Ok(asked.stdout)
        } else {
            Err(asked.stderr)
        }
    })
    .await;
    std::fs::write(path("ca.crt"), authority).expect("written");
    let (server, listen) = (
        format!("https://{}", operator.serve()),
        format!("0.0.0.0:{admin}"),
    );
    let (authority, token, state) = (path("ca.crt"), path("token"), path("state.json"));
    let (key, log) = (
        format!("default={}", path("key.json")),
        installation.path("proxy.log"),
    );
    let arguments = [
        ["proxy", "--allow-local-targets"],
        ["--operator", &server],
        ["--operator-ca", &authority],
        ["--token-file", &token],
        ["--state-file", &state],
        ["--listen-address", "127.0.0.1"],
        ["--admin-listen", &listen],
        ["--destination-service", &key],
        ["--drain", "1"],
    ];
    Process::start(&arguments.concat(), &log)
}
