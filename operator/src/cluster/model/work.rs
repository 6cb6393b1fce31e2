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
    /// Generation of the resource that this follows from.
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
    /// Generation of the resource that it followed from.
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
    pub(super) fn children_differ(&self, key: &RouteKey, proxies: &impl ProxyView) -> bool {
        self.wanted(key).is_some_and(|wanted| {
            let (service, slices) = self.children(&wanted, proxies);
            service.is_some() || !slices.is_empty()
        })
    }

    /// The children that have to be written, each with the uid it is known to have.
    fn children(
        &self,
        wanted: &Wanted,
        proxies: &impl ProxyView,
    ) -> (Option<Child<Service>>, Vec<Child<EndpointSlice>>) {
        let known = self.services.get(&wanted.key);
        // Somebody else's Service: nothing is written, not even endpoints, which would become those of that Service.
        if known.is_some_and(|service| service.owner.is_none()) {
            return (None, Vec::new());
        }
        let service = wanted.service();
        let differs = known.is_none_or(|known| known.shape != service_shape(&service));
        let service = differs.then(|| (service, known.map(|known| known.uid.clone())));
        let endpoints = proxies.endpoints(&wanted.key, wanted.proxy_port);
        (service, self.slices(wanted, &endpoints, proxies.settled()))
    }

    /// What to write for a destination, by what is known at this moment.
    pub fn work(&mut self, key: &RouteKey, proxies: &impl ProxyView, clock: Instant) -> Work {
        let mut work = Work::default();
        if let Some(wanted) = self.wanted(key) {
            (work.service, work.slices) = self.children(&wanted, proxies);
        }
        let Some(entry) = self.destinations.get_mut(key) else {
            return Work::default();
        };
        work.generation = entry.resource.metadata.generation;
        if !entry.is_ending() && shape(&entry.status) != entry.seen {
            let settled = entry.settling.map(|since| since + SETTLING);
            work.again = settled.filter(|settled| clock < *settled);
            work.status = work.again.is_none().then(|| entry.status.clone());
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

    /// Takes over what became of the work. Whether there is more to do for this destination, and from when on.
    pub fn done(&mut self, key: &RouteKey, done: Done) {
        if let Some(observed) = done.service.or(done.foreign) {
            self.services.put(key.clone(), observed);
        }
        for (name, observed) in done.slices {
            self.slices.put((key.clone(), name), observed);
        }
        if let Some(entry) = self.destinations.get_mut(key) {
            if entry.resource.metadata.generation == done.generation {
                entry.obstacle = done.obstacle;
            }
            if let Some(status) = done.status {
                entry.seen = shape(&status);
            }
            self.dirty.insert(key.clone());
        }
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
            observed.owner.is_some()
                && of(key).is_none_or(|entry| observed.owner.as_deref() != Some(entry.uid()))
        };
        let services = self
            .services
            .iter()
            .filter(|(key, observed)| stray(key, observed))
            .map(|(key, observed)| orphan(true, key, &key.name, observed));
        let slices = self
            .slices
            .iter()
            .filter(|((key, _), observed)| stray(key, observed))
            .map(|((key, name), observed)| orphan(false, key, name, observed));
        services.chain(slices).collect()
    }

    /// Forgets an orphan that was deleted.
    pub fn deleted(&mut self, orphan: &Orphan, key: &RouteKey) {
        if orphan.service {
            self.services.remove(key);
        } else {
            self.slices.remove(&(key.clone(), orphan.name.clone()));
        }
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
