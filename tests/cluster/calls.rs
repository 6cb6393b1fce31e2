//! What pods can call: the Internet, the company network, HTTP and TCP, with nothing but a plain client.

use serde_json::{Value, json};

use crate::company::{DATABASE, SURNAME};
use crate::world::{BACKENDS, SHOP, pod, world};

/// The body of an answer of the probe: what it was asked.
fn asked(answer: &str) -> Value {
    let body = answer.split("\r\n\r\n").nth(1).expect("a body");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[tokio::test]
async fn a_call_to_the_internet_gets_its_credential() {
    let world = world().await;
    world.internet(SHOP, "billing").await;
    let answer = world
        .curl_until(
            SHOP,
            &["http://billing/invoices?year=2026", "-H", "authorization: mine"],
            "200 OK",
        )
        .await;
    let asked = asked(&answer);
    assert_eq!(asked["path"], "/invoices?year=2026");
    // me:s3cret; what the application sent is not passed on.
    assert_eq!(asked["headers"]["authorization"], "Basic bWU6czNjcmV0");
}

/// An image with one static program, no shell, no libraries, no certificates, under the strictest level.
#[tokio::test]
async fn a_pod_with_nothing_but_a_static_client_calls_it() {
    let world = world().await;
    world.internet(SHOP, "static").await;
    let command = [
        "/probe",
        "get",
        "http://static/x",
        "--expect",
        "200",
        "--repeat",
        "30",
        "--interval",
        "500ms",
    ];
    world
        .apply(SHOP, &pod("static-client", "test.local/probe:test", &command))
        .await;
    let answer = landbridge_tests::eventually("an answer", async || {
        let log = world.kubectl(&["logs", "-n", SHOP, "static-client"]).await;
        log.stdout
            .lines()
            .find(|line| line.contains("\"status\":200"))
            .map(str::to_owned)
            .ok_or(format!("{}{}", log.stdout, log.stderr))
    })
    .await;
    assert!(answer.contains("Basic bWU6czNjcmV0"), "{answer}");
    world
        .kubectl(&["delete", "pod", "-n", SHOP, "static-client", "--wait=false"])
        .await
        .success();
}

#[tokio::test]
async fn a_system_of_the_company_is_called_through_the_connector() {
    let world = world().await;
    world
        .put(&json!({"Name": "erp", "Type": "HTTP", "URL": "http://erp.company:44300", "ProxyType": "OnPremise",
            "Authentication": "NoAuthentication"}))
        .await;
    world.declare(SHOP, "erp", json!({})).await;
    let answer = world.curl_until(SHOP, &["http://erp/stock/7"], "200 OK").await;
    assert_eq!(asked(&answer)["server"], "erp");
    // What is not exposed is refused by the connector, not by the cluster.
    let refused = world.curl(SHOP, &["http://erp/admin"]).await;
    assert!(
        refused.contains("403") && refused.contains("x-error-origin: Connector"),
        "{refused}"
    );
    // Only the proxies that connectors dial are endpoints; those of the Internet are all.
    let endpoints = |name: &str| {
        let label = format!("kubernetes.io/service-name={name}");
        async move {
            let path = "jsonpath={.items[*].endpoints[*].targetRef.name}";
            world
                .kubectl(&["get", "endpointslices", "-n", SHOP, "-l", &label, "-o", path])
                .await
                .success()
        }
    };
    assert_eq!(endpoints("erp").await, "landbridge-connectivity-0");
}

/// A driver of its own protocol, with its own log-on from end to end, over a TCP destination.
#[tokio::test]
async fn a_database_of_the_company_speaks_postgresql() {
    let world = world().await;
    world
        .put(
            &json!({"Name": "database", "Type": "TCP", "Address": format!("db.company:{DATABASE}"),
            "ProxyType": "OnPremise"}),
        )
        .await;
    world
        .declare(SHOP, "database", json!({"service": {"port": 5432}}))
        .await;
    let psql = [
        "env",
        "PGPASSWORD=s3cret",
        "PGCONNECT_TIMEOUT=10",
        "psql",
        "-h",
        "database",
        "-U",
        "app",
        "-d",
        "postgres",
        "-tA",
        "-c",
        "select sum(n) from generate_series(1, 100000) n",
    ];
    let answer = landbridge_tests::eventually("the database answers", async || {
        let ended = world.exec(SHOP, &psql).await;
        if ended.code == Some(0) {
            Ok(ended.stdout)
        } else {
            Err(ended.stderr)
        }
    })
    .await;
    assert_eq!(answer.trim(), "5000050000");
    let wrong = world
        .exec(SHOP, &[&["env", "PGPASSWORD=wrong"], &psql[2..]].concat())
        .await
        .failure();
    assert!(wrong.contains("password authentication failed"), "{wrong}");
}

#[tokio::test]
async fn a_directory_of_the_company_speaks_ldap() {
    let world = world().await;
    world
        .put(&json!({"Name": "directory", "Type": "TCP", "Address": "ldap.company:389", "ProxyType": "OnPremise"}))
        .await;
    world
        .declare(SHOP, "directory", json!({"service": {"port": 389}}))
        .await;
    let command = [
        "curl",
        "-s",
        "-m",
        "10",
        "ldap://directory/dc=company?sn?sub?(cn=ada)",
    ];
    landbridge_tests::eventually("the directory answers", async || {
        let ended = world.exec(SHOP, &command).await;
        if ended.stdout.contains(SURNAME) {
            Ok(())
        } else {
            Err(format!("{}{}", ended.stdout, ended.stderr))
        }
    })
    .await;
}

/// Each request names its destination, in any of the ways the header has.
#[tokio::test]
async fn a_gateway_takes_the_name_from_the_request() {
    let world = world().await;
    world.internet(SHOP, "named").await;
    let gateway = json!({
        "apiVersion": "destination.connectivity.api.sap/v1", "kind": "Destination",
        "metadata": {"name": "gateway"}, "spec": {"destinationRef": {"name": "*"}},
    });
    world.apply(SHOP, &gateway.to_string()).await;
    world
        .kubectl(&[
            "wait",
            "--for=condition=Ready",
            "dst/gateway",
            "-n",
            SHOP,
            "--timeout=60s",
        ])
        .await
        .success();
    let answer = world
        .curl_until(
            SHOP,
            &["http://gateway/y", "-H", "X-Destination-Name: named"],
            "200 OK",
        )
        .await;
    let asked = asked(&answer);
    assert_eq!(
        (asked["server"].as_str(), asked["path"].as_str()),
        (Some("echo"), Some("/y"))
    );
    assert_eq!(asked["host"], format!("echo.{BACKENDS}.svc.cluster.local"));
    assert!(asked["headers"].get("x-destination-name").is_none(), "{asked}");
    let missing = world.curl(SHOP, &["http://gateway/y"]).await;
    assert!(missing.starts_with("HTTP/1.1 400"), "{missing}");
}
