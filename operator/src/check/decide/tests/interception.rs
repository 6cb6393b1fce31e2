use super::*;
use Outcome::{Failed, Skipped, Warning};

fn nodes(facts: &mut Installed, wanted: i32, ready: i32) {
    let nodes = facts.interception.nodes.as_mut().unwrap();
    let status = nodes.status.as_mut().unwrap();
    (status.desired_number_scheduled, status.number_ready) = (wanted, ready);
}

fn enforcing(facts: &mut Installed, level: &str) {
    let labels = json!({"pod-security.kubernetes.io/enforce": level});
    let namespace = json!({"metadata": {"name": "system", "labels": labels}});
    facts.cluster.namespace = Ok(serde_json::from_value(namespace).unwrap());
}

/// Registered with this authority.
fn registered(facts: &mut Installed, bundle: Option<String>) {
    let webhook = facts.interception.webhook.as_mut().unwrap().as_mut().unwrap();
    let config = &mut webhook.webhooks.as_mut().unwrap()[0].client_config;
    config.ca_bundle = bundle.map(|bundle| ByteString(bundle.into_bytes()));
}

#[test]
fn what_can_be_wrong_with_proxies_of_nodes() {
    let check = "nodes-ready";
    all_differ(vec![
        (
            |f| nodes(f, 3, 2),
            check,
            Warning,
            "on 2 of 3 nodes",
            "describe daemonset landbridge-node -n system",
        ),
        (|f| nodes(f, 3, 0), check, Failed, "on 0 of 3 nodes", "describe"),
        (
            |f| nodes(f, 0, 0),
            check,
            Warning,
            "no node is to have one",
            "node.nodeSelector",
        ),
        (
            |f| {
                nodes(f, 3, 0);
                enforcing(f, "restricted");
            },
            check,
            Failed,
            "on 0 of 3",
            "kubectl label namespace system pod-security.kubernetes.io/enforce=privileged",
        ),
        (
            |f| {
                nodes(f, 3, 0);
                enforcing(f, "privileged");
            },
            check,
            Failed,
            "on 0 of 3",
            "describe",
        ),
        (
            |f| f.interception.nodes = forbidden(),
            check,
            Skipped,
            "bob",
            "more rights",
        ),
        (
            |f| f.interception.nodes = timeout(),
            check,
            Failed,
            "no answer",
            "try again",
        ),
    ]);
}

#[test]
fn what_can_be_wrong_with_sidecars() {
    let check = "injection-registered";
    all_differ(vec![
        (
            |f| f.interception.webhook = Some(Err(Trouble::Missing)),
            check,
            Failed,
            "no MutatingWebhookConfiguration landbridge-system",
            "kubectl logs",
        ),
        (
            |f| registered(f, None),
            check,
            Failed,
            "has not filled it",
            "kubectl logs",
        ),
        (
            |f| registered(f, Some(bundle(NOW))),
            check,
            Failed,
            "trusts none of the operator's authorities",
            "rollout restart",
        ),
        (
            |f| f.now = NOW + 360 * DAY,
            check,
            Warning,
            "ends in 5 days",
            "rollout restart",
        ),
        (
            |f| f.now = NOW + 368 * DAY,
            check,
            Failed,
            "ended 3 days ago",
            "rollout restart",
        ),
        (
            |f| f.interception.webhook = Some(forbidden()),
            check,
            Skipped,
            "bob",
            "more rights",
        ),
        (
            |f| {
                f.interception.namespaces = Some(Ok(Listing {
                    total: 3,
                    bad: 1,
                    examples: vec!["shop: restricted".into()],
                }));
            },
            "injection-namespaces",
            Warning,
            "1 of 3 enforce a level that forbids sidecars: shop: restricted",
            "kubectl label namespace NAME pod-security.kubernetes.io/enforce=privileged",
        ),
        (
            |f| f.interception.namespaces = Some(forbidden()),
            "injection-namespaces",
            Skipped,
            "bob",
            "more rights",
        ),
    ]);
}

#[test]
fn what_is_not_switched_on_is_not_spoken_of() {
    let mut facts = good();
    facts.interception = Interception {
        nodes: Err(Trouble::Missing),
        webhook: None,
        namespaces: None,
    };
    let findings = installed(&facts, &options(Phase::Installed));
    assert!(
        findings.iter().all(|one| one.category != "interception"),
        "{findings:?}"
    );
    assert_eq!(bad(&findings), Vec::<&Finding>::new());
    // What the certificates of one bundle are does not depend on its order, or on what is beside them.
    let (mut facts, other) = (good(), bundle(NOW));
    let own = facts.authorities.as_ref().unwrap().data.as_ref().unwrap()["ca.crt"].clone();
    registered(&mut facts, Some(format!("{other}\n# more\n{own}")));
    let findings = installed(&facts, &options(Phase::Installed));
    assert_eq!(bad(&findings), Vec::<&Finding>::new());
}
