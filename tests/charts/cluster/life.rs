//! Install, upgrade, roll back, uninstall, install again.

use std::path::PathBuf;

use landbridge_tests::charts::{chart, helm};
use landbridge_tests::control_plane::ControlPlane;

/// An installation of the charts on a control plane of its own.
pub struct Life {
    pub plane: ControlPlane,
    kubeconfig: PathBuf,
}

impl Life {
    /// A control plane without anything.
    pub async fn new() -> Self {
        let plane = ControlPlane::start().await;
        let kubeconfig = plane.kubeconfig();
        Self { plane, kubeconfig }
    }

    /// `helm ARGUMENTS` on it.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        let kubeconfig = self.kubeconfig.clone();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        tokio::task::spawn_blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            helm(&arguments, &[("KUBECONFIG", &kubeconfig)])
        })
        .await
        .unwrap()
    }

    /// Installs or upgrades the chart `name` in the namespace system; what Helm says.
    pub async fn install(&self, release: &str, name: &str, options: &[&str]) -> String {
        let chart = chart(name);
        let arguments = [
            "upgrade",
            "--install",
            release,
            chart.to_str().unwrap(),
            "-n",
            "system",
            "--create-namespace",
        ];
        self.helm(&[&arguments, options].concat())
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// `kubectl get ARGUMENTS`.
    pub async fn get(&self, arguments: &[&str]) -> String {
        self.plane
            .kubectl(&[&["get"], arguments].concat())
            .await
            .success()
    }

    async fn key(&self) -> String {
        let path = "jsonpath={.data.service_key}";
        self.get(&["secret", "destination-service-key", "-n", "system", "-o", path])
            .await
    }

    /// Everything of a release that is there.
    async fn all(&self) -> Vec<String> {
        let kinds = "deployments,statefulsets,services,serviceaccounts,secrets,configmaps,roles,rolebindings,clusterroles,\
                     clusterrolebindings,networkpolicies,poddisruptionbudgets,validatingwebhookconfigurations";
        let label = "app.kubernetes.io/name=landbridge";
        let text = self.get(&[kinds, "-A", "-l", label, "-o", "name"]).await;
        text.lines().map(ToOwned::to_owned).collect()
    }
}

const DESTINATION: &str = "apiVersion: destination.connectivity.api.sap/v1\nkind: Destination\n\
                           metadata: {name: kept, namespace: default}\nspec: {destinationRef: {name: kept}}\n";

/// What the operator puts into its registration; the chart has only its name.
const WEBHOOK: &str = r#"{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
  "metadata": {"name": "landbridge-system", "labels": {"connectivity.landbridge.dev/installation": "system"}},
  "webhooks": [{"name": "destinations.landbridge.dev", "sideEffects": "None", "admissionReviewVersions": ["v1"],
    "failurePolicy": "Ignore", "clientConfig": {"service": {"namespace": "system", "name": "landbridge-operator"}},
    "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothing"]}]}]}"#;

#[tokio::test]
async fn an_installation_lives_and_leaves_what_is_documented() {
    let life = Life::new().await;
    life.install("crds", "landbridge-crds", &[]).await;
    let said = life
        .install("lb", "landbridge", &["--set", "store.enabled=true"])
        .await;
    for part in [
        "kubectl exec -i -n system landbridge-store-0 -- landbridge store put -",
        "landbridge check -n system",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("create secret"), "{said}");
    let key = life.key().await;
    assert!(key.len() > 300, "a service key");

    let server_side = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=landbridge-operator/admission",
        "-f",
        "-",
    ];
    life.plane.kubectl_with(&server_side, WEBHOOK).await.success();
    let webhooks = [
        "validatingwebhookconfiguration",
        "landbridge-system",
        "-o",
        "jsonpath={.webhooks[*].name}",
    ];
    let more = [
        "--set",
        "store.enabled=true,config.logging.level=debug,deployment.replicas.http=2",
    ];
    life.install("lb", "landbridge", &more).await;
    assert_eq!(
        life.get(&webhooks).await,
        "destinations.landbridge.dev",
        "the operator's part stays"
    );
    assert_eq!(
        life.key().await,
        key,
        "a new key would lock everybody out of the store"
    );
    let replicas = [
        "deployment",
        "landbridge-proxy",
        "-n",
        "system",
        "-o",
        "jsonpath={.spec.replicas}",
    ];
    assert_eq!(life.get(&replicas).await, "2");

    life.helm(&["rollback", "lb", "1", "-n", "system"]).await.unwrap();
    assert_eq!(life.get(&replicas).await, "1");
    assert_eq!(life.get(&webhooks).await, "destinations.landbridge.dev");
    assert_eq!(life.key().await, key);

    life.helm(&["uninstall", "lb", "-n", "system", "--wait=false"])
        .await
        .unwrap();
    assert_eq!(
        life.all().await,
        ["secret/destination-service-key"],
        "the key outlives the release, as the store's volume does"
    );
    // Under another name: nobody has to remember the old one.
    life.install("again", "landbridge", &["--set", "store.enabled=true"])
        .await;
    assert_eq!(life.key().await, key);
}

#[tokio::test]
async fn definitions_and_what_is_declared_outlive_their_release() {
    let life = Life::new().await;
    life.install("crds", "landbridge-crds", &[]).await;
    let established = [
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "crd",
        "destinations.destination.connectivity.api.sap",
    ];
    life.plane.kubectl(&established).await.success();
    life.plane
        .kubectl_with(&["apply", "-f", "-"], DESTINATION)
        .await
        .success();
    life.helm(&["uninstall", "crds", "-n", "system"]).await.unwrap();
    assert_eq!(
        life.get(&["dst", "-n", "default", "-o", "name"]).await.trim(),
        "destination.destination.connectivity.api.sap/kept"
    );
    life.install("crds", "landbridge-crds", &["--set", "labels.team=connectivity"])
        .await;
    let team = [
        "crd",
        "servicechannels.connectivity.landbridge.dev",
        "-o",
        "jsonpath={.metadata.labels.team}",
    ];
    assert_eq!(life.get(&team).await, "connectivity");
}

/// Volumes mount Secrets of their own namespace only, and the published guide has Secrets of others.
#[tokio::test]
async fn a_secret_of_another_namespace_is_copied() {
    let life = Life::new().await;
    life.plane
        .kubectl(&["create", "namespace", "operations"])
        .await
        .success();
    let literal = "--from-literal=key.json={\"clientid\": \"one\"}";
    life.plane
        .kubectl(&[
            "create",
            "secret",
            "generic",
            "bound",
            "-n",
            "operations",
            literal,
        ])
        .await
        .success();
    let path = "config.integration.destinationService.serviceCredentials";
    let values =
        format!("{path}.secretName=bound,{path}.secretNamespace=operations,{path}.secretKey=key.json");
    life.install("crds", "landbridge-crds", &[]).await;
    life.install("lb", "landbridge", &["--set", &values]).await;
    let copy = [
        "secret",
        "landbridge-copy-bound",
        "-n",
        "system",
        "-o",
        "jsonpath={.data}",
    ];
    let first = life.get(&copy).await;
    assert!(first.contains("key.json"), "{first}");
    let patch = r#"{"stringData": {"key.json": "{\"clientid\": \"two\"}"}}"#;
    life.plane
        .kubectl(&[
            "patch",
            "secret",
            "bound",
            "-n",
            "operations",
            "--type=merge",
            "-p",
            patch,
        ])
        .await
        .success();
    life.install("lb", "landbridge", &["--set", &values]).await;
    let second = life.get(&copy).await;
    assert_ne!(first, second, "the next upgrade brings the change");
    // A source that is gone takes nothing away from what runs.
    life.plane
        .kubectl(&["delete", "secret", "bound", "-n", "operations"])
        .await
        .success();
    life.install("lb", "landbridge", &["--set", &values]).await;
    assert_eq!(life.get(&copy).await, second);

    life.plane
        .kubectl(&[
            "create",
            "secret",
            "generic",
            "bound",
            "-n",
            "operations",
            "--from-literal=other=1",
        ])
        .await
        .success();
    let chart = chart("landbridge");
    let arguments = [
        "upgrade",
        "lb",
        chart.to_str().unwrap(),
        "-n",
        "system",
        "--set",
        &values,
    ];
    let error = life.helm(&arguments).await.unwrap_err();
    assert!(
        error.contains(
            "the Secret operations/bound has no key key.json: correct secretKey of the instance default"
        ),
        "{error}"
    );
}

/// A definition that somebody else owns is not taken over, and can be left out.
#[tokio::test]
async fn a_definition_of_somebody_else_is_left_alone() {
    let life = Life::new().await;
    let foreign = landbridge_tests::control_plane::repository().join("crds/yaml/service-mapping.yaml");
    life.plane
        .kubectl(&["apply", "-f", foreign.to_str().unwrap()])
        .await
        .success();
    let chart = chart("landbridge-crds");
    let arguments = ["install", "crds", chart.to_str().unwrap(), "-n", "default"];
    let error = life.helm(&arguments).await.unwrap_err();
    assert!(
        error.contains("servicemappings.connectivityproxy.sap.com")
            && error.contains("invalid ownership metadata"),
        "{error}"
    );
    let said = life
        .helm(&[&arguments[..], &["--set", "serviceMappings.enabled=false"]].concat())
        .await
        .unwrap();
    assert!(
        said.contains("WARNING: servicemappings.connectivityproxy.sap.com was left out"),
        "{said}"
    );
}
