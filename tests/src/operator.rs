//! An operator as it is installed: a namespace of its own, a store with its service key in a Secret, the real binary as
//! a process with the rights of its service account alone, and proxies.
//!
//! All installations share one control plane of their own kind, apart from [`ControlPlane::shared`]: what an operator
//! says of `ServiceMapping`s is said of those of the whole cluster. Each looks after the namespaces that carry its label.

mod foreign_store;
mod process;
mod proxy;
mod rights;
mod store;
mod workspace;

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::control_plane::{ControlPlane, Namespace};
use crate::pods::Pods;

pub use foreign_store::ForeignStore;
pub use process::OperatorProcess;
pub use proxy::StubProxy;
pub use rights::{bind_cluster, bind_namespace};
pub use store::{StoreProcess, put};
pub use workspace::{Available, Workspace};

/// Secret with the service key, in the namespace of the installation.
pub const SECRET: &str = "destination-service";

/// Key of the service key in that Secret.
pub const SECRET_KEY: &str = "key.json";

/// Service account of the proxies.
pub const PROXY_ACCOUNT: &str = "landbridge-proxy";

/// The control plane of the operators' suites; one per test process.
pub async fn plane() -> ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    let plane = PLANE.get_or_init(ControlPlane::start).await.clone();
    plane.apply_crds().await;
    plane
}

/// Everything of an installation but its operator.
pub struct Installation {
    /// Where it is.
    pub plane: ControlPlane,
    /// Its namespace.
    pub system: Namespace,
    /// Its store.
    pub store: StoreProcess,
    /// Pods of its namespace.
    pub pods: Pods,
    folder: TempDir,
}

impl Installation {
    /// On the control plane of the operators' suites.
    pub async fn new(prefix: &str) -> Self {
        Self::on(&plane().await, prefix).await
    }

    /// On a control plane of the test's own.
    pub async fn on(plane: &ControlPlane, prefix: &str) -> Self {
        let folder = TempDir::with_prefix("landbridge-test-").expect("a temporary folder");
        let system = plane.namespace(&format!("{prefix}-system")).await;
        let store = StoreProcess::start(folder.path()).await;
        let pods = Pods::of(plane, &system).await;
        pods.account(PROXY_ACCOUNT).await;
        let this = Self {
            plane: plane.clone(),
            system,
            store,
            pods,
            folder,
        };
        this.put_key(&this.store.key().await).await;
        this
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts this text into the Secret of the service key.
    pub async fn put_key(&self, text: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET},
            "stringData": {SECRET_KEY: text},
        });
        self.secrets()
            .await
            .patch(
                SECRET,
                &PatchParams::apply("tests").force(),
                &Patch::Apply(secret),
            )
            .await
            .expect("the Secret");
    }

    /// Secrets of its namespace.
    pub async fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.plane.client().await, self.system.name())
    }

    /// A namespace that it looks after.
    pub async fn workspace(&self, prefix: &str) -> Workspace {
        Workspace::create(&self.plane, prefix, Some(self.system.name())).await
    }

    /// A service account of this name in its namespace, and a kubeconfig with it.
    pub async fn account(&self, name: &str) -> PathBuf {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        let accounts: Api<ServiceAccount> = Api::namespaced(self.plane.client().await, self.system.name());
        accounts
            .patch(name, &PatchParams::apply("tests"), &Patch::Apply(account))
            .await
            .expect("the service account");
        self.plane.service_account(self.system.name(), name).await
    }

    /// Starts a replica of the operator with the rights that a whole cluster takes, and waits until it has listed
    /// everything. Its service account and its identity are `name`; `options` come last on the command line.
    pub async fn operator(&self, name: &str, options: &[&str]) -> OperatorProcess {
        let mut operator = self.launch(name, options).await;
        operator.until_listed().await;
        operator
    }

    /// The same, without waiting.
    pub async fn launch(&self, name: &str, options: &[&str]) -> OperatorProcess {
        let kubeconfig = self.account(name).await;
        rights::bind_installation(self, name, options).await;
        let mut all = vec!["--managed-namespaces", "labelSelector"];
        all.extend(options);
        OperatorProcess::start(self, name, &kubeconfig, &all)
    }

    /// The same, but without rights: the test gives them.
    pub async fn launch_without_rights(&self, name: &str, options: &[&str]) -> OperatorProcess {
        let kubeconfig = self.account(name).await;
        OperatorProcess::start(self, name, &kubeconfig, options)
    }

    /// Starts a proxy that serves what it is told by these replicas, and waits until it follows one.
    pub async fn proxy(&self, name: &str, operators: &[&OperatorProcess]) -> StubProxy {
        let servers = operators.iter().map(|operator| operator.serve()).collect();
        StubProxy::start(self, name, servers).await
    }
}
