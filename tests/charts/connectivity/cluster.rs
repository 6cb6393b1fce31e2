//! What a real API server says of the chart, and what becomes of it there.

use landbridge_tests::charts::values_files;
use landbridge_tests::process;

use super::{NAME, rendered};
use crate::cluster::life::Life;
use crate::cluster::{namespaces, only_ip_families, plane, schemas, text};

/// Values that every installation of these tests has.
const HOST: &str = "config.servers.businessDataTunnel.externalHost=tunnel.example.com";

/// Unknown fields refused, and no warning: nothing deprecated, nothing that Pod Security "restricted" would stop.
#[tokio::test]
async fn the_api_server_takes_every_values_file() {
    let plane = plane().await;
    namespaces(&plane).await;
    // Where Istio would be.
    plane
        .kubectl_with(
            &["apply", "-f", "-"],
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: mesh}\n",
        )
        .await
        .success();
    for (file, manifests) in rendered() {
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        let ended = plane.kubectl_with(&arguments, &text(&manifests)).await;
        if file == "everything" {
            only_ip_families(&ended.stderr, 2);
            continue;
        }
        assert_eq!(ended.code, Some(0), "{file}: {}", ended.stderr);
        // The certificates in values files are placeholders.
        let warnings: Vec<_> = ended
            .stderr
            .lines()
            .filter(|line| line.contains("Warning") && !line.contains("find any PEM data"))
            .collect();
        assert_eq!(warnings, [""; 0], "{file}");
        assert_eq!(ended.stdout.lines().count(), manifests.len(), "{file}");
    }
}

#[tokio::test]
async fn the_schemas_take_every_values_file() {
    let plane = plane().await;
    let folder = schemas::write(&plane).await;
    let mut checked = 0;
    for (file, manifests) in rendered() {
        let said = schemas::check(folder.path(), &manifests);
        assert!(said.is_ok(), "{file}: {}", said.unwrap_err());
        checked += manifests.len();
    }
    assert!(checked > values_files("connectivity").len() * 8, "{checked}");
}

/// Installed, changed, rolled back, guarded, removed. There is no node here: nothing runs the guard, which is the same to
/// Helm as one that says no.
#[tokio::test]
async fn an_installation_lives_and_leaves_what_is_documented() {
    let life = Life::new().await;
    life.install("crds", "landbridge-crds", &[]).await;
    let said = life
        .install("lc", "landbridge-connectivity", &["--set", HOST])
        .await;
    assert!(said.contains("server = \"tunnel.example.com:443\""), "{said}");
    let claim = || async {
        let claims = life.get(&["pvc", "-n", "system", "-o", "name"]).await;
        claims.trim().to_owned()
    };
    landbridge_tests::eventually("the claim is made", async || match claim().await {
        name if name == format!("persistentvolumeclaim/data-{NAME}-0") => Ok(()),
        other => Err(other),
    })
    .await;

    // Everything that may change, in one step; what may not change would be refused.
    let more = "proxy.drainSeconds=60,config.logging.level=debug,config.servers.businessDataTunnel.port=9042,chart.nameSuffix=";
    let more = format!("{HOST},{more}");
    life.install("lc", "landbridge-connectivity", &["--set", &more])
        .await;
    let grace = [
        "statefulset",
        NAME,
        "-n",
        "system",
        "-o",
        "jsonpath={.spec.template.spec.terminationGracePeriodSeconds}",
    ];
    assert_eq!(life.get(&grace).await, "73");
    life.helm(&["rollback", "lc", "1", "-n", "system"]).await.unwrap();
    assert_eq!(life.get(&grace).await, "38");

    // What docs/how-to/upgrade.md says of volumes.
    let larger = format!("{HOST},persistence.size=2Gi");
    let folder = landbridge_tests::charts::chart("landbridge-connectivity");
    let upgrade = [
        "upgrade",
        "lc",
        folder.to_str().unwrap(),
        "-n",
        "system",
        "--set",
        &larger,
    ];
    let refused = life.helm(&upgrade).await.unwrap_err();
    assert!(
        refused.contains("updates to statefulset spec for fields other than"),
        "{refused}"
    );
    let orphan = ["delete", "statefulset", NAME, "-n", "system", "--cascade=orphan"];
    life.plane.kubectl(&orphan).await.success();
    life.helm(&upgrade).await.unwrap();
    let last = "5";

    let refused = life
        .helm(&["uninstall", "lc", "-n", "system", "--timeout", "5s"])
        .await
        .unwrap_err();
    assert!(
        refused.contains("pre-delete") || refused.contains("condition"),
        "{refused}"
    );
    assert_eq!(life.get(&grace).await, "38", "nothing was removed");
    // To Helm it is half removed now; the way back is the revision that is there.
    life.helm(&["rollback", "lc", last, "-n", "system"])
        .await
        .unwrap();
    life.install("lc", "landbridge-connectivity", &["--set", &larger])
        .await;

    life.helm(&["uninstall", "lc", "-n", "system", "--no-hooks"])
        .await
        .unwrap();
    let kinds = "statefulsets,services,serviceaccounts,networkpolicies,ingresses,jobs,clusterroles,clusterrolebindings";
    let label = "app.kubernetes.io/instance=lc";
    let left = life.get(&[kinds, "-A", "-l", label, "-o", "name"]).await;
    assert_eq!(
        left.trim(),
        "job.batch/landbridge-connectivity-guard",
        "the guard that said no stays, so that its log can be read; its rights are gone"
    );
    assert_eq!(claim().await, format!("persistentvolumeclaim/data-{NAME}-0"));
}

/// The way of docs/how-to/migrate.md: a definition that another release has made becomes one of ours, and stays when its
/// former owner forgets it.
#[tokio::test]
async fn a_definition_of_another_release_is_taken_over_when_that_is_asked_for() {
    let life = Life::new().await;
    let path = landbridge_tests::control_plane::repository().join("crds/yaml/destination.yaml");
    life.plane
        .kubectl(&["apply", "-f", path.to_str().unwrap()])
        .await
        .success();
    let name = "destinations.destination.connectivity.api.sap";
    let foreign = [
        "annotate",
        "crd",
        name,
        "meta.helm.sh/release-name=transparent-proxy",
        "meta.helm.sh/release-namespace=old",
    ];
    life.plane.kubectl(&foreign).await.success();
    life.install("crds", "landbridge-crds", &["--take-ownership"])
        .await;
    let annotations = life
        .get(&["crd", name, "-o", "jsonpath={.metadata.annotations}"])
        .await;
    for expected in [
        r#""meta.helm.sh/release-name":"crds""#,
        r#""helm.sh/resource-policy":"keep""#,
    ] {
        assert!(annotations.contains(expected), "{annotations}");
    }
}

/// With the rights of the rendered guard and no other: it sees what is in the way, and lets go when nothing is.
#[tokio::test]
async fn the_guard_has_the_rights_that_it_needs() {
    let life = Life::new().await;
    life.install("crds", "landbridge-crds", &[]).await;
    let all = super::with_values("minimal");
    let guard: Vec<_> = all
        .into_iter()
        .filter(|manifest| {
            manifest["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete" && manifest["kind"] != "Job"
        })
        .collect();
    assert_eq!(guard.len(), 3, "account, role, binding");
    let apply = ["apply", "--server-side", "-f", "-"];
    life.plane.kubectl_with(&apply, &text(&guard)).await.success();
    let account = life
        .plane
        .service_account("system", "landbridge-connectivity-guard")
        .await;
    let check = || async {
        let kubeconfig = account.to_str().unwrap();
        process::run(&[
            "check",
            "--uninstall",
            "--namespace=system",
            "--kubeconfig",
            kubeconfig,
        ])
        .await
    };
    let free = check().await;
    assert_eq!(free.code, Some(0), "{}{}", free.stdout, free.stderr);

    let channel = "apiVersion: connectivity.landbridge.dev/v1alpha1\nkind: ServiceChannel\n\
                   metadata: {name: left, namespace: default}\n\
                   spec: {type: TCP, serviceId: left, serviceRef: {name: kubernetes, port: 443}}\n";
    life.plane.kubectl_with(&apply, channel).await.success();
    let refused = check().await;
    assert_eq!(refused.code, Some(1), "{}{}", refused.stdout, refused.stderr);
    let said = refused.stdout + &refused.stderr;
    assert!(
        said.contains("default/left") && said.contains("kubectl delete servicechannel"),
        "{said}"
    );
}
