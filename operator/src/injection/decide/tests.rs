use serde_json::{Value, json};

use super::super::options::Resources;
use super::*;

pub(crate) fn options() -> SidecarOptions {
    let resources = [
        "cpu-request=10m",
        "cpu-limit=1",
        "memory-request=24Mi",
        "memory-limit=256Mi",
    ];
    SidecarOptions {
        installation: "system".into(),
        image: "registry.example/landbridge:1".into(),
        pull_policy: "IfNotPresent".into(),
        pull_secret: None,
        uid: 2102,
        resources: Resources::parse(resources).unwrap(),
        operator: "https://landbridge-operator.system.svc:8443".into(),
        gateway: "landbridge-proxy.system.svc:8444".into(),
        intercept_port: 20411,
        admin: "0.0.0.0:20412".parse().unwrap(),
        log: "info".into(),
        log_format: "text".into(),
        drain: 10,
        pod_security: "privileged".into(),
    }
}

fn pod(metadata: &Value, spec: &Value) -> Pod {
    let mut pod = json!({"metadata": metadata, "spec": spec});
    let spec = pod["spec"].as_object_mut().unwrap();
    spec.entry("containers")
        .or_insert_with(|| json!([{"name": "main", "image": "shop"}]));
    serde_json::from_value(pod).unwrap()
}

fn decided(pod: &Pod, namespace: Option<&NamespaceLabels>) -> Decision {
    decide(&Asked {
        pod,
        namespace,
        options: &options(),
        authority: true,
    })
}

fn opted_in() -> NamespaceLabels {
    NamespaceLabels {
        opted_in: true,
        enforce: None,
    }
}

/// In a namespace that has opted in.
fn of(spec: &Value) -> Decision {
    decided(&pod(&json!({}), spec), Some(&opted_in()))
}

#[track_caller]
fn assert_skipped(decision: &Decision, part: &str) {
    match decision {
        Decision::Skipped(reason) => {
            assert!(reason.contains(part), "{reason}");
            // Warnings of more than 256 characters may be cut by the API server; the rest is 70.
            assert!(reason.len() < 190, "{} characters: {reason}", reason.len());
        }
        other => panic!("{part}: {other:?}"),
    }
}

#[test]
fn who_wants_it_gets_it_and_no_always_counts() {
    let no = NamespaceLabels::default();
    let label = |value| json!({"labels": {INJECT: value}});
    let annotation = |value| json!({"annotations": {INJECT: value}});
    let both = |one, other| json!({"labels": {INJECT: one}, "annotations": {INJECT: other}});
    let out = Some(Unchanged::OptedOut);
    let cases = [
        (json!({}), true, None),
        (json!({}), false, Some(Unchanged::NotOptedIn)),
        (label("true"), false, None),
        (label("enabled"), false, None),
        (annotation("true"), false, None),
        (label("false"), true, out),
        (annotation("false"), true, out),
        (annotation("disabled"), true, out),
        (both("true", "false"), true, out),
        (both("false", "true"), false, out),
        (both("maybe", "false"), true, out),
    ];
    for (metadata, namespace, unchanged) in cases {
        let namespace = if namespace { opted_in() } else { no.clone() };
        let decision = decided(&pod(&metadata, &json!({})), Some(&namespace));
        match unchanged {
            Some(why) => assert_eq!(decision, Decision::Unchanged(why), "{metadata}"),
            None => assert!(
                matches!(decision, Decision::Inject(..)),
                "{metadata}: {decision:?}"
            ),
        }
    }
    let decision = decided(&pod(&label("maybe"), &json!({})), Some(&opted_in()));
    assert_skipped(&decision, "is \"maybe\": write \"true\" or \"false\"");
}

#[test]
fn what_has_it_is_left_alone() {
    for list in ["containers", "initContainers"] {
        for name in [PROXY_CONTAINER, REDIRECT_CONTAINER] {
            let spec = json!({list: [{"name": "other", "image": "i"}, {"name": name, "image": "i"}], "hostNetwork": true});
            assert_eq!(
                of(&spec),
                Decision::Unchanged(Unchanged::Injected),
                "{list} {name}"
            );
        }
    }
    let mirror = json!({"annotations": {MIRROR: "hash", INJECT: "true"}});
    assert_eq!(
        decided(&pod(&mirror, &json!({})), Some(&opted_in())),
        Decision::Unchanged(Unchanged::Mirror)
    );
    // The annotation alone is a copy of another pod's.
    let copied = json!({"annotations": {super::super::INJECTED: "{}"}});
    let decision = decided(&pod(&copied, &json!({})), Some(&opted_in()));
    assert!(matches!(decision, Decision::Inject(..)), "{decision:?}");
}

#[test]
fn what_cannot_have_it_is_told_why() {
    let container = |more: Value| {
        let mut container = json!({"name": "db", "image": "i"});
        container
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        container
    };
    let ports = |port: u16, protocol: &str| json!({"containers": [container(json!({"ports": [{"containerPort": port, "protocol": protocol}]}))]});
    let cases = [
        (json!({"hostNetwork": true}), "remove hostNetwork"),
        (json!({"os": {"name": "windows"}}), "Windows"),
        (
            json!({"nodeSelector": {"kubernetes.io/os": "windows"}}),
            "Windows",
        ),
        (json!({"dnsPolicy": "Default"}), "dnsPolicy is Default"),
        (json!({"dnsPolicy": "None"}), "without searches"),
        (
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.10"], "searches": []}}),
            "without searches",
        ),
        (ports(20411, "TCP"), "the container db has the port 20411"),
        (ports(20412, "TCP"), "the container db has the port 20412"),
        (
            json!({"initContainers": [container(json!({"ports": [{"containerPort": 20412}]}))]}),
            "the container db has the port 20412",
        ),
        (
            json!({"volumes": [{"name": "landbridge-token", "emptyDir": {}}]}),
            "a volume landbridge-token",
        ),
        (
            json!({"volumes": [{"name": "landbridge-state", "emptyDir": {}}]}),
            "a volume landbridge-state",
        ),
        (
            json!({"containers": [container(json!({"securityContext": {"runAsUser": 2102}}))]}),
            "the container db runs as uid 2102",
        ),
        (
            json!({"initContainers": [container(json!({"securityContext": {"runAsUser": 2102}}))]}),
            "the container db runs as uid 2102",
        ),
        (
            json!({"securityContext": {"runAsUser": 2102}}),
            "the container main runs as uid 2102",
        ),
    ];
    for (spec, part) in cases {
        assert_skipped(&of(&spec), part);
    }
    let fine = [
        ports(20411, "UDP"),
        json!({"dnsPolicy": "ClusterFirst"}),
        json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.10"], "searches": ["svc.cluster.local"]}}),
        json!({"os": {"name": "linux"}}),
        json!({"securityContext": {"runAsUser": 2102},
            "containers": [container(json!({"securityContext": {"runAsUser": 1}}))]}),
        json!({"securityContext": {"runAsNonRoot": true, "fsGroup": 2000}, "shareProcessNamespace": true}),
    ];
    for spec in fine {
        assert!(
            matches!(of(&spec), Decision::Inject(_, warnings) if warnings.is_empty()),
            "{spec}"
        );
    }
}

#[test]
fn pod_security_forbids_what_redirection_takes() {
    for (level, allowed) in [("baseline", false), ("restricted", false), ("privileged", true)] {
        let labels = NamespaceLabels {
            opted_in: true,
            enforce: Some(level.to_owned()),
        };
        let decision = decided(&pod(&json!({}), &json!({})), Some(&labels));
        if allowed {
            assert!(matches!(decision, Decision::Inject(..)), "{decision:?}");
        } else {
            assert_skipped(
                &decision,
                &format!("enforces Pod Security \"{level}\", which forbids the NET_ADMIN"),
            );
        }
    }
}

#[test]
fn what_the_api_server_enforces_everywhere_counts_where_a_namespace_says_nothing() {
    let options = SidecarOptions {
        pod_security: "baseline".into(),
        ..options()
    };
    let pod = pod(&json!({}), &json!({}));
    for (enforce, allowed) in [(None, false), (Some("privileged"), true)] {
        let labels = NamespaceLabels {
            opted_in: true,
            enforce: enforce.map(str::to_owned),
        };
        let decision = decide(&Asked {
            pod: &pod,
            namespace: Some(&labels),
            options: &options,
            authority: true,
        });
        assert_eq!(matches!(decision, Decision::Inject(..)), allowed, "{decision:?}");
    }
}

#[test]
fn what_is_not_known_is_no_reason_to_guess() {
    let pod = pod(&json!({}), &json!({}));
    assert_skipped(&decided(&pod, None), "labels of its namespace are not known");
    let decision = decide(&Asked {
        pod: &pod,
        namespace: Some(&opted_in()),
        options: &options(),
        authority: false,
    });
    assert_skipped(&decision, "no certificate yet");
}

#[test]
fn annotations_change_what_they_may() {
    let annotated = |annotations: Value| {
        decided(
            &pod(&json!({"annotations": annotations}), &json!({})),
            Some(&opted_in()),
        )
    };
    let prefix = "connectivity.landbridge.dev/proxy-";
    let Decision::Inject(own, warnings) = annotated(json!({
        (overrides::IMAGE): "registry.example:5000/other/lb@sha256:0123", (overrides::UID): "3000",
        (overrides::LOG): "debug,access=off", (format!("{prefix}cpu-request")): "250m",
        (format!("{prefix}memory-limit")): "1Gi"}))
    else {
        panic!("not injected");
    };
    assert_eq!(warnings, [""; 0]);
    assert_eq!(own.image, "registry.example:5000/other/lb@sha256:0123");
    assert_eq!((own.uid, own.log.as_str()), (3000, "debug,access=off"));
    let [requests, limits] = own.resources.shown();
    assert_eq!(
        (requests["cpu"].as_str(), requests["memory"].as_str()),
        ("250m", "24Mi")
    );
    assert_eq!((limits["cpu"].as_str(), limits["memory"].as_str()), ("1", "1Gi"));

    // Mistakes in amounts: the default, and a warning each.
    let passed_over = [
        (
            json!({(format!("{prefix}cpu-request")): "much"}),
            "proxy-cpu-request: \"much\" is no quantity",
        ),
        (
            json!({(format!("{prefix}memory-request")): "1Gi"}),
            "memory request 1Gi is more than the limit 256Mi",
        ),
        (json!({(format!("{prefix}memory-limit")): "64m"}), "at least 16Mi"),
        (json!({(overrides::LOG): "a=b=c"}), "proxy-log: log filter"),
    ];
    for (annotations, part) in passed_over {
        let Decision::Inject(own, warnings) = annotated(annotations) else {
            panic!("{part}: not injected");
        };
        assert_eq!(*own, options());
        assert!(warnings.len() == 1 && warnings[0].contains(part), "{warnings:?}");
    }
    for (key, value) in [
        (overrides::IMAGE, ""),
        (overrides::IMAGE, "two words"),
        (overrides::UID, "0"),
        (overrides::UID, "-5"),
        (overrides::UID, "root"),
        (overrides::UID, "4294967296"),
    ] {
        assert_skipped(&annotated(json!({key: value})), key);
    }
}

#[test]
fn another_uid_makes_room_for_a_container_that_has_ours() {
    let metadata = json!({"annotations": {(overrides::UID): "2103"}});
    let spec = json!({"securityContext": {"runAsUser": 2102}});
    let decision = decided(&pod(&metadata, &spec), Some(&opted_in()));
    assert!(matches!(decision, Decision::Inject(own, _) if own.uid == 2103));
}
