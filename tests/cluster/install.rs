//! README's commands for a cluster, and what there is after them.

use crate::world::{SYSTEM, world};

/// The tour itself is how the shared world is made: every command of README has answered as it says.
#[tokio::test]
async fn every_cluster_command_of_readme_works() {
    let world = world().await;
    let get = [
        "get",
        "dst",
        "hello",
        "-o",
        "jsonpath={.status.conditions[?(@.type==\"Available\")].reason}",
    ];
    assert_eq!(world.kubectl(&get).await.success(), "ConfigurationSuccessful");
    let restarts = [
        "get",
        "pods",
        "-n",
        SYSTEM,
        "-o",
        "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}",
    ];
    let restarts = world.kubectl(&restarts).await.success();
    assert!(
        restarts.lines().count() >= 5 && restarts.lines().all(|line| line.ends_with(" 0")),
        "{restarts}"
    );
}

/// The published name of the health check, with the published answers.
#[tokio::test]
async fn the_health_check_answers_under_its_published_name() {
    let world = world().await;
    let url = format!("http://sap-transp-proxy-int-healthcheck.{SYSTEM}/status");
    let answer = world.curl_until(crate::world::SHOP, &[&url], "200 OK").await;
    assert!(answer.contains("\"ok\""), "{answer}");
    let url = format!("http://sap-transp-proxy-int-healthcheck.{SYSTEM}/destinationCRs");
    let answer = world.curl(crate::world::SHOP, &[&url]).await;
    assert!(answer.contains("hello"), "{answer}");
}
