//! Writes to the API server what was decided for one destination, by server-side apply.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt as _};
use landbridge_crds::Destination;
use landbridge_crds::conditions::reasons;
use landbridge_crds::destination::DestinationStatus;
use landbridge_destination::RouteKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::children::{service_shape, slice_shape};
use super::client::{CALL, CallError, STATUS_CALL, within};
use super::metrics::OperatorMetrics;
use super::model::{Child, Done, Orphan, Work};
use super::observed::Observed;
use crate::plan::Obstacle;

/// Field manager of the children.
const CHILDREN: &str = "landbridge-operator/destination";

/// Field manager of the status.
const STATUS: &str = "landbridge-operator/destination/status";

/// Field manager of the NetworkPolicies.
const POLICIES: &str = "landbridge-operator/scope";

/// A version that no object has. Applied with it, an object that is there is a conflict and one that is not is made:
/// so nothing is taken over that somebody else made a moment ago.
const NEVER: &str = "1";

/// What came of applying an object.
enum Applied<K> {
    /// It is there now, as the API server says.
    Written(K),
    /// Another one was there already.
    Found(K),
}

/// Writes.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    metrics: OperatorMetrics,
}

impl Writer {
    /// A writer that counts what it writes.
    pub fn new(client: Client, metrics: OperatorMetrics) -> Self {
        Self { client, metrics }
    }

    /// Does the work: first the children, then the status. What fails is told, not thrown: the rest is still done.
    pub async fn write(&self, key: &RouteKey, work: Work) -> Done {
        let mut done = Done {
            uid: work.uid.clone(),
            generation: work.generation,
            ..Done::default()
        };
        if let Some(service) = work.service {
            self.service(key, service, &mut done).await;
        }
        // Endpoints under the name of somebody else's Service would become endpoints of that Service.
        if done.foreign.is_none() {
            for (slice, uid) in work.slices {
                self.slice(key, (slice, uid), &mut done).await;
            }
        }
        if let Some(status) = work.status {
            self.status(key, &status, &mut done).await;
        }
        done
    }

    async fn service(&self, key: &RouteKey, (service, uid): Child<Service>, done: &mut Done) {
        let api: Api<Service> = Api::namespaced(self.client.clone(), &key.namespace);
        let wanted = service_shape(&service);
        match self.apply(&api, service, uid).await {
            Ok(Applied::Written(service)) => {
                let observed = Observed::service(&service);
                done.failed |= changed_by_others(key, "Service", observed.shape == wanted);
                done.service = Some(observed);
            }
            // The watch lagged behind. What was found counts; if it is ours it is written in the next round.
            Ok(Applied::Found(found)) => {
                let observed = Observed::service(&found);
                if observed.owner.is_none() {
                    done.foreign = Some(observed);
                } else {
                    done.service = Some(observed);
                }
            }
            Err(error) => fail(
                done,
                reasons::SERVICE_CREATION_FAILED,
                &error,
                "write the Service",
            ),
        }
    }

    async fn slice(&self, key: &RouteKey, (slice, uid): Child<EndpointSlice>, done: &mut Done) {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        let name = slice.name_any();
        let wanted = slice_shape(&slice);
        let reason = reasons::FAILED_TO_APPLY_CONFIGURATION;
        match self.apply(&api, slice, uid).await {
            Ok(Applied::Written(slice)) => {
                let observed = Observed::slice(&slice);
                done.failed |= changed_by_others(key, "EndpointSlice", observed.shape == wanted);
                done.slices.push((name, observed));
            }
            Ok(Applied::Found(found)) => {
                let observed = Observed::slice(&found);
                if observed.owner.is_some() {
                    done.slices.push((name, observed));
                } else {
                    done.failed = true;
                    done.obstacle = Some(Obstacle {
                        reason,
                        message: format!(
                            "the EndpointSlice {name} is somebody else's: delete it, or rename this Destination"
                        ),
                    });
                }
            }
            Err(error) => fail(done, reason, &error, "write the EndpointSlice"),
        }
    }

    async fn status(&self, key: &RouteKey, status: &DestinationStatus, done: &mut Done) {
        // Read as any object, because the status of one that cannot be read is written too.
        let kind = ApiResource::erase::<Destination>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &key.namespace, &kind);
        // Tenants are not ours to write, so they are not part of what is applied.
        let ours = DestinationStatus {
            tenants: Vec::new(),
            ..status.clone()
        };
        let patch = serde_json::json!({
            "apiVersion": Destination::api_version(&()),
            "kind": Destination::kind(&()),
            // Not for another one that was made under the name meanwhile.
            "metadata": { "uid": done.uid },
            "status": ours,
        });
        let params = PatchParams::apply(STATUS).force();
        let patch = Patch::Apply(&patch);
        let call = api.patch_status(&key.name, &params, &patch);
        match within(STATUS_CALL, call).await {
            Ok(written) => {
                self.metrics.wrote("Destination/status");
                let read = written.data.get("status").cloned().map(serde_json::from_value);
                done.status = Some(read.and_then(Result::ok).unwrap_or(ours));
            }
            // Deleted meanwhile: nothing is left to say.
            Err(error) if error.is_not_found() => {}
            // Another one is there; the watch tells of it.
            Err(error) if error.is_conflict() => done.failed = true,
            Err(error) => {
                done.failed = true;
                tracing::warn!(destination = %key, "cannot write the status: {error}");
            }
        }
    }

    /// Applies an object: the one with this `uid`, or a new one, but never one that was not seen before.
    async fn apply<K>(
        &self,
        api: &Api<K>,
        mut object: K,
        uid: Option<String>,
    ) -> Result<Applied<K>, CallError>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
    {
        let name = object.name_any();
        let new = uid.is_none();
        object.meta_mut().resource_version = new.then(|| NEVER.to_owned());
        object.meta_mut().uid = uid;
        let params = PatchParams::apply(CHILDREN).force();
        match within(CALL, api.patch(&name, &params, &Patch::Apply(&object))).await {
            Ok(written) => {
                self.metrics.wrote(&K::kind(&()));
                Ok(Applied::Written(written))
            }
            Err(error) if new && error.is_conflict() => match within(CALL, api.get_opt(&name)).await? {
                Some(found) => Ok(Applied::Found(found)),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Applies a NetworkPolicy.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn policy(&self, namespace: &str, policy: &NetworkPolicy) -> Result<NetworkPolicy, CallError> {
        let api: Api<NetworkPolicy> = Api::namespaced(self.client.clone(), namespace);
        let params = PatchParams::apply(POLICIES).force();
        let written = within(
            CALL,
            api.patch(&policy.name_any(), &params, &Patch::Apply(policy)),
        )
        .await?;
        self.metrics.wrote("NetworkPolicy");
        Ok(written)
    }

    /// Deletes a NetworkPolicy of ours.
    ///
    /// # Errors
    /// What the API server says; not that it was gone already.
    pub async fn delete_policy(&self, namespace: &str, name: &str) -> Result<(), CallError> {
        let api: Api<NetworkPolicy> = Api::namespaced(self.client.clone(), namespace);
        gone(within(CALL, api.delete(name, &DeleteParams::default())).await)
    }

    /// Deletes an orphan, if it is still the one that was seen.
    ///
    /// # Errors
    /// What the API server says; not that it was gone already.
    pub async fn delete(&self, orphan: &Orphan) -> Result<(), CallError> {
        let only_this = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(orphan.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let client = self.client.clone();
        if orphan.service {
            let api: Api<Service> = Api::namespaced(client, &orphan.namespace);
            gone(within(CALL, api.delete(&orphan.name, &only_this)).await)
        } else {
            let api: Api<EndpointSlice> = Api::namespaced(client, &orphan.namespace);
            gone(within(CALL, api.delete(&orphan.name, &only_this)).await)
        }
    }
}

/// What was applied and yet is not so is changed by somebody else on its way, an admission webhook for instance. It is
/// tried again like a failure, with pauses, not in a circle.
fn changed_by_others(key: &RouteKey, kind: &str, as_wanted: bool) -> bool {
    if !as_wanted {
        tracing::warn!(destination = %key, "the {kind} was written, but is not what was written: something else changes it");
    }
    !as_wanted
}

fn gone<T>(result: Result<T, CallError>) -> Result<(), CallError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

fn fail(done: &mut Done, reason: &'static str, error: &CallError, what: &str) {
    done.failed = true;
    // A write that met another one is simply tried again; nobody needs to hear of it.
    if error.is_conflict() {
        return;
    }
    let remedy = match error.code() {
        Some(403) => "; give the operator's service account this right, and see whether a quota is used up",
        _ => "",
    };
    done.obstacle = Some(Obstacle {
        reason,
        message: format!("cannot {what}: {error}{remedy}"),
    });
}
