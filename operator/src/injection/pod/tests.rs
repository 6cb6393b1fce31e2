//! The patches are compared with files, which people can read as a whole; `LANDBRIDGE_BLESS=1` writes them anew.

use k8s_openapi::api::core::v1::Pod;
use std::path::Path;

use super::super::decide::tests::options;
use super::*;

const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

/// Pods as controllers make them, and as the API server hands them on.
fn pods() -> Vec<(&'static str, Value)> {
    let mounts =
        json!([{"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
    let token = json!([{"name": "kube-api-access-x", "projected": {"sources": []}}]);
    vec![
        (
            "deployment",
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"generateName": "web-7d9-", "labels": {"app": "web"},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9", "uid": "u",
                        "controller": true}]},
                "spec": {"containers": [{"name": "web", "image": "web:1", "volumeMounts": mounts}], "volumes": token,
                    "restartPolicy": "Always", "securityContext": {"runAsNonRoot": true, "fsGroup": 2000},
                    "shareProcessNamespace": true, "imagePullSecrets": [{"name": "theirs"}]}}),
        ),
        (
            "job",
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"generateName": "report-", "annotations": {"a": "b",
                    "connectivity.landbridge.dev/injection-skipped": "copied from another"}},
                "spec": {"containers": [{"name": "report", "image": "report:1"}], "restartPolicy": "Never"}}),
        ),
        (
            "statefulset",
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "db-0", "annotations": {}},
                "spec": {"initContainers": [{"name": "chown", "image": "i"}, {"name": "log", "image": "i",
                        "restartPolicy": "Always"}],
                    "containers": [{"name": "db", "image": "db:1"}], "volumes": [],
                    "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}}}),
        ),
    ]
}

fn golden(name: &str, patch: &Patch) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/injection/pod/golden");
    let file = folder.join(format!("{name}.json"));
    let text = format!("{}\n", serde_json::to_string_pretty(patch).unwrap());
    if std::env::var_os("LANDBRIDGE_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, expected, "see {}", file.display());
}

fn patched(mut pod: Value, patch: &Patch) -> Value {
    json_patch::patch(&mut pod, patch).unwrap();
    pod
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().into_iter().flatten();
    list.map(|one| one["name"].as_str().unwrap()).collect()
}

#[test]
fn the_patches_are_those_of_the_files() {
    let mut options = options();
    options.pull_secret = Some("landbridge-pull".into());
    for (name, pod) in pods() {
        // The version of this very build would change the files with each release.
        let text = serde_json::to_string(&inject(&object(pod), &options, AUTHORITY)).unwrap();
        let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
        golden(name, &serde_json::from_str(&text).unwrap());
    }
}

#[test]
fn both_containers_come_first_and_nothing_of_the_pod_is_lost() {
    for (name, pod) in pods() {
        let after = patched(pod.clone(), &inject(&object(pod.clone()), &options(), AUTHORITY));
        let before: Pod = serde_json::from_value(pod.clone()).unwrap();
        let typed: Pod = serde_json::from_value(after.clone()).unwrap();
        let mut expected = vec![REDIRECT_CONTAINER, PROXY_CONTAINER];
        expected.extend(names(&pod["spec"]["initContainers"]));
        assert_eq!(names(&after["spec"]["initContainers"]), expected, "{name}");
        assert_eq!(after["spec"]["containers"], pod["spec"]["containers"], "{name}");
        let (spec, old) = (typed.spec.unwrap(), before.spec.unwrap());
        assert_eq!(
            spec.termination_grace_period_seconds,
            old.termination_grace_period_seconds
        );
        assert_eq!(spec.restart_policy, old.restart_policy);
        let mut volumes = names(&pod["spec"]["volumes"]);
        volumes.extend([TOKEN_VOLUME, STATE_VOLUME]);
        assert_eq!(names(&after["spec"]["volumes"]), volumes, "{name}");
        assert_eq!(
            after["spec"]["imagePullSecrets"], pod["spec"]["imagePullSecrets"],
            "none is set"
        );
        let annotations = typed.metadata.annotations.unwrap();
        assert!(annotations[INJECTED].contains("registry.example/landbridge:1"));
        assert!(!annotations.contains_key(SKIPPED));
    }
}

#[test]
fn the_redirection_has_one_right_and_the_sidecar_none() {
    let (_, pod) = pods().remove(0);
    let after = patched(pod.clone(), &inject(&object(pod), &options(), AUTHORITY));
    let after: Pod = serde_json::from_value(after).unwrap();
    let containers = after.spec.unwrap().init_containers.unwrap();
    let expected = [
        (Some(0), false, Some(vec!["NET_ADMIN".to_owned()])),
        (Some(2102), true, None),
    ];
    for (container, (uid, not_root, added)) in containers.into_iter().zip(expected) {
        let context = container.security_context.unwrap();
        let capabilities = context.capabilities.unwrap();
        assert_eq!(
            (context.run_as_user, context.run_as_non_root),
            (uid, Some(not_root))
        );
        assert_eq!(
            (capabilities.add, capabilities.drop),
            (added, Some(vec!["ALL".to_owned()]))
        );
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!(context.read_only_root_filesystem, Some(true));
        assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
        let resources = container.resources.unwrap();
        assert!(resources.requests.unwrap().len() == 2 && resources.limits.unwrap().len() == 2);
        let environment = container.env.unwrap();
        assert_eq!(environment[0].value.as_deref(), Some(AUTHORITY));
    }
}

#[test]
fn a_pull_secret_is_added_once() {
    let mut options = options();
    options.pull_secret = Some("theirs".into());
    let (_, pod) = pods().remove(0);
    let after = patched(pod.clone(), &inject(&object(pod), &options, AUTHORITY));
    assert_eq!(names(&after["spec"]["imagePullSecrets"]), ["theirs"]);
}

#[test]
fn a_reason_is_written_once() {
    for (name, pod) in pods() {
        let patch = skip(&object(pod.clone()), "why / not ~", "system").unwrap();
        let after = patched(pod, &patch);
        let note = after["metadata"]["annotations"][SKIPPED].as_str().unwrap();
        let note: Value = serde_json::from_str(note).unwrap();
        assert_eq!(
            note,
            json!({"reason": "why / not ~", "installation": "system"}),
            "{name}"
        );
        assert_eq!(skip(&object(after), "why / not ~", "system"), None, "{name}");
    }
}
