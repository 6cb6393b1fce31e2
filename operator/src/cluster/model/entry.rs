//! One declared destination and what was decided about it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::error_boundary::InvalidObject;
use landbridge_crds::conditions::{status, types};
use landbridge_crds::destination::{Destination, DestinationSpec, DestinationStatus};
use landbridge_destination::{DestinationSelector, Route, RouteKey};
use tokio::time::Instant;

use crate::plan::{self, Obstacle, TENANTS_ANNOTATION};

/// Conditions that are ours; others may add their own.
const OURS: [&str; 5] = [
    types::ACCEPTED,
    types::RESOLVED_REFS,
    types::PROGRAMMED,
    types::READY,
    types::AVAILABLE,
];

/// One destination.
#[derive(Debug)]
pub(super) struct Entry {
    /// What is declared, with no more metadata than is needed.
    pub resource: Destination,
    /// Why it cannot be read.
    pub unreadable: Option<Box<str>>,
    /// What is looked up for it; none while it is not managed or refused.
    pub selector: Option<DestinationSelector>,
    /// The status that was decided by this replica while it leads, else the one that was found.
    pub status: DestinationStatus,
    /// The one before, while `status` is not written because it is still settling: what comes back to this is no change.
    pub before: Option<Box<DestinationStatus>>,
    /// Stands for the status in the cluster.
    pub seen: u64,
    /// The route that was decided.
    pub route: Option<Arc<Route>>,
    /// Why the last attempt to make its Service failed.
    pub obstacle: Option<Obstacle>,
    /// Since when the status waits for something that is about to come.
    pub settling: Option<Instant>,
}

impl Entry {
    pub(super) fn new(mut resource: Destination) -> Self {
        let status = resource.status.take().unwrap_or_default();
        resource.metadata = essential(resource.metadata);
        Self {
            resource,
            unreadable: None,
            selector: None,
            seen: shape(&status),
            status,
            before: None,
            route: None,
            obstacle: None,
            settling: None,
        }
    }

    /// For an object that cannot be read: only its metadata counts.
    pub(super) fn unreadable(invalid: InvalidObject) -> Self {
        let mut resource = Destination::new("", DestinationSpec::named(""));
        resource.metadata = invalid.metadata;
        let mut entry = Self::new(resource);
        entry.unreadable = Some(invalid.error.into());
        entry
    }

    /// Whether nothing that matters differs from `other`, which was just seen.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.resource == other.resource && self.seen == other.seen && self.unreadable == other.unreadable
    }

    /// Takes over what was decided for the state before.
    pub(super) fn inherit(&mut self, before: &mut Self, leads: bool) {
        let same_object = self.resource.metadata.uid == before.resource.metadata.uid;
        let same_spec =
            same_object && self.resource.metadata.generation == before.resource.metadata.generation;
        self.route = before.route.take();
        self.settling = before.settling;
        // What is found in the cluster may have been edited by hand; for the leader its own decision counts.
        if same_object && leads {
            self.status = std::mem::take(&mut before.status);
            self.before = before.before.take();
            // The status of one that cannot be read is not read either: what was written counts.
            if self.unreadable.is_some() && before.unreadable.is_some() {
                self.seen = before.seen;
            }
        }
        if same_spec {
            self.obstacle = before.obstacle.take();
        }
    }

    /// What has to be looked up for it.
    pub(super) fn wanted_selector(&self, key: &RouteKey) -> Option<DestinationSelector> {
        if self.unreadable.is_some() {
            return None;
        }
        plan::to_look_up(key, &self.resource)
    }

    pub(super) fn uid(&self) -> &str {
        self.resource.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Whether it is being deleted.
    pub(super) fn is_ending(&self) -> bool {
        self.resource.metadata.deletion_timestamp.is_some()
    }

    /// The last status that is no passing one.
    pub(super) fn published(&self) -> &DestinationStatus {
        self.before.as_deref().unwrap_or(&self.status)
    }

    /// The port that it names.
    pub(super) fn published_port(&self) -> Option<u16> {
        let port = self.published().proxy_port;
        port.and_then(|port| u16::try_from(port).ok())
    }

    /// Takes over a status that was decided. What is unknown for a moment only is not said, so it is no change either.
    pub(super) fn take_status(&mut self, status: DestinationStatus, clock: Instant) {
        let last = std::mem::replace(&mut self.status, status);
        if !self.is_settling() {
            (self.settling, self.before) = (None, None);
        } else if self.settling.is_none() {
            self.settling = Some(clock);
            self.before.get_or_insert_with(|| Box::new(last));
        }
    }

    pub(super) fn is_available(&self) -> bool {
        condition(&self.status, types::AVAILABLE) == Some(status::TRUE)
    }

    /// Whether something about it is still unknown.
    pub(super) fn is_settling(&self) -> bool {
        condition(&self.status, types::READY) == Some(status::UNKNOWN)
    }

    /// Whether the proxies were found to serve it.
    pub(super) fn is_programmed(&self) -> bool {
        condition(self.published(), types::PROGRAMMED) == Some(status::TRUE)
    }

    /// Whether the status says something about the resource as it is now.
    pub(super) fn is_observed(&self) -> bool {
        let ready = self
            .published()
            .conditions
            .iter()
            .find(|known| known.type_ == types::READY);
        ready.is_some_and(|ready| ready.observed_generation == self.resource.metadata.generation)
    }
}

fn condition<'a>(status: &'a DestinationStatus, type_: &str) -> Option<&'a str> {
    let found = status.conditions.iter().find(|known| known.type_ == type_);
    found.map(|condition| condition.status.as_str())
}

/// Only what is read: managed fields alone would be several times as long as the specification.
fn essential(metadata: ObjectMeta) -> ObjectMeta {
    let annotations: BTreeMap<_, _> = metadata
        .annotations
        .into_iter()
        .flatten()
        .filter(|(key, _)| key == TENANTS_ANNOTATION)
        .collect();
    ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        generation: metadata.generation,
        creation_timestamp: metadata.creation_timestamp,
        // Whether, not when: another time of it is no news.
        deletion_timestamp: metadata.deletion_timestamp.map(|_| Time(Timestamp::UNIX_EPOCH)),
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        ..ObjectMeta::default()
    }
}

/// A number that stands for everything of a status that we write.
pub(super) fn shape(status: &DestinationStatus) -> u64 {
    let mut shape = DefaultHasher::new();
    status.proxy_port.hash(&mut shape);
    for type_ in OURS {
        let condition = status.conditions.iter().find(|known| known.type_ == type_);
        condition
            .map(|known| {
                (
                    known.status.as_str(),
                    known.reason.as_str(),
                    known.message.as_str(),
                    known.last_update_time.as_deref(),
                    known.last_transition_time.as_deref(),
                    known.observed_generation,
                )
            })
            .hash(&mut shape);
    }
    shape.finish()
}
