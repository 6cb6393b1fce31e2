//! A cluster in memory: objects, writes as the API server does them, and what watches tell of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::core::error_boundary::InvalidObject;
use landbridge_crds::destination::{Destination, DestinationSpec};
use landbridge_destination::RouteKey;

use super::super::{Done, Work};
use crate::cluster::observed::Observed;
use crate::cluster::watch::Seen;

/// Something a watch tells.
pub(super) enum Told {
    Destination(Seen<Destination>),
    Service(Seen<Service>),
    Slice(Seen<EndpointSlice>),
}

/// The objects of the API server, and what its watches have not told yet.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) destinations: BTreeMap<RouteKey, Destination>,
    pub(super) services: BTreeMap<RouteKey, Service>,
    pub(super) slices: BTreeMap<RouteKey, EndpointSlice>,
    pub(super) told: VecDeque<Told>,
    pub(super) refuses: bool,
    /// Destinations that watches cannot read.
    pub(super) unreadable: BTreeSet<RouteKey>,
    uids: u32,
}

impl Cluster {
    fn uid(&mut self) -> Option<String> {
        self.uids += 1;
        Some(format!("u{}", self.uids))
    }

    pub(super) fn declare(&mut self, key: &RouteKey, spec: DestinationSpec) {
        let mut resource = Destination::new(&key.name, spec);
        resource.metadata.namespace = Some(key.namespace.clone());
        resource.metadata.generation = Some(1);
        resource.metadata.uid = self.uid();
        self.destinations.insert(key.clone(), resource);
        self.tell(key);
    }

    pub(super) fn tell(&mut self, key: &RouteKey) {
        self.told.push_back(Told::Destination(self.present(key)));
    }

    fn present(&self, key: &RouteKey) -> Seen<Destination> {
        let resource = &self.destinations[key];
        if self.unreadable.contains(key) {
            return Seen::Unreadable(Box::new(InvalidObject {
                metadata: resource.metadata.clone(),
                error: "missing field `destinationRef`".into(),
            }));
        }
        Seen::Present(Box::new(resource.clone()))
    }

    pub(super) fn edit(&mut self, key: &RouteKey, edit: impl FnOnce(&mut Destination)) {
        let resource = self.destinations.get_mut(key).unwrap();
        let before = resource.spec.clone();
        edit(resource);
        if resource.spec != before {
            *resource.metadata.generation.as_mut().unwrap() += 1;
        }
        self.tell(key);
    }

    pub(super) fn delete(&mut self, key: &RouteKey) {
        if self.destinations.remove(key).is_some() {
            self.told.push_back(Told::Destination(gone(key)));
        }
    }

    pub(super) fn put_service(&mut self, key: &RouteKey, mut service: Service) {
        service.metadata.namespace = Some(key.namespace.clone());
        service.metadata.name = Some(key.name.clone());
        if service.metadata.uid.is_none() {
            service.metadata.uid = self.uid();
        }
        self.services.insert(key.clone(), service.clone());
        self.told
            .push_back(Told::Service(Seen::Present(Box::new(service))));
    }

    pub(super) fn put_slice(&mut self, mut slice: EndpointSlice) {
        if slice.metadata.uid.is_none() {
            slice.metadata.uid = self.uid();
        }
        let key = RouteKey::new(slice.namespace().unwrap(), slice.name_any());
        self.slices.insert(key, slice.clone());
        self.told.push_back(Told::Slice(Seen::Present(Box::new(slice))));
    }

    pub(super) fn delete_service(&mut self, key: &RouteKey) {
        if self.services.remove(key).is_some() {
            self.told.push_back(Told::Service(gone(key)));
        }
    }

    pub(super) fn delete_slice(&mut self, key: &RouteKey) {
        if self.slices.remove(key).is_some() {
            self.told.push_back(Told::Slice(gone(key)));
        }
    }

    /// What owner references do: children of what is gone go too.
    pub(super) fn collect_garbage(&mut self) {
        let uids: BTreeSet<String> = self.destinations.values().filter_map(ResourceExt::uid).collect();
        let orphan = |metadata: &ObjectMeta| {
            let owners = metadata.owner_references.iter().flatten();
            let mut owners = owners.map(|owner| &owner.uid).peekable();
            owners.peek().is_some() && owners.all(|uid| !uids.contains(uid))
        };
        let services = self
            .services
            .iter()
            .filter(|(_, object)| orphan(&object.metadata));
        let services: Vec<_> = services.map(|(key, _)| key.clone()).collect();
        let slices = self.slices.iter().filter(|(_, object)| orphan(&object.metadata));
        let slices: Vec<_> = slices.map(|(key, _)| key.clone()).collect();
        services.iter().for_each(|key| self.delete_service(key));
        slices.iter().for_each(|key| self.delete_slice(key));
    }

    /// Does the work as the API server would.
    pub(super) fn write(&mut self, key: &RouteKey, work: Work) -> Done {
        let mut done = Done {
            uid: work.uid.clone(),
            generation: work.generation,
            ..Done::default()
        };
        if self.refuses {
            done.failed = true;
            done.obstacle = Some(crate::plan::Obstacle {
                reason: "ServiceCreationFailed",
                message: "the quota is used up".into(),
            });
            return done;
        }
        if let Some((mut service, uid)) = work.service {
            let there = self.services.get(key);
            match (there, &uid) {
                (Some(there), None) => {
                    let observed = Observed::service(there);
                    if observed.owner.is_none() {
                        done.foreign = Some(observed);
                    } else {
                        done.service = Some(observed);
                    }
                }
                (there, _) if there.and_then(ResourceExt::uid) != uid => done.failed = true,
                _ => {
                    service.metadata.uid = uid;
                    self.put_service(key, service);
                    done.service = Some(Observed::service(&self.services[key]));
                }
            }
        }
        for (mut slice, uid) in work.slices {
            if done.foreign.is_some() {
                break;
            }
            let id = RouteKey::new(&*key.namespace, slice.name_any());
            if self.slices.get(&id).and_then(ResourceExt::uid) != uid {
                done.failed = true;
                continue;
            }
            slice.metadata.uid = uid;
            self.put_slice(slice);
            done.slices
                .push((id.name.clone(), Observed::slice(&self.slices[&id])));
        }
        if let Some(status) = work.status
            && self.destinations.contains_key(key)
        {
            self.edit(key, |resource| resource.status = Some(status.clone()));
            done.status = Some(status);
        }
        done
    }

    /// A new list of everything, as after a start or a lost watch.
    pub(super) fn list(&mut self) {
        let destinations: Vec<_> = self.destinations.keys().map(|key| self.present(key)).collect();
        let services = self.services.values();
        let slices = self.slices.values();
        let told = std::iter::once(Told::Destination(Seen::Restarted))
            .chain(destinations.into_iter().map(Told::Destination))
            .chain([Told::Destination(Seen::Listed), Told::Service(Seen::Restarted)])
            .chain(services.map(|one| Told::Service(Seen::Present(Box::new(one.clone())))))
            .chain([Told::Service(Seen::Listed), Told::Slice(Seen::Restarted)])
            .chain(slices.map(|one| Told::Slice(Seen::Present(Box::new(one.clone())))))
            .chain([Told::Slice(Seen::Listed)]);
        self.told = told.collect();
    }
}

pub(super) fn gone<K>(key: &RouteKey) -> Seen<K> {
    Seen::Gone {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}
