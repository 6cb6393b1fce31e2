//! The definitions: they install, show what is published, and take the examples as they are.

use landbridge_tests::control_plane::{ControlPlane, repository};
use landbridge_tests::eventually;

/// Installing is the check that no fake makes: the API server bounds the cost of all rules.
#[tokio::test]
async fn definitions_install_and_their_names_are_accepted() {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    let files = landbridge_crds::yaml::files().expect("the definitions");
    for (file, text) in files {
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("  name: "))
            .expect("a name");
        let conditions = "jsonpath={range .status.conditions[*]}{.type}={.status} {end}";
        let said = plane
            .kubectl(&["get", "crd", name, "-o", conditions])
            .await
            .success();
        assert!(
            said.contains("NamesAccepted=True") && said.contains("Established=True"),
            "{file}: {said}"
        );
        // A schema that is not structural would be served without being checked.
        assert!(!said.contains("NonStructuralSchema=True"), "{file}: {said}");
    }
}

/// Another server-side apply of the same text must change nothing, or every upgrade would.
#[tokio::test]
async fn installing_again_changes_nothing() {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    let folder = repository().join("crds/yaml");
    let folder = folder.to_str().expect("a path");
    let generations = [
        "get",
        "-f",
        folder,
        "-o",
        "jsonpath={.items[*].metadata.generation}",
    ];
    let before = plane.kubectl(&generations).await.success();
    let yaml = landbridge_crds::yaml::crd_yaml().expect("the definitions");
    let apply = ["apply", "--server-side", "--field-manager=tests", "-f", "-"];
    plane.kubectl_with(&apply, &yaml).await.success();
    assert_eq!(plane.kubectl(&generations).await.success(), before);
}

#[tokio::test]
async fn examples_apply_unchanged_and_show_the_published_columns() {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    let namespace = plane.namespace("examples").await;
    let examples = repository().join("examples");
    namespace
        .kubectl(&["apply", "-f", examples.to_str().expect("a path")])
        .await
        .success();

    let table = namespace.kubectl(&["get", "dst"]).await.success();
    let heads: Vec<_> = table.lines().next().expect("a head").split_whitespace().collect();
    let published = [
        "NAME",
        "AGE",
        "DESTINATIONREF",
        "FRAGMENTREF",
        "DESTINATIONSERVICEINSTANCENAME",
        "SERVICEPORT",
        "ACCESSCONTROLSCOPE",
        "CHAINREF",
        "STATUS",
    ];
    assert_eq!(heads, published);
    let rows: Vec<_> = table.lines().skip(1).collect();
    assert!(
        rows.iter()
            .any(|row| row.starts_with("weather ") && row.contains(" weather-api ")),
        "{table}"
    );
    assert!(
        rows.iter()
            .any(|row| row.starts_with("any ") && row.contains(" * ")),
        "{table}"
    );
    let wide = namespace.kubectl(&["get", "dst", "-o", "wide"]).await.success();
    assert!(
        wide.lines()
            .next()
            .is_some_and(|head| head.trim_end().ends_with("READY")),
        "{wide}"
    );
}

/// What was written as status is shown in its columns; only the subresource can write it.
#[tokio::test]
async fn status_is_a_subresource_and_shown() {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    let namespace = plane.namespace("status").await;
    let manifest = "apiVersion: destination.connectivity.api.sap/v1\nkind: Destination\nmetadata:\n  name: erp\n\
                    spec:\n  destinationRef:\n    name: erp\n";
    namespace.apply(manifest).await.success();
    let status = r#"{"status":{"conditions":[{"type":"Available","status":"True","reason":"ConfigurationSuccessful",
        "message":"m","lastTransitionTime":"2026-01-01T00:00:00Z","observedGeneration":1}]}}"#;
    let patch = ["patch", "dst", "erp", "--type=merge", "-p", status];
    namespace.kubectl(&patch).await.success();
    let reason = [
        "get",
        "dst",
        "erp",
        "-o",
        "jsonpath={.status.conditions[0].reason}",
    ];
    assert_eq!(
        namespace.kubectl(&reason).await.success(),
        "",
        "a write of the object leaves the status alone"
    );
    namespace
        .kubectl(&[&patch[..], &["--subresource=status"]].concat())
        .await
        .success();
    assert_eq!(
        namespace.kubectl(&reason).await.success(),
        "ConfigurationSuccessful"
    );
    let table = namespace.kubectl(&["get", "dst", "erp"]).await.success();
    assert!(table.contains(" ConfigurationSuccessful"), "{table}");
    let generation = ["get", "dst", "erp", "-o", "jsonpath={.metadata.generation}"];
    assert_eq!(namespace.kubectl(&generation).await.success(), "1");
}

#[tokio::test]
async fn kubectl_explains_every_field() {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    for (path, expected) in [
        ("destinations.spec.destinationRef.name", "makes a gateway"),
        ("dst.spec.service.port", "<integer>"),
        ("dst.spec.actions.triggers.matches", "exactMatch"),
        ("dst.status.conditions", "<[]Object>"),
        ("servicechannels.spec.serviceRef", "Service"),
        ("servicemappings.spec.internalAddress", "Host and port"),
    ] {
        // The description of the API is put together a moment after the definition is there.
        eventually(&format!("kubectl explain {path}"), async || {
            let said = plane.kubectl(&["explain", path]).await;
            if said.code == Some(0) && said.stdout.contains(expected) {
                Ok(())
            } else {
                Err(format!("{}{}", said.stdout, said.stderr))
            }
        })
        .await;
    }
}

/// Resources of one name in two namespaces are two.
#[tokio::test]
async fn the_same_name_in_two_namespaces() {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    for (namespace, target) in [
        (plane.namespace("one").await, "a"),
        (plane.namespace("two").await, "b"),
    ] {
        let manifest = format!(
            "apiVersion: destination.connectivity.api.sap/v1\nkind: Destination\nmetadata:\n  name: same\nspec:\n  \
             destinationRef:\n    name: {target}\n"
        );
        namespace.apply(&manifest).await.success();
        let name = ["get", "dst", "same", "-o", "jsonpath={.spec.destinationRef.name}"];
        assert_eq!(namespace.kubectl(&name).await.success(), target);
    }
}
