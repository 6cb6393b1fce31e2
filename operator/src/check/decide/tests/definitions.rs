use super::*;

#[test]
fn definitions_of_others_and_of_other_versions() {
    use Outcome::{Failed, Ok as Fine, Skipped, Warning};
    type Definition =
        k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let with = |change: fn(&mut Definition)| {
        let mut facts = cluster();
        let (_, theirs) = &mut facts.definitions[0];
        change(theirs.as_mut().unwrap());
        facts
    };
    let name = "destinations-definition";
    let pre = |cluster, outcome, says, remedy| {
        let facts = Before {
            cluster,
            ..good_before()
        };
        differs(
            facts,
            |facts| before(facts, &options(Phase::Before)),
            name,
            outcome,
            says,
            remedy,
        );
    };
    let post = |cluster, outcome, says, remedy| {
        let facts = Installed { cluster, ..good() };
        differs(
            facts,
            |facts| installed(facts, &options(Phase::Installed)),
            name,
            outcome,
            says,
            remedy,
        );
    };
    let scope: fn(&mut Definition) = |one| one.spec.scope = "Cluster".into();
    pre(
        with(scope),
        Failed,
        "its scope is Cluster",
        "kubectl delete crd destinations.",
    );
    post(with(scope), Failed, "its scope is Cluster", "--force-conflicts");
    let version: fn(&mut Definition) = |one| one.spec.versions[0].served = false;
    pre(
        with(version),
        Failed,
        "does not serve the version v1",
        "kubectl delete crd",
    );
    let fields: fn(&mut Definition) = |one| one.spec.versions[0].additional_printer_columns = None;
    pre(with(fields), Warning, "other fields", "--force-conflicts");
    post(
        with(fields),
        Warning,
        "another version than 0.1.0",
        "landbridge-crds",
    );
    let schema: fn(&mut Definition) = |one| {
        let schema = one.spec.versions[0]
            .schema
            .as_mut()
            .unwrap()
            .open_api_v3_schema
            .as_mut()
            .unwrap();
        schema
            .properties
            .as_mut()
            .unwrap()
            .insert("theirs".into(), Default::default());
    };
    post(with(schema), Warning, "another version", "landbridge-crds");
    let owned: fn(&mut Definition) = |one| {
        let owner = [
            ("meta.helm.sh/release-name", "tp"),
            ("meta.helm.sh/release-namespace", "sap"),
        ];
        let owner = owner.map(|(key, value)| (key.to_owned(), value.to_owned()));
        one.metadata.annotations = Some(owner.into());
    };
    pre(
        with(owned),
        Warning,
        "release sap/tp owns it",
        "destinations.enabled=false",
    );
    let ours: fn(&mut Definition) = |one| {
        let owner = [
            ("meta.helm.sh/release-name", "crds"),
            ("meta.helm.sh/release-namespace", "system"),
        ];
        one.metadata.annotations = Some(
            owner
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        );
        one.metadata.labels = Some([("helm.sh/chart".to_owned(), "landbridge-crds-0.1.0".to_owned())].into());
    };
    pre(with(ours), Fine, "as this version has it", "");
    let unserved: fn(&mut Definition) = |one| {
        let condition = json!({"type": "NamesAccepted", "status": "False", "message": "taken"});
        one.status.as_mut().unwrap().conditions = Some(vec![serde_json::from_value(condition).unwrap()]);
    };
    post(with(unserved), Failed, "taken", "kubectl describe crd");
    let mut missing = cluster();
    missing.definitions[0].1 = Err(Trouble::Missing);
    post(
        missing,
        Failed,
        "the cluster has no Destination",
        "landbridge crds | kubectl apply",
    );
    let mut hidden = cluster();
    hidden.definitions[0].1 = forbidden();
    post(hidden, Skipped, "bob", "");

    // An installation for one namespace has nothing to do with resources of the cluster.
    let mut facts = good();
    facts.cluster.definitions[2].1 = Err(Trouble::Missing);
    let narrow = Options {
        watch_namespace: Some("shop".into()),
        ..options(Phase::Installed)
    };
    differs(
        facts.clone(),
        |facts| installed(facts, &narrow),
        "servicemappings-definition",
        Skipped,
        "one namespace",
        "",
    );
    let wide = options(Phase::Installed);
    differs(
        facts,
        |facts| installed(facts, &wide),
        "servicemappings-definition",
        Failed,
        "ServiceMapping",
        "landbridge crds",
    );
}
