//! Rights of an operator's service account: the manifests of `examples/rbac`, and nothing else, so that a missing one
//! shows.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::Installation;
use crate::control_plane::ControlPlane;

const CLUSTER: &str = include_str!("../../../examples/rbac/cluster.yaml");
const EVICTION: &str = include_str!("../../../examples/rbac/eviction.yaml");
const INJECTION: &str = include_str!("../../../examples/rbac/injection.yaml");
const INSTALL: &str = include_str!("../../../examples/rbac/install.yaml");
const NAMESPACED: &str = include_str!("../../../examples/rbac/namespaced.yaml");
const PODS: &str = include_str!("../../../examples/rbac/pods.yaml");
const TOKEN_REVIEW: &str = include_str!("../../../examples/rbac/token-review.yaml");

/// Everything that an operator of the whole cluster needs with these options.
pub(super) async fn bind_installation(installation: &Installation, account: &str, options: &[&str]) {
    let (plane, system) = (&installation.plane, installation.system.name());
    bind_cluster(plane, CLUSTER, system, account).await;
    let given = |option: [&str; 2]| options.windows(2).any(|pair| pair == option);
    if given(["--inject", "on"]) {
        bind_cluster(plane, INJECTION, system, account).await;
    }
    if given(["--unproven-pods", "delete"]) {
        bind_cluster(plane, EVICTION, system, account).await;
    }
    bind_namespace(plane, INSTALL, system, system, account).await;
}

impl Installation {
    /// Everything that an operator of one namespace needs.
    pub async fn bind_namespaced(&self, namespace: &str, account: &str) {
        let system = self.system.name();
        bind_namespace(&self.plane, INSTALL, system, system, account).await;
        bind_namespace(&self.plane, PODS, system, system, account).await;
        bind_namespace(&self.plane, NAMESPACED, namespace, system, account).await;
        bind_cluster(&self.plane, TOKEN_REVIEW, system, account).await;
    }
}

/// Applies a ClusterRole and gives it to a service account of `system`.
pub async fn bind_cluster(plane: &ControlPlane, role: &str, system: &str, account: &str) {
    bind(plane, role, None, system, account).await;
}

/// Applies a Role in `namespace` and gives it to a service account of `system`.
pub async fn bind_namespace(plane: &ControlPlane, role: &str, namespace: &str, system: &str, account: &str) {
    bind(plane, role, Some(namespace), system, account).await;
}

async fn bind(plane: &ControlPlane, role: &str, namespace: Option<&str>, system: &str, account: &str) {
    let role: Value = serde_saphyr::from_str(role).expect("a manifest");
    let (kind, name) = (role["kind"].clone(), role["metadata"]["name"].clone());
    let role_name = name.as_str().expect("a name");
    let binding_name = match namespace {
        Some(_) => format!("{role_name}-{account}"),
        None => format!("{role_name}-{system}-{account}"),
    };
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": format!("{}Binding", kind.as_str().expect("a kind")),
        "metadata": {"name": binding_name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": system}],
    });
    let client = plane.client().await;
    for object in [role, binding] {
        apply(client.clone(), namespace, object).await;
    }
}

async fn apply(client: Client, namespace: Option<&str>, object: Value) {
    let kind = object["kind"].as_str().expect("a kind");
    let kind = GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", kind);
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let name = object["metadata"]["name"].as_str().expect("a name");
    api.patch(name, &PatchParams::apply("tests").force(), &Patch::Apply(&object))
        .await
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}
