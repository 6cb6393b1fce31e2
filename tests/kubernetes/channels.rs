//! The controller of service channels against a real API server: statuses, uniqueness, references, finalizers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use landbridge_destination::channel::{Channel, ChannelKey};
use landbridge_operator::channels::ChannelOptions;
use landbridge_operator::channels::controller::{self, ChannelMetrics, Config, Directory, HeldInbox, Links};
use landbridge_operator::cluster::events::Recorder;
use landbridge_operator::cluster::metrics::OperatorMetrics;
use landbridge_operator::cluster::model::Managed;
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::Readiness;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tests::control_plane::{ControlPlane, Namespace};
use landbridge_tests::eventually;
use serde_json::{Value, json};
use tokio::sync::watch;

mod installations;
mod leader;

/// A controller for one namespace, or for those with a label.
struct Running {
    channels: watch::Receiver<Arc<Vec<Channel>>>,
    leading: watch::Sender<bool>,
    held: HeldInbox,
    metrics: Metrics,
    readiness: Readiness,
    shutdown: Shutdown,
}

impl Running {
    async fn start(plane: &ControlPlane, namespace: &str, mappings: bool, leads: bool) -> Self {
        Self::run(plane, Some(namespace), Managed::All, mappings, leads).await
    }

    async fn run(
        plane: &ControlPlane,
        namespace: Option<&str>,
        managed: Managed,
        mappings: bool,
        leads: bool,
    ) -> Self {
        let client = plane.client().await;
        let (metrics, readiness, shutdown) = (Metrics::new(), Readiness::new(), Shutdown::new());
        let (channels, offered) = watch::channel(Arc::default());
        let (leading, leads) = watch::channel(leads);
        let held = HeldInbox::default();
        let operator = OperatorMetrics::new(&metrics);
        let links = Links {
            channels,
            leading: leads,
            held: held.clone(),
            recorder: Recorder::start(client.clone(), "default", "test", operator.clone(), &shutdown),
            operator,
            metrics: ChannelMetrics::new(&metrics),
            readiness: readiness.clone(),
        };
        let config = Config {
            client,
            namespace: namespace.map(str::to_owned),
            mappings,
            writers: 4,
        };
        let directory = Directory::new(ChannelOptions::default(), managed);
        shutdown.spawn(controller::run(config, links, directory, shutdown.clone()));
        Self {
            channels: offered,
            leading,
            held,
            metrics,
            readiness,
            shutdown,
        }
    }

    fn hold(&self, key: &ChannelKey, locations: Option<&[&str]>) {
        let locations: Option<BTreeSet<String>> =
            locations.map(|all| all.iter().map(|one| (*one).to_owned()).collect());
        self.held.set(key.clone(), locations);
    }

    async fn offered(&self, what: &str, expected: &[(&str, &str)]) {
        eventually(what, async || {
            let channels = self.channels.borrow().clone();
            let seen: Vec<_> = channels
                .iter()
                .map(|one| (one.service_id.as_str(), one.address.as_str()))
                .collect();
            if seen == expected {
                Ok(())
            } else {
                Err(format!("{seen:?}"))
            }
        })
        .await;
    }

    fn writes(&self, part: &str) -> u64 {
        let text = self.metrics.encode().expect("metrics");
        let sum = text
            .lines()
            .filter(|line| {
                line.starts_with("landbridge_operator_channel_writes_total{") && line.contains(part)
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        sum.sum()
    }

    async fn stop(self) {
        self.shutdown.drain(Duration::from_secs(10)).await;
    }
}

fn key(namespace: &Namespace, name: &str) -> ChannelKey {
    ChannelKey {
        namespace: Some(namespace.name().to_owned()),
        name: name.to_owned(),
    }
}

fn service(name: &str, port: u16) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
           "spec": {"ports": [{"name": "http", "port": port}]}})
}

fn channel(name: &str, service_id: &str) -> Value {
    json!({"apiVersion": "connectivity.landbridge.dev/v1alpha1", "kind": "ServiceChannel", "metadata": {"name": name},
           "spec": {"type": "TCP", "serviceId": service_id, "serviceRef": {"name": "web", "port": "http"},
                    "locationIds": ["", "berlin"]}})
}

async fn object(namespace: &Namespace, kind: &str, name: &str) -> Option<Value> {
    let said = namespace
        .kubectl(&["get", kind, name, "-o", "json", "--ignore-not-found"])
        .await
        .success();
    (!said.trim().is_empty()).then(|| serde_json::from_str(&said).expect("JSON"))
}

/// Type=status/reason of all conditions.
fn summary(object: &Value) -> String {
    let conditions = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    let parts: Vec<_> = conditions
        .iter()
        .map(|one| {
            format!(
                "{}={}/{}",
                text(one, "type"),
                text(one, "status"),
                text(one, "reason")
            )
        })
        .collect();
    parts.join(" ")
}

async fn until_conditions(namespace: &Namespace, kind: &str, name: &str, expected: &str) -> Value {
    eventually(&format!("{kind} {name}: {expected}"), async || {
        let object = object(namespace, kind, name).await.ok_or("it is gone")?;
        let seen = summary(&object);
        if seen.contains(expected) {
            Ok(object)
        } else {
            Err(seen)
        }
    })
    .await
}

#[tokio::test]
async fn statuses_follow_services_and_reports_and_kubectl_shows_them() {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    let namespace = plane.namespace("channels").await;
    let mark = plane.audit_mark();
    let running = Running::start(&plane, namespace.name(), false, true).await;
    namespace
        .apply(&channel("orders", "orders").to_string())
        .await
        .success();
    let object = until_conditions(&namespace, "sch", "orders", "ResolvedRefs=False/RefNotFound").await;
    assert_eq!(object["status"]["conditions"][0]["observedGeneration"], 1);
    running.offered("nothing without a Service", &[]).await;

    namespace.apply(&service("web", 8080).to_string()).await.success();
    until_conditions(
        &namespace,
        "sch",
        "orders",
        "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs Programmed=Unknown/Pending",
    )
    .await;
    let address = format!("web.{}.svc:8080", namespace.name());
    running.offered("with its Service", &[("orders", &address)]).await;

    let orders = key(&namespace, "orders");
    running.hold(&orders, Some(&["berlin"]));
    let object = until_conditions(
        &namespace,
        "sch",
        "orders",
        "Ready=True/Ready Reachable=False/PartlyHeld",
    )
    .await;
    assert_eq!(
        object["status"]["locations"],
        json!([{"id": "", "reachable": false}, {"id": "berlin", "reachable": true}])
    );
    running.hold(&orders, Some(&["", "berlin"]));
    until_conditions(&namespace, "sch", "orders", "Reachable=True/Held").await;

    let table = namespace.kubectl(&["get", "sch"]).await.success();
    let lines: Vec<Vec<_>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        ["NAME", "TYPE", "SERVICEID", "TARGET", "READY", "REACHABLE", "AGE"]
    );
    assert_eq!(
        lines[1][..6],
        ["orders", "TCP", "orders", &address, "True", "True"]
    );
    eventually("events", async || {
        let said = namespace.kubectl(&["describe", "sch", "orders"]).await.success();
        if said.contains("PartlyHeld") && said.contains("Warning") {
            return Ok(());
        }
        let tried = plane.audit_since(mark);
        let tried: Vec<_> = tried
            .iter()
            .filter(|event| event.resource == "events" && event.namespace == namespace.name())
            .collect();
        Err(format!("{tried:?}\n{said}"))
    })
    .await;

    // The Service's own port number changes: the channel follows.
    namespace.apply(&service("web", 9090).to_string()).await.success();
    let address = format!("web.{}.svc:9090", namespace.name());
    running.offered("its new port", &[("orders", &address)]).await;
    assert!(running.readiness.pending().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_finalizer_is_there_only_while_a_connector_holds_the_channel() {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    let namespace = plane.namespace("finalizers").await;
    let running = Running::start(&plane, namespace.name(), false, true).await;
    namespace
        .apply(&format!(
            "{}\n---\n{}\n",
            service("web", 80),
            channel("orders", "orders")
        ))
        .await
        .success();
    let orders = key(&namespace, "orders");
    running.hold(&orders, Some(&[]));
    let object = until_conditions(&namespace, "sch", "orders", "Reachable=False/NotHeld").await;
    assert_eq!(object["metadata"]["finalizers"], Value::Null);

    running.hold(&orders, Some(&[""]));
    eventually("the finalizer", async || {
        let object = object_of(&namespace).await?;
        let finalizers = object["metadata"]["finalizers"].clone();
        if finalizers == json!(["connectivity.landbridge.dev/channel"]) {
            Ok(())
        } else {
            Err(finalizers.to_string())
        }
    })
    .await;
    namespace
        .kubectl(&["delete", "sch", "orders", "--wait=false"])
        .await
        .success();
    let object = until_conditions(&namespace, "sch", "orders", "Programmed=False/Deleting").await;
    assert!(object["metadata"]["deletionTimestamp"].is_string());
    running.offered("withdrawn at once", &[]).await;

    running.hold(&orders, Some(&[]));
    gone(&namespace, "orders").await;

    // And with the annotation, whoever holds it.
    namespace
        .apply(&channel("orders", "orders").to_string())
        .await
        .success();
    running.hold(&orders, Some(&[""]));
    eventually("the finalizer again", async || {
        let object = object_of(&namespace).await?;
        if object["metadata"]["finalizers"].is_array() {
            Ok(())
        } else {
            Err(object.to_string())
        }
    })
    .await;
    namespace
        .kubectl(&[
            "annotate",
            "sch",
            "orders",
            "connectivity.landbridge.dev/skip-cleanup=true",
        ])
        .await
        .success();
    namespace
        .kubectl(&["delete", "sch", "orders", "--wait=false"])
        .await
        .success();
    gone(&namespace, "orders").await;
    running.stop().await;
}

async fn object_of(namespace: &Namespace) -> Result<Value, String> {
    object(namespace, "sch", "orders")
        .await
        .ok_or_else(|| "it is gone".to_owned())
}

/// The time as the API server writes it, which sorts as text.
fn now_to_the_second() -> String {
    k8s_openapi::jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

async fn gone(namespace: &Namespace, name: &str) {
    eventually("the resource is gone", async || {
        match object(namespace, "sch", name).await {
            None => Ok(()),
            Some(object) => Err(object["metadata"].to_string()),
        }
    })
    .await;
}

/// The only test with a controller that looks after `ServiceMapping`s, which belong to no namespace.
#[tokio::test]
async fn the_older_of_two_claims_wins_and_the_other_names_it() {
    let plane = ControlPlane::shared().await;
    plane.apply_crds().await;
    let namespace = plane.namespace("claims").await;
    let running = Running::start(&plane, namespace.name(), true, true).await;
    let service_id = format!("orders-{}", namespace.name());
    let mapping = format!("first-{}", namespace.name());
    namespace.apply(&service("web", 80).to_string()).await.success();
    let first = json!({"apiVersion": "connectivityproxy.sap.com/v1", "kind": "ServiceMapping",
                       "metadata": {"name": mapping},
                       "spec": {"type": "TCP", "serviceId": service_id, "internalAddress": "db.elsewhere.svc:5432"}});
    plane
        .kubectl_with(&["apply", "-f", "-"], &first.to_string())
        .await
        .success();
    until_conditions(
        &namespace,
        "servicemapping",
        &mapping,
        "Accepted=True/Accepted ResolvedRefs=True",
    )
    .await;
    running
        .offered("the mapping", &[(&service_id, "db.elsewhere.svc:5432")])
        .await;

    // Creation times are kept to the second, and of one second a ServiceChannel would be the older one.
    let created = object(&namespace, "servicemapping", &mapping)
        .await
        .expect("the mapping");
    let created = created["metadata"]["creationTimestamp"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    eventually("a second later", async || {
        let now = now_to_the_second();
        if now > created { Ok(()) } else { Err(now) }
    })
    .await;
    namespace
        .apply(&channel("second", &service_id).to_string())
        .await
        .success();
    let object = until_conditions(&namespace, "sch", "second", "Accepted=False/Duplicate").await;
    let message = object["status"]["conditions"][0]["message"]
        .as_str()
        .unwrap_or_default();
    assert!(
        message.contains(&format!("the ServiceMapping {mapping}")),
        "{message}"
    );
    running
        .offered("the mapping still", &[(&service_id, "db.elsewhere.svc:5432")])
        .await;

    plane
        .kubectl(&["delete", "servicemapping", &mapping])
        .await
        .success();
    until_conditions(&namespace, "sch", "second", "Accepted=True/Accepted").await;
    let address = format!("web.{}.svc:80", namespace.name());
    running.offered("the other one", &[(&service_id, &address)]).await;
    running.stop().await;
}
