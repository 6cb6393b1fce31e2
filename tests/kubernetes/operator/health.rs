//! How the operator shows how things stand.

use landbridge_tests::eventually;
use landbridge_tests::operator::Installation;
use serde_json::{Value, json};

#[tokio::test]
async fn pages_say_how_things_stand_and_nothing_secret() {
    let installation = Installation::new("pages").await;
    let https =
        json!({"Name": "erp", "Type": "HTTP", "ProxyType": "Internet", "URL": "https://erp.example.com"});
    installation.store.put(&[https]).await;
    let operator = installation.operator("operator", &[]).await;
    operator.until_leading().await;
    let workspace = installation.workspace("pages").await;
    let page = async |path: &str| operator.page(path).await.expect("an answer");
    assert_eq!(
        page("/status").await.json()["Status"],
        "ok",
        "nothing is declared"
    );
    workspace.declare_named("erp").await;
    workspace.declare_named("nowhere").await;
    workspace
        .until("erp", "False", "FailedToApplyConfiguration")
        .await;
    let status = page("/status").await.json();
    assert_eq!(
        status["Components"]["sap-transp-proxy-http"]["Status"], "critical",
        "no proxy: {status}"
    );
    assert_eq!(status["Status"], "warning", "{status}");

    let proxy = installation.proxy("proxy", &[&operator]).await;
    workspace.until_usable("erp").await;
    workspace.until("nowhere", "False", "NotFound").await;
    let status = page("/status").await.json();
    assert_eq!(
        status,
        json!({
            "Status": "ok", "Leading": true, "Proxies": {"Pods": 1, "Ready": 1, "Reporting": 1},
            "Components": {
                "sap-transp-proxy-http": {"Status": "ok"}, "sap-transp-proxy-manager": {"Status": "ok"},
                "certificates": {"Status": "ok"}, "destination-service/default": {"Status": "ok"},
            },
        })
    );
    let view = page("/destinationCRs").await.json();
    assert_eq!(view["Status"], "warning", "{view}");
    let rows = view["CustomResources"].as_array().expect("rows");
    let destination = workspace.destinations.get("erp").await.expect("declared");
    let said = workspace.available("erp").await;
    assert_eq!(
        rows[0],
        json!({
            "Name": "erp", "Namespace": workspace.name(), "DestinationRef": {"name": "erp"},
            "CreationTimestamp": destination.metadata.creation_timestamp,
            "Available": "True", "Reason": said.reason, "Message": said.message,
        })
    );
    assert_eq!(
        (&rows[1]["Name"], &rows[1]["Available"]),
        (&json!("nowhere"), &json!("False"))
    );

    for (metric, value) in [
        (r#"tp_destination_crs{Available="True"}"#, 1.0),
        (r#"tp_destination_crs{Available="False"}"#, 1.0),
        (r#"landbridge_operator_destinations{Available="True"}"#, 1.0),
        ("landbridge_operator_leading", 1.0),
        ("landbridge_operator_proxies", 1.0),
        ("landbridge_operator_undecodable_total", 0.0),
    ] {
        eventually(metric, async || {
            let found = operator.metric(metric).await;
            if found == Some(value) {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await;
    }
    let written = operator
        .metric(r#"landbridge_operator_writes_total{kind="Service"}"#)
        .await;
    assert!(written >= Some(2.0), "{written:?}");
    assert_eq!(page("/readyz").await.status, 200);

    let secrets = installation.secrets().await;
    let secret = secrets.get("destination-service").await.expect("the Secret");
    let key = &secret.data.expect("data")["key.json"];
    let key: Value = serde_json::from_slice(&key.0).expect("JSON");
    let secret = key["clientsecret"].as_str().expect("a secret");
    let config = page("/config").await.json();
    assert_eq!(config["namespace"], installation.system.name());
    assert_eq!(config["destinationServices"][0]["name"], "default");
    for text in [
        config.to_string(),
        page("/metrics").await.text(),
        page("/status").await.text(),
        operator.process.log(),
    ] {
        assert!(!text.contains(secret) && !text.contains("PRIVATE KEY"), "{text}");
    }
    drop(proxy);
}
