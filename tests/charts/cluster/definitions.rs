//! Definitions of other projects: cert-manager, the Prometheus operator, the vertical autoscaler, Istio. Their Go modules,
//! pinned by tests/tools/definitions, carry them.

use std::path::PathBuf;
use std::process::Command;

use landbridge_tests::control_plane::{ControlPlane, repository};
use serde_json::Value;
use tokio::sync::OnceCell;

/// Module, and the files in it.
const SOURCES: &[(&str, &[&str])] = &[
    (
        "github.com/cert-manager/cert-manager",
        &["deploy/crds/cert-manager.io_certificates.yaml"],
    ),
    (
        "github.com/prometheus-operator/prometheus-operator",
        &[
            "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        ],
    ),
    (
        "k8s.io/autoscaler/vertical-pod-autoscaler",
        &["deploy/vpa-v1-crd-gen.yaml"],
    ),
    ("istio.io/api", &["kubernetes/customresourcedefinitions.gen.yaml"]),
];

/// Installs them; once, however often it is called.
pub async fn install(plane: &ControlPlane) {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_init(async || {
            for (module, files) in SOURCES {
                let folder = downloaded(module);
                for file in *files {
                    let path = folder.join(file);
                    let path = path.to_str().unwrap();
                    plane
                        .kubectl(&["apply", "--server-side", "-f", path])
                        .await
                        .success();
                    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "-f", path];
                    plane.kubectl(&wait).await.success();
                }
            }
        })
        .await;
}

/// The folder of a module in Go's own cache, checked against go.sum.
fn downloaded(module: &str) -> PathBuf {
    let ended = Command::new("go")
        .current_dir(repository().join("tests/tools/definitions"))
        .args(["mod", "download", "-json", module])
        .env("GOWORK", "off")
        .env_remove("GOFLAGS")
        .output()
        .expect("go, which has built the API server");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(
        ended.status.success(),
        "{module}: {said}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let about: Value = serde_json::from_str(&said).expect("JSON");
    PathBuf::from(about["Dir"].as_str().expect("a folder"))
}
