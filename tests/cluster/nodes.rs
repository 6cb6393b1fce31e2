//! Two nodes, and the link between them cut.

use landbridge_test_node::Options;
use landbridge_tests::eventually;
use tokio::time::Instant;

use crate::images;
use crate::world::{SHOP, SYSTEM, bare, client};

const INSTALL: &[&str] = &[
    "install",
    "landbridge",
    "charts/landbridge",
    "-n",
    SYSTEM,
    "--set",
    "store.enabled=true,deployment.replicas.http=2,deployment.image.registry=registry.example.com",
    "--wait",
    "--timeout",
    "120s",
];

#[tokio::test]
async fn calls_work_again_soon_after_a_node_is_lost() {
    let world = bare(Options::default()).await;
    let second = world.cluster.add_node("node2").await.expect("a second node");
    for image in [images::landbridge(), images::probe(), images::clients()] {
        second.import(&image).await.expect("an image");
    }
    world
        .helm(&["install", "crds", "charts/landbridge-crds", "-n", SYSTEM])
        .await
        .success();
    world.helm(INSTALL).await.success();
    let mut pod: serde_json::Value = serde_json::from_str(&client()).unwrap();
    pod["spec"]["nodeName"] = "node1".into();
    world.apply(SHOP, &pod.to_string()).await;
    world.pod_ready(SHOP, "client").await;
    world.internet(SHOP, "far").await;
    world.curl_until(SHOP, &["http://far/"], "200 OK").await;
    let path = "jsonpath={.items[*].endpoints[*].nodeName}";
    let slices = [
        "get",
        "endpointslices",
        "-n",
        SHOP,
        "-l",
        "kubernetes.io/service-name=far",
        "-o",
        path,
    ];
    eventually("proxies on both nodes", async || {
        let nodes = world.kubectl(&slices).await.stdout;
        if nodes.contains("node1") && nodes.contains("node2") {
            Ok(())
        } else {
            Err(nodes)
        }
    })
    .await;

    second.cut().await.expect("the link");
    let cut = Instant::now();
    let many = "for i in $(seq 20); do curl -s -f -o /dev/null -m 2 http://far/ || exit 1; done";
    eventually("20 calls in a row work", async || {
        let ended = world.exec(SHOP, &["sh", "-c", many]).await;
        if ended.code == Some(0) {
            Ok(())
        } else {
            Err(ended.stderr)
        }
    })
    .await;
    println!("all calls work again {:?} after the link was cut", cut.elapsed());
    let nodes = world.kubectl(&slices).await.success();
    assert!(!nodes.contains("node2"), "{nodes}");

    second.restore().await.expect("the link");
    eventually("the proxy of the second node is back", async || {
        let nodes = world.kubectl(&slices).await.stdout;
        if nodes.contains("node2") {
            Ok(())
        } else {
            Err(nodes)
        }
    })
    .await;
    world.cluster.stop().await;
}
