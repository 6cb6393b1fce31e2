//! What became of everything, for people and for scripts (admin page `/destinations`).

use landbridge_crds::DestinationStatus;
use landbridge_crds::conditions::types;
use landbridge_crds::destination::Condition;
use landbridge_destination::{Route, RouteKey, RouteProtocol, RouteState};
use serde::Serialize;

use crate::manifest::{Declared, ManifestProblem, Skipped};

/// All destinations and all mistakes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    /// Version of the routes that the proxy was told.
    pub version: u64,
    /// Whether the store has been asked for every destination at least once.
    pub settled: bool,
    /// By namespace and name.
    pub destinations: Vec<DestinationView>,
    /// Mistakes in the manifests.
    pub problems: Vec<ManifestProblem>,
    /// Resources of other kinds in the folder.
    pub skipped: Vec<Skipped>,
    /// Why ports cannot be remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_file_problem: Option<String>,
}

/// One destination.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationView {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// Name of the destination in the store; "*" is a gateway.
    pub destination: String,
    /// Status of the condition `Ready`: True, False or Unknown.
    pub ready: String,
    /// Reason of the condition `Available`, as `kubectl get dst` shows it.
    pub reason: String,
    /// Its message: cause and remedy.
    pub message: String,
    /// What is spoken on the port; absent while nothing is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<RouteProtocol>,
    /// Port of the proxy that stands for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Where the proxy listens for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// All conditions.
    pub conditions: Vec<Condition>,
    /// Counts the changes of the specification.
    pub generation: i64,
    /// File it is declared in.
    pub file: String,
    /// Line its document begins at.
    pub line: u64,
}

impl DestinationView {
    pub(super) fn new(
        key: &RouteKey,
        declared: &Declared,
        route: Option<&Route>,
        status: &DestinationStatus,
        state: Option<&RouteState>,
    ) -> Self {
        let condition = |type_: &str| status.conditions.iter().find(|one| one.type_ == type_);
        let available = condition(types::AVAILABLE);
        let address = match state {
            Some(RouteState::Listening(address)) if route.is_some() => Some(address.to_string()),
            _ => None,
        };
        Self {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            destination: declared.resource.spec.destination_ref.name.clone(),
            ready: condition(types::READY)
                .map(|one| one.status.clone())
                .unwrap_or_default(),
            reason: available.map(|one| one.reason.clone()).unwrap_or_default(),
            message: available.map(|one| one.message.clone()).unwrap_or_default(),
            protocol: route.map(|route| route.protocol),
            port: status.proxy_port.and_then(|port| u16::try_from(port).ok()),
            address,
            conditions: status.conditions.clone(),
            generation: declared.resource.metadata.generation.unwrap_or(0),
            file: declared.file.to_string(),
            line: declared.line,
        }
    }
}
