//! Writes to one resource: status and finalizer. Each call has a deadline.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use landbridge_crds::service_channel::ChannelStatus;
use landbridge_crds::{ServiceChannel, ServiceMapping};
use landbridge_destination::channel::ChannelKey;
use serde_json::{Value, json};

use super::metrics::{ChannelMetrics, Part};
use crate::channels::{FINALIZER, Finalizer, Write};
use crate::cluster::client::{CALL, CallError, STATUS_CALL, within};

/// Owner of the finalizer.
const MANAGER: &str = "landbridge-operator/channels";

/// Owner of the status: another name, so that neither takes the other's fields for its own.
const STATUS_MANAGER: &str = "landbridge-operator/channels/status";

/// Writes.
pub(super) struct Writer {
    client: Client,
    metrics: ChannelMetrics,
}

/// What became of a write.
pub(super) struct Done {
    /// The parts that are in the resource now.
    pub(super) written: Write,
    pub(super) failure: Option<CallError>,
}

impl Writer {
    pub(super) fn new(client: Client, metrics: ChannelMetrics) -> Self {
        Self { client, metrics }
    }

    /// Status first: once the finalizer is gone, so may be the resource.
    pub(super) async fn write(&self, mut write: Write) -> Done {
        let api = self.api(&write.key);
        let mut failure = None;
        if let Some(status) = &write.status {
            let result = self.status(&api, &write.key, status).await;
            self.metrics.written(Part::Status, result.is_ok());
            if let Err(error) = result {
                write.status = None;
                failure = Some(error);
            }
        }
        if write.finalizer != Finalizer::Keep {
            let result = finalizer(&api, &write).await;
            self.metrics.written(Part::Finalizer, result.is_ok());
            if let Err(error) = result {
                write.finalizer = Finalizer::Keep;
                failure = Some(error);
            }
        }
        // It is gone: nothing is left to write to, and the watch will say so.
        failure = failure.filter(|error| !error.is_not_found());
        Done {
            written: write,
            failure,
        }
    }

    /// Untyped: the status of a resource that cannot be read is written as well.
    fn api(&self, key: &ChannelKey) -> Api<DynamicObject> {
        let client = self.client.clone();
        match &key.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource(key)),
            None => Api::all_with(client, &resource(key)),
        }
    }

    async fn status(
        &self,
        api: &Api<DynamicObject>,
        key: &ChannelKey,
        status: &ChannelStatus,
    ) -> Result<(), CallError> {
        let kind = resource(key);
        let mut metadata = json!({"name": key.name});
        if let Some(namespace) = &key.namespace {
            metadata["namespace"] = json!(namespace);
        }
        let body = json!({
            "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "status": status});
        let parameters = PatchParams::apply(STATUS_MANAGER).force();
        within(
            STATUS_CALL,
            api.patch_status(&key.name, &parameters, &Patch::Apply(&body)),
        )
        .await
        .map(|_| ())
    }
}

/// A resource, as events refer to it.
pub(super) fn reference(key: &ChannelKey, uid: &str) -> ObjectReference {
    let kind = resource(key);
    ObjectReference {
        api_version: Some(kind.api_version),
        kind: Some(kind.kind),
        name: Some(key.name.clone()),
        namespace: key.namespace.clone(),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

fn resource(key: &ChannelKey) -> ApiResource {
    if key.namespace.is_some() {
        ApiResource::erase::<ServiceChannel>(&())
    } else {
        ApiResource::erase::<ServiceMapping>(&())
    }
}

async fn finalizer(api: &Api<DynamicObject>, write: &Write) -> Result<(), CallError> {
    let Some(patch) = finalizer_patch(write) else {
        return Ok(());
    };
    let patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
    let parameters = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    within(
        CALL,
        api.patch(&write.key.name, &parameters, &Patch::Json::<()>(patch)),
    )
    .await
    .map(|_| ())
}

/// The list is tested first, and whose it is: a patch goes by position, and somebody else may have been faster.
fn finalizer_patch(write: &Write) -> Option<Value> {
    let list = "/metadata/finalizers";
    let uid = json!({"op": "test", "path": "/metadata/uid", "value": write.uid});
    let position = write.finalizers.iter().position(|one| one == FINALIZER);
    match (write.finalizer, position) {
        (Finalizer::Add, None) if write.finalizers.is_empty() => Some(json!([
            uid,
            {"op": "test", "path": list, "value": null},
            {"op": "add", "path": list, "value": [FINALIZER]},
        ])),
        (Finalizer::Add, None) => Some(json!([
            uid,
            {"op": "test", "path": list, "value": write.finalizers},
            {"op": "add", "path": format!("{list}/-"), "value": FINALIZER},
        ])),
        (Finalizer::Remove, Some(position)) => Some(json!([
            uid,
            {"op": "test", "path": format!("{list}/{position}"), "value": FINALIZER},
            {"op": "remove", "path": format!("{list}/{position}")},
        ])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(finalizer: Finalizer, finalizers: &[&str]) -> Write {
        Write {
            key: ChannelKey {
                namespace: Some("shop".into()),
                name: "orders".into(),
            },
            uid: "u".into(),
            status: None,
            finalizer,
            finalizers: finalizers.iter().map(|one| (*one).to_owned()).collect(),
        }
    }

    #[test]
    fn patches_of_finalizers_test_what_they_rely_on() {
        let (add, remove) = (Finalizer::Add, Finalizer::Remove);
        let cases = [
            (
                write(add, &[]),
                json!([{"op": "test", "path": "/metadata/finalizers", "value": null},
                       {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}]),
            ),
            (
                write(add, &["a/b"]),
                json!([{"op": "test", "path": "/metadata/finalizers", "value": ["a/b"]},
                       {"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER}]),
            ),
            (
                write(remove, &["a/b", FINALIZER]),
                json!([{"op": "test", "path": "/metadata/finalizers/1", "value": FINALIZER},
                       {"op": "remove", "path": "/metadata/finalizers/1"}]),
            ),
        ];
        for (write, expected) in cases {
            let patch = finalizer_patch(&write).unwrap();
            let (uid, rest) = patch.as_array().unwrap().split_first().unwrap();
            assert_eq!(*uid, json!({"op": "test", "path": "/metadata/uid", "value": "u"}));
            assert_eq!(Value::from(rest.to_vec()), expected);
        }
        assert_eq!(finalizer_patch(&write(add, &[FINALIZER])), None);
        assert_eq!(finalizer_patch(&write(remove, &[])), None);
    }
}
