//! No value is ignored in silence: to set any one changes what is rendered, is named by the notes, or is refused.

use landbridge_tests::charts::{chart, template};
use serde_json::{Map, Value, json};

use super::CHART;
use super::said::speaking;

/// Values below a feature count once it is switched on; the longest prefix that fits is used.
fn context(path: &str) -> Value {
    let secret = json!({
        "certificate": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==",
        "key": "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCg==",
    });
    let contexts = [
        (
            "deployment.autoscaling.horizontal.",
            json!({"config": {"highAvailabilityMode": "subdomain"}, "deployment": {"autoscaling": {"horizontal": {"enabled": true}}}}),
        ),
        (
            "deployment.autoscaling.vertical.",
            json!({"deployment": {"autoscaling": {"vertical": {"enabled": true}}}}),
        ),
        (
            "proxy.podDisruptionBudget.",
            json!({"config": {"highAvailabilityMode": "subdomain"}, "deployment": {"replicaCount": 2}}),
        ),
        (
            "ingress.istio.",
            json!({"ingress": {"className": "istio", "tls": {"secretData": secret}}}),
        ),
        (
            "ingress.nginx.tls.",
            json!({"ingress": {"tls": {"secretName": "tls"}}}),
        ),
        (
            "ingress.tls.secretData.",
            json!({"ingress": {"tls": {"secretData": secret}}}),
        ),
        (
            "ingress.healthcheck.tls.secretData.",
            json!({"ingress": {"healthcheck": {"tls": {"secretData": secret}}}}),
        ),
        ("service.nodePort", json!({"service": {"type": "NodePort"}})),
        (
            "service.nodePorts",
            json!({"config": {"highAvailabilityMode": "subdomain"}, "service": {"type": "NodePort"}}),
        ),
        (
            "additionalCAs.secretKey",
            json!({"additionalCAs": {"secretName": "ca", "secretKey": "one"}}),
        ),
        (
            "additionalCAs.secretName",
            json!({"additionalCAs": {"secretKey": "one"}}),
        ),
        (
            "monitoring.serviceMonitor.",
            json!({"monitoring": {"serviceMonitor": {"enabled": true}}}),
        ),
    ];
    let fits = contexts
        .into_iter()
        .filter(|(prefix, _)| path.starts_with(prefix));
    fits.max_by_key(|(prefix, _)| prefix.len())
        .map_or(json!({}), |(_, values)| values)
}

/// Another value than the default that its schema allows.
fn another(path: &str, schema: &Value, default: &Value) -> Value {
    if let Some(choices) = schema["enum"].as_array() {
        return choices.iter().find(|choice| *choice != default).unwrap().clone();
    }
    match (path, default) {
        ("config.servers.businessDataTunnel.names" | "ingress.istio.tls.ciphers", _) => json!(["one"]),
        ("config.integration.destinationService.instances", _) => {
            json!([{"name": "one", "serviceCredentials": {"secretName": "key"}}])
        }
        ("deployment.image.pullSecrets", _) => json!(["one"]),
        ("service.loadBalancerSourceRanges", _) => json!(["192.0.2.0/24"]),
        ("service.nodePorts", _) => json!([30_842]),
        ("ipFamilies", _) => json!(["IPv6"]),
        ("proxy.extraArgs", _) => json!(["--one"]),
        ("deployment.image.digest", _) => json!(format!("sha256:{}", "0".repeat(64))),
        ("networkPolicy.destinationPorts", _) => json!("10000-10001"),
        ("monitoring.serviceMonitor.interval", _) => json!("7s"),
        ("persistence.size", _) => json!("7Gi"),
        ("service.port" | "service.nodePort", _) => json!(30_842),
        // Their PEM is looked at, not into.
        (path, Value::String(_)) if path.starts_with("ingress") && path.contains("secretData") => {
            json!("LS0tLS1CRUdJTiBBTk9USEVSLS0tLS0K")
        }
        (_, Value::Bool(value)) => json!(!value),
        (_, Value::Number(value)) if value.is_f64() => json!(7.5),
        (_, Value::Number(value)) => json!(value.as_u64().unwrap() + 1),
        (_, Value::Null) if schema["type"][0] == "boolean" => json!(false),
        (_, Value::Null) => json!(7),
        (_, Value::Array(_)) => json!([{"name": "one"}]),
        (_, Value::Object(_)) => json!({"one": "other"}),
        (path, _) if path.starts_with("deployment.resources") => json!("7M"),
        _ => json!("another"),
    }
}

fn schema_of<'a>(root: &'a Value, path: &str) -> &'a Value {
    let mut schema = root;
    for part in path.split('.') {
        schema = &schema["properties"][part];
        if let Some(reference) = schema["$ref"].as_str() {
            schema = &root["definitions"][reference.rsplit('/').next().unwrap()];
        }
    }
    schema
}

fn leaves(path: &str, value: &Value, found: &mut Vec<String>) {
    match value.as_object().filter(|object| !object.is_empty()) {
        Some(object) => {
            for (key, value) in object {
                let below = [path, key].join(if path.is_empty() { "" } else { "." });
                leaves(&below, value, found);
            }
        }
        None => found.push(path.to_owned()),
    }
}

/// Puts what `over` has into `base`.
fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(
                    base.entry(key).or_insert_with(|| Value::Object(Map::new())),
                    value,
                );
            }
        }
        (base, over) => *base = over.clone(),
    }
}

fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, part| json!({ part: value }))
}

#[test]
fn no_value_is_ignored_in_silence() {
    let chart = chart(CHART);
    let text = std::fs::read_to_string(chart.join("values.yaml")).unwrap();
    let defaults: Value = serde_saphyr::from_str(&text).unwrap();
    let text = std::fs::read_to_string(chart.join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    let mut paths = Vec::new();
    leaves("", &defaults, &mut paths);
    // Its own values are those of another chart.
    assert!(paths.iter().any(|path| path == "transparent-proxy.enabled"));
    assert!(paths.len() > 120, "{}", paths.len());

    let speaking = speaking();
    let files = tempfile::tempdir().unwrap();
    let render = |values: &Value| {
        let file = files.path().join("values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        template(
            speaking.path(),
            "lc",
            "system",
            &["--values", file.to_str().unwrap()],
        )
    };
    let mut ignored = Vec::new();
    for path in paths {
        let mut before =
            json!({"config": {"servers": {"businessDataTunnel": {"externalHost": "t.example"}}}});
        merge(&mut before, &context(&path));
        let default = path.split('.').fold(&defaults, |value, part| &value[part]);
        // Where the context sets it already, the change is from that.
        let set = path.split('.').fold(&before, |value, part| &value[part]);
        let from = if set.is_null() { default } else { set };
        let mut after = before.clone();
        let to = another(&path, schema_of(&schema, &path), from);
        assert_ne!(*from, to, "{path}");
        merge(&mut after, &nested(&path, to.clone()));
        let first = render(&before).unwrap_or_else(|error| panic!("{path}: {error}"));
        match render(&after) {
            Ok(second) if second == first => ignored.push(format!("{path}={to}")),
            Ok(_) => {}
            // Refused by name is as good; a schema that does not take the example is a mistake of this test.
            Err(said) => {
                let told =
                    said.contains("execution error") && said.contains(path.rsplit('.').next().unwrap());
                assert!(told, "{path}={to}: {said}");
            }
        }
    }
    assert!(ignored.is_empty(), "set, and nobody is told: {ignored:#?}");
}
