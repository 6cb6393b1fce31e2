//! The table of all channels: who wins, what depends on what, and what has to be planned again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use landbridge_crds::conditions::{status, types};
use landbridge_crds::service_channel::ChannelStatus;
use landbridge_destination::channel::{Channel, ChannelKey};

use super::decide::{self, Claim, Facts};
use super::declared::{Declared, FINALIZER};
use super::finalizer::Finalizer;
use super::target::{self, ServiceFacts, ServiceKey, Services};
use super::{ChannelOptions, Write};
use crate::cluster::model::Managed;

mod claims;
mod namespaces;
mod round;

use claims::Claims;

/// Channels about which reports are kept though no resource of the name is known (yet).
const MAX_HELD: usize = 50_000;

/// All channels. Pure: it is told the time.
#[derive(Debug)]
pub struct Channels {
    options: ChannelOptions,
    managed: Managed,
    entries: HashMap<ChannelKey, Entry>,
    claims: Claims,
    services: Services,
    /// Who depends on which Service.
    users: HashMap<ServiceKey, HashSet<ChannelKey>>,
    held: HashMap<ChannelKey, BTreeSet<String>>,
    dirty: BTreeSet<ChannelKey>,
    /// When something has to be looked at again though nothing happens.
    due: BTreeSet<(Timestamp, ChannelKey)>,
    leading: Leading,
}

/// Whether this replica writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leading {
    No,
    /// It does since a moment: not all proxies have reported to it yet.
    Fresh,
    Settled,
}

/// Whether it is ours to look after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    Ours,
    /// It was until its namespace lost the label. The finalizer that it has is ours to remove.
    Released,
    /// It belongs to another installation, or to none.
    Others,
}

/// What binds a resource to others; nothing for one that is not ours to look after.
#[derive(Debug, Clone, Default)]
struct Ties {
    /// Its claim, and since when.
    claim: Option<(Claim, Timestamp)>,
    /// The Service that it leads to.
    service: Option<ServiceKey>,
}

#[derive(Debug)]
struct Entry {
    resource: Declared,
    care: Care,
    ties: Ties,
    unheld_since: Timestamp,
    due: Option<Timestamp>,
    route: Option<Arc<Channel>>,
    /// What the leader decided; none as long as it has not, or does not lead.
    decided: Option<(ChannelStatus, Finalizer)>,
}

impl Channels {
    /// An empty table that looks after `ServiceMapping`s and the `ServiceChannel`s of these namespaces.
    pub fn new(options: ChannelOptions, managed: Managed) -> Self {
        Self {
            options,
            managed,
            entries: HashMap::new(),
            claims: Claims::default(),
            services: Services::default(),
            users: HashMap::new(),
            held: HashMap::new(),
            dirty: BTreeSet::new(),
            due: BTreeSet::new(),
            leading: Leading::No,
        }
    }

    /// A resource is there, as it is now. Says whether it was not known in this generation.
    pub fn set(&mut self, resource: Declared, now: Timestamp) -> bool {
        let key = resource.key.clone();
        if let Some(old) = self.entries.get_mut(&key) {
            if old.resource == resource {
                return false;
            }
            if old.resource.uid != resource.uid {
                // Deleted and created again between two looks: nothing of the old one counts.
                self.remove(&key);
            }
        }
        let ties = self.ties_of(&resource);
        let old = self.entries.get(&key).map(|old| old.ties.clone());
        self.tie(&key, &old.unwrap_or_default(), &ties);
        self.dirty.insert(key.clone());
        match self.entries.get_mut(&key) {
            Some(entry) => {
                let new = entry.resource.generation != resource.generation;
                if entry.care == Care::Released && !resource.has_finalizer() {
                    entry.care = Care::Others;
                }
                entry.resource = resource;
                entry.ties = ties;
                new
            }
            None => {
                let managed = self.is_managed(&key);
                let entry = Entry {
                    resource,
                    care: if managed { Care::Ours } else { Care::Others },
                    ties,
                    unheld_since: now,
                    due: None,
                    route: None,
                    decided: None,
                };
                self.entries.insert(key, entry);
                true
            }
        }
    }

    /// A resource is gone. Says whether its channel was offered.
    pub fn remove(&mut self, key: &ChannelKey) -> bool {
        self.dirty.remove(key);
        let Some(entry) = self.entries.remove(key) else {
            return false;
        };
        if let Some(due) = entry.due {
            self.due.remove(&(due, key.clone()));
        }
        self.tie(key, &entry.ties, &Ties::default());
        self.held.remove(key);
        entry.route.is_some()
    }

    /// A Service is there as it is now, or not there.
    pub fn set_service(&mut self, key: &ServiceKey, facts: Option<ServiceFacts>) {
        match facts {
            Some(facts) if self.services.known.get(key) == Some(&facts) => return,
            Some(facts) => {
                self.services.known.insert(key.clone(), facts);
            }
            None => {
                self.services.known.remove(key);
            }
        }
        if let Some(users) = self.users.get(key) {
            self.dirty.extend(users.iter().cloned());
        }
    }

    /// All Services have been told: one that is not known does not exist.
    pub fn services_listed(&mut self) {
        if !std::mem::replace(&mut self.services.listed, true) {
            self.dirty.extend(self.users.values().flatten().cloned());
        }
    }

    /// Locations whose connectors hold a channel; none when no proxy reports it.
    pub fn set_held(&mut self, key: &ChannelKey, locations: Option<BTreeSet<String>>, now: Timestamp) {
        let known = self.entries.contains_key(key);
        let changed = match locations {
            Some(locations) if self.held.get(key) == Some(&locations) => return,
            // Proxies may be ahead of the watch; what they tell beyond all measure is not kept.
            Some(_) if !known && self.held.len() >= MAX_HELD => false,
            Some(locations) => {
                self.held.insert(key.clone(), locations);
                true
            }
            None => self.held.remove(key).is_some(),
        };
        let nobody = self.held.get(key).is_none_or(BTreeSet::is_empty);
        if let Some(entry) = self.entries.get_mut(key).filter(|_| changed) {
            if nobody {
                entry.unheld_since = now;
            }
            self.dirty.insert(key.clone());
        }
    }

    /// Whether this replica writes. Everything is planned anew when it begins to.
    pub fn set_leading(&mut self, leading: bool, now: Timestamp) {
        let new = if leading { Leading::Fresh } else { Leading::No };
        if (self.leading == Leading::No) != (new == Leading::No) {
            self.leading = new;
            for entry in self.entries.values_mut() {
                // Another replica may have decided since: what the resources say counts.
                entry.decided = None;
                entry.unheld_since = now;
            }
            // From now on, the proxies report to another one. Not when this one begins to lead: it may have heard some.
            if !leading {
                self.held.clear();
            }
            self.dirty.extend(self.entries.keys().cloned());
        }
    }

    /// All proxies that live have reported to this leader: what nobody reported nobody has.
    pub fn settle(&mut self) {
        if self.leading == Leading::Fresh {
            self.leading = Leading::Settled;
            self.dirty.extend(
                self.entries
                    .keys()
                    .filter(|key| !self.held.contains_key(key))
                    .cloned(),
            );
        }
    }

    /// When something is due though nothing happens.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(time, _)| *time)
    }

    /// What the proxies are to offer, by key.
    pub fn routes(&self) -> Vec<Channel> {
        let mut routes: Vec<_> = self
            .entries
            .values()
            .filter_map(|entry| entry.route.as_deref().cloned())
            .collect();
        routes.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        routes
    }

    /// What is still to be written to a resource, as decided last.
    pub fn pending(&self, key: &ChannelKey) -> Option<Write> {
        let entry = self.entries.get(key)?;
        let (status, finalizer) = entry.decided.as_ref()?;
        // Whoever looks after it may have written another status since the decision.
        let differs = entry.care == Care::Ours && entry.resource.observed != *status;
        let status = differs.then(|| status.clone());
        (status.is_some() || *finalizer != Finalizer::Keep).then(|| Write {
            key: key.clone(),
            uid: entry.resource.uid.clone(),
            status,
            finalizer: *finalizer,
            finalizers: entry.resource.finalizers.clone(),
        })
    }

    /// A write was done. The watch tells the same a little later, and nothing is written twice meanwhile.
    pub fn written(&mut self, write: &Write) {
        let Some(entry) = self
            .entries
            .get_mut(&write.key)
            .filter(|entry| entry.resource.uid == write.uid)
        else {
            return;
        };
        if let Some(status) = &write.status {
            entry.resource.observed = status.clone();
        }
        let finalizers = &mut entry.resource.finalizers;
        match write.finalizer {
            Finalizer::Keep => return,
            Finalizer::Add => {
                finalizers.push(FINALIZER.to_owned());
                // Its namespace lost the label while this was on its way.
                if entry.care == Care::Others {
                    entry.care = Care::Released;
                }
            }
            Finalizer::Remove => {
                finalizers.retain(|one| one != FINALIZER);
                // The next one is somebody else's.
                if entry.care == Care::Released {
                    entry.care = Care::Others;
                }
            }
        }
        self.dirty.insert(write.key.clone());
    }

    /// Who has a claim, if not `but` alone.
    pub fn claimed(&self, claim: &Claim, but: &ChannelKey) -> Option<&ChannelKey> {
        self.claims.first(claim, Some(but))
    }

    /// The claim that a resource makes; none for one that is not looked after.
    pub fn claim_of(&self, resource: &Declared) -> Option<Claim> {
        self.ties_of(resource).claim.map(|(claim, _)| claim)
    }

    /// Why a resource would not be served as things are: what it is refused for, and what it refers to in vain. None for
    /// one that is not looked after.
    pub fn objection(&self, resource: &Declared) -> Option<String> {
        if !self.is_managed(&resource.key) {
            return None;
        }
        let facts = Facts {
            resource,
            winner: None,
            services: &self.services,
            held: None,
            previous: &ChannelStatus::default(),
            now: "",
        };
        let decision = decide::decide(facts, &self.options);
        decision
            .status
            .conditions
            .into_iter()
            .find(|one| {
                [types::ACCEPTED, types::RESOLVED_REFS].contains(&one.type_.as_str())
                    && one.status == status::FALSE
            })
            .map(|one| one.message)
    }

    /// How many resources are looked after.
    pub fn len(&self) -> usize {
        self.ours().count()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.ours().next().is_none()
    }

    fn ours(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.care == Care::Ours)
    }

    fn ties_of(&self, resource: &Declared) -> Ties {
        if !self.is_managed(&resource.key) {
            return Ties::default();
        }
        Ties {
            claim: decide::claim(resource, &self.options).map(|claim| (claim, resource.created)),
            service: target::service_of(resource, &self.options).map(|(service, _)| service),
        }
    }

    /// Exchanges what binds a resource to others, and has those planned that notice it.
    fn tie(&mut self, key: &ChannelKey, old: &Ties, new: &Ties) {
        if old.claim != new.claim {
            if let Some((claim, created)) = &old.claim {
                self.dirty.extend(self.claims.drop(claim, *created, key));
            }
            if let Some((claim, created)) = &new.claim {
                self.dirty.extend(self.claims.make(claim, *created, key));
            }
        }
        if old.service != new.service {
            if let Some(service) = &old.service {
                self.leave_service(service, key);
            }
            if let Some(service) = &new.service {
                self.users.entry(service.clone()).or_default().insert(key.clone());
            }
        }
    }

    fn leave_service(&mut self, service: &ServiceKey, key: &ChannelKey) {
        if let Some(users) = self.users.get_mut(service) {
            users.remove(key);
            if users.is_empty() {
                self.users.remove(service);
            }
        }
    }
}
