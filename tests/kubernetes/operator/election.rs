//! Two replicas: one writes, both serve, and the proxies notice nothing when they change places.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use landbridge_tests::audit::Mark;
use landbridge_tests::eventually;
use landbridge_tests::operator::{Installation, OperatorProcess, Workspace};
use serde_json::json;
use tokio::time::Instant;

async fn holder(installation: &Installation) -> Option<String> {
    let api: Api<Lease> = Api::namespaced(installation.plane.client().await, installation.system.name());
    let lease = api.get("landbridge-operator").await.expect("the lease");
    lease.spec.and_then(|spec| spec.holder_identity)
}

/// Looks at the endpoints all the time; counts how often there was none.
fn observe(workspace: &Workspace) -> (Arc<AtomicUsize>, Arc<AtomicBool>) {
    let (empty, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (slices, seen, end) = (workspace.slices.clone(), Arc::clone(&empty), Arc::clone(&stop));
    tokio::spawn(async move {
        while !end.load(Ordering::Relaxed) {
            if let Ok(slice) = slices.get("erp-landbridge").await
                && !slice
                    .endpoints
                    .iter()
                    .any(|one| one.conditions.as_ref().is_some_and(|is| is.ready == Some(true)))
            {
                seen.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    (empty, stop)
}

/// Changes the port of the Service, and waits until that is done.
async fn edit(workspace: &Workspace, port: u16) {
    workspace
        .declare(
            "erp",
            json!({"destinationRef": {"name": "erp"}, "service": {"port": port}}),
        )
        .await;
    eventually("the Service has the new port", async || {
        let service = serde_json::to_value(workspace.service("erp").await).expect("JSON");
        let now = service["spec"]["ports"][0]["port"].clone();
        if now == port { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
}

/// That `writer` has written since, and `other` has not.
async fn writes_alone(
    installation: &Installation,
    writer: &OperatorProcess,
    other: &OperatorProcess,
    mark: Mark,
) {
    let plane = &installation.plane;
    eventually("the leader writes", async || {
        if writer.writes(plane, mark).is_empty() {
            Err("nothing")
        } else {
            Ok(())
        }
        .map_err(ToOwned::to_owned)
    })
    .await;
    assert_eq!(other.writes(plane, mark), []);
}

#[tokio::test]
async fn the_second_replica_takes_over_and_nobody_notices() {
    let installation = Installation::new("election").await;
    let https =
        json!({"Name": "erp", "Type": "HTTP", "ProxyType": "Internet", "URL": "https://erp.example.com"});
    installation.store.put(&[https]).await;
    let mut one = installation.operator("one", &[]).await;
    one.until_leading().await;
    let mut two = installation.operator("two", &[]).await;
    // It follows the replica that does not lead, and reports to the one that does.
    let proxy = installation.proxy("proxy", &[&two]).await;
    let workspace = installation.workspace("election").await;
    let mark = installation.plane.audit_mark();
    workspace.declare_named("erp").await;
    workspace.until_usable("erp").await;
    workspace
        .until_endpoints("erp", &[(&proxy.address, true, false)])
        .await;
    writes_alone(&installation, &one, &two, mark).await;
    assert_eq!(holder(&installation).await.as_deref(), Some("one"));
    let (empty, stop) = observe(&workspace);
    let routes = proxy.routes();

    // Asked to end: it gives the lease back.
    let since = Instant::now();
    one.process.terminate();
    two.until_leading().await;
    println!("handed over after {:?}", since.elapsed());
    assert!(one.process.wait().await.success());
    assert_eq!(holder(&installation).await.as_deref(), Some("two"));
    let mark = installation.plane.audit_mark();
    edit(&workspace, 8080).await;
    one.restart().await;
    edit(&workspace, 8081).await;
    writes_alone(&installation, &two, &one, mark).await;
    workspace.until_usable("erp").await;

    // Killed: the lease has to run out.
    let mark = installation.plane.audit_mark();
    let since = Instant::now();
    two.process.kill().await;
    one.until_leading().await;
    let took = since.elapsed();
    println!("taken over after {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    edit(&workspace, 8082).await;
    writes_alone(&installation, &one, &two, mark).await;
    two.restart().await;
    eventually("the proxy follows again", async || {
        if proxy.is_following() {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    })
    .await;
    workspace.until_usable("erp").await;
    workspace
        .until_endpoints("erp", &[(&proxy.address, true, false)])
        .await;
    stop.store(true, Ordering::Relaxed);
    assert_eq!(
        empty.load(Ordering::Relaxed),
        0,
        "the endpoints were away for a while"
    );
    let ports = |routes: Vec<landbridge_destination::Route>| -> Vec<u16> {
        routes.iter().map(|one| one.port).collect()
    };
    assert_eq!(ports(proxy.routes()), ports(routes));
    for status in [one.page("/status").await, two.page("/status").await] {
        let status = status.expect("an answer").json();
        assert_eq!(status["Status"], "ok", "{status}");
    }
}
