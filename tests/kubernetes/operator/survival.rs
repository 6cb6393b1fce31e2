//! Definitions that come late, objects that cannot be read, and an API server that is away. Each on a control plane of
//! its own: others could not work meanwhile.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use landbridge_crds::Destination;
use landbridge_tests::control_plane::ControlPlane;
use landbridge_tests::operator::{Installation, OperatorProcess, Workspace};
use landbridge_tests::{eventually, free_port};
use serde_json::{Value, json};
use tokio::time::sleep;

fn http(name: &str) -> Value {
    json!({"Name": name, "Type": "HTTP", "ProxyType": "Internet", "URL": "https://api.example.com"})
}

/// `/readyz` has this status, and says this.
async fn until_ready(operator: &OperatorProcess, status: u16, says: &[&str]) {
    eventually(&format!("/readyz answers {status} {says:?}"), async || {
        let answer = operator.page("/readyz").await?;
        let text = answer.text();
        if answer.status == status && says.iter().all(|part| text.contains(part)) {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
}

#[tokio::test]
async fn definitions_that_come_late_and_objects_that_cannot_be_read() {
    let plane = ControlPlane::start().await;
    let installation = Installation::on(&plane, "late").await;
    installation.store.put(&[http("erp")]).await;
    let port = free_port();
    let (listen, url) = (format!("127.0.0.1:{port}"), format!("https://127.0.0.1:{port}"));
    let mark = plane.audit_mark();
    let options = ["--webhook-listen", &listen, "--webhook-url", &url];
    let mut operator = installation.launch("operator", &options).await;
    until_ready(
        &operator,
        503,
        &[
            "list of Destination",
            "list of ServiceChannel",
            "list of ServiceMapping",
        ],
    )
    .await;
    // It lives, it just waits: nothing restarts it.
    assert_eq!(operator.page("/healthz").await.expect("an answer").status, 200);
    eventually("it says what to do", async || {
        let log = operator.process.log();
        let said = log.contains("landbridge crds | kubectl apply");
        if said { Ok(()) } else { Err(log) }
    })
    .await;
    eventually("one Event for each kind, about the operator's pod", async || {
        let field = "--field-selector=reason=DefinitionMissing,regarding.name=operator";
        let path = "jsonpath={.items[*].note}";
        let asked = installation
            .system
            .kubectl(&["get", "events.events.k8s.io", field, "-o", path])
            .await
            .success();
        let kinds = ["Destination", "ServiceChannel", "ServiceMapping"];
        let all = kinds.map(|kind| asked.matches(&format!("the cluster has no {kind}:")).count());
        if all == [1, 1, 1] { Ok(()) } else { Err(asked) }
    })
    .await;
    plane.apply_crds().await;
    operator.until_listed().await;
    until_ready(&operator, 200, &["ready"]).await;
    let proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = installation.workspace("late").await;
    workspace.declare_named("erp").await;
    workspace.until_usable("erp").await;
    asks_before_storing(&workspace).await;
    unreadable(&plane, &workspace, &operator).await;
    workspace.until_usable("erp").await;
    assert_eq!(proxy.routes().len(), 1);
    // Which it had no right to before its definitions were there is not looked at: the API server says 403 for those.
    assert_eq!(operator.forbidden(&plane, mark), []);
}

/// The admission webhook, as the operator registers it itself.
async fn asks_before_storing(workspace: &Workspace) {
    let bad = json!({"apiVersion": "destination.connectivity.api.sap/v1", "kind": "Destination",
        "metadata": {"name": "erp.eu"}, "spec": {"destinationRef": {"name": "erp"}}});
    eventually("the webhook is asked", async || {
        let ended = workspace.namespace.apply(&bad.to_string()).await;
        if ended.code == Some(0) {
            workspace.delete("erp.eu").await;
            return Err("admitted".to_owned());
        }
        let said = ended.failure();
        if said.contains("cannot be the name of a Service") {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
}

/// A definition of somebody who took the schema out of it, and what can be stored then.
async fn unreadable(plane: &ControlPlane, workspace: &Workspace, operator: &OperatorProcess) {
    let client = plane.client().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let patch = json!([{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": open}]);
    let patch: Patch<()> = Patch::Json(serde_json::from_value(patch).expect("a patch"));
    let name = "destinations.destination.connectivity.api.sap";
    definitions
        .patch(name, &PatchParams::default(), &patch)
        .await
        .expect("patched");
    let kind = ApiResource::erase::<Destination>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client, workspace.name(), &kind);
    let odd = json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "odd"},
        "spec": {"destinationRef": 5}});
    eventually("the API server takes it", async || {
        let applied = api
            .patch("odd", &PatchParams::apply("tests"), &Patch::Apply(&odd))
            .await;
        applied.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
    let said = eventually("its status says so", async || {
        let odd = api.get("odd").await.expect("it is there");
        let conditions = odd.data["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let available = conditions.into_iter().find(|one| one["type"] == "Available");
        available.ok_or_else(|| odd.data.to_string())
    })
    .await;
    assert_eq!(
        (&said["status"], &said["reason"]),
        (&json!("False"), &json!("ConfigurationFailed")),
        "{said}"
    );
    assert!(
        said["message"]
            .as_str()
            .is_some_and(|text| text.contains("cannot be read")),
        "{said}"
    );
    let counted = operator.metric("landbridge_operator_undecodable_total").await;
    assert!(counted >= Some(1.0), "{counted:?}");

    // Others go on, also those that come later and those in a new list.
    workspace
        .declare("later", json!({"destinationRef": {"name": "erp"}}))
        .await;
    workspace.until_usable("later").await;
    workspace.delete("later").await;
    workspace.until_gone("later").await;
    let good = json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "odd"},
        "spec": {"destinationRef": {"name": "erp"}}});
    let params = PatchParams::apply("tests").force();
    api.patch("odd", &params, &Patch::Apply(&good))
        .await
        .expect("corrected");
    workspace.until_usable("odd").await;
    workspace.delete("odd").await;
    workspace.until_gone("odd").await;
    let left = api
        .list(&ListParams::default())
        .await
        .expect("a list")
        .items
        .len();
    assert_eq!(left, 1);
}

#[tokio::test]
async fn an_api_server_that_is_away() {
    let plane = ControlPlane::start().await;
    plane.apply_crds().await;
    let installation = Installation::on(&plane, "away").await;
    installation.store.put(&[http("erp")]).await;
    let mut operator = installation.operator("operator", &[]).await;
    let proxy = installation.proxy("proxy", &[&operator]).await;
    let workspace = installation.workspace("away").await;
    workspace.declare_named("erp").await;
    workspace.until_usable("erp").await;
    workspace
        .until_endpoints("erp", &[(&proxy.address, true, false)])
        .await;
    let (streams, routes) = (proxy.streams(), proxy.routes());
    let client = installation.store.client().await;

    plane.stop_apiserver().await;
    // Longer than its lease lasts: then nobody may write, and it does not try to.
    eventually("it leads no more", async || {
        let status = operator.page("/status").await?.json();
        if status["Leading"] == false {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    assert_eq!(operator.page("/healthz").await.expect("an answer").status, 200);
    assert_eq!(
        operator.page("/readyz").await.expect("an answer").status,
        200,
        "it still serves"
    );
    // Proxies are served on: what changes in the store reaches them all the same.
    let before = proxy.store_changes().len();
    let changed =
        json!({"Name": "erp", "Type": "HTTP", "ProxyType": "Internet", "URL": "https://b.example.com"});
    landbridge_tests::operator::put(&client, &changed)
        .await
        .expect("stored");
    eventually("the proxies hear of the store", async || {
        if proxy.store_changes().len() > before {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    })
    .await;
    sleep(Duration::from_secs(2)).await;
    assert!(
        proxy.is_following() && proxy.streams() == streams,
        "the stream stayed"
    );
    assert_eq!(proxy.routes(), routes);
    assert_eq!(operator.process.ended(), None);

    let mark = plane.audit_mark();
    plane.start_apiserver().await;
    operator.until_leading().await;
    workspace
        .declare("later", json!({"destinationRef": {"name": "erp"}}))
        .await;
    workspace.until_usable("later").await;
    workspace.until_usable("erp").await;
    workspace
        .until_endpoints("erp", &[(&proxy.address, true, false)])
        .await;
    assert_eq!(proxy.streams(), streams, "nobody had to connect again");
    let touched = operator
        .writes(&plane, mark)
        .into_iter()
        .filter(|event| event.name.starts_with("erp"));
    assert_eq!(
        touched.collect::<Vec<_>>(),
        [],
        "what was in order stays as it is"
    );
    installation.store.process.terminate();
}
