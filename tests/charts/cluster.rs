//! What a real API server says of the charts, and what becomes of them in it.

mod definitions;
pub mod life;
mod page;
pub mod schemas;

use landbridge_tests::charts::values_files;
use landbridge_tests::control_plane::ControlPlane;
use serde_json::Value;

use crate::landbridge::rendered;

/// The control plane with everything that the charts may have resources of.
pub async fn plane() -> ControlPlane {
    let plane = ControlPlane::shared().await;
    definitions::install(&plane).await;
    plane
}

/// Namespace of the values files, with the strictest level of Pod Security.
pub async fn namespaces(plane: &ControlPlane) {
    let level = |mode: &str| format!("    pod-security.kubernetes.io/{mode}: restricted\n");
    let labels: String = ["enforce", "warn", "audit"].map(level).concat();
    let manifest = |name: &str| {
        format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n{labels}")
    };
    let both = ["system", "shop"].map(manifest).join("---\n");
    plane
        .kubectl_with(&["apply", "--server-side", "-f", "-"], &both)
        .await
        .success();
}

/// Manifests as one that kubectl takes.
pub fn text(manifests: &[Value]) -> String {
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": manifests});
    list.to_string()
}

/// Stricter than any schema: defaults, validation and admission of the API server itself, unknown fields refused, and no
/// warning, so nothing that is deprecated or would be stopped by Pod Security "restricted".
#[tokio::test]
async fn the_api_server_takes_every_values_file() {
    let plane = plane().await;
    namespaces(&plane).await;
    for (file, manifests) in rendered() {
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        let ended = plane.kubectl_with(&arguments, &text(&manifests)).await;
        if file == "ipv6" {
            only_ip_families(&ended.stderr, 4);
            continue;
        }
        assert_eq!(ended.code, Some(0), "{file}: {}", ended.stderr);
        only_of_nodes(&file, &manifests, &ended.stderr);
        assert_eq!(ended.stdout.lines().count(), manifests.len(), "{file}");
    }
}

/// Proxies of nodes, where there are any, have more than "restricted" allows: this, and nothing else.
fn only_of_nodes(file: &str, manifests: &[Value], said: &str) {
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("Warning")).collect();
    if manifests.iter().all(|one| one["kind"] != "DaemonSet") {
        assert_eq!(warnings, [""; 0], "{file}");
        return;
    }
    assert_eq!(warnings.len(), 1, "{file}: {said}");
    let (_, violations) = warnings[0]
        .split_once("PodSecurity \"restricted:latest\": ")
        .unwrap();
    let mut seen: Vec<&str> = violations
        .split("), ")
        .map(|one| one.split(" (").next().unwrap())
        .collect();
    seen.sort_unstable();
    let allowed = [
        "host namespaces",
        "runAsNonRoot != true",
        "runAsUser=0",
        "unrestricted capabilities",
    ];
    assert_eq!(seen, allowed, "{file}: {said}");
}

/// This API server has IPv4 alone, and that is the only thing it may have against a file with IPv6.
pub fn only_ip_families(said: &str, services: usize) {
    let complaints: Vec<_> = said.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(complaints.len(), services, "one for each Service: {said}");
    for complaint in complaints {
        let parts = complaint.matches("Invalid value").count();
        let expected = complaint.matches("not configured").count();
        assert!(
            complaint.contains("Service") && parts == 2 && expected == 2,
            "{complaint}"
        );
    }
}

/// For those who check manifests where there is no API server.
#[tokio::test]
async fn the_schemas_take_every_values_file() {
    let plane = plane().await;
    let folder = schemas::write(&plane).await;
    let mut checked = 0;
    for (file, manifests) in rendered() {
        let said = schemas::check(folder.path(), &manifests);
        assert!(said.is_ok(), "{file}: {}", said.unwrap_err());
        checked += manifests.len();
    }
    assert!(checked > values_files("landbridge").len() * 10, "{checked}");
    // A check that cannot fail would be none.
    let wrong = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"prots": []},
    });
    let said = schemas::check(folder.path(), &[wrong]).unwrap_err();
    assert!(said.contains("prots"), "{said}");
}
