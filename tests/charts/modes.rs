//! What the chart landbridge renders for the modes beside gateways: proxies on nodes, and sidecars.

use landbridge_tests::charts::{chart, template, values_files, violations};
use serde_json::{Value, json};

use crate::landbridge::{find, render};

/// What a proxy on a node has beyond Pod Security "restricted", in the words of `violations`. Nothing else.
pub const OF_A_NODE: [&str; 3] = ["pod runAsNonRoot", "pod runAsUser 65532", "nothing of the host"];

fn with_values(name: &str) -> Vec<Value> {
    let files = values_files("landbridge");
    let file = files.iter().find(|file| file.ends_with(format!("{name}.yaml")));
    render(file.unwrap_or_else(|| panic!("no {name}")), "lb", "system", &[])
}

fn set(values: &str) -> Vec<Value> {
    template(&chart("landbridge"), "lb", "system", &["--set", values]).unwrap()
}

fn pod<'a>(manifests: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let workload = find(manifests, kind, name).unwrap_or_else(|| panic!("no {kind} {name}"));
    &workload["spec"]["template"]["spec"]
}

fn args(pod: &Value) -> Vec<&str> {
    let all = pod["containers"][0]["args"].as_array().expect("arguments");
    all.iter().map(|one| one.as_str().expect("a text")).collect()
}

fn policy<'a>(manifests: &'a [Value], name: &str) -> Vec<&'a Value> {
    let policy = find(manifests, "NetworkPolicy", name).unwrap_or_else(|| panic!("no policy {name}"));
    policy["spec"]["ingress"].as_array().unwrap().iter().collect()
}

/// The rule of a policy that opens this port.
fn rule<'a>(manifests: &'a [Value], name: &str, port: u16) -> Option<&'a Value> {
    policy(manifests, name).into_iter().find(|rule| {
        let ports = rule["ports"].as_array().unwrap();
        ports.iter().any(|one| one["port"] == port)
    })
}

#[test]
fn nothing_of_them_is_there_until_it_is_asked_for() {
    let all = set("networkPolicy.enabled=true");
    for kind in ["DaemonSet", "MutatingWebhookConfiguration"] {
        assert!(all.iter().all(|one| one["kind"] != kind), "{kind}");
    }
    for owner in ["landbridge-operator", "landbridge-proxy"] {
        for argument in args(pod(&all, "Deployment", owner)) {
            for part in ["inject", "unproven", "node-account", "resolve-listen"] {
                assert!(!argument.contains(part), "{owner}: {argument}");
            }
        }
    }
    let ports = &find(&all, "Service", "landbridge-proxy").unwrap()["spec"]["ports"];
    assert_eq!(ports.as_array().unwrap().len(), 1, "{ports}");
    assert!(rule(&all, "landbridge-proxy", 8444).is_none());
    assert!(rule(&all, "landbridge-operator", 8443).unwrap()["from"].is_array());
}

/// Whatever is set: one capability, and of the host its network alone.
#[test]
fn a_proxy_on_a_node_has_what_it_needs_and_nothing_else() {
    for file in ["node", "modes"] {
        let all = with_values(file);
        let pod = pod(&all, "DaemonSet", "landbridge-node");
        let beyond: Vec<String> = OF_A_NODE.iter().map(|what| format!("node: {what}")).collect();
        assert_eq!(violations("node", pod), beyond, "{file}");
        assert_eq!(pod["hostNetwork"], true);
        for other in ["hostPID", "hostIPC"] {
            assert!(pod[other].is_null(), "{other}");
        }
        assert_eq!(
            pod["dnsPolicy"], "ClusterFirstWithHostNet",
            "it finds operator and store"
        );
        assert_eq!(
            pod["containers"][0]["securityContext"]["capabilities"],
            json!({"drop": ["ALL"], "add": ["NET_ADMIN"]}),
            "{file}"
        );
        assert_eq!(pod["serviceAccountName"], "landbridge-node");
        let token = &pod["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
        assert_eq!(token["audience"], "landbridge");
        let operator = args(self::pod(&all, "Deployment", "landbridge-operator"));
        assert!(
            operator.contains(&"--node-account=system/landbridge-node"),
            "{operator:?}"
        );
        assert!(
            !operator.contains(&"--proxy-account=system/landbridge-node"),
            "it is no endpoint"
        );
    }
}

/// Two generations of one node share its ports: a port that is declared would keep the second one out.
#[test]
fn versions_on_a_node_overlap() {
    for file in ["node", "modes"] {
        let all = with_values(file);
        let set = &find(&all, "DaemonSet", "landbridge-node").unwrap()["spec"];
        assert_eq!(
            set["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 0,
            "{file}"
        );
        assert_ne!(set["updateStrategy"]["rollingUpdate"]["maxSurge"], 0, "{file}");
        let container = &set["template"]["spec"]["containers"][0];
        assert!(container["ports"].is_null(), "{file}: {}", container["ports"]);
        let ready = container["args"].as_array().unwrap().iter();
        let file_of = |one: &Value| {
            one.as_str()
                .unwrap()
                .strip_prefix("--ready-file=")
                .map(str::to_owned)
        };
        let ready: Vec<String> = ready.filter_map(file_of).collect();
        assert_eq!(
            container["startupProbe"]["exec"]["command"],
            json!(["/landbridge", "ready", "--file", ready[0]]),
            "a port would answer for the other version"
        );
    }
}

/// Nothing that finds gateway proxies may find those of nodes: they have no port of a destination.
#[test]
fn nobody_takes_them_for_gateways() {
    let all = with_values("node");
    let labels =
        &find(&all, "DaemonSet", "landbridge-node").unwrap()["spec"]["template"]["metadata"]["labels"];
    let mut seen = 0;
    for one in &all {
        let selector = match one["kind"].as_str().unwrap() {
            "Service" => &one["spec"]["selector"],
            "NetworkPolicy" => &one["spec"]["podSelector"]["matchLabels"],
            "Deployment" | "StatefulSet" | "PodDisruptionBudget" => &one["spec"]["selector"]["matchLabels"],
            _ => continue,
        };
        let selector = selector.as_object().unwrap();
        seen += 1;
        assert!(
            selector.iter().any(|(key, value)| labels[key] != *value),
            "{} selects proxies of nodes",
            one["metadata"]["name"]
        );
    }
    assert!(seen > 5, "{seen}");
}

#[test]
fn what_is_set_for_nodes_arrives() {
    let all = with_values("node");
    let set = &find(&all, "DaemonSet", "landbridge-node").unwrap()["spec"];
    assert_eq!(set["updateStrategy"]["rollingUpdate"]["maxSurge"], 2);
    let template = &set["template"];
    assert_eq!(template["metadata"]["labels"]["example.com/team"], "network");
    assert_eq!(template["metadata"]["annotations"]["example.com/scrape"], "false");
    let pod = &template["spec"];
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(pod["nodeSelector"]["example.com/pool"], "apps");
    assert_eq!(pod["tolerations"][0]["effect"], "NoSchedule");
    assert!(pod["affinity"]["nodeAffinity"].is_object());
    assert_eq!(pod["containers"][0]["livenessProbe"]["httpGet"]["port"], 21414);
    assert_eq!(
        pod["containers"][0]["resources"]["limits"],
        json!({"memory": "512M"})
    );
    let given = args(pod);
    for expected in [
        "--mode=node",
        "--admin-listen=0.0.0.0:21414",
        "--max-connections=5000",
        "--drain=40",
        "--log-format=json",
        "--destination-service=default=/etc/landbridge/keys/default/service_key",
    ] {
        assert!(given.contains(&expected), "{expected}: {given:?}");
    }
    let mounted = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    for path in [
        "/var/run/secrets/landbridge",
        "/more",
        "/etc/landbridge/keys/default",
    ] {
        assert!(mounted.iter().any(|one| one["mountPath"] == path), "{path}");
    }
    let tolerations =
        &self::pod(&with_values("modes"), "DaemonSet", "landbridge-node")["tolerations"].clone();
    assert_eq!(
        *tolerations,
        json!([{"operator": "Exists"}]),
        "all nodes unless told"
    );
}

/// Policies cannot select pods with the network of their node: they name addresses.
#[test]
fn proxies_on_nodes_reach_operator_and_store() {
    let all = with_values("node");
    for (name, port) in [("landbridge-operator", 8443), ("landbridge-store", 20080)] {
        let from = rule(&all, name, port).unwrap()["from"]
            .as_array()
            .unwrap()
            .clone();
        for cidr in ["10.0.0.0/16", "fd00::/64"] {
            assert!(
                from.contains(&json!({"ipBlock": {"cidr": cidr}})),
                "{name}: {from:?}"
            );
        }
        assert!(
            !from.contains(&json!({"ipBlock": {"cidr": "0.0.0.0/0"}})),
            "{name}"
        );
    }
    let all = set("networkPolicy.enabled=true,node.enabled=true");
    let from = rule(&all, "landbridge-operator", 8443).unwrap()["from"]
        .as_array()
        .unwrap()
        .clone();
    assert!(
        from.contains(&json!({"ipBlock": {"cidr": "0.0.0.0/0"}})),
        "{from:?}"
    );
}

#[test]
fn what_is_set_for_sidecars_arrives() {
    let all = with_values("sidecar");
    let operator = args(pod(&all, "Deployment", "landbridge-operator"));
    for expected in [
        "--inject=on",
        "--inject-image=registry.example.com/mirror/landbridge:sidecar",
        "--inject-pull-secret=docker-secret",
        "--inject-proxy-uid=4711",
        "--inject-resources=cpu-request=5m,cpu-limit=1,memory-request=16Mi,memory-limit=128Mi",
        "--inject-log=error",
        "--inject-log-format=json",
        "--inject-drain=30",
        "--inject-pod-security=baseline",
        "--inject-fail-closed",
        "--unproven-pods=delete",
    ] {
        assert!(operator.contains(&expected), "{expected}: {operator:?}");
    }
    let all = with_values("modes");
    let own = &pod(&all, "Deployment", "landbridge-operator")["containers"][0]["image"];
    let operator = args(pod(&all, "Deployment", "landbridge-operator"));
    let image = format!("--inject-image={}", own.as_str().unwrap());
    assert!(operator.contains(&image.as_str()), "{operator:?}");
    assert!(operator.contains(&"--unproven-pods=report"));
    assert!(!operator.contains(&"--inject-fail-closed"));
    let all = set("sidecar.enabled=true,ipFamilies={IPv6}");
    let operator = args(pod(&all, "Deployment", "landbridge-operator"));
    assert!(operator.contains(&"--inject-admin-address=::"), "{operator:?}");
}

/// Sidecars are in all namespaces: their questions to gateways and operator come from there.
#[test]
fn sidecars_reach_gateways_and_operator() {
    for file in ["sidecar", "modes"] {
        let all = with_values(file);
        let gateway = args(pod(&all, "Deployment", "landbridge-proxy"));
        assert!(gateway.contains(&"--resolve-listen=0.0.0.0:8444"), "{gateway:?}");
        let ports = &find(&all, "Service", "landbridge-proxy").unwrap()["spec"]["ports"];
        let resolve = json!({"name": "resolve", "port": 8444, "targetPort": "resolve", "protocol": "TCP"});
        assert!(ports.as_array().unwrap().contains(&resolve), "{file}: {ports}");
        for (name, port) in [("landbridge-proxy", 8444), ("landbridge-operator", 8443)] {
            let rule = rule(&all, name, port).unwrap_or_else(|| panic!("{file}: {name} {port}"));
            assert!(rule["from"].is_null(), "{file}: {name}: {rule}");
        }
    }
}

/// It goes with the release and belongs to it; the operator writes what is in it.
#[test]
fn the_webhook_of_sidecars_is_registered_by_the_operator() {
    let all = with_values("sidecar");
    let webhook = find(&all, "MutatingWebhookConfiguration", "landbridge-system").unwrap();
    assert!(webhook["webhooks"].is_null());
    let all = set("sidecar.enabled=false");
    assert!(find(&all, "MutatingWebhookConfiguration", "landbridge-system").is_none());
    assert!(find(&all, "ValidatingWebhookConfiguration", "landbridge-system").is_some());
}
