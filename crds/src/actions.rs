//! `spec.actions` of a `Destination`: token flows with credentials of the cluster, and when they run.

#![allow(
    unreachable_pub,
    reason = "KubeSchema repeats each type inside a function, with its visibility"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A token flow that the proxy runs itself.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// Kind of the flow.
    pub name: ActionName,
    /// Secret with the client credentials.
    pub secret_ref: SecretRef,
    /// When to run; any one of them suffices.
    #[schemars(length(min = 1, max = 16))]
    pub triggers: Vec<Trigger>,
}

/// Kind of a token flow.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "a doc comment on a variant would take the schema from an enum to a oneOf"
)]
pub enum ActionName {
    OAuth2JWTBearer,
    OAuth2ClientCredentials,
}

/// A key of a Secret.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key inside the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// Namespace of the Secret; that of the resource when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// When an action runs.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.name != 'exist' || has(self.destinationProperties) || has(self.destinationLabelKeys)")
        .message("the trigger exist needs destinationProperties, destinationLabelKeys or both"),
    validation = Rule::new("self.name != 'exist' || !has(self.matches)")
        .message("matches belongs to the trigger exactMatch: remove it, or change name"),
    validation = Rule::new("self.name != 'exactMatch' || has(self.matches)")
        .message("the trigger exactMatch needs matches"),
    validation = Rule::new(
        "self.name != 'exactMatch' || (!has(self.destinationProperties) && !has(self.destinationLabelKeys))")
        .message("destinationProperties and destinationLabelKeys belong to the trigger exist: remove them, or change name")
)]
pub struct Trigger {
    /// exist: a property or label is there; exactMatch: it has a value.
    pub name: TriggerName,
    /// For exist: properties of the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 256)))]
    pub destination_properties: Option<Vec<String>>,
    /// For exist: labels of the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 256)))]
    pub destination_label_keys: Option<Vec<String>>,
    /// For exactMatch: what has to be equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub matches: Option<Vec<Match>>,
}

/// Kind of a trigger.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "as for ActionName")]
pub enum TriggerName {
    Exist,
    ExactMatch,
}

/// One comparison, of a property with a value or of a label with a set of values.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.destinationProperty) != has(self.destinationLabelKey)")
        .message("a match names either destinationProperty or destinationLabelKey"),
    validation = Rule::new("has(self.destinationProperty) == has(self.value)")
        .message("destinationProperty and value belong together"),
    validation = Rule::new("has(self.destinationLabelKey) == has(self.values)")
        .message("destinationLabelKey and values belong together")
)]
pub struct Match {
    /// Property of the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub destination_property: Option<String>,
    /// Value of the property.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub value: Option<String>,
    /// Label of the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub destination_label_key: Option<String>,
    /// Values of the label.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(max = 1024)))]
    pub values: Option<Vec<String>>,
}
