//! What the chart landbridge renders, for every values file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use landbridge_tests::charts::{chart, helm, identity, pod_specs, template, values_files, violations};
use landbridge_tests::process;
use serde_json::{Value, json};

/// Every values file, by name, with what it renders.
pub fn rendered() -> Vec<(String, Vec<Value>)> {
    values_files("landbridge")
        .iter()
        .map(|file| (name(file), render(file, "lb", "system", &[])))
        .collect()
}

fn name(file: &Path) -> String {
    file.file_stem().unwrap().to_string_lossy().into_owned()
}

/// What a values file renders.
pub fn render(file: &Path, release: &str, namespace: &str, more: &[&str]) -> Vec<Value> {
    let options = [&["--values", file.to_str().unwrap()], more].concat();
    template(&chart("landbridge"), release, namespace, &options)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The manifest of this kind and name.
pub fn find<'a>(manifests: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    manifests
        .iter()
        .find(|manifest| manifest["kind"] == kind && manifest["metadata"]["name"] == name)
}

fn with_values(file: &str) -> Vec<Value> {
    let (_, manifests) = rendered()
        .into_iter()
        .find(|(name, _)| name == file)
        .unwrap_or_else(|| panic!("no values file {file}"));
    manifests
}

fn args(manifests: &[Value], kind: &str, name: &str) -> Vec<String> {
    let workload = find(manifests, kind, name).unwrap_or_else(|| panic!("no {kind} {name}"));
    let args = &workload["spec"]["template"]["spec"]["containers"][0]["args"];
    let texts = args.as_array().expect("arguments").iter();
    texts
        .map(|text| text.as_str().expect("a text").to_owned())
        .collect()
}

#[test]
fn every_values_file_passes_lint() {
    for file in values_files("landbridge") {
        let (chart, file) = (chart("landbridge"), file.to_str().unwrap().to_owned());
        let said = helm(
            &[
                "lint",
                "--strict",
                "--namespace",
                "system",
                "--values",
                &file,
                chart.to_str().unwrap(),
            ],
            &[],
        );
        said.unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

#[test]
fn pods_are_restricted_whatever_is_set() {
    for (file, manifests) in rendered() {
        let pods = pod_specs(&manifests);
        assert!(!pods.is_empty(), "{file}");
        for (owner, pod) in pods {
            // What it has beside is said by `modes`.
            if owner != "DaemonSet system/landbridge-node" {
                assert_eq!(violations(&owner, pod), [""; 0], "{file}");
            }
        }
    }
}

/// Only the operator talks to the API server.
#[test]
fn tokens_of_the_api_server_are_only_where_they_are_needed() {
    for (file, manifests) in rendered() {
        for (owner, pod) in pod_specs(&manifests) {
            let needs = owner == "Deployment system/landbridge-operator";
            assert_eq!(pod["automountServiceAccountToken"], needs, "{file}: {owner}");
        }
    }
}

/// A Deployment whose selector changes cannot be upgraded: these are for ever.
#[test]
fn selectors_are_for_ever() {
    let selector = |component: &str| {
        let mut labels = json!({
            "app.kubernetes.io/name": "landbridge",
            "app.kubernetes.io/instance": "lb",
            "app.kubernetes.io/component": component,
        });
        if component == "proxy" {
            labels["landbridge.dev/mode"] = json!("gateway");
        }
        labels
    };
    for (file, manifests) in rendered() {
        for manifest in &manifests {
            let kind = manifest["kind"].as_str().unwrap();
            if !["Deployment", "StatefulSet", "DaemonSet"].contains(&kind) {
                continue;
            }
            let name = manifest["metadata"]["name"].as_str().unwrap();
            let component = name.strip_prefix("landbridge-").unwrap();
            let expected = selector(component);
            assert_eq!(
                manifest["spec"]["selector"]["matchLabels"], expected,
                "{file}: {name}"
            );
            let labels = manifest["spec"]["template"]["metadata"]["labels"]
                .as_object()
                .unwrap();
            for (key, value) in expected.as_object().unwrap() {
                assert_eq!(labels.get(key), Some(value), "{file}: {name}");
            }
        }
    }
}

/// The operator finds the proxies' pods by these, and admits these accounts.
#[test]
fn proxies_are_found_and_admitted() {
    for (file, manifests) in rendered() {
        let admitted = args(&manifests, "Deployment", "landbridge-operator");
        for account in ["landbridge-proxy", "landbridge-connectivity"] {
            let argument = format!("--proxy-account=system/{account}");
            assert!(admitted.contains(&argument), "{file}: {admitted:?}");
        }
        let Some(proxy) = find(&manifests, "Deployment", "landbridge-proxy") else {
            continue;
        };
        let template = &proxy["spec"]["template"];
        assert_eq!(template["spec"]["serviceAccountName"], "landbridge-proxy");
        assert_eq!(
            template["metadata"]["labels"]["app.kubernetes.io/component"],
            "proxy"
        );
        let audience =
            template["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["audience"]
                .clone();
        assert_eq!(audience, "landbridge", "{file}");
    }
}

#[test]
fn two_installations_do_not_meet() {
    for file in values_files("landbridge") {
        let cluster_wide = |namespace: &str| -> BTreeSet<String> {
            render(&file, "lb", namespace, &[])
                .iter()
                .filter(|manifest| manifest["metadata"]["namespace"] != namespace)
                .map(identity)
                .collect()
        };
        let (one, other) = (cluster_wide("one"), cluster_wide("other"));
        let both: Vec<_> = one.intersection(&other).collect();
        assert!(both.is_empty(), "{}: {both:?}", file.display());
        assert!(!one.is_empty(), "the operator has rights of the cluster");
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
            assert_eq!(labels["app.kubernetes.io/instance"], "lb", "{file}: {what}");
            assert_eq!(
                labels["app.kubernetes.io/version"],
                env!("CARGO_PKG_VERSION"),
                "{file}: {what}"
            );
        }
    }
}

/// What the kubelet ends is a drain that was not done.
#[test]
fn pods_have_the_time_that_they_take_to_end() {
    for (file, manifests) in rendered() {
        for (owner, pod) in pod_specs(&manifests) {
            let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a time");
            let args = pod["containers"][0]["args"].as_array().unwrap();
            let seconds = |flag: &str| -> u64 {
                let value = args.iter().find_map(|arg| arg.as_str()?.strip_prefix(flag));
                value.map_or(0, |value| value.parse().expect("a number"))
            };
            let needed = seconds("--drain=") + seconds("--drain-delay=");
            assert!(grace >= needed + 5, "{file}: {owner}: {grace} for {needed}");
        }
    }
}

/// The real binary knows every option that a chart gives it.
#[tokio::test]
async fn the_binary_knows_every_argument() {
    let mut help: BTreeMap<String, String> = BTreeMap::new();
    for (file, manifests) in rendered() {
        for (owner, pod) in pod_specs(&manifests) {
            let args: Vec<&str> = pod["containers"][0]["args"]
                .as_array()
                .unwrap()
                .iter()
                .map(|arg| arg.as_str().unwrap())
                .collect();
            let words: Vec<&str> = args
                .iter()
                .copied()
                .take_while(|arg| !arg.starts_with('-'))
                .collect();
            let command = words.join(" ");
            if !help.contains_key(&command) {
                let ended = process::run(&[&words[..], &["--help"]].concat()).await;
                help.insert(command.clone(), ended.stdout);
            }
            let known = &help[&command];
            for arg in &args[words.len()..] {
                let flag = arg.split('=').next().unwrap();
                assert!(
                    known.contains(&format!("{flag} ")) || known.contains(&format!("{flag}\n")),
                    "{file}: {owner}: the binary has no {flag}"
                );
            }
        }
    }
}

#[test]
fn published_values_arrive() {
    let all = with_values("published-defaults");
    let secret = find(&all, "Secret", "destination-service-key").expect("made of secretData");
    assert!(secret["data"]["service_key"].as_str().unwrap().starts_with("eyJ"));
    let proxy = find(&all, "Deployment", "landbridge-proxy").unwrap();
    let container = &proxy["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["image"],
        "registry.example.com/mirror/connectivity/landbridge:1.0.0"
    );
    assert_eq!(
        container["resources"]["requests"],
        json!({"cpu": 0.2, "memory": "256M"})
    );
    assert_eq!(
        proxy["spec"]["template"]["spec"]["imagePullSecrets"],
        json!([{"name": "docker-secret"}])
    );
    assert_eq!(proxy["spec"]["replicas"], 1);
    for component in ["operator", "proxy"] {
        let args = args(&all, "Deployment", &format!("landbridge-{component}"));
        for expected in ["--store-connect-timeout=20", "--store-read-timeout=20"] {
            assert!(
                args.iter().any(|argument| argument == expected),
                "{component}: {args:?}"
            );
        }
    }
    let health = find(&all, "Service", "sap-transp-proxy-int-healthcheck").unwrap();
    assert_eq!(health["spec"]["ports"][0]["port"], 80);
    assert_eq!(health["spec"]["ports"][0]["targetPort"], "admin");
}

#[test]
fn own_values_arrive() {
    let all = with_values("everything");
    let operator = args(&all, "Deployment", "landbridge-operator");
    for expected in [
        "--managed-namespaces=labelSelector",
        "--default-scope=clusterWide",
        "--execution-interval-minutes=5",
        "--port-range=20000-20999",
        "--no-network-policies",
        "--webhook-fail-closed",
        "--proxy-account=mesh/landbridge-sidecar",
        "--additional-ca=/etc/landbridge/additional/ca.crt",
    ] {
        assert!(
            operator.iter().any(|argument| argument == expected),
            "{expected}: {operator:?}"
        );
    }
    let proxy = find(&all, "Deployment", "landbridge-proxy").unwrap();
    assert_eq!(proxy["spec"]["replicas"], 3, "the larger one of http and tcp");
    let container = &proxy["spec"]["template"]["spec"]["containers"][0];
    let digest = "registry.example.com:5000/mirror/landbridge@sha256:0123";
    assert!(container["image"].as_str().unwrap().starts_with(digest));
    assert_eq!(
        container["env"][0],
        json!({"name": "LANDBRIDGE_LOG", "value": "error"})
    );
    let policy = find(&all, "NetworkPolicy", "landbridge-proxy").unwrap();
    assert_eq!(
        policy["spec"]["ingress"][1]["ports"][0],
        json!({"port": 20000, "endPort": 20999, "protocol": "TCP"}),
        "nobody else opens the destinations' ports"
    );
    let budget = find(&all, "PodDisruptionBudget", "landbridge-proxy").unwrap();
    assert_eq!(budget["spec"]["maxUnavailable"], 2);
}

/// A limit of CPU throttles; the published default can be taken away.
#[test]
fn a_limit_can_be_taken_away() {
    let options = ["--set", "deployment.resources.http.limits.cpu=null"];
    let all = template(&chart("landbridge"), "lb", "system", &options).unwrap();
    let proxy = find(&all, "Deployment", "landbridge-proxy").unwrap();
    let limits = &proxy["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"];
    assert_eq!(*limits, json!({"memory": "512M"}));
}

#[test]
fn each_instance_has_its_own_key() {
    let all = with_values("instances");
    let operator = args(&all, "Deployment", "landbridge-operator");
    let proxy = args(&all, "Deployment", "landbridge-proxy");
    for (instance, secret) in [
        ("eu", "destination-eu"),
        ("us", "destination-us"),
        ("elsewhere", "landbridge-copy-destination"),
    ] {
        let argument = format!("--destination-service={instance}=secret:system/{secret}/key.json");
        assert!(operator.contains(&argument), "{argument}: {operator:?}");
        let argument = format!("--destination-service={instance}=/etc/landbridge/keys/{instance}/key.json");
        assert!(proxy.contains(&argument), "{argument}: {proxy:?}");
    }
    assert!(proxy.contains(&"--default-instance=eu".to_owned()), "{proxy:?}");
    let all = with_values("store");
    let operator = args(&all, "Deployment", "landbridge-operator");
    let instances: Vec<_> = operator
        .iter()
        .filter(|argument| argument.starts_with("--destination-service="))
        .collect();
    assert_eq!(
        instances,
        [
            "--destination-service=default=secret:system/destination-service-key/service_key",
            "--destination-service=company=secret:system/company-destination-service/service_key"
        ]
    );
}

#[test]
fn several_stores_share_a_database_and_a_key() {
    let all = with_values("store-postgresql");
    assert!(
        find(&all, "StatefulSet", "landbridge-store").is_none(),
        "no volume"
    );
    let store = find(&all, "Deployment", "landbridge-store").unwrap();
    assert_eq!(store["spec"]["replicas"], 3);
    assert!(find(&all, "PodDisruptionBudget", "landbridge-store").is_some());
    let args = args(&all, "Deployment", "landbridge-store");
    for expected in [
        "--public-url=https://landbridge-store.system.svc:20080",
        "--database-url-file=/etc/landbridge/database/url",
        "--key-file=/etc/landbridge/encryption/store.key",
        "--tls-certificate=/etc/landbridge/tls/tls.crt",
        "--tls-key=/etc/landbridge/tls/tls.key",
        "--client-rate=500",
    ] {
        assert!(args.contains(&expected.to_owned()), "{expected}: {args:?}");
    }
    let pod = &store["spec"]["template"]["spec"];
    assert_eq!(
        pod["topologySpreadConstraints"][0]["topologyKey"],
        "kubernetes.io/hostname"
    );
    let volumes = pod["volumes"].as_array().unwrap();
    let secret = |name: &str| {
        let volume = volumes.iter().find(|volume| volume["name"] == name).unwrap();
        (
            volume["secret"]["secretName"].clone(),
            volume["secret"]["defaultMode"].clone(),
        )
    };
    // Not for everybody: the store refuses a key file of mode 0444.
    assert_eq!(secret("database"), (json!("company-postgresql"), json!(0o440)));
    assert_eq!(
        secret("encryption"),
        (json!("landbridge-store-encryption"), json!(0o440))
    );

    let all = with_values("store");
    assert!(find(&all, "Deployment", "landbridge-store").is_none());
    assert!(find(&all, "PodDisruptionBudget", "landbridge-store").is_none());
}

#[test]
fn one_autoscaler_scales_the_proxies() {
    let all = with_values("horizontal");
    let scaler = find(&all, "HorizontalPodAutoscaler", "landbridge-proxy").unwrap();
    assert_eq!(
        (&scaler["spec"]["minReplicas"], &scaler["spec"]["maxReplicas"]),
        (&json!(2), &json!(6))
    );
    let metrics = scaler["spec"]["metrics"].as_array().unwrap();
    assert_eq!(metrics.len(), 1, "memory is switched off");
    let proxy = find(&all, "Deployment", "landbridge-proxy").unwrap();
    assert!(
        proxy["spec"]["replicas"].is_null(),
        "an upgrade must not scale back"
    );
    assert!(find(&all, "PodDisruptionBudget", "landbridge-proxy").is_some());
    let all = with_values("vertical");
    let scaler = find(&all, "VerticalPodAutoscaler", "landbridge-proxy").unwrap();
    assert_eq!(scaler["spec"]["updatePolicy"]["updateMode"], "Recreate");
    assert!(find(&all, "HorizontalPodAutoscaler", "landbridge-proxy").is_none());
    assert!(
        find(&all, "PodDisruptionBudget", "landbridge-proxy").is_none(),
        "one replica"
    );
}

#[test]
fn ipv6_is_listened_on_where_it_is_asked_for() {
    let all = with_values("ipv6");
    assert!(args(&all, "Deployment", "landbridge-operator").contains(&"--serve-listen=[::]:8443".to_owned()));
    assert!(args(&all, "Deployment", "landbridge-proxy").contains(&"--listen-address=::".to_owned()));
    assert!(args(&all, "StatefulSet", "landbridge-store").contains(&"--listen=[::]:20080".to_owned()));
    for service in [
        "landbridge-operator",
        "landbridge-proxy",
        "landbridge-store",
        "sap-transp-proxy-int-healthcheck",
    ] {
        let spec = &find(&all, "Service", service).unwrap()["spec"];
        assert_eq!(spec["ipFamilies"], json!(["IPv6", "IPv4"]), "{service}");
        assert_eq!(spec["ipFamilyPolicy"], "RequireDualStack", "{service}");
    }
    let all = with_values("minimal");
    assert!(
        args(&all, "Deployment", "landbridge-operator").contains(&"--serve-listen=0.0.0.0:8443".to_owned())
    );
}

#[test]
fn certificates_of_cert_manager_are_mounted() {
    let all = with_values("cert-manager");
    let certificate = find(&all, "Certificate", "landbridge-operator").unwrap();
    assert_eq!(certificate["spec"]["issuerRef"]["kind"], "ClusterIssuer");
    assert_eq!(
        certificate["spec"]["dnsNames"][0], "landbridge-operator",
        "what proxies insist on"
    );
    let operator = find(&all, "Deployment", "landbridge-operator").unwrap();
    let volumes = operator["spec"]["template"]["spec"]["volumes"]
        .as_array()
        .unwrap();
    assert!(
        volumes
            .iter()
            .any(|volume| volume["secret"]["secretName"] == certificate["spec"]["secretName"]),
        "{volumes:?}"
    );
}
