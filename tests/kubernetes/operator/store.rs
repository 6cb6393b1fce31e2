//! Stores: their service keys, and what changes in them, which is seen at once where there is a change feed, else when
//! they are asked again.

use std::time::Duration;

use landbridge_tests::eventually;
use landbridge_tests::operator::{ForeignStore, Installation, OperatorProcess, SECRET, SECRET_KEY};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

fn destination(kind: &str) -> Value {
    json!({"Name": "erp", "Type": kind, "ProxyType": "Internet", "URL": "https://erp.example.com",
        "Authentication": "NoAuthentication"})
}

#[tokio::test]
async fn a_change_is_told_by_the_feed() {
    let mut installation = Installation::new("feed").await;
    installation.store.put(&[destination("RFC")]).await;
    // Asked again every 24 hours, so that nothing is found by asking.
    let operator = installation
        .operator("operator", &["--execution-interval-minutes", "1440"])
        .await;
    let proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = installation.workspace("feed").await;
    workspace.declare_named("erp").await;
    workspace.until("erp", "False", "TypeNotSupported").await;
    let since = Instant::now();
    installation.store.put(&[destination("HTTP")]).await;
    workspace.until_usable("erp").await;
    println!(
        "a change in the store was in the status after {:?}",
        since.elapsed()
    );
    eventually("the proxies are told too", async || {
        let changes = proxy.store_changes();
        let told = changes
            .iter()
            .any(|one| one.instance.is_none() && one.names.as_deref() == Some(&["erp".into()]));
        if told { Ok(()) } else { Err(format!("{changes:?}")) }
    })
    .await;
    let client = installation.store.client().await;
    assert!(client.delete("erp").await.expect("deleted"));
    workspace
        .until("erp", "False", "ReferencedDestination-NotFound")
        .await;

    // What changes while the feed is broken is not lost.
    installation.store.process.kill().await;
    installation.store.restart().await;
    installation.store.put(&[destination("HTTP")]).await;
    workspace.until_usable("erp").await;
}

#[tokio::test]
async fn a_store_without_a_feed_is_asked_again() {
    let installation = Installation::new("polled").await;
    let foreign = ForeignStore::start().await;
    foreign.put(&destination("RFC"));
    installation.put_key(&foreign.key()).await;
    let source = format!(
        "default=secret:{}/{SECRET}/{SECRET_KEY}",
        installation.system.name()
    );
    let options = [
        "--execution-interval-minutes",
        "1",
        "--destination-service",
        &source,
    ];
    let operator = installation.operator("operator", &options).await;
    let _proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = installation.workspace("polled").await;
    workspace.declare_named("erp").await;
    workspace.until("erp", "False", "TypeNotSupported").await;
    assert_eq!(
        foreign.answers("/landbridge/v1/events"),
        [404],
        "asked for a feed once"
    );
    assert_eq!(foreign.answers("erp"), [200]);
    foreign.put(&destination("HTTP"));
    // The first minute has to pass; patience begins after it.
    sleep(Duration::from_secs(50)).await;
    workspace.until_usable("erp").await;
    let answers = foreign.answers("erp");
    assert!(answers.len() <= 3, "no more often than each minute: {answers:?}");
}

#[tokio::test]
async fn a_service_key_that_is_missing_wrong_or_replaced() {
    let mut installation = Installation::new("key").await;
    let https = |name: &str| json!({"Name": name, "Type": "HTTP", "ProxyType": "Internet", "URL": "https://a.example.com"});
    installation.store.put(&[https("erp"), https("crm")]).await;
    let secrets = installation.secrets().await;
    let delete = kube::api::DeleteParams::default();
    secrets
        .delete("destination-service", &delete)
        .await
        .expect("deleted");
    let operator = installation.operator("operator", &[]).await;
    let proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = installation.workspace("key").await;
    workspace.declare_named("erp").await;
    let said = workspace.until("erp", "False", "ConfigurationFailed").await;
    assert!(said.message.contains("does not exist: create it"), "{said:?}");

    installation.put_key("hello").await;
    eventually("the text is refused", async || {
        let said = workspace.available("erp").await;
        if said.status == "False" && !said.message.contains("does not exist") {
            Ok(())
        } else {
            Err(said.message)
        }
    })
    .await;
    let component = operator.page("/status").await.expect("an answer").json();
    assert_eq!(
        component["Components"]["destination-service/default"]["Status"], "critical",
        "{component}"
    );

    installation.put_key(&installation.store.key().await).await;
    workspace.until_usable("erp").await;
    let route = proxy.routes();

    // Rotated: another key, and the one before is of no use any more for what comes next.
    installation.put_key(&installation.store.key().await).await;
    workspace.declare_named("crm").await;
    workspace.until_usable("crm").await;
    assert_eq!(proxy.routes().len(), 2);

    // Gone again: what is known is served on, and said to be so.
    secrets
        .delete("destination-service", &delete)
        .await
        .expect("deleted");
    eventually("the last known configuration counts", async || {
        let said = workspace.available("erp").await;
        let known = said.status == "True" && said.message.contains("last known configuration");
        if known { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await;
    assert!(proxy.routes().contains(&route[0]));

    installation.put_key(&installation.store.key().await).await;
    workspace.until("erp", "True", "ConfigurationSuccessful").await;
    // The store itself is away.
    installation.store.process.kill().await;
    workspace
        .declare(
            "new",
            json!({"destinationRef": {"name": "erp", "level": "subaccount"}}),
        )
        .await;
    let said = workspace.until("new", "False", "ConfigurationFailed").await;
    assert!(said.message.contains("127.0.0.1"), "the store is named: {said:?}");
    until_component(&operator, "critical").await;
    workspace
        .declare(
            "crm",
            json!({"destinationRef": {"name": "crm"}, "service": {"port": 8080}}),
        )
        .await;
    eventually("a change of the resource needs no store", async || {
        let service = serde_json::to_value(workspace.service("crm").await).expect("JSON");
        if service["spec"]["ports"][0]["port"] == 8080 {
            Ok(())
        } else {
            Err(service.to_string())
        }
    })
    .await;
    installation.store.restart().await;
    workspace.until_usable("new").await;
    until_component(&operator, "ok").await;
}

/// `/status` says this of the store.
async fn until_component(operator: &OperatorProcess, grade: &str) {
    eventually(&format!("the store is {grade}"), async || {
        let page = operator.page("/status").await?.json();
        let component = &page["Components"]["destination-service/default"];
        if component["Status"] == grade {
            Ok(())
        } else {
            Err(component.to_string())
        }
    })
    .await;
}
