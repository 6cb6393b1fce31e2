//! The decision about one request, pure.

use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, Operation};
use kube::{Resource as _, ResourceExt as _};
use landbridge_crds::check::is_service_name;
use landbridge_crds::{Destination, ServiceChannel, ServiceMapping};
use landbridge_destination::channel::ChannelKey;
use serde::de::DeserializeOwned;

use super::View;
use crate::channels::Declared;
use crate::plan::TENANTS_ANNOTATION;

/// Instances that a message names.
const SHOWN_INSTANCES: usize = 10;

/// What is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Why it is refused, and what to do; none if it is admitted.
    pub refused: Option<String>,
    /// What will not work as things are.
    pub warnings: Vec<String>,
}

impl Decision {
    fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    fn refuse(&mut self, message: impl Into<String>) {
        self.refused.get_or_insert_with(|| message.into());
    }
}

/// Decides. What is on its way out is never held up, and neither is anything that is not ours.
pub fn decide(request: &AdmissionRequest<DynamicObject>, view: &impl View) -> Decision {
    let mut decision = Decision::default();
    let (Operation::Create | Operation::Update, Some(object)) = (&request.operation, &request.object) else {
        return decision;
    };
    if object.meta().deletion_timestamp.is_some()
        || request
            .sub_resource
            .as_deref()
            .is_some_and(|part| !part.is_empty())
    {
        return decision;
    }
    let create = request.operation == Operation::Create;
    let result = match (request.kind.group.as_str(), request.kind.kind.as_str()) {
        ("destination.connectivity.api.sap", "Destination") => {
            Pair::of(request, object).map(|pair| destination(&pair, create, view, &mut decision))
        }
        ("connectivity.landbridge.dev", "ServiceChannel") => Pair::<ServiceChannel>::of(request, object)
            .map(|pair| channel(&pair.map(Declared::channel), view, &mut decision)),
        ("connectivityproxy.sap.com", "ServiceMapping") => Pair::<ServiceMapping>::of(request, object)
            .map(|pair| channel(&pair.map(Declared::mapping), view, &mut decision)),
        _ => return decision,
    };
    if let Err(error) = result {
        decision.warn(format!("Landbridge could not look at it: {error}"));
    }
    decision
}

/// An object, and what it was before.
struct Pair<K> {
    new: K,
    old: Option<K>,
}

impl<K: DeserializeOwned> Pair<K> {
    fn of(
        request: &AdmissionRequest<DynamicObject>,
        object: &DynamicObject,
    ) -> Result<Self, serde_json::Error> {
        let mut object = object.clone();
        // An object that is being created may leave its namespace to the request.
        if object.metadata.namespace.is_none() {
            object.metadata.namespace.clone_from(&request.namespace);
        }
        Ok(Self {
            new: typed(&object)?,
            old: request.old_object.as_ref().and_then(|old| typed(old).ok()),
        })
    }
}

impl<K> Pair<K> {
    fn map<T>(&self, read: fn(&K) -> T) -> Pair<T> {
        Pair {
            new: read(&self.new),
            old: self.old.as_ref().map(read),
        }
    }
}

fn typed<K: DeserializeOwned>(object: &DynamicObject) -> Result<K, serde_json::Error> {
    serde_json::from_value(serde_json::to_value(object)?)
}

fn destination(pair: &Pair<Destination>, create: bool, view: &impl View, decision: &mut Decision) {
    let Pair { new, old } = pair;
    let (name, namespace) = (new.name_any(), new.namespace().unwrap_or_default());
    if create && !is_service_name(&name) {
        decision.refuse(format!(
            "\"{name}\" cannot be the name of a Service, which the destination gets: use at most 63 lower-case letters, \
             digits and '-', beginning with a letter"
        ));
    }
    let tenants = |one: &Destination| one.annotations().get(TENANTS_ANNOTATION).cloned();
    // Only what this very change brings: an old mistake must not hold up a change of a label.
    if let Some(text) = tenants(new).filter(|_| old.as_ref().and_then(tenants) != tenants(new))
        && let Err(error) = serde_json::from_str::<Vec<String>>(&text)
    {
        decision.refuse(format!(
            "the annotation {TENANTS_ANNOTATION} must be a JSON list of strings, as in [\"a\",\"b\"]: {error}"
        ));
    }
    if create && view.has_foreign_service(&namespace, &name) {
        decision.warn(format!(
            "the namespace {namespace} has a Service {name} that Landbridge did not make and will not touch: rename the \
             destination, or delete the Service"
        ));
    }
    let instance = new.spec.destination_service_instance_name.as_ref();
    if let (Some(instance), Some(known)) = (instance, view.instances())
        && !known.contains(instance)
    {
        let shown: Vec<_> = known.iter().take(SHOWN_INSTANCES).map(String::as_str).collect();
        let shown = if shown.is_empty() {
            "there are none".to_owned()
        } else {
            format!("known: {}", shown.join(", "))
        };
        decision.warn(format!(
            "destinationServiceInstanceName \"{instance}\" is no configured instance ({shown}): correct or remove it"
        ));
    }
}

fn channel(pair: &Pair<Declared>, view: &impl View, decision: &mut Decision) {
    let Pair { new, old } = pair;
    let brought = old.as_ref().is_none_or(|old| !view.same_claim(old, new));
    match view.claimed(new) {
        Some(other) if brought => decision.refuse(format!(
            "{} has the same type, subaccount and serviceId, which have to be unique: change the serviceId, or delete \
             the other first",
            shown(&other)
        )),
        Some(other) => decision.warn(format!(
            "{} has the same type, subaccount and serviceId: only the older of the two is served",
            shown(&other)
        )),
        None => {}
    }
    if let Some(objection) = view.objection(new) {
        decision.warn(objection);
    }
}

fn shown(key: &ChannelKey) -> String {
    let kind = if key.namespace.is_some() {
        "ServiceChannel"
    } else {
        "ServiceMapping"
    };
    format!("the {kind} {key}")
}
