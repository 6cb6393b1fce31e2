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

/// What README says after the installation: the check finds nothing wrong, also as a plugin of kubectl.
#[tokio::test]
async fn the_check_finds_nothing_wrong() {
    let world = world().await;
    landbridge_tests::eventually("the check is content", async || {
        let mut check = world.cluster.command(landbridge_tests::process::binary());
        let output = check
            .args(["check", "-n", SYSTEM])
            .output()
            .await
            .expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.code() == Some(0) {
            Ok(())
        } else {
            Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
        }
    })
    .await;
}
