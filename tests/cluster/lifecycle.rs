//! An installation from its first day to its last: upgrade, rollback, what an uninstall leaves.

use landbridge_test_node::Options;
use landbridge_tests::eventually;
use serde_json::json;

use crate::survival::Load;
use crate::world::{BACKENDS, SHOP, SYSTEM, bare, client};

const IMAGE: &str = "deployment.image.registry=registry.example.com";

#[tokio::test]
async fn upgrade_rollback_and_uninstall() {
    let world = bare(Options::default()).await;
    // Definitions come first. Without them the operators wait, and say for what.
    let early = [
        "install",
        "landbridge",
        "charts/landbridge",
        "-n",
        SYSTEM,
        "--set",
        "store.enabled=true",
        "--set",
        IMAGE,
    ];
    world.helm(&early).await.success();
    eventually("the operators say what they wait for", async || {
        let log = world
            .kubectl(&[
                "logs",
                "-n",
                SYSTEM,
                "-l",
                "app.kubernetes.io/component=operator",
                "--tail=200",
            ])
            .await;
        let waits = log
            .stdout
            .contains("the cluster has no Destination: install the CustomResourceDefinitions");
        if waits {
            Ok(())
        } else {
            Err(format!("{}{}", log.stdout, log.stderr))
        }
    })
    .await;
    world
        .helm(&["install", "crds", "charts/landbridge-crds", "-n", SYSTEM])
        .await
        .success();
    for resource in [
        "deployment/landbridge-operator",
        "deployment/landbridge-proxy",
        "statefulset/landbridge-store",
    ] {
        world
            .kubectl(&["rollout", "status", resource, "-n", SYSTEM, "--timeout=120s"])
            .await
            .success();
    }
    let connectivity = [
        "install",
        "connectivity",
        "charts/landbridge-connectivity",
        "-n",
        SYSTEM,
        "--set",
        IMAGE,
        "--set",
        "config.servers.businessDataTunnel.externalHost=198.51.100.1,service.type=NodePort,service.nodePort=30842",
        "--wait",
        "--timeout",
        "120s",
    ];
    world.helm(&connectivity).await.success();
    world.apply(SHOP, &client()).await;
    world.pod_ready(SHOP, "client").await;
    world.internet(SHOP, "constant").await;
    world.curl_until(SHOP, &["http://constant/"], "200 OK").await;

    // A new version of the chart with other values, and back, while somebody calls.
    let packages = world.cluster.folder().join("packages");
    let packages = packages.to_str().expect("a path");
    let package = [
        "package",
        "charts/landbridge",
        "--version",
        "0.99.0",
        "-d",
        packages,
    ];
    world.helm(&package).await.success();
    let load = Load::start(&world, "upgrade", "http://constant/", 60).await;
    let newer = format!("{packages}/landbridge-0.99.0.tgz");
    let upgrade = [
        "upgrade",
        "landbridge",
        &newer,
        "-n",
        SYSTEM,
        "--reuse-values",
        "--set",
        "config.logging.level=debug",
        "--wait",
        "--timeout",
        "120s",
    ];
    world.helm(&upgrade).await.success();
    world
        .helm(&[
            "rollback",
            "landbridge",
            "1",
            "-n",
            SYSTEM,
            "--wait",
            "--timeout",
            "120s",
        ])
        .await
        .success();
    let (calls, failures) = load.end(&world).await;
    assert!(failures.is_empty() && calls > 100, "{calls} calls\n{failures}");
    // The service key that the chart had made at first is still the one.
    world.internet(SHOP, "constant").await;

    // An uninstall is refused while a company relies on a channel.
    let channel = json!({
        "apiVersion": "connectivity.landbridge.dev/v1alpha1", "kind": "ServiceChannel",
        "metadata": {"name": "echo"},
        "spec": {"type": "TCP", "serviceId": "echo", "serviceRef": {"name": "echo", "port": 80}},
    });
    world.apply(BACKENDS, &channel.to_string()).await;
    let refused = world
        .helm(&["uninstall", "connectivity", "-n", SYSTEM, "--timeout", "60s"])
        .await
        .failure();
    assert!(refused.contains("landbridge-connectivity-guard"), "{refused}");
    let log = ["logs", "job/landbridge-connectivity-guard", "-n", SYSTEM];
    let log = world.kubectl(&log).await.success();
    assert!(log.contains("backends/echo"), "{log}");
    let delete = [
        "delete",
        "servicechannel",
        "echo",
        "-n",
        BACKENDS,
        "--timeout=60s",
    ];
    world.kubectl(&delete).await.success();
    world
        .helm(&[
            "uninstall",
            "connectivity",
            "-n",
            SYSTEM,
            "--wait",
            "--timeout",
            "120s",
        ])
        .await
        .success();
    world
        .helm(&[
            "uninstall",
            "landbridge",
            "-n",
            SYSTEM,
            "--wait",
            "--timeout",
            "120s",
        ])
        .await
        .success();

    // What is documented to stay, and nothing else.
    let rest = [
        "get",
        "deploy,sts,ds,job,svc,sa,role,rolebinding,netpol",
        "-n",
        SYSTEM,
        "-o",
        "name",
    ];
    let rest = eventually("nothing runs any more", async || {
        let rest = world.kubectl(&rest).await.success();
        let ours: Vec<&str> = rest
            .lines()
            .filter(|name| *name != "serviceaccount/default")
            // The operator's, see docs/how-to/uninstall.md.
            .filter(|name| !name.starts_with("networkpolicy.networking.k8s.io/landbridge-scope-"))
            .collect();
        if ours
            .iter()
            .any(|name| name.starts_with("deployment") || name.starts_with("statefulset"))
        {
            return Err(rest.clone());
        }
        Ok(ours.join("\n"))
    })
    .await;
    assert!(rest.is_empty(), "left over:\n{rest}");
    let of_cluster = [
        "get",
        "clusterrole,clusterrolebinding,validatingwebhookconfiguration",
        "-o",
        "name",
    ];
    let of_cluster = world.kubectl(&of_cluster).await.success();
    assert!(!of_cluster.contains("landbridge"), "{of_cluster}");
    world
        .kubectl(&["get", "dst", "constant", "-n", SHOP])
        .await
        .success();
    world
        .kubectl(&["get", "secret", "destination-service-key", "-n", SYSTEM])
        .await
        .success();
    world
        .kubectl(&["get", "pvc", "data-landbridge-store-0", "-n", SYSTEM])
        .await
        .success();
    world.helm(&["uninstall", "crds", "-n", SYSTEM]).await.success();
    world
        .kubectl(&["get", "crd", "destinations.destination.connectivity.api.sap"])
        .await
        .success();
    world.cluster.stop().await;
}
