//! What the log of a connector says.

use landbridge_tests::eventually;

use super::company::Connector;
use super::page::{Row, row, said};
use super::trial::{Trial, connected, shell, trial, until};
use crate::world::{SYSTEM, TUNNEL_PORT, World};

/// Waits until the log has the row's text.
async fn logged(row: &Row, number: usize, connector: &Connector) {
    eventually(&row.id, async || row.found(number, &connector.log())).await;
}

fn server(world: &World) -> String {
    format!("{}:{TUNNEL_PORT}", world.cluster.node_address())
}

#[tokio::test]
async fn tokens_that_are_missing_or_used() {
    let Trial { world, .. } = trial().await;
    let (first, second) = (
        Connector::new(world, "first").await,
        Connector::new(world, "second").await,
    );
    let row_of_none = row("no-token");
    first.start(world, &server(world));
    logged(&row_of_none, 1, &first).await;
    first.without_token();
    first.start(world, &server(world));
    logged(&row_of_none, 0, &first).await;
    let token = first.token(world).await;
    first.enrol(&token);
    first.start(world, &server(world));
    connected(world, "first").await;

    second.enrol(&token);
    second.start(world, &server(world));
    logged(&row("token-used"), 0, &second).await;
    second.enrol(&second.token(world).await);
    second.start(world, &server(world));
    connected(world, "second").await;
}

/// The other address of the node leads to the same proxy, and is not among the names of its certificate.
#[tokio::test]
async fn an_address_that_is_not_the_proxys() {
    let Trial { world, .. } = trial().await;
    let row = row("no-trusted-connection");
    let connector = Connector::new(world, "astray").await;
    connector.enrol(&connector.token(world).await);
    let gateway = format!("203.0.113.1:{TUNNEL_PORT}");
    connector.start(world, &gateway);
    logged(&row, 0, &connector).await;
    let look = row.look(&[("HOST:443", &gateway)]);
    let mut shell = world.cluster.company().command("sh");
    let output = shell.args(["-c", &look]).output().await.expect("sh starts");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("BEGIN CERTIFICATE"), "{shown}");
    row.advises("externalHost");
    connector.start(world, &server(world));
    connected(world, "astray").await;
}

/// The volume is lost, and found again.
#[tokio::test]
async fn a_proxy_with_another_authority() {
    let Trial { world, .. } = trial().await;
    let row = row("enrolled-elsewhere");
    let connector = Connector::new(world, "faithful").await;
    connector.enrol(&connector.token(world).await);
    connector.start(world, &server(world));
    connected(world, "faithful").await;

    let volume = "kubectl get pv -o jsonpath='{range .items[?(@.spec.claimRef.name==\"data-landbridge-connectivity-0\")]}\
        {.spec.hostPath.path}{end}'";
    let volume = shell(world, volume).await.success();
    let kept = world.cluster.folder().join("kept");
    let kept = kept.display();
    let take = format!("mkdir {kept} && mv {volume}/* {kept}/");
    shell(world, &take).await.success();
    replace(world).await;
    logged(&row, 0, &connector).await;
    let claims = said(&shell(world, &row.look(&[])).await);
    assert!(claims.contains("data-landbridge-connectivity-0"), "{claims}");

    let restore = format!("rm -rf {volume}/* && mv {kept}/* {volume}/ && rmdir {kept}");
    shell(world, &restore).await.success();
    replace(world).await;
    connected(world, "faithful").await;
    connected(world, "trial").await;
}

/// A pod that has lost its node goes without a word.
async fn replace(world: &World) {
    let delete = format!("kubectl delete pod landbridge-connectivity-0 -n {SYSTEM} --force --grace-period=0");
    shell(world, &delete).await.success();
    let ready = format!("kubectl get pod landbridge-connectivity-0 -n {SYSTEM} --no-headers");
    until(world, &ready, "1/1").await;
}
