//! What is to be written for one destination, and what became of it.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use landbridge_crds::destination::DestinationStatus;
use landbridge_destination::RouteKey;
use tokio::time::Instant;

use super::entry::shape;
use super::{Model, ProxyView, SETTLING};
use crate::cluster::children::{Family, ProxyEndpoint, Wanted, service_shape, slice_shape};
use crate::cluster::observed::Observed;
use crate::plan::Obstacle;

/// An object as it is to be, and the uid it is known to have; none to create it.
pub type Child<K> = (K, Option<String>);

/// What to write for one destination.
#[derive(Debug, Default)]
pub struct Work {
    /// Uid of the resource that this follows from.
    pub uid: String,
    /// Its generation.
    pub generation: Option<i64>,
    /// Its Service.
    pub service: Option<Child<Service>>,
    /// Its EndpointSlices.
    pub slices: Vec<Child<EndpointSlice>>,
    /// Its status.
    pub status: Option<DestinationStatus>,
    /// When to look again, because the status is to be written then.
    pub again: Option<Instant>,
}

impl Work {
    /// Whether there is nothing to write now.
    pub fn is_empty(&self) -> bool {
        self.service.is_none() && self.slices.is_empty() && self.status.is_none()
    }
}

/// What became of some work.
#[derive(Debug, Default)]
pub struct Done {
    /// Uid of the resource that it followed from.
    pub uid: String,
    /// Its generation.
    pub generation: Option<i64>,
    /// The Service as it is now.
    pub service: Option<Observed>,
    /// EndpointSlices as they are now, by name.
    pub slices: Vec<(String, Observed)>,
    /// The status as it is now.
    pub status: Option<DestinationStatus>,
    /// Why the Service or an EndpointSlice could not be written.
    pub obstacle: Option<Obstacle>,
    /// Somebody else's Service was found under the name.
    pub foreign: Option<Observed>,
    /// Whether anything has to be tried again.
    pub failed: bool,
}

impl Done {
    /// Of work that did not come to an end.
    pub fn broken_off() -> Self {
        Self {
            failed: true,
            ..Self::default()
        }
    }
}

/// What watches told of a destination while it was being written. That counts, and not the answer to the write: which
/// of the two is later cannot be seen, but what was written is told by the watch too, sooner or later.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Of the resource itself.
    pub resource: bool,
    /// Of its Service.
    pub service: bool,
    /// Of these EndpointSlices.
    pub slices: Vec<String>,
}

/// Something of ours that belongs to no destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Whether it is a Service; else it is an EndpointSlice.
    pub service: bool,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid, so that nothing else is deleted.
    pub uid: String,
}

impl Model {
    /// Whether the Service or an EndpointSlice has to be written.
    pub(super) fn children_differ(&self, key: &RouteKey, endpoints: &[ProxyEndpoint], settled: bool) -> bool {
        self.wanted(key).is_some_and(|wanted| {
            let (service, slices) = self.children(&wanted, endpoints, settled);
            service.is_some() || !slices.is_empty()
        })
    }

    /// The children that have to be written, each with the uid it is known to have.
    fn children(
        &self,
        wanted: &Wanted,
        endpoints: &[ProxyEndpoint],
        settled: bool,
    ) -> (Option<Child<Service>>, Vec<Child<EndpointSlice>>) {
        let known = self.services.get(&wanted.key);
        // Somebody else's Service: nothing is written, not even endpoints, which would become those of that Service.
        if known.is_some_and(|service| service.owner.is_none()) {
            return (None, Vec::new());
        }
        let service = wanted.service();
        let differs = known.is_none_or(|known| known.shape != service_shape(&service));
        let service = differs.then(|| (service, known.map(|known| known.uid.clone())));
        (service, self.slices(wanted, endpoints, settled))
    }

    /// What to write for a destination, by what is known at this moment. If there is anything, [`done`](Self::done) must
    /// be told what became of it before this is asked again for the same destination.
    pub fn work(&mut self, key: &RouteKey, proxies: &impl ProxyView, clock: Instant) -> Work {
        let mut work = Work::default();
        if let Some(wanted) = self.wanted(key) {
            let endpoints = proxies.endpoints(key, wanted.proxy_port, &self.reach(key));
            (work.service, work.slices) = self.children(&wanted, &endpoints, proxies.settled());
        }
        let Some(entry) = self.destinations.get_mut(key) else {
            return Work::default();
        };
        entry.uid().clone_into(&mut work.uid);
        work.generation = entry.resource.metadata.generation;
        // While the Service has yet to be made, the status would be about that, and another one a moment later: with
        // thousands of new destinations twice the writes. What becomes of the Service decides about it.
        let outcome_decides = matches!(work.service, Some((_, None))) && entry.obstacle.is_none();
        if !entry.is_ending() && !outcome_decides && shape(&entry.status) != entry.seen {
            let settled = entry.settling.map(|since| since + SETTLING);
            work.again = settled.filter(|settled| clock < *settled);
            if work.again.is_none() {
                work.status = Some(entry.status.clone());
                entry.before = None;
            }
        }
        if !work.is_empty() {
            self.heard.insert(key.clone(), Heard::default());
        }
        work
    }

    fn slices(
        &self,
        wanted: &Wanted,
        endpoints: &[ProxyEndpoint],
        settled: bool,
    ) -> Vec<Child<EndpointSlice>> {
        let mut slices = Vec::new();
        for family in [Family::V4, Family::V6] {
            let name = family.slice_name(&wanted.key.name);
            let known = self.slices.get(&(wanted.key.clone(), name));
            let any = endpoints.iter().any(|endpoint| family.has(endpoint.address));
            // Endpoints that the replica before had written are kept until the proxies had the time to report.
            if (known.is_some() && !settled) || (known.is_none() && !any) {
                continue;
            }
            let slice = wanted.slice(family, endpoints);
            if known.is_none_or(|known| known.shape != slice_shape(&slice)) {
                slices.push((slice, known.map(|known| known.uid.clone())));
            }
        }
        slices
    }

    /// Takes over what became of the work.
    pub fn done(&mut self, key: &RouteKey, done: Done) {
        let heard = self.heard.remove(key).unwrap_or_default();
        let made = done.service.is_some() && self.services.get(key).is_none();
        if let Some(observed) = done.service.or(done.foreign)
            && !heard.service
        {
            self.services.put(key.clone(), observed);
            self.reserve(key);
        }
        for (name, observed) in done.slices {
            if !heard.slices.contains(&name) {
                self.slices.put((key.clone(), name), observed);
            }
        }
        let Some(entry) = self.destinations.get_mut(key) else {
            return;
        };
        if made {
            // Only now begins the time that the proxies have to report.
            entry.settling = None;
        }
        if entry.uid() == done.uid {
            if entry.resource.metadata.generation == done.generation {
                entry.obstacle = done.obstacle;
            }
            // The status of one that cannot be read is not heard either.
            if let Some(status) = done
                .status
                .filter(|_| !heard.resource || entry.unreadable.is_some())
            {
                entry.seen = shape(&status);
            }
        }
        self.dirty.insert(key.clone());
    }

    /// What is ours but belongs to no destination. Owner references let Kubernetes itself clean up behind a resource
    /// that was deleted; this is for the rest: namespaces that are no longer managed, older versions.
    pub fn orphans(&self) -> Vec<Orphan> {
        if !self.is_complete() {
            return Vec::new();
        }
        let of = |key: &RouteKey| {
            self.destinations
                .get(key)
                .filter(|_| self.settings.managed.contains(&key.namespace))
        };
        let stray = |key: &RouteKey, observed: &Observed| {
            observed.is_of(&self.settings.installation)
                && of(key).is_none_or(|entry| observed.owner.as_deref() != Some(entry.uid()))
        };
        // Endpoints of ours under the name of somebody else's Service take its traffic away.
        let intruding = |key: &RouteKey, observed: &Observed| {
            let foreign = |service: &Observed| service.owner.is_none();
            observed.is_of(&self.settings.installation) && self.services.get(key).is_some_and(foreign)
        };
        let services = self
            .services
            .iter()
            .filter(|(key, observed)| stray(key, observed))
            .map(|(key, observed)| orphan(true, key, &key.name, observed));
        let slices = self
            .slices
            .iter()
            .filter(|((key, _), observed)| stray(key, observed) || intruding(key, observed))
            .map(|((key, name), observed)| orphan(false, key, name, observed));
        services.chain(slices).collect()
    }
}

fn orphan(service: bool, key: &RouteKey, name: &str, observed: &Observed) -> Orphan {
    Orphan {
        service,
        namespace: key.namespace.clone(),
        name: name.to_owned(),
        uid: observed.uid.clone(),
    }
}
