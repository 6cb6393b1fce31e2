//! Services and EndpointSlices: what they are, and that they follow resources, proxies and pods.

use landbridge_tests::eventually;
use landbridge_tests::operator::{Installation, Workspace};
use serde_json::{Value, json};

fn http(name: &str) -> Value {
    json!({"Name": name, "Type": "HTTP", "ProxyType": "Internet", "URL": "https://api.example.com"})
}

fn tcp(name: &str) -> Value {
    json!({"Name": name, "Type": "TCP", "ProxyType": "OnPremise", "Address": "db.corp:5432"})
}

async fn service(workspace: &Workspace, name: &str) -> Value {
    serde_json::to_value(workspace.service(name).await.expect("a Service")).expect("JSON")
}

#[tokio::test]
async fn one_name_in_two_namespaces_and_what_is_made_for_it() {
    let installation = Installation::new("shape").await;
    installation.store.put(&[http("erp"), tcp("db")]).await;
    let mark = installation.plane.audit_mark();
    let operator = installation.operator("operator", &[]).await;
    let proxy = installation.proxy("proxy", &[&operator]).await;
    let (one, other) = (
        installation.workspace("one").await,
        installation.workspace("other").await,
    );
    for workspace in [&one, &other] {
        workspace.declare_named("erp").await;
    }
    one.declare(
        "db",
        json!({"destinationRef": {"name": "db"}, "service": {"port": 5432}}),
    )
    .await;
    one.declare("plain", json!({"destinationRef": {"name": "db"}}))
        .await;
    let said = one.until_usable("erp").await;
    assert!(
        said.message.ends_with(&format!("http://erp.{}", one.name())),
        "{said:?}"
    );
    other.until_usable("erp").await;
    one.until_usable("db").await;
    one.until_usable("plain").await;

    let ports = [
        one.target_port("erp").await,
        other.target_port("erp").await,
        one.target_port("db").await,
    ];
    assert!(
        ports[0].is_some() && ports[0] != ports[1] && ports[1] != ports[2],
        "{ports:?}"
    );
    let erp = service(&one, "erp").await;
    let destination = one.destinations.get("erp").await.expect("declared");
    assert_eq!(
        (
            &erp["spec"]["ports"],
            &erp["spec"]["type"],
            &erp["spec"]["selector"]
        ),
        (
            &json!([{"name": "http", "port": 80, "protocol": "TCP", "appProtocol": "http", "targetPort": ports[0]}]),
            &json!("ClusterIP"),
            &Value::Null,
        )
    );
    assert_eq!(
        erp["metadata"]["labels"]["app.kubernetes.io/managed-by"],
        "landbridge"
    );
    assert_eq!(
        erp["metadata"]["labels"]["connectivity.landbridge.dev/destination"],
        "erp"
    );
    let owners = erp["metadata"]["ownerReferences"].as_array().expect("owners");
    assert_eq!(owners.len(), 1, "{owners:?}");
    assert_eq!(
        (&owners[0]["kind"], &owners[0]["controller"]),
        (&json!("Destination"), &json!(true))
    );
    assert_eq!(owners[0]["uid"], json!(destination.metadata.uid));
    let db = service(&one, "db").await;
    assert_eq!(
        db["spec"]["ports"],
        json!([{"name": "tcp", "port": 5432, "protocol": "TCP", "targetPort": ports[2]}])
    );
    assert_eq!(
        service(&one, "plain").await["spec"]["ports"][0]["port"],
        20004,
        "as published"
    );

    // No controller of Kubernetes adds a slice of its own, since the Service selects nothing.
    let slices = one
        .slices
        .list(&kube::api::ListParams::default())
        .await
        .expect("a list");
    let managers: Vec<_> = slices
        .iter()
        .map(|slice| slice.metadata.labels.clone().unwrap_or_default())
        .map(|labels| labels["endpointslice.kubernetes.io/managed-by"].clone())
        .collect();
    assert_eq!(managers, ["landbridge"; 3]);
    let status = destination.status.expect("a status");
    assert_eq!(status.proxy_port.map(i64::from), ports[0].map(i64::from));
    assert_eq!(proxy.routes().len(), 4);
    assert_eq!(operator.forbidden(&installation.plane, mark), []);
}

#[tokio::test]
async fn endpoints_are_the_proxies_that_listen_and_are_ready() {
    let installation = Installation::new("endpoints").await;
    installation.store.put(&[http("erp")]).await;
    let operator = installation.operator("operator", &[]).await;
    let one = installation.proxy("one", &[&operator]).await;
    let two = installation.proxy("two", &[&operator]).await;
    let workspace = installation.workspace("endpoints").await;
    workspace.declare_named("erp").await;
    workspace.until_usable("erp").await;
    let (first, second) = (one.address.clone(), two.address.clone());
    workspace
        .until_endpoints("erp", &[(&first, true, false), (&second, true, false)])
        .await;

    one.ready(false).await;
    workspace
        .until_endpoints("erp", &[(&first, false, false), (&second, true, false)])
        .await;
    one.ready(true).await;
    workspace
        .until_endpoints("erp", &[(&first, true, false), (&second, true, false)])
        .await;

    // It listens no more, and says why.
    two.fail(workspace.name(), "erp", Some("port in use"));
    workspace.until_endpoints("erp", &[(&first, true, false)]).await;
    workspace.until_usable("erp").await;
    one.fail(workspace.name(), "erp", Some("port in use"));
    let said = workspace
        .until("erp", "False", "FailedToApplyConfiguration")
        .await;
    assert!(
        said.message.contains("port in use") && said.message.contains("the proxy "),
        "{said:?}"
    );
    workspace.until_endpoints("erp", &[]).await;
    one.fail(workspace.name(), "erp", None);
    workspace.until_usable("erp").await;
    two.fail(workspace.name(), "erp", None);
    workspace
        .until_endpoints("erp", &[(&first, true, false), (&second, true, false)])
        .await;
    two.conceal(workspace.name(), "erp");
    workspace.until_endpoints("erp", &[(&first, true, false)]).await;

    // About to end: no new connections, and those that have nowhere else to go are still answered.
    one.drain();
    workspace.until_endpoints("erp", &[(&first, false, true)]).await;
    one.delete().await;
    workspace.until_endpoints("erp", &[]).await;
    // The other one follows and serves nothing of it.
    workspace.until("erp", "Unknown", "Pending").await;
    two.delete().await;
    let said = workspace
        .until("erp", "False", "FailedToApplyConfiguration")
        .await;
    assert!(said.message.contains("no proxy is connected"), "{said:?}");
}

#[tokio::test]
async fn changes_and_the_end_of_a_destination() {
    let installation = Installation::new("changes").await;
    installation
        .store
        .put(&[http("erp"), http("crm"), http("hr")])
        .await;
    let operator = installation
        .operator("operator", &["--port-range", "20000-20001"])
        .await;
    let proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = installation.workspace("changes").await;
    for name in ["erp", "crm"] {
        workspace.declare_named(name).await;
        workspace.until_usable(name).await;
    }
    let before = service(&workspace, "erp").await;
    workspace
        .declare(
            "erp",
            json!({"destinationRef": {"name": "erp"}, "service": {"port": 8080}}),
        )
        .await;
    let after = eventually("the Service has the new port", async || {
        let service = service(&workspace, "erp").await;
        if service["spec"]["ports"][0]["port"] == 8080 {
            Ok(service)
        } else {
            Err(service.to_string())
        }
    })
    .await;
    for (path, why) in [
        ("/metadata/uid", "the same"),
        ("/spec/clusterIP", "callers keep their address"),
        ("/spec/ports/0/targetPort", "the proxies keep their port"),
    ] {
        assert_eq!(before.pointer(path), after.pointer(path), "{why}");
    }
    eventually("the address is told", async || {
        let said = workspace.available("erp").await;
        let ended = said.message.ends_with(":8080");
        if ended { Ok(()) } else { Err(said.message) }
    })
    .await;

    workspace.declare_named("hr").await;
    let said = workspace.until("hr", "False", "FailedToApplyConfiguration").await;
    assert!(
        said.message.contains("20000") && workspace.service("hr").await.is_none(),
        "{said:?}"
    );
    let port = workspace.target_port("erp").await;
    workspace.delete("erp").await;
    workspace.until_gone("erp").await;
    workspace.until_usable("hr").await;
    assert_eq!(
        workspace.target_port("hr").await,
        port,
        "the only one that was free"
    );
    let names: Vec<_> = proxy.routes().into_iter().map(|route| route.key.name).collect();
    assert_eq!(names, ["crm", "hr"]);
}
