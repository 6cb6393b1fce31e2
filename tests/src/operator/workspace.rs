//! A namespace with workloads: what its people declare, and what the operator makes of it.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use landbridge_crds::Destination;
use landbridge_operator::cluster::NAMESPACE_LABEL;
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, Namespace};
use crate::eventually;

/// The published condition of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Available {
    /// `True`, `False`, `Unknown`; empty while there is none.
    pub status: String,
    /// Reason.
    pub reason: String,
    /// Message.
    pub message: String,
}

/// A namespace with workloads.
pub struct Workspace {
    /// The namespace.
    pub namespace: Namespace,
    /// Its destinations.
    pub destinations: Api<Destination>,
    /// Its Services.
    pub services: Api<Service>,
    /// Its EndpointSlices.
    pub slices: Api<EndpointSlice>,
    /// Its Events.
    pub events: Api<Event>,
}

impl Workspace {
    /// A namespace with the label of the installation in the namespace `system`, or with none.
    pub async fn create(plane: &ControlPlane, prefix: &str, system: Option<&str>) -> Self {
        let namespace = plane.namespace(prefix).await;
        let client = plane.client().await;
        if let Some(system) = system {
            label(&client, namespace.name(), system).await;
        }
        let name = namespace.name();
        Self {
            destinations: Api::namespaced(client.clone(), name),
            services: Api::namespaced(client.clone(), name),
            slices: Api::namespaced(client.clone(), name),
            events: Api::namespaced(client, name),
            namespace,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// Declares a destination of this specification, or changes it.
    pub async fn declare(&self, name: &str, spec: Value) {
        self.declare_with(name, spec, json!({})).await;
    }

    /// The same, with annotations.
    pub async fn declare_with(&self, name: &str, spec: Value, annotations: Value) {
        let object = json!({
            "apiVersion": "destination.connectivity.api.sap/v1", "kind": "Destination",
            "metadata": {"name": name, "annotations": annotations}, "spec": spec,
        });
        let params = PatchParams::apply("tests").force();
        self.destinations
            .patch(name, &params, &Patch::Apply(&object))
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Declares a destination of its own name.
    pub async fn declare_named(&self, name: &str) {
        self.declare(name, json!({"destinationRef": {"name": name}}))
            .await;
    }

    /// Deletes a destination.
    pub async fn delete(&self, name: &str) {
        let params = DeleteParams::default();
        self.destinations.delete(name, &params).await.expect("deleted");
    }

    /// What is said of a destination.
    pub async fn available(&self, name: &str) -> Available {
        let destination = self.destinations.get(name).await.expect("it is declared");
        let status = destination.status.unwrap_or_default();
        let found = status.conditions.into_iter().find(|one| one.type_ == "Available");
        found.map_or_else(
            || Available {
                status: String::new(),
                reason: String::new(),
                message: String::new(),
            },
            |condition| Available {
                status: condition.status,
                reason: condition.reason,
                message: condition.message,
            },
        )
    }

    /// Waits until `Available` has this status and a reason that ends so.
    pub async fn until(&self, name: &str, status: &str, reason: &str) -> Available {
        eventually(&format!("{name} is {status} {reason}"), async || {
            let available = self.available(name).await;
            if available.status == status && available.reason.ends_with(reason) {
                Ok(available)
            } else {
                Err(format!("{available:?}"))
            }
        })
        .await
    }

    /// Waits until workloads can use it.
    pub async fn until_usable(&self, name: &str) -> Available {
        self.until(name, "True", "ConfigurationSuccessful").await
    }

    /// Its Service, if there is one.
    pub async fn service(&self, name: &str) -> Option<Service> {
        self.services.get_opt(name).await.expect("an answer")
    }

    /// Port of the proxies for it, as its Service says.
    pub async fn target_port(&self, name: &str) -> Option<u16> {
        let service = serde_json::to_value(self.service(name).await?).expect("JSON");
        let port = service["spec"]["ports"][0]["targetPort"].as_u64()?;
        u16::try_from(port).ok()
    }

    /// Endpoints of its Service: address, ready, terminating; sorted.
    pub async fn endpoints(&self, name: &str) -> Vec<(String, bool, bool)> {
        let selected = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
        let slices = self.slices.list(&selected).await.expect("a list");
        let mut endpoints: Vec<_> = slices
            .into_iter()
            .flat_map(|slice| slice.endpoints)
            .map(|endpoint| {
                let conditions = endpoint.conditions.unwrap_or_default();
                (
                    endpoint.addresses.join(","),
                    conditions.ready == Some(true),
                    conditions.terminating == Some(true),
                )
            })
            .collect();
        endpoints.sort_unstable();
        endpoints
    }

    /// Waits until its Service has exactly these endpoints: address, ready, terminating.
    pub async fn until_endpoints(&self, name: &str, wanted: &[(&str, bool, bool)]) {
        let mut wanted: Vec<_> = wanted
            .iter()
            .map(|(address, ready, ending)| ((*address).to_owned(), *ready, *ending))
            .collect();
        wanted.sort_unstable();
        eventually(&format!("the endpoints of {name} are {wanted:?}"), async || {
            let found = self.endpoints(name).await;
            if found == wanted {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await;
    }

    /// Waits until nothing is left of a destination that was deleted.
    pub async fn until_gone(&self, name: &str) {
        eventually(&format!("nothing is left of {name}"), async || {
            let service = self.service(name).await.map(|service| service.name_any());
            let endpoints = self.endpoints(name).await;
            if service.is_none() && endpoints.is_empty() {
                Ok(())
            } else {
                Err(format!("{service:?} {endpoints:?}"))
            }
        })
        .await;
    }

    /// Reasons of the Events about a destination, oldest first. The API server itself may have one about its Service.
    pub async fn told(&self, name: &str) -> Vec<String> {
        let events = self.events.list(&ListParams::default()).await.expect("a list");
        let mut told: Vec<_> = events
            .into_iter()
            .filter(|event| {
                event.regarding.as_ref().is_some_and(|about| {
                    about.name.as_deref() == Some(name) && about.kind.as_deref() == Some("Destination")
                })
            })
            .map(|event| {
                (
                    event.event_time.map(|time| time.0),
                    event.reason.unwrap_or_default(),
                )
            })
            .collect();
        told.sort_unstable();
        told.into_iter().map(|(_, reason)| reason).collect()
    }
}

async fn label(client: &kube::Client, namespace: &str, system: &str) {
    let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
    let patch = json!({"metadata": {"labels": {NAMESPACE_LABEL: system}}});
    api.patch(namespace, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("labelled");
}
