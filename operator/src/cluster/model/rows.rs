//! All destinations as they stand, for the health view.

use landbridge_crds::conditions::types;
use landbridge_destination::{RouteKey, RouteProtocol};

use super::Model;

/// One destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationRow {
    /// Namespace and name.
    pub key: RouteKey,
    /// Name in the store.
    pub destination: String,
    /// When the resource was made, RFC 3339 in UTC.
    pub created: Option<String>,
    /// Status of the condition `Available`.
    pub available: String,
    /// Its message.
    pub message: String,
    /// Its reason.
    pub reason: String,
    /// What is spoken; none while there is no route.
    pub protocol: Option<RouteProtocol>,
    /// Port of the proxies.
    pub port: Option<u16>,
}

impl Model {
    /// All destinations that are looked after, by namespace and name.
    pub fn rows(&self) -> Vec<DestinationRow> {
        let mut rows: Vec<DestinationRow> = self
            .destinations
            .iter()
            .filter(|(key, _)| self.settings.managed.contains(&key.namespace))
            .map(|(key, entry)| {
                let available = entry
                    .status
                    .conditions
                    .iter()
                    .find(|condition| condition.type_ == types::AVAILABLE);
                let text = |of: fn(&landbridge_crds::destination::Condition) -> &String| {
                    available
                        .map(|condition| of(condition).clone())
                        .unwrap_or_default()
                };
                let metadata = &entry.resource.metadata;
                DestinationRow {
                    key: key.clone(),
                    destination: entry.resource.spec.destination_ref.name.clone(),
                    created: metadata
                        .creation_timestamp
                        .as_ref()
                        .map(|time| time.0.to_string()),
                    available: text(|condition| &condition.status),
                    message: text(|condition| &condition.message),
                    reason: text(|condition| &condition.reason),
                    protocol: entry.route.as_ref().map(|route| route.protocol),
                    port: entry.route.as_ref().map(|route| route.port),
                }
            })
            .collect();
        rows.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        rows
    }

    /// Uid of the resource.
    pub fn uid(&self, key: &RouteKey) -> Option<&str> {
        self.destinations.get(key).map(super::entry::Entry::uid)
    }
}
