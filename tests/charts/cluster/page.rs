//! docs/how-to/install.md, command by command, on an API server without nodes: the manifests are taken, pods do not run.

use landbridge_tests::charts::{helm_program, manifests};
use landbridge_tests::control_plane::ControlPlane;
use landbridge_tests::tour;

use super::plane;

async fn argument(plane: &ControlPlane, namespace: &str, flag: &str) -> Vec<String> {
    let arguments = [
        "get",
        "deployment",
        "landbridge-operator",
        "-n",
        namespace,
        "-o",
        "yaml",
    ];
    let text = plane.kubectl(&arguments).await.success();
    let operator = manifests(&text).unwrap().remove(0);
    let args = operator["spec"]["template"]["spec"]["containers"][0]["args"]
        .as_array()
        .unwrap()
        .clone();
    args.iter()
        .filter_map(|argument| argument.as_str()?.strip_prefix(flag))
        .map(ToOwned::to_owned)
        .collect()
}

#[tokio::test]
async fn every_command_of_the_page_works() {
    let plane = plane().await;
    let helm = tokio::task::spawn_blocking(helm_program).await.unwrap();
    let path = format!(
        "{}:{}:{}",
        plane.tools().display(),
        helm.parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let kubeconfig = plane.kubeconfig();
    let environment = [
        ("KUBECONFIG", kubeconfig.to_str().unwrap()),
        ("PATH", path.as_str()),
    ];
    let page = include_str!("../../../docs/how-to/install.md");
    tour::take_in(&["env"], page, "api", &environment).await;
    // The last upgrade has kept what those before it have set.
    let system = "landbridge-system";
    assert_eq!(
        argument(&plane, system, "--managed-namespaces=").await,
        ["labelSelector"]
    );
    assert_eq!(
        argument(&plane, system, "--destination-service=").await,
        ["default=secret:landbridge-system/store-key/service_key"]
    );
    assert_eq!(
        argument(&plane, system, "--serve-certificate-dir=").await.len(),
        1
    );
    assert_eq!(
        argument(&plane, "team-landbridge", "--watch-namespace=").await,
        ["orders"]
    );
    let replicas = [
        "get",
        "deployment",
        "landbridge-proxy",
        "-n",
        system,
        "-o",
        "jsonpath={.spec.replicas}",
    ];
    assert_eq!(plane.kubectl(&replicas).await.success(), "3");
}
