use k8s_openapi::ByteString;
use serde_json::json;

use super::super::facts::*;
use super::super::{Extras, Outcome, Phase};
use super::*;
use crate::certificates::CertificateConfig;
use crate::certificates::material::Material;
use crate::cluster::stores::Instance;

mod before;
mod definitions;
mod interception;
mod operator;
mod proxies;
mod trust;
mod uninstall;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn options(phase: Phase) -> Options {
    Options {
        phase,
        namespace: "system".into(),
        watch_namespace: None,
        extras: Extras::default(),
        version: "0.1.0",
    }
}

fn bundle(since: i64) -> String {
    Material::afresh(CertificateConfig::new("system").names(), since)
        .unwrap()
        .bundle()
}

fn forbidden<T>() -> Read<T> {
    Err(Trouble::Forbidden("users \"bob\" cannot".into()))
}

fn timeout<T>() -> Read<T> {
    Err(Trouble::NoAnswer("no answer within 10 s".into()))
}

fn cluster() -> Cluster {
    let established = |mut definition: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
        let condition = json!({"type": "Established", "status": "True"});
        let accepted = json!({"kind": "x", "plural": "x"});
        let status = json!({"conditions": [condition], "acceptedNames": accepted, "storedVersions": ["v1"]});
        definition.status = serde_json::from_value(status).unwrap();
        definition
    };
    let ours = landbridge_crds::yaml::definitions();
    Cluster {
        version: Ok((1, 36, "v1.36.3".into())),
        namespace: Ok(serde_json::from_value(json!({"metadata": {"name": "system"}})).unwrap()),
        definitions: ours
            .into_iter()
            .map(|one| (one.clone(), Ok(established(one))))
            .collect(),
    }
}

fn good_before() -> Before {
    Before {
        cluster: Cluster {
            definitions: cluster()
                .definitions
                .into_iter()
                .map(|(ours, _)| (ours, Err(Trouble::Missing)))
                .collect(),
            ..cluster()
        },
        rights: vec![
            ("create secrets".into(), Ok(true)),
            ("create deployments.apps".into(), Ok(true)),
        ],
        others: Ok(vec![]),
        cert_manager: Some(Ok(())),
        autoscaler: Some(Ok(())),
        prometheus: Some(Ok(())),
    }
}

fn pod(name: &str) -> PodFact {
    PodFact {
        name: name.into(),
        ready: true,
        waiting: None,
        ending: false,
        connectivity: false,
        version: Ok("0.1.0".into()),
        pending: None,
    }
}

fn good() -> Installed {
    let authorities = bundle(NOW);
    let webhook = json!({"webhooks": [{"name": "v", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"caBundle": ByteString(authorities.clone().into_bytes())}}]});
    let injection = webhook.clone();
    let components = [
        "sap-transp-proxy-manager",
        "certificates",
        "destination-service/default",
    ];
    Installed {
        cluster: cluster(),
        now: NOW,
        deployment: Ok(serde_json::from_value(json!({
            "spec": {"replicas": 2, "selector": {}, "template": {}}, "status": {"readyReplicas": 2},
        }))
        .unwrap()),
        operators: Ok(vec![pod("operator-0"), pod("operator-1")]),
        lease: Ok(LeaseFact {
            holder: "operator-0".into(),
            fresh: true,
        }),
        status: Ok(StatusFact {
            components: components.map(|name| (name.to_owned(), String::new())).into(),
            ready: 1,
            reporting: 1,
        }),
        authorities: Ok(serde_json::from_value(json!({"data": {"ca.crt": authorities}})).unwrap()),
        webhook: Some(Ok(serde_json::from_value(webhook).unwrap())),
        probe: Some(Probe::Refused(
            "\"landbridge.check\" cannot be the name of a Service".into(),
        )),
        keys: vec![(
            Instance::parse("default=secret:system/key/k").unwrap(),
            Ok(KeyFact::Usable),
        )],
        misread: vec![],
        proxies: Ok(vec![pod("proxy-0")]),
        connectors: vec![("connectivity-0".into(), Ok(2))],
        interception: Interception {
            nodes: Ok(serde_json::from_value(json!({"spec": {"selector": {}, "template": {}}, "status": {
                "currentNumberScheduled": 3, "desiredNumberScheduled": 3, "numberMisscheduled": 0, "numberReady": 3}}))
            .unwrap()),
            webhook: Some(Ok(serde_json::from_value(injection).unwrap())),
            namespaces: Some(Ok(Listing {
                total: 2,
                ..Listing::default()
            })),
        },
        destinations: Ok(Listing {
            total: 3,
            ..Listing::default()
        }),
        channels: Ok(Listing {
            total: 1,
            ..Listing::default()
        }),
        mappings: Err(Trouble::Missing),
    }
}

/// One thing is different, and one finding with it: its outcome, and what message and remedy must say.
fn differs<F>(
    facts: F,
    all: impl Fn(&F) -> Vec<Finding>,
    name: &str,
    outcome: Outcome,
    says: &str,
    remedy: &str,
) {
    let findings = all(&facts);
    let known = findings
        .iter()
        .find(|one| one.name == name && one.result == outcome);
    let seen = || {
        findings
            .iter()
            .map(|one| format!("{one:?}"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let found = known.unwrap_or_else(|| panic!("no {outcome:?} {name} in\n{}", seen()));
    assert!(found.message.contains(says), "{name}: {says} in {found:?}");
    assert!(found.remedy.contains(remedy), "{name}: {remedy} in {found:?}");
    if outcome == Outcome::Failed || outcome == Outcome::Warning {
        assert!(!found.remedy.is_empty(), "{found:?}");
    }
}

fn bad(findings: &[Finding]) -> Vec<&Finding> {
    findings
        .iter()
        .filter(|one| matches!(one.result, Outcome::Failed | Outcome::Warning))
        .collect()
}

#[test]
fn where_all_is_well_nothing_is_complained_about() {
    let (phase, facts) = (options(Phase::Before), good_before());
    assert_eq!(bad(&before(&facts, &phase)), Vec::<&Finding>::new());
    let findings = installed(&good(), &options(Phase::Installed));
    assert_eq!(bad(&findings), Vec::<&Finding>::new());
    assert!(
        findings.iter().all(|one| one.result == Outcome::Ok),
        "{findings:?}"
    );
    let none = || Ok(Listing::default());
    let left = Leftovers {
        answers: Ok(()),
        channels: none(),
        mappings: Err(Trouble::Missing),
        destinations: none(),
    };
    assert_eq!(
        bad(&uninstall(&left, &options(Phase::Uninstall))),
        Vec::<&Finding>::new()
    );
}

/// Every check of the catalogue is made somewhere, in the order of the catalogue.
#[test]
fn findings_come_in_the_order_of_the_catalogue() {
    let position = |one: &Finding| {
        checks::ALL
            .iter()
            .position(|entry| entry.name == one.name)
            .unwrap()
    };
    let mut seen = std::collections::BTreeSet::new();
    let left = Leftovers {
        answers: Ok(()),
        channels: forbidden(),
        mappings: forbidden(),
        destinations: forbidden(),
    };
    for findings in [
        before(&good_before(), &options(Phase::Before)),
        installed(&good(), &options(Phase::Installed)),
        uninstall(&left, &options(Phase::Uninstall)),
    ] {
        let positions: Vec<usize> = findings.iter().map(position).collect();
        assert!(positions.is_sorted(), "{findings:?}");
        seen.extend(positions);
    }
    assert_eq!(seen.len(), checks::ALL.len());
}

#[test]
fn nothing_else_is_said_without_a_cluster() {
    let away = Cluster {
        version: timeout(),
        ..cluster()
    };
    let findings = installed(
        &Installed {
            cluster: away,
            ..good()
        },
        &options(Phase::Installed),
    );
    assert_eq!(findings.len(), 1);
    assert_eq!(
        (findings[0].name, findings[0].result),
        ("api-server", Outcome::Failed)
    );
    let left = Leftovers {
        answers: timeout(),
        channels: timeout(),
        mappings: timeout(),
        destinations: timeout(),
    };
    let findings = uninstall(&left, &options(Phase::Uninstall));
    assert_eq!((findings.len(), findings[0].name), (1, "api-server"));
}

/// What changes, and the finding that has to come of it: check, outcome, parts of message and remedy.
type Case = (
    fn(&mut Installed),
    &'static str,
    Outcome,
    &'static str,
    &'static str,
);

fn all_differ(cases: Vec<Case>) {
    for (change, name, outcome, says, remedy) in cases {
        let mut facts = good();
        change(&mut facts);
        let all = |facts: &Installed| installed(facts, &options(Phase::Installed));
        differs(facts, all, name, outcome, says, remedy);
    }
}
