//! The other way: somebody in the company calls a service of the cluster.

use std::path::Path;

use landbridge_tests::eventually;
use serde_json::json;

use crate::company::CHANNEL;
use crate::world::{BACKENDS, world};

#[tokio::test]
async fn a_client_of_the_company_reaches_a_service_of_the_cluster() {
    let world = world().await;
    let channel = json!({
        "apiVersion": "connectivity.landbridge.dev/v1alpha1", "kind": "ServiceChannel",
        "metadata": {"name": "echo"},
        "spec": {"type": "TCP", "serviceId": "echo", "serviceRef": {"name": "echo", "port": 80}},
    });
    world.apply(BACKENDS, &channel.to_string()).await;
    let url = format!("http://127.0.0.1:{CHANNEL}/from-the-company");
    let answer = eventually("an answer through the channel", async || {
        let mut curl = world.cluster.company().command(Path::new("curl"));
        let output = curl
            .args(["-s", "-m", "10", &url])
            .output()
            .await
            .expect("curl starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains("from-the-company") {
            Ok(text)
        } else {
            Err(format!("{text}\n{}", world.company.log("my-company")))
        }
    })
    .await;
    assert!(answer.contains("\"server\":\"echo\""), "{answer}");
    eventually("the status says who holds it", async || {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        let status = world
            .kubectl(&["get", "servicechannel", "echo", "-n", BACKENDS, "-o", path])
            .await;
        if status.stdout == "True" {
            Ok(())
        } else {
            Err(format!("{}{}", status.stdout, status.stderr))
        }
    })
    .await;
    let delete = [
        "delete",
        "servicechannel",
        "echo",
        "-n",
        BACKENDS,
        "--timeout=60s",
    ];
    world.kubectl(&delete).await.success();
    eventually("it is closed", async || {
        let mut curl = world.cluster.company().command(Path::new("curl"));
        let output = curl
            .args(["-s", "-m", "10", &url])
            .output()
            .await
            .expect("curl starts");
        if output.status.success() {
            Err("it still answers".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
}
