//! The objects of an installation.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};
use kube::Api;
use kube::api::ListParams;
use kube::client::Body;
use landbridge_destination::Binding;
use serde_json::json;

use super::super::facts::{KeyFact, LeaseFact, PodFact, Probe, Read, StatusFact, of_pod};
use super::super::reader::Reader;
use super::super::{Options, Trouble};
use super::pages;
use crate::certificates::BUNDLE_CONFIG_MAP;
use crate::cluster::stores::{Instance, Source};

/// Name of the operator's Deployment and Lease.
const OPERATOR: &str = "landbridge-operator";

/// Port of the admin endpoint where a pod does not name it.
const ADMIN: i32 = 9494;

/// Age of a Lease that was surely renewed: three seconds between renewals, and clocks that differ a little.
const FRESH: i64 = 15;

/// How long a Lease is watched whose time is odd: clocks may differ by more.
const WATCH: Duration = Duration::from_secs(6);

/// Namespaces that the webhook leaves alone, beside the one of the installation.
const NOT_LOOKED_AT: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// A pod, and where its admin endpoint is.
pub(super) struct SeenPod {
    pub(super) fact: PodFact,
    pub(super) port: i32,
}

/// What the Deployment of the operator is set to.
pub(super) struct Configured {
    pub(super) instances: Vec<Instance>,
    pub(super) misread: Vec<String>,
    pub(super) webhook: bool,
    /// Whether all namespaces are looked after.
    pub(super) everywhere: bool,
    /// Where sidecars are put into pods: the Pod Security level of namespaces that name none.
    pub(super) injection: Option<String>,
}

impl Configured {
    pub(super) fn of(deployment: Option<&Deployment>) -> Self {
        let pod = deployment.and_then(|deployment| deployment.spec.as_ref()?.template.spec.as_ref());
        let containers = pod.map(|pod| pod.containers.as_slice()).unwrap_or_default();
        let named = containers.iter().find(|container| container.name == "operator");
        let container = named.or(containers.first());
        let values = |option: &str, variable: &str| {
            container.map_or_else(Vec::new, |container| settings(container, option, variable))
        };
        let (mut instances, mut misread) = (Vec::new(), Vec::new());
        for text in values("--destination-service", "LANDBRIDGE_DESTINATION_SERVICES") {
            match Instance::parse(&text) {
                Ok(instance) => instances.push(instance),
                Err(why) => misread.push(why),
            }
        }
        let managed = values("--managed-namespaces", "LANDBRIDGE_MANAGED_NAMESPACES");
        let webhook = values("--webhook-listen", "LANDBRIDGE_WEBHOOK_LISTEN");
        let level = values("--inject-pod-security", "LANDBRIDGE_INJECT_POD_SECURITY");
        let level = level.into_iter().next();
        let inject = values("--inject", "LANDBRIDGE_INJECT");
        let injection = inject.first().is_some_and(|inject| inject == "on");
        Self {
            injection: injection.then(|| level.unwrap_or_else(|| "privileged".to_owned())),
            instances,
            misread,
            webhook: webhook.first().is_none_or(|listen| listen != "off"),
            everywhere: managed.first().is_none_or(|mode| mode == "all"),
        }
    }
}

/// Values of an option on the command line, else of the variable.
fn settings(container: &Container, option: &str, variable: &str) -> Vec<String> {
    let command = container.command.iter().flatten();
    let mut words = command.chain(container.args.iter().flatten());
    let mut values = Vec::new();
    while let Some(word) = words.next() {
        let value = match word.strip_prefix(option) {
            Some("") => words.next().map(String::as_str),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        values.extend(value);
    }
    let variables = container.env.iter().flatten();
    let set = variables
        .filter(|one| one.name == variable)
        .filter_map(|one| one.value.as_deref());
    let chosen: Vec<&str> = if values.is_empty() { set.collect() } else { values };
    let parts = chosen.iter().flat_map(|value| value.split(','));
    parts.map(ToOwned::to_owned).collect()
}

pub(super) async fn deployment(reader: &Reader, options: &Options) -> Read<Deployment> {
    let api: Api<Deployment> = Api::namespaced(reader.client(), &options.namespace);
    reader.call(api.get(OPERATOR)).await
}

async fn pods(reader: &Reader, options: &Options, component: &str) -> Read<Vec<SeenPod>> {
    let api: Api<Pod> = Api::namespaced(reader.client(), &options.namespace);
    let labels = format!("app.kubernetes.io/name=landbridge,app.kubernetes.io/component={component}");
    let found = reader
        .call(api.list(&ListParams::default().labels(&labels).limit(500)))
        .await?;
    Ok(found.items.iter().map(seen).collect())
}

fn seen(pod: &Pod) -> SeenPod {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let admin = ports.find(|port| port.name.as_deref() == Some("admin"));
    SeenPod {
        fact: of_pod(pod),
        port: admin.map_or(ADMIN, |port| port.container_port),
    }
}

fn facts(pods: Read<Vec<SeenPod>>) -> Read<Vec<PodFact>> {
    pods.map(|pods| pods.into_iter().map(|pod| pod.fact).collect())
}

/// Pods of the operator, and what they say.
pub(super) async fn operators(reader: &Reader, options: &Options) -> (Read<Vec<PodFact>>, Read<StatusFact>) {
    let mut found = pods(reader, options, "operator").await;
    let status = match &found {
        Ok(pods) => pages::status(reader, options, pods).await,
        Err(trouble) => Err(trouble.clone()),
    };
    if !matches!(status, Err(Trouble::NoAnswer(_))) {
        pages::versions(reader, options, &mut found).await;
    }
    (facts(found), status)
}

/// Pods of the proxies, and the connections of connectors by pod.
pub(super) async fn proxies(
    reader: &Reader,
    options: &Options,
) -> (Read<Vec<PodFact>>, Vec<(String, Read<usize>)>) {
    let mut found = pods(reader, options, "proxy").await;
    let connectors = pages::connectors(reader, options, &found).await;
    pages::versions(reader, options, &mut found).await;
    (facts(found), connectors)
}

pub(super) async fn lease(reader: &Reader, options: &Options) -> Read<LeaseFact> {
    let api: Api<Lease> = Api::namespaced(reader.client(), &options.namespace);
    let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
    let first = reader.call(api.get(OPERATOR)).await?;
    let holder = first
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.clone())
        .unwrap_or_default();
    let age = renewed(&first).map_or(i64::MAX, |time| Timestamp::now().as_second() - time.0.as_second());
    let mut fresh = (0..=FRESH).contains(&age);
    if !fresh && !holder.is_empty() && reader.has_time_for(WATCH) {
        tokio::time::sleep(WATCH).await;
        fresh = renewed(&reader.call(api.get(OPERATOR)).await?) != renewed(&first);
    }
    Ok(LeaseFact { holder, fresh })
}

pub(super) async fn authorities(reader: &Reader, options: &Options) -> Read<ConfigMap> {
    let api: Api<ConfigMap> = Api::namespaced(reader.client(), &options.namespace);
    reader.call(api.get(BUNDLE_CONFIG_MAP)).await
}

pub(super) async fn webhook(reader: &Reader, options: &Options) -> Read<ValidatingWebhookConfiguration> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(reader.client());
    reader
        .call(api.get(&format!("landbridge-{}", options.namespace)))
        .await
}

/// Asks the API server to create a Destination whose name the schema allows and the webhook does not. Nothing is stored.
pub(super) async fn probe(reader: &Reader, options: &Options) -> Probe {
    let namespace = options.watch_namespace.as_deref().unwrap_or("default");
    if namespace == options.namespace || NOT_LOOKED_AT.contains(&namespace) {
        return Probe::NoPlace;
    }
    let object = json!({
        "apiVersion": "destination.connectivity.api.sap/v1", "kind": "Destination",
        "metadata": {"name": "landbridge.check", "namespace": namespace},
        "spec": {"destinationRef": {"name": "landbridge-check"}},
    });
    let path =
        format!("/apis/destination.connectivity.api.sap/v1/namespaces/{namespace}/destinations?dryRun=All");
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(object.to_string().into_bytes()));
    let answer = match request {
        Ok(request) => reader.exchange(request).await,
        Err(error) => Err(Trouble::NoAnswer(error.to_string())),
    };
    let (code, body) = match answer {
        Ok(answer) => answer,
        Err(trouble) => return Probe::Trouble(trouble),
    };
    let status: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = status["message"].as_str().unwrap_or_default().to_owned();
    match code {
        200..=299 => Probe::Admitted,
        404 => Probe::Trouble(Trouble::Missing),
        // RBAC and the webhook both say 403; the webhook is named in its text.
        403 if !text.contains("admission webhook") => Probe::Trouble(Trouble::Forbidden(text)),
        400..=499 => Probe::Refused(text),
        _ => Probe::Trouble(Trouble::Answer(code, text)),
    }
}

/// Each instance with its service key, which is read and not kept.
pub(super) async fn keys(reader: &Reader, instances: Vec<Instance>) -> Vec<(Instance, Read<KeyFact>)> {
    let mut keys = Vec::new();
    for instance in instances {
        let fact = match &instance.source {
            Source::File(_) => Ok(KeyFact::File),
            Source::Secret { namespace, name, key } => {
                let api: Api<Secret> = Api::namespaced(reader.client(), namespace);
                let secret = reader.call(api.get(name)).await;
                secret.map(|secret| judged(&secret, key.as_deref()))
            }
        };
        keys.push((instance, fact));
    }
    keys
}

fn judged(secret: &Secret, key: Option<&str>) -> KeyFact {
    let binding = Source::content(secret, key)
        .and_then(|text| Binding::from_json(&text).map_err(|error| error.to_string()));
    match binding {
        Ok(_) => KeyFact::Usable,
        Err(why) => KeyFact::Malformed(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(container: serde_json::Value) -> Configured {
        let deployment = json!({"spec": {"selector": {}, "template": {"spec": {"containers": [container]}}}});
        Configured::of(Some(&serde_json::from_value(deployment).unwrap()))
    }

    #[test]
    fn settings_are_taken_from_the_command_line_or_the_environment() {
        let names = |configured: &Configured| -> Vec<String> {
            configured
                .instances
                .iter()
                .map(|one| format!("{}: {}", one.name, one.source))
                .collect()
        };
        let arguments = configured(json!({"name": "operator", "args": [
            "operator", "--destination-service=a=secret:ns/one/key", "--destination-service", "b=/etc/key",
            "--webhook-listen=off", "--managed-namespaces=labelSelector", "--destination-service-other=x",
        ], "env": [{"name": "LANDBRIDGE_DESTINATION_SERVICES", "value": "c=/c"}]}));
        assert_eq!(
            names(&arguments),
            ["a: the Secret ns/one (key key)", "b: the file /etc/key"]
        );
        assert!(!arguments.webhook && !arguments.everywhere);
        assert_eq!(arguments.injection, None);
        let environment = configured(json!({"name": "operator", "args": ["operator"],
            "env": [{"name": "LANDBRIDGE_DESTINATION_SERVICES", "value": "c=/c,d"}]}));
        assert_eq!(names(&environment), ["c: the file /c"]);
        assert_eq!(environment.misread.len(), 1);
        assert!(environment.webhook && environment.everywhere);
        let level = |more: &[&str]| {
            let args = [&["operator", "--inject-image=x"], more].concat();
            configured(json!({"name": "operator", "args": args})).injection
        };
        assert_eq!(level(&[]), None);
        assert_eq!(level(&["--inject=off", "--inject-pod-security=baseline"]), None);
        assert_eq!(level(&["--inject=on"]).as_deref(), Some("privileged"));
        let baseline = level(&["--inject", "on", "--inject-pod-security", "baseline"]);
        assert_eq!(baseline.as_deref(), Some("baseline"));
        assert!(Configured::of(None).instances.is_empty());
    }

    #[test]
    fn a_malformed_key_is_told_without_its_content() {
        let secret = |text: &str| -> Secret {
            let data = json!({"key.json": k8s_openapi::ByteString(text.as_bytes().to_vec())});
            serde_json::from_value(json!({"data": data})).unwrap()
        };
        let good = r#"{"clientid":"a","clientsecret":"hush","url":"http://h","uri":"http://h"}"#;
        assert_eq!(judged(&secret(good), Some("key.json")), KeyFact::Usable);
        for (text, key) in [
            ("{\"clientsecret\":\"hush\"}", "key.json"),
            ("hush", "key.json"),
            (good, "other"),
        ] {
            let KeyFact::Malformed(why) = judged(&secret(text), Some(key)) else {
                panic!("{text} is usable");
            };
            assert!(!why.contains("hush"), "{why}");
        }
    }
}
