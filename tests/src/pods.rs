//! Pods as a kubelet would have them: there is none here, so tests say what became of a pod.

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use secrecy::SecretString;
use serde_json::json;

use crate::control_plane::{ControlPlane, Namespace};

/// Pods of one namespace. There is no scheduler and no kubelet: the tests say what became of a pod.
#[derive(Clone)]
pub struct Pods {
    api: Api<Pod>,
    accounts: Api<ServiceAccount>,
}

impl Pods {
    /// Those of `namespace`.
    pub async fn of(plane: &ControlPlane, namespace: &Namespace) -> Self {
        let client = plane.client().await;
        Self {
            api: Api::namespaced(client.clone(), namespace.name()),
            accounts: Api::namespaced(client, namespace.name()),
        }
    }

    /// Makes a service account.
    pub async fn account(&self, name: &str) {
        let account = serde_json::from_value(json!({ "metadata": { "name": name } })).expect("an account");
        self.accounts
            .create(&PostParams::default(), &account)
            .await
            .expect("created");
    }

    /// Makes a pod; returns its uid.
    pub async fn create(&self, name: &str, account: &str, host_network: bool) -> String {
        let pod = json!({
            "metadata": { "name": name },
            "spec": {
                "serviceAccountName": account,
                "hostNetwork": host_network,
                "containers": [{ "name": "main", "image": "none" }],
            },
        });
        let pod = serde_json::from_value(pod).expect("a pod");
        let pod = self
            .api
            .create(&PostParams::default(), &pod)
            .await
            .expect("created");
        pod.metadata.uid.expect("a uid")
    }

    /// It runs at these addresses, and passes its readiness probe or not.
    pub async fn runs(&self, name: &str, addresses: &[&str], ready: bool) {
        let ips: Vec<_> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
        let ready = if ready { "True" } else { "False" };
        self.status(
            name,
            &json!({
                "phase": "Running",
                "podIP": addresses[0],
                "podIPs": ips,
                "conditions": [{ "type": "Ready", "status": ready }],
            }),
        )
        .await;
    }

    /// Its status is this.
    pub async fn status(&self, name: &str, status: &serde_json::Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .expect("patched");
    }

    /// It is gone, at once.
    pub async fn delete(&self, name: &str) {
        let now = DeleteParams::default().grace_period(0);
        self.api.delete(name, &now).await.expect("deleted");
    }

    /// As a kubelet asks for a projected token.
    pub async fn token(&self, account: &str, pod: &str, uid: &str, audience: &str) -> SecretString {
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec![audience.to_owned()],
                expiration_seconds: Some(600),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(pod.to_owned()),
                    uid: Some(uid.to_owned()),
                }),
            },
            ..TokenRequest::default()
        };
        let answer = self
            .accounts
            .create_token_request(account, &PostParams::default(), &request)
            .await;
        SecretString::from(answer.expect("a token").status.expect("a status").token)
    }
}
