//! The notes. Helm shows them only with a cluster; here the same text is rendered as a manifest, in a copy of the chart.

use std::path::Path;

use landbridge_tests::charts::{chart, template};
use serde_json::Value;
use tempfile::TempDir;

use super::CHART;

/// A copy of the chart, with that of Landbridge in it.
pub(super) fn copy() -> TempDir {
    let folder = TempDir::with_prefix("landbridge-chart-").unwrap();
    copy_folder(&chart(CHART), folder.path());
    folder
}

/// Follows links: the chart of Landbridge is one.
fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// A copy that renders its notes too.
pub(super) fn speaking() -> TempDir {
    let folder = copy();
    let templates = folder.path().join("templates");
    let text = std::fs::read_to_string(templates.join("NOTES.txt")).unwrap();
    let manifest = format!(
        "{{{{- define \"said\" -}}}}{text}{{{{- end -}}}}\nkind: Said\nnotes: {{{{ include \"said\" . | toJson }}}}\n"
    );
    std::fs::write(templates.join("said.yaml"), manifest).unwrap();
    folder
}

/// The notes among what a speaking copy renders.
pub(super) fn notes_of(manifests: &[Value]) -> &str {
    let said = manifests.iter().find(|manifest| manifest["kind"] == "Said");
    said.and_then(|said| said["notes"].as_str()).expect("notes")
}

fn notes(options: &[&str]) -> String {
    let host = "config.servers.businessDataTunnel.externalHost=tunnel.example.com";
    let options = [&["--set", host], options].concat();
    let manifests = template(speaking().path(), "lc", "system", &options).unwrap();
    notes_of(&manifests).to_owned()
}

#[test]
fn they_say_what_to_do_next() {
    let usual = notes(&[]);
    for expected in [
        "kubectl rollout status statefulset/landbridge-connectivity -n system",
        "kubectl exec landbridge-connectivity-0 -n system -- landbridge tunnel create-token --connector my-company > enrolment-token\n",
        "server = \"tunnel.example.com:443\"\n",
        "destination-service-key (key service_key)",
        "--enable-ssl-passthrough",
        "Not served by this version: SOCKS5 (20004)",
        "helm uninstall refuses",
    ] {
        assert!(usual.contains(expected), "{expected} in {usual}");
    }
    for absent in ["without effect", "WARNING", "proxyAccounts", "To know"] {
        assert!(!usual.contains(absent), "{absent} in {usual}");
    }
    let known = notes(&["--set", "config.servers.proxy.socks5.enabled=false"]);
    assert!(!known.contains("SOCKS5"), "{known}");
}

#[test]
fn they_follow_the_values() {
    let subdomain = "config.highAvailabilityMode=subdomain,deployment.replicaCount=2";
    let scaled = "config.highAvailabilityMode=subdomain,deployment.autoscaling.horizontal.enabled=true";
    for (values, expected) in [
        (
            subdomain,
            "server = \"landbridge-connectivity-1.tunnel.example.com:443\"",
        ),
        (
            subdomain,
            "kubectl exec landbridge-connectivity-1 -n system -- landbridge tunnel create-token --connector my-company > enrolment-token-1",
        ),
        (scaled, "only once a connector has enrolled with it"),
        (
            "persistence.enabled=false",
            "Connectors have to enrol again whenever a pod is made anew",
        ),
        (
            "chart.nameSuffix=blue",
            "operator.proxyAccounts: [\"system/landbridge-connectivity-blue\"]",
        ),
        (
            "operator.namespace=elsewhere",
            "copy its ConfigMap landbridge-ca to system",
        ),
        (
            "ingress.tls.secretName=tls",
            "https://healthcheck.tunnel.example.com/healthcheck",
        ),
        (
            "service.type=LoadBalancer",
            "Let tunnel.example.com lead to the address of the load balancer",
        ),
        (
            "ingress.enabled=false,config.servers.businessDataTunnel.externalHost=",
            "server = \"landbridge-connectivity.system.svc:8042\"",
        ),
        (
            "transparent-proxy.enabled=true,transparent-proxy.config.platform.region=us10",
            "- config.platform.region is set, without effect",
        ),
    ] {
        let notes = notes(&["--set", values]);
        assert!(notes.contains(expected), "{values}: {notes}");
    }
}
