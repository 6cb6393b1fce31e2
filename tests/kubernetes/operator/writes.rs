//! What the operator writes: only what differs, and again what somebody else has changed.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use landbridge_tests::eventually;
use landbridge_tests::operator::{Installation, OperatorProcess, Workspace};
use serde_json::{Value, json};
use tokio::time::Instant;

fn http(name: &str) -> Value {
    json!({"Name": name, "Type": "HTTP", "ProxyType": "Internet", "URL": "https://api.example.com"})
}

async fn edit(workspace: &Workspace, port: u16) {
    let spec = json!({"destinationRef": {"name": "erp"}, "service": {"port": port}});
    workspace.declare("erp", spec).await;
}

/// Waits until nothing waits to be written. What an absence is to be shown of has had its time then: the operator
/// writes within 0.25 s of what it hears, and looks at everything that settles after 2 s.
async fn settled(operator: &OperatorProcess) {
    tokio::time::sleep(Duration::from_secs(3)).await;
    eventually("nothing waits", async || {
        let queue = operator.metric("landbridge_operator_queue").await;
        if queue == Some(0.0) {
            Ok(())
        } else {
            Err(format!("{queue:?}"))
        }
    })
    .await;
}

/// Ports that callers of a namespace may use, by name of the policy.
async fn policies(installation: &Installation) -> BTreeMap<String, Value> {
    let client = installation.plane.client().await;
    let api: Api<NetworkPolicy> = Api::namespaced(client, installation.system.name());
    let list = api.list(&ListParams::default()).await.expect("a list");
    let named = list.into_iter().map(|policy| {
        let spec = serde_json::to_value(policy.spec).expect("JSON");
        (policy.metadata.name.unwrap_or_default(), spec)
    });
    named.collect()
}

async fn until_policies(installation: &Installation, names: &[&str]) -> BTreeMap<String, Value> {
    eventually(&format!("the policies {names:?}"), async || {
        let policies = policies(installation).await;
        let found: Vec<_> = policies.keys().map(String::as_str).collect();
        if found == names {
            Ok(policies)
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await
}

#[tokio::test]
async fn network_policies_follow_the_scope() {
    let installation = Installation::new("scope").await;
    installation.store.put(&[http("erp")]).await;
    let operator = installation.operator("operator", &[]).await;
    let _proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = installation.workspace("scope").await;
    let declare = async |name: &str, scope: &str| {
        let spec = json!({"destinationRef": {"name": "erp"}, "accessControl": {"scope": scope}});
        workspace.declare(name, spec).await;
        workspace.until_usable(name).await;
    };
    declare("mine", "namespaced").await;
    declare("ours", "clusterWide").await;
    let named = format!("landbridge-scope-ns-{}", workspace.name());
    let all = "landbridge-scope-cluster-wide";
    let found = until_policies(&installation, &[all, &named]).await;
    let (mine, ours) = (
        workspace.target_port("mine").await,
        workspace.target_port("ours").await,
    );
    let rule = |name: &str| found[name]["ingress"][0].clone();
    assert_eq!(rule(&named)["ports"][0]["port"], json!(mine));
    assert_eq!(
        rule(&named)["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
        workspace.name()
    );
    assert_eq!(rule(all)["ports"][0]["port"], json!(ours));
    assert_eq!(rule(all)["from"], json!([{"namespaceSelector": {}}]));

    declare("mine", "clusterWide").await;
    let found = until_policies(&installation, &[all]).await;
    assert_eq!(
        found[all]["ingress"][0]["ports"].as_array().map(Vec::len),
        Some(1),
        "neighbours: {found:?}"
    );

    // Deleted or edited by hand: it is there again.
    installation
        .system
        .kubectl(&["delete", "networkpolicy", all])
        .await
        .success();
    let again = until_policies(&installation, &[all]).await;
    assert_eq!(again, found);
    let patch = r#"[{"op": "replace", "path": "/spec/ingress/0/ports/0/port", "value": 1}]"#;
    installation
        .system
        .kubectl(&["patch", "networkpolicy", all, "--type=json", "-p", patch])
        .await
        .success();
    eventually("the policy is as it was", async || {
        let now = policies(&installation).await;
        if now == found {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    for name in ["mine", "ours"] {
        workspace.delete(name).await;
    }
    until_policies(&installation, &[]).await;
}

#[tokio::test]
async fn what_is_edited_by_hand_is_restored_and_told_once() {
    let installation = Installation::new("hand").await;
    installation.store.put(&[http("erp")]).await;
    let operator = installation.operator("operator", &[]).await;
    let proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = installation.workspace("hand").await;
    workspace.declare_named("erp").await;
    let before = workspace.until_usable("erp").await;
    settled(&operator).await;
    let mark = installation.plane.audit_mark();

    let broken = json!([{"type": "Available", "status": "False", "reason": "Mine", "message": "edited"}]);
    let patch = json!({"status": {"conditions": broken, "proxyPort": 1}});
    let params = PatchParams::default();
    workspace
        .destinations
        .patch_status("erp", &params, &Patch::Merge(patch))
        .await
        .expect("edited");
    let after = workspace.until_usable("erp").await;
    assert_eq!(after, before);
    let port = workspace.target_port("erp").await;
    let status = workspace
        .destinations
        .get("erp")
        .await
        .expect("declared")
        .status
        .expect("a status");
    assert_eq!(status.proxy_port.map(i64::from), port.map(i64::from));

    let patch = json!({"spec": {"ports": [{"port": 80, "name": "http", "targetPort": 1, "protocol": "TCP"}]},
        "metadata": {"labels": {"theirs": "stays"}}});
    workspace
        .services
        .patch("erp", &params, &Patch::Strategic(patch))
        .await
        .expect("edited");
    eventually("the Service leads to the proxies again", async || {
        let now = workspace.target_port("erp").await;
        if now == port {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    let labels = workspace
        .service("erp")
        .await
        .expect("a Service")
        .metadata
        .labels
        .expect("labels");
    assert_eq!(labels["theirs"], "stays", "what is not ours is left alone");

    let name = workspace
        .slices
        .list(&ListParams::default())
        .await
        .expect("a list")
        .items[0]
        .metadata
        .name
        .clone();
    workspace
        .slices
        .patch(
            &name.expect("a name"),
            &params,
            &Patch::Merge(json!({"endpoints": []})),
        )
        .await
        .expect("edited");
    workspace
        .until_endpoints("erp", &[(&proxy.address, true, false)])
        .await;
    workspace
        .services
        .delete("erp", &kube::api::DeleteParams::default())
        .await
        .expect("deleted");
    eventually("the Service is there again", async || {
        let now = workspace.target_port("erp").await;
        if now == port {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    workspace.until_usable("erp").await;
    settled(&operator).await;
    let writes = operator.writes(&installation.plane, mark);
    assert!(writes.len() <= 12, "no circle: {writes:?}");
    // Its own opinion has not changed, but while there was no Service.
    let told = workspace.told("erp").await;
    assert!(
        told.len() <= 3 && told.iter().all(|reason| reason == "ConfigurationSuccessful"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_hundred_edits_are_few_writes_and_the_last_one_wins() {
    let installation = Installation::new("edits").await;
    installation.store.put(&[http("erp")]).await;
    let operator = installation.operator("operator", &[]).await;
    let proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = installation.workspace("edits").await;
    workspace.declare_named("erp").await;
    workspace.until_usable("erp").await;
    let mark = installation.plane.audit_mark();
    let since = Instant::now();
    // As fast as the API server takes them, and one that is the last.
    futures_util::stream::iter(8001..8100)
        .for_each_concurrent(8, |port| edit(&workspace, port))
        .await;
    edit(&workspace, 8100).await;
    let took = since.elapsed();
    eventually("the last one counts", async || {
        let destination = workspace.destinations.get("erp").await.expect("declared");
        let observed = destination.status.expect("a status").conditions;
        let all = observed
            .iter()
            .all(|one| one.observed_generation == destination.metadata.generation);
        let service = serde_json::to_value(workspace.service("erp").await).expect("JSON");
        let port = service["spec"]["ports"][0]["port"].clone();
        if all && port == 8100 {
            Ok(())
        } else {
            Err(format!("{port} {observed:?}"))
        }
    })
    .await;
    settled(&operator).await;
    let writes = operator.writes(&installation.plane, mark);
    // At most one piece of work in 50 ms, and each writes a Service, a status and an Event: callers have another port.
    let most = 3 * (took.as_millis() / 50 + 3);
    println!("100 edits in {took:?}: {} writes", writes.len());
    assert!(
        writes.len() as u128 <= most,
        "{} in {took:?}: {writes:?}",
        writes.len()
    );

    // Declared and deleted at once, over and over: nothing stays behind.
    for round in 0..20 {
        let name = format!("short-{round}");
        workspace
            .declare(&name, json!({"destinationRef": {"name": "erp"}}))
            .await;
        workspace.delete(&name).await;
    }
    workspace.until_usable("erp").await;
    eventually("only one is left", async || {
        let services = workspace
            .services
            .list(&ListParams::default())
            .await
            .expect("a list")
            .items
            .len();
        let slices = workspace
            .slices
            .list(&ListParams::default())
            .await
            .expect("a list")
            .items
            .len();
        let routes = proxy.routes().len();
        if (services, slices, routes) == (1, 1, 1) {
            Ok(())
        } else {
            Err(format!("{services} {slices} {routes}"))
        }
    })
    .await;
}

#[tokio::test]
async fn an_operator_that_starts_again_writes_nothing() {
    let installation = Installation::new("again").await;
    let names: Vec<String> = (0..20).map(|number| format!("erp-{number}")).collect();
    let stored: Vec<Value> = names.iter().map(|name| http(name)).collect();
    installation.store.put(&stored[1..]).await;
    let mark = installation.plane.audit_mark();
    let mut operator = installation.operator("operator", &[]).await;
    let proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = installation.workspace("again").await;
    for name in &names {
        workspace.declare_named(name).await;
    }
    workspace
        .declare("gateway", json!({"destinationRef": {"name": "*"}}))
        .await;
    for name in &names[1..] {
        workspace.until_usable(name).await;
    }
    workspace.until_usable("gateway").await;
    workspace.until(&names[0], "False", "NotFound").await;
    settled(&operator).await;
    assert_eq!(operator.forbidden(&installation.plane, mark), []);
    let before = versions(&workspace).await;
    let events = workspace.told("erp-1").await;

    let mark = installation.plane.audit_mark();
    let streams = proxy.streams();
    operator.process.terminate();
    assert!(operator.process.wait().await.success());
    operator.restart().await;
    operator.until_leading().await;
    eventually("the proxy follows and reports again", async || {
        let reporting = operator.metric("landbridge_operator_proxies").await;
        if proxy.streams() > streams && reporting == Some(1.0) {
            Ok(())
        } else {
            Err(format!("{reporting:?}"))
        }
    })
    .await;
    settled(&operator).await;
    assert_eq!(operator.writes(&installation.plane, mark), []);
    assert_eq!(versions(&workspace).await, before);
    assert_eq!(workspace.told("erp-1").await, events);
    assert_eq!(proxy.routes().len(), names.len() + 1);
}

/// Versions of everything in the namespace.
async fn versions(workspace: &Workspace) -> BTreeMap<String, Option<String>> {
    let all = ListParams::default();
    let mut versions = BTreeMap::new();
    for one in workspace.destinations.list(&all).await.expect("a list") {
        versions.insert(
            format!("destination {:?}", one.metadata.name),
            one.metadata.resource_version,
        );
    }
    for one in workspace.services.list(&all).await.expect("a list") {
        versions.insert(
            format!("service {:?}", one.metadata.name),
            one.metadata.resource_version,
        );
    }
    for one in workspace.slices.list(&all).await.expect("a list") {
        versions.insert(
            format!("slice {:?}", one.metadata.name),
            one.metadata.resource_version,
        );
    }
    versions
}
