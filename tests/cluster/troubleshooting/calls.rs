//! What a caller gets.

use serde_json::{Value, json};

use super::page::{Row, row};
use super::trial::{Trial, service_key, shell, trial, until};
use crate::world::{BACKENDS, OTHER, SHOP, SYSTEM, World, client};

/// Puts and declares a destination, and calls it until the row's text number `number` is in the answer.
async fn called(world: &World, row: &Row, number: usize, destination: &Value, path: &str) -> String {
    let name = destination["Name"].as_str().expect("a name");
    world.put(destination).await;
    world.declare(SHOP, name, json!({})).await;
    let url = format!("http://{name}{path}");
    let answer = world.curl_until(SHOP, &[&url], row.text(number)).await;
    assert!(answer.starts_with(&row.status()), "{}: {answer}", row.id);
    answer
}

/// The same with the right one, after the remedy.
async fn mended(world: &World, destination: &Value, path: &str) {
    let name = destination["Name"].as_str().expect("a name");
    world.put(destination).await;
    let url = format!("http://{name}{path}");
    world.curl_until(SHOP, &[&url], "200 OK").await;
}

fn on_premise(name: &str, url: &str, location: &str) -> Value {
    json!({"Name": name, "Type": "HTTP", "URL": url, "ProxyType": "OnPremise",
        "Authentication": "NoAuthentication", "CloudConnectorLocationId": location})
}

fn internet(name: &str, url: &str) -> Value {
    json!({"Name": name, "Type": "HTTP", "URL": url, "ProxyType": "Internet", "Authentication": "NoAuthentication"})
}

fn echo() -> String {
    format!("http://echo.{BACKENDS}.svc.cluster.local")
}

/// That the answer names the host it is about.
fn names(answer: &str, url: &str) {
    let host = url.split("://").nth(1).expect("a host");
    let message = answer.lines().find(|line| line.starts_with("x-error-message:"));
    assert!(
        message.is_some_and(|message| message.contains(host)),
        "{host} in {answer}"
    );
}

#[tokio::test]
async fn a_caller_of_another_namespace() {
    let Trial { world, .. } = trial().await;
    let row = row("other-namespace");
    world.internet(SHOP, "closed").await;
    world.curl_until(SHOP, &["http://closed/"], "200 OK").await;
    let refused = world.curl(OTHER, &["http://closed.shop/"]).await;
    assert!(refused.starts_with(&row.status()), "{refused}");
    row.is_in(0, &refused);
    let scope = row.look(&[("erp", "closed")]);
    assert_ne!(shell(world, &scope).await.success(), "clusterWide");
    row.advises("spec.accessControl.scope: clusterWide");
    let open = json!({"accessControl": {"scope": "clusterWide"}});
    world.declare(SHOP, "closed", open).await;
    world.curl_until(OTHER, &["http://closed.shop/"], "200 OK").await;
    assert_eq!(shell(world, &scope).await.success(), "clusterWide");
}

#[tokio::test]
async fn a_caller_with_the_network_of_its_node() {
    let Trial { world, .. } = trial().await;
    let row = row("host-network");
    world.internet(SHOP, "guarded").await;
    world.curl_until(SHOP, &["http://guarded/"], "200 OK").await;
    let mut pod: Value = serde_json::from_str(&client()).expect("JSON");
    pod["metadata"]["name"] = "of-the-host".into();
    pod["spec"]["hostNetwork"] = true.into();
    pod["spec"]["dnsPolicy"] = "ClusterFirstWithHostNet".into();
    world.apply(OTHER, &pod.to_string()).await;
    let curl = format!("kubectl exec of-the-host -n {OTHER} -- curl -s -i -m 20 http://guarded.shop/");
    let refused = until(world, &curl, row.text(0)).await;
    assert!(refused.starts_with(&row.status()), "{refused}");
    row.is_in(1, &refused);
    let look = format!("{} -n {OTHER}", row.look(&[("POD", "of-the-host")]));
    assert_eq!(shell(world, &look).await.success(), "true");
    row.advises("clusterWide");
    let open = json!({"accessControl": {"scope": "clusterWide"}});
    world.declare(SHOP, "guarded", open).await;
    until(world, &curl, "200 OK").await;
    let delete = ["delete", "pod", "of-the-host", "-n", OTHER, "--wait=false"];
    world.kubectl(&delete).await.success();
}

#[tokio::test]
async fn no_connector_of_that_location() {
    let Trial { world, .. } = trial().await;
    let row = row("no-connector");
    let url = "http://erp.company:44300";
    called(world, &row, 0, &on_premise("remote", url, "elsewhere"), "/stock").await;
    let tunnels = shell(world, &row.look(&[])).await.success();
    let location = super::company::LOCATION;
    let shown = format!("\"location\":\"{location}\"");
    assert!(tunnels.contains(&shown), "{tunnels}");
    mended(world, &on_premise("remote", url, location), "/stock").await;
}

#[tokio::test]
async fn what_the_company_does_not_expose() {
    let Trial { world, connector } = trial().await;
    let location = super::company::LOCATION;
    for (row, name, host, path) in [
        (
            row("system-not-exposed"),
            "unexposed",
            "unexposed.company",
            "/stock",
        ),
        (row("path-not-exposed"), "partly", "erp.company", "/admin"),
        (row("system-down"), "down", "down.company", "/stock"),
    ] {
        let url = format!("http://{host}:44300");
        called(world, &row, 0, &on_premise(name, &url, location), path).await;
        let log = connector.log();
        let told = log.contains(host);
        assert!(told, "{}: {host} in {log}", row.id);
    }
    mended(
        world,
        &on_premise("partly", "http://erp.company:44300", location),
        "/stock",
    )
    .await;
}

#[tokio::test]
async fn a_target_that_nobody_listens_at() {
    let Trial { world, .. } = trial().await;
    let row = row("target-down");
    let address = format!("kubectl get pod echo -n {BACKENDS} -o jsonpath='{{.status.podIP}}'");
    let url = format!("http://{}:81", shell(world, &address).await.success());
    let answer = called(world, &row, 0, &internet("nowhere", &url), "/").await;
    names(&answer, &url);
    mended(world, &internet("nowhere", &echo()), "/").await;
}

/// The operator's own certificate is of an authority that nobody else knows.
#[tokio::test]
async fn a_target_of_a_private_authority() {
    let Trial { world, .. } = trial().await;
    let row = row("target-not-trusted");
    let url = format!("https://landbridge-operator.{SYSTEM}.svc:8443");
    let answer = called(world, &row, 0, &internet("private", &url), "/").await;
    names(&answer, &url);
    row.advises("TrustStoreLocation");
}

/// The store's own token service is the one that refuses.
#[tokio::test]
async fn a_token_service_that_refuses_the_client() {
    let Trial { world, .. } = trial().await;
    let row = row("token-refused");
    let key: Value = serde_json::from_str(&service_key(world).await).expect("JSON");
    let destination = |secret: &Value| {
        json!({"Name": "tokens", "Type": "HTTP", "URL": echo(), "ProxyType": "Internet",
            "Authentication": "OAuth2ClientCredentials", "clientId": key["clientid"], "clientSecret": secret,
            "tokenServiceURL": format!("{}/oauth/token", key["url"].as_str().expect("a URL"))})
    };
    let refused = called(world, &row, 0, &destination(&"wrong".into()), "/").await;
    assert!(
        refused.contains("invalid_client") || refused.contains("401"),
        "{refused}"
    );
    row.advises("clientSecret");
    mended(world, &destination(&key["clientsecret"]), "/").await;
}

#[tokio::test]
async fn a_target_on_the_machine_of_the_proxy() {
    let Trial { world, .. } = trial().await;
    let row = row("local-target");
    let url = "http://169.254.1.1";
    let answer = called(world, &row, 0, &internet("local", url), "/").await;
    names(&answer, url);
    mended(world, &internet("local", &echo()), "/").await;
}
