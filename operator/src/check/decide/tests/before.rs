use super::*;

#[test]
fn what_is_in_the_way_of_an_installation() {
    use Outcome::{Failed, Skipped, Warning};
    let check = |facts, name, outcome, says, remedy| {
        differs(
            facts,
            |facts| before(facts, &options(Phase::Before)),
            name,
            outcome,
            says,
            remedy,
        );
    };
    let of = |change: fn(&mut Before)| {
        let mut facts = good_before();
        change(&mut facts);
        facts
    };
    let old = of(|facts| facts.cluster.version = Ok((1, 28, "v1.28.0".into())));
    check(old, "kubernetes-version", Failed, "older than 1.29", "update");
    let nowhere = of(|facts| facts.cluster.namespace = Err(Trouble::Missing));
    check(
        nowhere,
        "namespace",
        Warning,
        "system",
        "kubectl create namespace system",
    );
    let going = of(|facts| {
        let metadata = json!({"metadata": {"deletionTimestamp": "2027-01-01T00:00:00Z"}});
        facts.cluster.namespace = Ok(serde_json::from_value(metadata).unwrap());
    });
    check(going, "namespace", Failed, "being deleted", "wait");
    let weak = of(|facts| facts.rights[1].1 = Ok(false));
    check(weak, "rights", Failed, "create deployments.apps", "administrator");
    let slow = of(|facts| facts.rights[0].1 = timeout());
    check(slow, "rights", Failed, "no answer", "--timeout");
    let theirs = of(|facts| facts.others = Ok(vec!["sap/manager-0".into()]));
    check(
        theirs,
        "other-controllers",
        Warning,
        "sap/manager-0",
        "labelSelector",
    );
    check(
        of(|facts| facts.others = forbidden()),
        "other-controllers",
        Skipped,
        "bob",
        "more rights",
    );
    let bare = of(|facts| facts.cert_manager = Some(Err(Trouble::Missing)));
    check(
        bare,
        "cert-manager",
        Failed,
        "does not know it",
        "install cert-manager",
    );
    let bare = of(|facts| facts.prometheus = Some(Err(Trouble::Missing)));
    check(
        bare,
        "prometheus-operator",
        Failed,
        "does not know it",
        "serviceMonitor",
    );
}
