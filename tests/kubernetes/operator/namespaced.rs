//! Which namespaces an operator looks after, and with which rights.

use landbridge_tests::eventually;
use landbridge_tests::operator::{Installation, Workspace};
use serde_json::{Value, json};

fn http(name: &str) -> Value {
    json!({"Name": name, "Type": "HTTP", "ProxyType": "Internet", "URL": "https://api.example.com"})
}

#[tokio::test]
async fn one_namespace_with_the_rights_of_roles() {
    let installation = Installation::new("role").await;
    installation.store.put(&[http("erp")]).await;
    let plane = &installation.plane;
    let watched = Workspace::create(plane, "watched", None).await;
    let other = Workspace::create(plane, "unwatched", None).await;
    for workspace in [&watched, &other] {
        workspace.declare_named("erp").await;
    }
    installation.bind_namespaced(watched.name(), "operator").await;
    let mark = plane.audit_mark();
    let mut operator = installation
        .launch_without_rights("operator", &["--watch-namespace", watched.name()])
        .await;
    operator.until_listed().await;
    let proxy = installation.proxy("proxy", &[&operator]).await;
    watched.until_usable("erp").await;
    watched
        .until_endpoints("erp", &[(&proxy.address, true, false)])
        .await;
    let told = eventually("its Event", async || {
        let told = watched.told("erp").await;
        if told.is_empty() {
            Err("none".to_owned())
        } else {
            Ok(told)
        }
    })
    .await;
    assert!(told.contains(&"ConfigurationSuccessful".to_owned()), "{told:?}");
    watched.delete("erp").await;
    watched.until_gone("erp").await;
    assert_eq!(other.available("erp").await.status, "", "not looked at");
    assert!(other.service("erp").await.is_none());
    assert_eq!(operator.forbidden(plane, mark), []);
}

#[tokio::test]
async fn a_namespace_is_looked_after_while_it_has_the_label() {
    let installation = Installation::new("label").await;
    installation.store.put(&[http("erp")]).await;
    let operator = installation.operator("operator", &[]).await;
    let proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = Workspace::create(&installation.plane, "label", None).await;
    workspace.declare_named("erp").await;
    let mine = installation.workspace("label").await;
    mine.declare_named("erp").await;
    mine.until_usable("erp").await;
    assert_eq!(
        workspace.available("erp").await.status,
        "",
        "nobody looks after it"
    );

    let label = "transparent-proxy.connectivity.api.sap/namespace";
    let kubectl = async |value: &str| {
        let arguments = ["label", "namespace", workspace.name(), value, "--overwrite"];
        installation.plane.kubectl(&arguments).await.success();
    };
    kubectl(&format!("{label}={}", installation.system.name())).await;
    workspace.until_usable("erp").await;
    assert_eq!(proxy.routes().len(), 2);
    kubectl(&format!("{label}=another-installation")).await;
    eventually("it is not served any more", async || {
        let routes = proxy.routes();
        if routes.len() == 1 {
            Ok(())
        } else {
            Err(format!("{routes:?}"))
        }
    })
    .await;
    mine.until_usable("erp").await;
}

#[tokio::test]
async fn an_operator_without_rights_says_which_it_needs() {
    let installation = Installation::new("rights").await;
    let operator = installation.launch_without_rights("operator", &[]).await;
    let page = eventually("it says what it waits for", async || {
        let answer = operator.page("/readyz").await?;
        let log = operator.process.log();
        let said =
            log.contains("the right to list and watch Destination") && log.contains("landbridge-operator");
        if said { Ok(answer) } else { Err(log) }
    })
    .await;
    assert_eq!(page.status, 503);
    for list in ["Destination", "Service", "EndpointSlice", "NetworkPolicy"] {
        assert!(
            page.text().contains(&format!("list of {list}")),
            "{}",
            page.text()
        );
    }
    assert_eq!(operator.page("/healthz").await.expect("an answer").status, 200);
}
