//! What the chart landbridge-connectivity renders, for every values file.

mod cluster;
mod entrance;
mod refusals;
mod said;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use landbridge_tests::charts::{chart, helm, identity, pod_specs, template, values_files, violations};
use landbridge_tests::process;
use serde_json::{Value, json};

use crate::landbridge::find;

/// Its name.
const CHART: &str = "landbridge-connectivity";

/// The workload, unless a suffix is set.
const NAME: &str = "landbridge-connectivity";

/// Every values file, by name, with what it renders.
fn rendered() -> Vec<(String, Vec<Value>)> {
    values_files("connectivity")
        .iter()
        .map(|file| {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            (name, render(file, "lc", "system"))
        })
        .collect()
}

fn render(file: &Path, release: &str, namespace: &str) -> Vec<Value> {
    let options = ["--values", file.to_str().unwrap()];
    template(&chart(CHART), release, namespace, &options)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// What one values file renders.
fn with_values(name: &str) -> Vec<Value> {
    let files = values_files("connectivity");
    let file = files
        .iter()
        .find(|file| file.file_stem().unwrap() == name)
        .unwrap_or_else(|| panic!("no values file {name}"));
    render(file, "lc", "system")
}

/// The one StatefulSet of this chart.
fn workload(manifests: &[Value]) -> &Value {
    manifests
        .iter()
        .find(|manifest| {
            let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
            manifest["kind"] == "StatefulSet" && name.starts_with(NAME)
        })
        .expect("a StatefulSet")
}

fn container(manifests: &[Value]) -> &Value {
    &workload(manifests)["spec"]["template"]["spec"]["containers"][0]
}

/// The value of an argument, as in `--tunnel-listen`.
fn argument<'a>(manifests: &'a [Value], flag: &str) -> Option<&'a str> {
    let args = container(manifests)["args"].as_array().unwrap();
    args.iter()
        .find_map(|arg| arg.as_str()?.strip_prefix(flag)?.strip_prefix('='))
}

/// The value of an environment variable.
fn variable<'a>(manifests: &'a [Value], name: &str) -> Option<&'a str> {
    let variables = container(manifests)["env"].as_array().unwrap();
    let found = variables.iter().find(|variable| variable["name"] == name)?;
    found["value"].as_str()
}

fn of_landbridge(manifest: &Value) -> bool {
    let chart = manifest["metadata"]["labels"]["helm.sh/chart"].as_str();
    chart.is_some_and(|chart| !chart.starts_with(CHART))
}

#[test]
fn every_values_file_passes_lint() {
    for file in values_files("connectivity") {
        let (folder, file) = (chart(CHART), file.to_str().unwrap().to_owned());
        let arguments = ["lint", "--strict", "--namespace", "system", "--values", &file];
        helm(&[&arguments[..], &[folder.to_str().unwrap()]].concat(), &[])
            .unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

#[test]
fn pods_are_restricted_whatever_is_set() {
    for (file, manifests) in rendered() {
        for (owner, pod) in pod_specs(&manifests) {
            assert_eq!(violations(&owner, pod), [""; 0], "{file}");
        }
    }
}

/// Proxies prove who they are to the operator and to nobody else.
#[test]
fn tokens_of_the_api_server_are_only_where_they_are_needed() {
    for (file, manifests) in rendered() {
        for (owner, pod) in pod_specs(&manifests) {
            let needs = owner.ends_with("-guard") || owner.ends_with("landbridge-operator");
            assert_eq!(pod["automountServiceAccountToken"], needs, "{file}: {owner}");
        }
        let volumes = &workload(&manifests)["spec"]["template"]["spec"]["volumes"];
        assert_eq!(
            volumes[0]["projected"]["sources"],
            json!([{"serviceAccountToken": {"audience": "landbridge", "expirationSeconds": 3600, "path": "token"}}]),
            "{file}"
        );
    }
}

#[test]
fn every_manifest_says_whose_it_is() {
    for (file, manifests) in rendered() {
        let mut seen = BTreeSet::new();
        for manifest in &manifests {
            let what = identity(manifest);
            assert!(seen.insert(what.clone()), "{file}: {what} twice");
            let labels = &manifest["metadata"]["labels"];
            assert_eq!(labels["app.kubernetes.io/name"], "landbridge", "{file}: {what}");
            assert_eq!(labels["app.kubernetes.io/instance"], "lc", "{file}: {what}");
        }
    }
}

/// The operator finds proxies by these labels; a selector that changes cannot be upgraded.
#[test]
fn labels_are_those_that_the_operator_looks_for() {
    for (file, manifests) in rendered() {
        let workload = workload(&manifests);
        let selector = json!({
            "app.kubernetes.io/name": "landbridge",
            "app.kubernetes.io/instance": "lc",
            "app.kubernetes.io/component": "proxy",
            "landbridge.dev/mode": "connectivity",
        });
        assert_eq!(workload["spec"]["selector"]["matchLabels"], selector, "{file}");
        let labels = &workload["spec"]["template"]["metadata"]["labels"];
        for (key, value) in selector.as_object().unwrap() {
            assert_eq!(&labels[key], value, "{file}: {key}");
        }
    }
}

/// What the API server refuses to change may not depend on the version of the chart.
#[test]
fn another_version_changes_nothing_that_cannot_be_changed() {
    let folder = said::copy();
    let about = folder.path().join("Chart.yaml");
    let text = std::fs::read_to_string(&about).unwrap();
    let this = concat!("version: ", env!("CARGO_PKG_VERSION"), "\n");
    let later = text.replacen(this, "version: 99.1.2\n", 1).replace(
        concat!("appVersion: \"", env!("CARGO_PKG_VERSION")),
        "appVersion: \"99.1.2",
    );
    std::fs::write(&about, later).unwrap();
    for file in values_files("connectivity") {
        let before = render(&file, "lc", "system");
        let options = ["--values", file.to_str().unwrap()];
        let after = template(folder.path(), "lc", "system", &options).unwrap();
        let version = |manifests: &[Value]| {
            workload(manifests)["metadata"]["labels"]["app.kubernetes.io/version"].clone()
        };
        assert_eq!(version(&after), "99.1.2", "another version was rendered");
        assert_ne!(version(&before), version(&after));
        for field in [
            "selector",
            "serviceName",
            "volumeClaimTemplates",
            "podManagementPolicy",
        ] {
            let name = file.display();
            assert_eq!(
                workload(&before)["spec"][field],
                workload(&after)["spec"][field],
                "{name}: {field}"
            );
        }
    }
}

#[test]
fn two_installations_do_not_meet() {
    for file in values_files("connectivity") {
        let outside = |namespace: &str| -> BTreeSet<String> {
            render(&file, "lc", namespace)
                .iter()
                .filter(|manifest| manifest["metadata"]["namespace"] != namespace)
                .map(identity)
                .collect()
        };
        let (one, other) = (outside("one"), outside("other"));
        let mut both: Vec<_> = one.intersection(&other).collect();
        // Istio reads Secrets of its own namespace only; the user names it.
        both.retain(|what| !what.starts_with("Secret mesh/"));
        assert!(both.is_empty(), "{}: {both:?}", file.display());
    }
}

#[test]
fn two_installations_of_one_namespace_do_not_meet_when_one_has_a_suffix() {
    let set = |suffix: &str| {
        let host = "config.servers.businessDataTunnel.externalHost=tunnel.example.com";
        let suffix = format!("chart.nameSuffix={suffix}");
        template(&chart(CHART), "lc", "system", &["--set", host, "--set", &suffix]).unwrap()
    };
    let names = |manifests: &[Value]| -> BTreeSet<String> { manifests.iter().map(identity).collect() };
    let (plain, blue, dashed) = (set(""), set("blue"), set("-blue"));
    assert!(names(&plain).is_disjoint(&names(&blue)));
    assert_eq!(names(&blue), names(&dashed), "the dash may be said or not");
    assert_eq!(
        workload(&blue)["metadata"]["name"],
        "landbridge-connectivity-blue"
    );
    assert_eq!(workload(&plain)["metadata"]["name"], NAME);
}

/// What the kubelet ends is a drain that was not done.
#[test]
fn pods_have_the_time_that_they_take_to_end() {
    for (file, manifests) in rendered() {
        let grace = &workload(&manifests)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
        let seconds = |flag| argument(&manifests, flag).unwrap().parse::<u64>().unwrap();
        let needed = seconds("--drain") + seconds("--drain-delay");
        assert!(
            grace.as_u64().unwrap() >= needed + 5,
            "{file}: {grace} for {needed}"
        );
    }
}

#[test]
fn service_keys_are_those_of_landbridge_unless_others_are_named() {
    let keys = |manifests: &[Value]| {
        let args = container(manifests)["args"].as_array().unwrap().clone();
        let flag = "--destination-service=";
        let files = args
            .iter()
            .filter_map(|arg| Some(arg.as_str()?.strip_prefix(flag)?.to_owned()));
        files.collect::<Vec<_>>()
    };
    let usual = ["default=/etc/landbridge/keys/default/service_key"];
    assert_eq!(keys(&with_values("minimal")), usual);
    let both = with_values("with-landbridge");
    assert_eq!(keys(&both), usual);
    assert_eq!(
        argument(&both, "--additional-ca"),
        Some("/etc/landbridge/additional/ca.pem")
    );
    assert_eq!(argument(&both, "--store-connect-timeout"), Some("7"));
    assert_eq!(argument(&both, "--store-read-timeout"), Some("10"));
    assert_eq!(
        argument(&with_values("minimal"), "--store-connect-timeout"),
        Some("5")
    );
    // Its gateway proxies have the same.
    let gateway = find(&both, "Deployment", "landbridge-proxy").unwrap();
    let volumes = |manifest: &Value| {
        let volumes = manifest["spec"]["template"]["spec"]["volumes"]
            .as_array()
            .unwrap();
        let secrets = volumes.iter().filter(|volume| volume["secret"].is_object());
        secrets.cloned().collect::<Vec<_>>()
    };
    assert_eq!(volumes(gateway), volumes(workload(&both)));

    let own = with_values("instances");
    let expected = [
        "sales=/etc/landbridge/keys/sales/service_key",
        "stock=/etc/landbridge/keys/stock/key.json",
    ];
    assert_eq!(keys(&own), expected);
    assert_eq!(argument(&own, "--default-instance"), Some("stock"));
    assert_eq!(
        variable(&own, "LANDBRIDGE_TENANT_OF"),
        Some("/etc/landbridge/keys/stock/key.json"),
        "enrolment tokens are for the subaccount of the default instance"
    );
}

/// The real binary knows every option that the chart gives it.
#[tokio::test]
async fn the_binary_knows_every_argument() {
    let mut help: BTreeMap<String, String> = BTreeMap::new();
    for (file, manifests) in rendered() {
        for (owner, pod) in pod_specs(&manifests) {
            if !owner.contains(NAME) {
                continue;
            }
            let args = pod["containers"][0]["args"].as_array().unwrap();
            let command = args[0].as_str().unwrap();
            if !help.contains_key(command) {
                let ended = process::run(&[command, "--help"]).await;
                help.insert(command.to_owned(), ended.stdout);
            }
            for arg in &args[1..] {
                let flag = arg.as_str().unwrap().split('=').next().unwrap();
                let there = [" ", "\n"]
                    .iter()
                    .any(|end| help[command].contains(&format!("{flag}{end}")));
                assert!(there, "{file}: {owner}: the binary has no {flag}");
            }
        }
    }
    assert_eq!(help.keys().collect::<Vec<_>>(), ["check", "proxy"]);
}

/// The version, the name and the workload's own sizes.
#[test]
fn published_values_arrive() {
    let all = with_values("published");
    let container = container(&all);
    assert_eq!(
        container["image"],
        "registry.example.com/connectivity/landbridge:1"
    );
    assert_eq!(
        container["resources"]["limits"],
        json!({"cpu": 1, "memory": "1024M"})
    );
    assert_eq!(
        container["resources"]["requests"],
        json!({"cpu": 0.1, "memory": "256M"})
    );
    assert_eq!(
        variable(&all, "LANDBRIDGE_TENANT"),
        Some("1f2e3d4c-0000-4000-8000-000000000001")
    );
    assert_eq!(argument(&all, "--tunnel-listen"), Some("0.0.0.0:8042"));
    let defaults = with_values("published-defaults");
    assert_eq!(
        defaults,
        with_values("minimal"),
        "the published defaults are the defaults"
    );
}

#[test]
fn own_values_arrive() {
    let all = with_values("everything");
    assert_eq!(argument(&all, "--operator"), Some("https://op.elsewhere.svc:443"));
    assert_eq!(argument(&all, "--max-connections"), Some("200000"));
    assert_eq!(argument(&all, "--tunnel-listen"), Some("[::]:8042"));
    assert_eq!(argument(&all, "--listen-address"), Some("::"));
    assert_eq!(variable(&all, "LANDBRIDGE_LOG"), Some("debug"));
    let image = container(&all)["image"].as_str().unwrap();
    assert!(
        image.starts_with("registry.example.com/landbridge@sha256:0000"),
        "{image}"
    );
    let spec = &workload(&all)["spec"];
    assert_eq!(
        spec["persistentVolumeClaimRetentionPolicy"],
        json!({"whenDeleted": "Delete", "whenScaled": "Delete"})
    );
    let claim = &spec["volumeClaimTemplates"][0]["spec"];
    assert_eq!(claim["storageClassName"], "fast");
    assert_eq!(claim["resources"]["requests"]["storage"], "2Gi");
    assert!(
        find(&all, "Job", "landbridge-connectivity-guard").is_none(),
        "serviceChannels are off"
    );
    let policy = find(&all, "NetworkPolicy", NAME).unwrap();
    let rules = policy["spec"]["ingress"].as_array().unwrap();
    assert_eq!(rules.len(), 3);
    assert_eq!(rules[2]["ports"][0]["endPort"], 29_999);
    let monitor = find(&all, "ServiceMonitor", NAME).unwrap();
    let replicas = find(&all, "Service", "landbridge-connectivity-replicas").unwrap();
    for (key, value) in monitor["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&replicas["metadata"]["labels"][key], value, "{key}");
    }
    let nothing_kept = with_values("inside");
    assert!(workload(&nothing_kept)["spec"]["volumeClaimTemplates"].is_null());
}

/// The hook has the right to see what would be left without a way, and no other.
#[test]
fn an_uninstallation_is_guarded() {
    let all = with_values("minimal");
    let role = find(&all, "ClusterRole", "landbridge-connectivity-guard-system").unwrap();
    assert_eq!(
        role["rules"],
        json!([
            {"apiGroups": ["connectivity.landbridge.dev"], "resources": ["servicechannels"], "verbs": ["list"]},
            {"apiGroups": ["connectivityproxy.sap.com"], "resources": ["servicemappings"], "verbs": ["list"]},
        ])
    );
    let weight = |kind: &str, name: &str| {
        let annotations = &find(&all, kind, name).unwrap()["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/hook"], "pre-delete", "{kind}");
        annotations["helm.sh/hook-weight"]
            .as_str()
            .unwrap()
            .parse::<i32>()
            .unwrap()
    };
    let name = "landbridge-connectivity-guard";
    let global = "landbridge-connectivity-guard-system";
    let job = weight("Job", name);
    assert!(weight("ServiceAccount", name) < job);
    assert!(weight("ClusterRole", global) < weight("ClusterRoleBinding", global));
    assert!(weight("ClusterRoleBinding", global) < job);
    let args = &find(&all, "Job", name).unwrap()["spec"]["template"]["spec"]["containers"][0]["args"];
    assert_eq!(*args, json!(["check", "--uninstall", "--namespace=system"]));
}
