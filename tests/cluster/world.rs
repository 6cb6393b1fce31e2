//! One installation on one real node, shared by the suites: made by the very commands of README.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use landbridge_test_node::{Cluster, Ended, Options};
use landbridge_tests::control_plane::repository;
use landbridge_tests::{eventually, tour};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::company::Backends;
use crate::images;

/// Where Landbridge is installed.
pub const SYSTEM: &str = "landbridge-system";

/// Where an application is, under the strictest Pod Security level.
pub const SHOP: &str = "shop";

/// Where another one is.
pub const OTHER: &str = "other";

/// Where the systems of the "Internet" are.
pub const BACKENDS: &str = "backends";

/// Where connectors reach the tunnel, on the node's address.
pub const TUNNEL_PORT: u16 = 30_842;

/// A cluster with Landbridge in it.
pub struct World {
    pub cluster: Cluster,
    /// Systems that only the company network can reach.
    pub company: Backends,
}

/// The shared one, made by the first test that asks. Nobody stops it: it ends with this process.
pub async fn world() -> &'static World {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    static TRIED: AtomicBool = AtomicBool::new(false);
    // What failed once fails for every test, and each attempt may wait for minutes.
    assert!(
        WORLD.initialized() || !TRIED.swap(true, Ordering::SeqCst),
        "the installation could not be made, see the first failure"
    );
    WORLD
        .get_or_init(async || {
            let world = bare(Options::default()).await;
            tour::take_in(
                &words(&world.cluster.enter()),
                include_str!("../../README.md"),
                "cluster",
                &pairs(&world.cluster.environment()),
            )
            .await;
            world.workloads().await;
            world.company.connect(&world, "my-company").await;
            world
        })
        .await
}

/// A node with the images and volumes that an installation needs, and the company beside it.
pub async fn bare(options: Options) -> World {
    let cluster = Cluster::start(options).await.expect("a node");
    for image in [
        images::landbridge(),
        images::probe(),
        images::clients(),
        images::curl(),
    ] {
        cluster.import(&image).await.expect("an image");
    }
    let company = Backends::start(&cluster).await;
    let world = World { cluster, company };
    world.volumes().await;
    world
        .apply("", &format!("{}\n---\n{}", namespaces(), backend()))
        .await;
    world
}

pub fn words(owned: &[String]) -> Vec<&str> {
    owned.iter().map(String::as_str).collect()
}

pub fn pairs(owned: &[(String, String)]) -> Vec<(&str, &str)> {
    owned
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

impl World {
    pub async fn kubectl(&self, arguments: &[&str]) -> Ended {
        self.cluster.kubectl(arguments).await
    }

    /// `helm`, from the root of the repository.
    pub async fn helm(&self, arguments: &[&str]) -> Ended {
        self.cluster.helm(&repository(), arguments).await
    }

    /// Applies a manifest in a namespace; empty: the manifest says which.
    pub async fn apply(&self, namespace: &str, manifest: &str) -> String {
        let scope: &[&str] = if namespace.is_empty() {
            &[]
        } else {
            &["-n", namespace]
        };
        let arguments = [&["apply", "-f", "-"], scope].concat();
        self.cluster.kubectl_with(&arguments, manifest).await.success()
    }

    /// Waits until a pod is ready.
    pub async fn pod_ready(&self, namespace: &str, name: &str) {
        let pod = format!("pod/{name}");
        let wait = [
            "wait",
            "--for=condition=Ready",
            &pod,
            "-n",
            namespace,
            "--timeout=60s",
        ];
        self.kubectl(&wait).await.success();
    }

    /// A command in the client pod of a namespace.
    pub async fn exec(&self, namespace: &str, command: &[&str]) -> Ended {
        let arguments = [&["exec", "-n", namespace, "client", "--"], command].concat();
        self.cluster.kubectl(&arguments).await
    }

    /// What a client pod gets: status line, headers and body.
    pub async fn curl(&self, namespace: &str, arguments: &[&str]) -> String {
        let command = [&["curl", "-s", "-i", "-m", "20"], arguments].concat();
        self.exec(namespace, &command).await.success()
    }

    /// Calls until the answer holds `wanted`: the node programs a new Service within a second or so.
    pub async fn curl_until(&self, namespace: &str, arguments: &[&str], wanted: &str) -> String {
        let command = [&["curl", "-s", "-i", "-m", "20"], arguments].concat();
        eventually(&format!("{arguments:?} in {namespace}"), async || {
            let ended = self.exec(namespace, &command).await;
            if ended.stdout.contains(wanted) {
                Ok(ended.stdout)
            } else {
                Err(format!("no '{wanted}' in {} {}", ended.stdout, ended.stderr))
            }
        })
        .await
    }

    /// Creates or replaces a destination of the store.
    pub async fn put(&self, destination: &Value) {
        let command = [
            "exec",
            "-i",
            "-n",
            SYSTEM,
            "landbridge-store-0",
            "--",
            "landbridge",
            "store",
            "put",
            "-",
        ];
        self.cluster
            .kubectl_with(&command, &destination.to_string())
            .await
            .success();
    }

    /// Declares a destination of the store under its own name, and waits until it is ready.
    pub async fn declare(&self, namespace: &str, name: &str, more: Value) {
        let mut spec = json!({"destinationRef": {"name": name}});
        if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
            spec.extend(more);
        }
        let manifest = json!({
            "apiVersion": "destination.connectivity.api.sap/v1", "kind": "Destination",
            "metadata": {"name": name}, "spec": spec,
        });
        self.apply(namespace, &manifest.to_string()).await;
        let resource = format!("dst/{name}");
        let wait = [
            "wait",
            "--for=condition=Ready",
            &resource,
            "-n",
            namespace,
            "--timeout=60s",
        ];
        self.kubectl(&wait).await.success();
    }

    /// Puts and declares one that is on the "Internet", with a password.
    pub async fn internet(&self, namespace: &str, name: &str) {
        self.put(&json!({
            "Name": name, "Type": "HTTP", "URL": format!("http://echo.{BACKENDS}.svc.cluster.local"),
            "ProxyType": "Internet", "Authentication": "BasicAuthentication", "User": "me", "Password": "s3cret",
        }))
        .await;
        self.declare(namespace, name, json!({})).await;
    }

    /// Client pods where the applications are.
    async fn workloads(&self) {
        self.apply(SHOP, &client()).await;
        self.apply(OTHER, &client()).await;
        for namespace in [SHOP, OTHER, BACKENDS] {
            let wait = [
                "wait",
                "--for=condition=Ready",
                "pod",
                "--all",
                "-n",
                namespace,
                "--timeout=60s",
            ];
            self.kubectl(&wait).await.success();
        }
    }

    /// Volumes for those who claim one: there is no storage class here.
    async fn volumes(&self) {
        for number in 0..3 {
            let path = self.volume(number);
            std::fs::create_dir_all(&path).expect("a folder");
            // What a provisioner does: the volume belongs to the group of the pod.
            std::os::unix::fs::chown(&path, Some(65_532), Some(65_532)).expect("root");
            let volume = json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("volume-{number}")},
                "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": path},
                    "persistentVolumeReclaimPolicy": "Retain", "nodeAffinity": {"required": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node1"]}]}]}}},
            });
            self.apply("", &volume.to_string()).await;
        }
    }

    fn volume(&self, number: usize) -> PathBuf {
        self.cluster.folder().join(format!("volume-{number}"))
    }
}

fn namespaces() -> String {
    let namespace = |name: &str, labels: Value| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
            .to_string()
    };
    let restricted = || json!({"pod-security.kubernetes.io/enforce": "restricted"});
    [
        namespace(SYSTEM, restricted()),
        namespace(SHOP, restricted()),
        namespace(OTHER, json!({})),
        namespace(BACKENDS, json!({})),
    ]
    .join("\n---\n")
}

/// Something to call that is no part of Landbridge: it answers with what it was asked.
fn backend() -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: echo, namespace: {BACKENDS}, labels: {{app: echo}}}}
spec:
  containers: [{{name: echo, image: "test.local/probe:test", args: [serve, ":8080", --name, echo]}}]
---
apiVersion: v1
kind: Service
metadata: {{name: echo, namespace: {BACKENDS}}}
spec: {{selector: {{app: echo}}, ports: [{{port: 80, targetPort: 8080}}]}}
"#
    )
}

/// An application's pod, as the level `restricted` wants it.
pub fn client() -> String {
    pod("client", "test.local/clients:test", &["sleep", "infinity"])
}

/// A pod with an image that has nothing but a static client.
pub fn pod(name: &str, image: &str, command: &[&str]) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": 1,
            "restartPolicy": "Never",
            "containers": [{"name": name, "image": image, "command": command, "securityContext":
                {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        },
    })
    .to_string()
}
