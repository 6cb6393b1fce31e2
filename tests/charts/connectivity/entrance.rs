//! How connectors reach the pods.

use landbridge_tests::charts::{chart, template};
use serde_json::{Value, json};

use super::{CHART, NAME, argument, with_values, workload};
use crate::landbridge::find;

fn services(manifests: &[Value]) -> Vec<&Value> {
    let services = manifests.iter().filter(|manifest| manifest["kind"] == "Service");
    services
        .filter(|service| service["spec"]["clusterIP"] != "None" && !super::of_landbridge(service))
        .collect()
}

#[test]
fn one_replica_has_one_service_and_one_host() {
    let all = with_values("minimal");
    let services = services(&all);
    assert_eq!(services.len(), 1);
    assert_eq!(services[0]["metadata"]["name"], NAME);
    assert_eq!(
        services[0]["spec"]["ports"],
        json!([{"name": "tls-tunnel", "port": 8042, "targetPort": "tunnel", "protocol": "TCP"}]),
        "nothing of the admin port"
    );
    let ingress = find(&all, "Ingress", NAME).unwrap();
    let annotations = &ingress["metadata"]["annotations"];
    assert_eq!(annotations["nginx.ingress.kubernetes.io/ssl-passthrough"], "true");
    assert_eq!(
        annotations["nginx.ingress.kubernetes.io/proxy-read-timeout"],
        "120"
    );
    assert_eq!(ingress["spec"]["rules"][0]["host"], "tunnel.example.com");
    assert!(ingress["spec"]["tls"].is_null(), "nothing is terminated");
    assert!(
        find(&all, "Ingress", "landbridge-connectivity-healthcheck").is_none(),
        "no certificate for it"
    );
    let names: Vec<_> = argument(&all, "--tunnel-names").unwrap().split(',').collect();
    assert_eq!(names[0], "tunnel.example.com");
    assert!(
        names.contains(&"landbridge-connectivity.system.svc.cluster.local"),
        "{names:?}"
    );
}

#[test]
fn replicas_have_a_service_a_host_and_a_name_each() {
    for (file, count) in [("subdomain", 2), ("horizontal", 3)] {
        let all = with_values(file);
        let services = services(&all);
        let names: Vec<_> = services
            .iter()
            .map(|service| service["metadata"]["name"].as_str().unwrap())
            .collect();
        let expected: Vec<_> = (0..count).map(|index| format!("{NAME}-{index}")).collect();
        assert_eq!(names, expected, "{file}");
        let rules = &find(&all, "Ingress", NAME).unwrap()["spec"]["rules"];
        for (service, name) in services.iter().zip(&expected) {
            let pod = &service["spec"]["selector"]["statefulset.kubernetes.io/pod-name"];
            assert_eq!(pod, name, "{file}");
            let rule = rules.as_array().unwrap().iter().find(|rule| {
                let backend = &rule["http"]["paths"][0]["backend"]["service"];
                backend["name"] == *name && backend["port"]["number"] == 8042
            });
            assert_eq!(
                rule.unwrap()["host"],
                format!("{name}.tunnel.example.com"),
                "{file}"
            );
        }
        let own: Vec<_> = argument(&all, "--tunnel-names").unwrap().split(',').collect();
        assert_eq!(own[0], "$(POD_NAME).tunnel.example.com", "{file}");
        assert!(own.iter().all(|name| name.contains("$(POD_NAME)")), "{own:?}");
        assert!(find(&all, "PodDisruptionBudget", NAME).is_some(), "{file}");
    }
    let scaled = with_values("horizontal");
    assert!(
        workload(&scaled)["spec"]["replicas"].is_null(),
        "the autoscaler's"
    );
    let autoscaler = find(&scaled, "HorizontalPodAutoscaler", NAME).unwrap();
    assert_eq!(autoscaler["spec"]["minReplicas"], 1);
    assert_eq!(autoscaler["spec"]["maxReplicas"], 3);
    assert_eq!(autoscaler["spec"]["scaleTargetRef"]["kind"], "StatefulSet");
    let vertical = with_values("vertical");
    assert!(find(&vertical, "VerticalPodAutoscaler", NAME).is_some());
    assert!(find(&vertical, "PodDisruptionBudget", NAME).is_none());
}

#[test]
fn istio_lets_tls_through_by_its_server_name() {
    let all = with_values("istio");
    let gateway = &find(&all, "Gateway", NAME).unwrap()["spec"];
    assert_eq!(gateway["selector"], json!({"app": "gateway"}));
    let hosts = json!([
        "landbridge-connectivity-0.tunnel.example.com",
        "landbridge-connectivity-1.tunnel.example.com"
    ]);
    assert_eq!(
        gateway["servers"][0],
        json!({"port": {"number": 8443, "name": "tls-tunnel", "protocol": "TLS"}, "tls": {"mode": "PASSTHROUGH"}, "hosts": hosts})
    );
    assert_eq!(gateway["servers"][1]["tls"]["mode"], "SIMPLE");
    assert_eq!(gateway["servers"][1]["tls"]["credentialName"], "connectivity-tls");
    let routes = &find(&all, "VirtualService", NAME).unwrap()["spec"]["tls"];
    for (index, route) in routes.as_array().unwrap().iter().enumerate() {
        assert_eq!(route["match"][0]["sniHosts"][0], hosts[index]);
        assert_eq!(
            route["route"][0]["destination"]["host"],
            format!("{NAME}-{index}.system.svc.cluster.local")
        );
    }
    let rule = &find(&all, "DestinationRule", "landbridge-connectivity-1").unwrap()["spec"];
    assert_eq!(
        rule["trafficPolicy"]["connectionPool"]["tcp"],
        json!({"connectTimeout": "10s", "idleTimeout": "120s"})
    );
    let secret = find(&all, "Secret", "connectivity-tls").unwrap();
    assert_eq!(
        secret["metadata"]["namespace"], "mesh",
        "its gateway reads Secrets of its own namespace"
    );
    let labels = &workload(&all)["spec"]["template"]["metadata"]["labels"];
    assert_eq!(
        labels["sidecar.istio.io/inject"], "false",
        "a sidecar would hide callers"
    );
    assert!(find(&all, "Ingress", NAME).is_none());
}

/// Of the admin port, which also changes log levels, one path is to be had from outside.
#[test]
fn the_health_check_opens_one_path() {
    let all = with_values("nginx-health");
    let ingress = find(&all, "Ingress", "landbridge-connectivity-healthcheck").unwrap();
    let rule = &ingress["spec"]["rules"][0];
    assert_eq!(rule["host"], "healthcheck.tunnel.example.com");
    let paths = rule["http"]["paths"].as_array().unwrap();
    assert_eq!(paths.len(), 1);
    assert_eq!(
        (&paths[0]["path"], &paths[0]["pathType"]),
        (&json!("/healthcheck"), &json!("Exact"))
    );
    let annotations = &ingress["metadata"]["annotations"];
    assert_eq!(
        annotations["nginx.ingress.kubernetes.io/rewrite-target"],
        "/healthz"
    );
    assert_eq!(
        annotations["nginx.ingress.kubernetes.io/ssl-ciphers"],
        "HIGH:!aNULL:!MD5"
    );
    assert_eq!(ingress["spec"]["tls"][0]["secretName"], "health-tls");
    assert_eq!(ingress["spec"]["ingressClassName"], "nginx-internal");
    assert!(find(&all, "Secret", "health-tls").is_none(), "it exists already");

    let istio = with_values("istio");
    let routes =
        &find(&istio, "VirtualService", "landbridge-connectivity-healthcheck").unwrap()["spec"]["http"];
    let matches: Vec<_> = routes
        .as_array()
        .unwrap()
        .iter()
        .map(|route| &route["match"][0]["uri"])
        .collect();
    assert_eq!(
        matches,
        [&json!({"exact": "/"}), &json!({"exact": "/healthcheck"})]
    );
    assert_eq!(routes[0]["redirect"]["uri"], "/healthcheck");
    assert_eq!(routes[1]["rewrite"]["uri"], "/healthz");
}

#[test]
fn services_without_an_ingress() {
    let all = with_values("load-balancer");
    assert!(find(&all, "Ingress", NAME).is_none());
    let spec = &services(&all)[0]["spec"];
    assert_eq!(spec["type"], "LoadBalancer");
    assert_eq!(spec["ports"][0]["port"], 443, "connectors use the external port");
    assert_eq!(spec["ports"][0]["targetPort"], "tunnel");
    assert_eq!(spec["loadBalancerSourceRanges"], json!(["192.0.2.0/24"]));
    assert_eq!(spec["externalTrafficPolicy"], "Local");

    let all = with_values("node-port");
    let ports: Vec<_> = services(&all)
        .iter()
        .map(|service| service["spec"]["ports"][0]["nodePort"].clone())
        .collect();
    assert_eq!(ports, [json!(30_842), json!(30_843)]);
    let names = argument(&all, "--tunnel-names").unwrap();
    assert!(names.ends_with(",192.0.2.10,node.example.com"), "{names}");

    let all = with_values("node-address");
    let spec = &services(&all)[0]["spec"];
    assert_eq!(spec["ports"][0]["nodePort"], 30_842);
    assert_eq!(spec["ports"][0]["port"], 8042);
    let names = argument(&all, "--tunnel-names").unwrap();
    assert!(names.starts_with("198.51.100.1,"), "{names}");

    let inside = with_values("inside");
    assert_eq!(services(&inside)[0]["spec"]["type"], "ClusterIP");
    assert!(find(&inside, "Ingress", NAME).is_none());
}

#[test]
fn ip_families_are_those_of_the_values() {
    let all = with_values("everything");
    for service in services(&all) {
        assert_eq!(service["spec"]["ipFamilyPolicy"], "RequireDualStack");
        assert_eq!(service["spec"]["ipFamilies"], json!(["IPv6", "IPv4"]));
    }
    let all = with_values("ipv6");
    assert_eq!(argument(&all, "--admin-listen"), Some("[::]:9494"));
    assert!(find(&all, "NetworkPolicy", NAME).is_none());
    let host = "config.servers.businessDataTunnel.externalHost=t.example";
    let options = ["--set", host, "--set", "ipFamilyPolicy=RequireDualStack"];
    let all = template(&chart(CHART), "lc", "system", &options).unwrap();
    assert_eq!(argument(&all, "--listen-address"), Some("::"));
}
