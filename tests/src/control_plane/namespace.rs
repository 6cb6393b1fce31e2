//! A namespace per test.

use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{ControlPlane, Ended};
use crate::eventually;

/// A namespace that is deleted when dropped, as far as that is possible: an end of the whole control plane is one too.
pub struct Namespace {
    name: String,
    plane: ControlPlane,
}

impl Namespace {
    pub(super) async fn create(plane: &ControlPlane, prefix: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("{prefix}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        plane.kubectl(&["create", "namespace", &name]).await.success();
        // The controller manager makes it; a Pod that is created earlier is refused.
        eventually(&format!("the service account default of {name}"), async || {
            let found = plane
                .kubectl(&["get", "serviceaccount", "default", "-n", &name])
                .await;
            (found.code == Some(0)).then_some(()).ok_or(found.stderr)
        })
        .await;
        Self {
            name,
            plane: plane.clone(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `kubectl ARGUMENTS -n NAMESPACE`.
    pub async fn kubectl(&self, arguments: &[&str]) -> Ended {
        let arguments = [arguments, &["-n", &self.name]].concat();
        self.plane.kubectl(&arguments).await
    }

    /// `kubectl apply -n NAMESPACE -f -` of a manifest, YAML or JSON.
    pub async fn apply(&self, manifest: &str) -> Ended {
        self.plane
            .kubectl_with(&["apply", "-n", &self.name, "-f", "-"], manifest)
            .await
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let running = &self.plane.inner.running;
        let mut kubectl = running.kubectl(&running.kubeconfig());
        kubectl
            .args([
                "delete",
                "namespace",
                &self.name,
                "--wait=false",
                "--request-timeout=5s",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // A few milliseconds of a test that is over; the API server may be away.
        let _ = kubectl.status();
    }
}
