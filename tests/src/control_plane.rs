//! A real Kubernetes API server for tests: one per test process, one namespace per test.
//!
//! [`ControlPlane::shared`] for what leaves other tests alone; [`ControlPlane::start`] gives one of its own to a test
//! that takes the API server away, or counts what everybody writes.

mod kubectl;
mod namespace;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::OnceCell;

use crate::audit;

pub use landbridge_control_plane::Ended;
pub use namespace::Namespace;

/// A running control plane: etcd, kube-apiserver, kube-controller-manager.
#[derive(Clone)]
pub struct ControlPlane {
    inner: Arc<Inner>,
}

struct Inner {
    running: landbridge_control_plane::ControlPlane,
    definitions: OnceCell<()>,
}

impl ControlPlane {
    /// The one of this test process, started by whoever comes first; ends with the process.
    ///
    /// Panics with what is missing when it cannot be built, and with the log of the server that did not start.
    pub async fn shared() -> Self {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await.clone()
    }

    /// One of the caller's own (320 MiB, 4 s); ends when the last copy is dropped.
    pub async fn start() -> Self {
        // Straight to the terminal: a build of minutes must not look like a test that hangs.
        let started = tokio::task::spawn_blocking(|| {
            landbridge_control_plane::ControlPlane::start(&mut |line: &str| {
                use std::io::Write;
                let _ = writeln!(std::io::stderr(), "control plane: {line}");
            })
        });
        let running = started.await.expect("the start does not panic");
        Self {
            inner: Arc::new(Inner {
                running: running.unwrap_or_else(|error| panic!("no control plane: {error:#}")),
                definitions: OnceCell::new(),
            }),
        }
    }

    /// Kubeconfig of a user who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.inner.running.kubeconfig()
    }

    /// Where the API server is called.
    pub fn url(&self) -> String {
        self.inner.running.url()
    }

    /// The authority of its certificate, PEM.
    pub fn authority(&self) -> &str {
        self.inner.running.authority()
    }

    /// Client of a user who may do everything. New at each call: a client belongs to the runtime of its test.
    pub async fn client(&self) -> Client {
        self.client_of(&self.kubeconfig()).await
    }

    /// Client of the user of `kubeconfig`.
    pub async fn client_of(&self, kubeconfig: &Path) -> Client {
        let file = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
        let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .expect("a complete kubeconfig");
        config.connect_timeout = Some(Duration::from_secs(10));
        Client::try_from(config).expect("a client")
    }

    /// Kubeconfig of a user with a client certificate, in one group at most; RBAC grants it nothing yet.
    pub fn user(&self, name: &str, group: Option<&str>) -> PathBuf {
        self.inner.running.user(name, group).expect("a user")
    }

    /// Kubeconfig of a service account, which must exist, with a token of one hour for the API server.
    pub async fn service_account(&self, namespace: &str, name: &str) -> PathBuf {
        let token = self.token(namespace, name, &[]).await;
        let user = format!("{namespace}.{name}");
        self.inner.running.token_user(&user, &token).expect("a user")
    }

    /// A token of a service account, for `audiences`, or for the API server when there are none.
    pub async fn token(&self, namespace: &str, name: &str, audiences: &[&str]) -> String {
        let mut arguments = vec!["create", "token", name, "-n", namespace, "--duration=1h"];
        for audience in audiences {
            arguments.extend(["--audience", audience]);
        }
        self.kubectl(&arguments).await.success().trim().to_owned()
    }

    /// Installs everything of `crds/yaml` and waits until the API server serves it; once, however often it is called.
    pub async fn apply_crds(&self) {
        let install = async || {
            let folder = repository().join("crds/yaml");
            let folder = folder.to_str().expect("a path");
            let (flag, manager) = ("--server-side", "--field-manager=tests");
            self.kubectl(&["apply", flag, manager, "-f", folder])
                .await
                .success();
            self.kubectl(&[
                "wait",
                "--for=condition=Established",
                "--timeout=60s",
                "-f",
                folder,
            ])
            .await
            .success();
        };
        self.inner.definitions.get_or_init(install).await;
    }

    /// A namespace of the caller's own, whose name begins with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> Namespace {
        Namespace::create(self, prefix).await
    }

    /// Takes the API server away, at once. For a control plane of the caller's own only.
    pub async fn stop_apiserver(&self) {
        let this = self.clone();
        let stop = tokio::task::spawn_blocking(move || this.inner.running.stop_apiserver());
        stop.await.expect("it does not panic");
    }

    /// Brings it back on the same port with everything it knew, and waits until it is ready.
    pub async fn start_apiserver(&self) {
        let this = self.clone();
        let start = tokio::task::spawn_blocking(move || this.inner.running.start_apiserver());
        start
            .await
            .expect("it does not panic")
            .expect("the API server comes back");
    }

    /// Both, one after the other.
    pub async fn restart_apiserver(&self) {
        self.stop_apiserver().await;
        self.start_apiserver().await;
    }

    /// The audit log: a line of JSON per answered request.
    pub fn audit_log(&self) -> PathBuf {
        self.inner.running.audit_log()
    }

    /// Now, for [`Self::audit_since`].
    pub fn audit_mark(&self) -> audit::Mark {
        audit::mark(&self.audit_log())
    }

    /// What has been asked since `mark`.
    pub fn audit_since(&self, mark: audit::Mark) -> Vec<audit::Event> {
        audit::since(&self.audit_log(), mark)
    }

    /// Name and process id of each of its processes.
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        self.inner.running.processes()
    }
}

/// The root folder of the checkout.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ is in the repository").to_owned()
}
