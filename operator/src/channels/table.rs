//! The table of all channels: who wins, what depends on what, and what has to be planned again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use landbridge_crds::conditions::{status, types};
use landbridge_crds::service_channel::ChannelStatus;
use landbridge_destination::channel::{Channel, ChannelKey};

use super::decide::{self, Claim, Decision, Facts};
use super::declared::{Declared, FINALIZER};
use super::finalizer::{self, Finalizer, Held, Situation};
use super::target::{self, ServiceFacts, ServiceKey, Services};
use super::{ChannelOptions, PlannedChannel, Write, rfc3339};

mod claims;

use claims::Claims;

/// Channels about which reports are kept though no resource of the name is known (yet).
const MAX_HELD: usize = 50_000;

/// All channels. Pure: it is told the time.
#[derive(Debug)]
pub struct Channels {
    options: ChannelOptions,
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

#[derive(Debug)]
struct Entry {
    resource: Declared,
    claim: Option<Claim>,
    service: Option<ServiceKey>,
    unheld_since: Timestamp,
    due: Option<Timestamp>,
    route: Option<Arc<Channel>>,
    /// What the leader decided; none as long as it has not, or does not lead.
    decided: Option<(ChannelStatus, Finalizer)>,
}

impl Channels {
    /// An empty table.
    pub fn new(options: ChannelOptions) -> Self {
        Self {
            options,
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
        let claim = decide::claim(&resource, &self.options);
        let service = target::service_of(&resource, &self.options).map(|(service, _)| service);
        let old = self
            .entries
            .get(&key)
            .map(|old| (old.claim.clone(), old.service.clone(), old.resource.created));
        if old.as_ref().is_none_or(|(old, _, _)| *old != claim) {
            if let Some((Some(old), _, created)) = &old {
                self.dirty.extend(self.claims.drop(old, *created, &key));
            }
            if let Some(claim) = &claim {
                self.dirty.extend(self.claims.make(claim, resource.created, &key));
            }
        }
        if old.as_ref().is_none_or(|(_, old, _)| *old != service) {
            if let Some((_, Some(old), _)) = &old {
                self.leave_service(old, &key);
            }
            if let Some(service) = &service {
                self.users.entry(service.clone()).or_default().insert(key.clone());
            }
        }
        self.dirty.insert(key.clone());
        match self.entries.get_mut(&key) {
            Some(entry) => {
                let new = entry.resource.generation != resource.generation;
                entry.resource = resource;
                entry.claim = claim;
                entry.service = service;
                new
            }
            None => {
                let entry = Entry {
                    resource,
                    claim,
                    service,
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
        if let Some(claim) = &entry.claim {
            self.dirty
                .extend(self.claims.drop(claim, entry.resource.created, key));
        }
        if let Some(service) = &entry.service {
            self.leave_service(service, key);
        }
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

    /// Plans at most `limit` of what changed or is due. Call it again until it returns nothing.
    pub fn plan(&mut self, now: Timestamp, limit: usize) -> Vec<PlannedChannel> {
        while let Some((time, _)) = self.due.first()
            && *time <= now
        {
            let Some((_, key)) = self.due.pop_first() else {
                break;
            };
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.due = None;
            }
            self.dirty.insert(key);
        }
        let mut planned = Vec::new();
        while planned.len() < limit
            && let Some(key) = self.dirty.pop_first()
        {
            planned.extend(self.plan_one(&key, now));
        }
        planned
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
        let status = (entry.resource.observed != *status).then(|| status.clone());
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
            Finalizer::Add => finalizers.push(FINALIZER.to_owned()),
            Finalizer::Remove => finalizers.retain(|one| one != FINALIZER),
        }
        self.dirty.insert(write.key.clone());
    }

    /// Who has a claim, if not `but` alone.
    pub fn claimed(&self, claim: &Claim, but: &ChannelKey) -> Option<&ChannelKey> {
        self.claims.first(claim, Some(but))
    }

    /// The claim that a resource makes.
    pub fn claim_of(&self, resource: &Declared) -> Option<Claim> {
        decide::claim(resource, &self.options)
    }

    /// Why a resource would not be served as things are: what it is refused for, and what it refers to in vain.
    pub fn objection(&self, resource: &Declared) -> Option<String> {
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

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn plan_one(&mut self, key: &ChannelKey, now: Timestamp) -> Option<PlannedChannel> {
        let entry = self.entries.get(key)?;
        let held = self.held.get(key);
        let winner = entry
            .claim
            .as_ref()
            .and_then(|claim| self.claims.first(claim, None))
            .filter(|winner| *winner != key);
        let previous = entry
            .decided
            .as_ref()
            .map_or(&entry.resource.observed, |(status, _)| status);
        let facts = Facts {
            resource: &entry.resource,
            winner,
            services: &self.services,
            held,
            previous,
            now: &rfc3339(now),
        };
        let decision = decide::decide(facts, &self.options);
        let known = match held {
            Some(locations) if !locations.is_empty() => Held::Yes,
            None if self.leading != Leading::Settled => Held::Unknown,
            _ => Held::No,
        };
        let (finalizer, due) = finalizer::decide(Situation {
            present: entry.resource.has_finalizer(),
            deleted: entry.resource.deleted,
            skip: entry.resource.skip_cleanup,
            held: known,
            unheld_since: entry.unheld_since,
            now,
        });
        // A new leader does not take back what the one before knew from the proxies, before they had time to report.
        let waits = self.leading == Leading::Fresh && held.is_none() && was_programmed(previous, &decision);
        self.take_over(key, decision, finalizer, due, waits)
    }

    fn take_over(
        &mut self,
        key: &ChannelKey,
        decision: Decision,
        finalizer: Finalizer,
        due: Option<Timestamp>,
        waits: bool,
    ) -> Option<PlannedChannel> {
        let writes = self.leading != Leading::No;
        let entry = self.entries.get_mut(key)?;
        let due = due.filter(|_| writes);
        if entry.due != due {
            if let Some(old) = entry.due {
                self.due.remove(&(old, key.clone()));
            }
            self.due.extend(due.map(|due| (due, key.clone())));
            entry.due = due;
        }
        let route_changed = entry.route.as_deref() != decision.channel.as_ref();
        if route_changed {
            entry.route = decision.channel.map(Arc::new);
        }
        let (status, events) = match writes {
            true if waits => (entry.resource.observed.clone(), Vec::new()),
            true => (decision.status, decision.events),
            false => (decision.status, Vec::new()),
        };
        if writes {
            entry.decided = Some((status.clone(), finalizer));
        }
        Some(PlannedChannel {
            key: key.clone(),
            uid: entry.resource.uid.clone(),
            route: entry.route.clone(),
            route_changed,
            status,
            finalizer: if writes { finalizer } else { Finalizer::Keep },
            events,
        })
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

/// Whether only the reports of the proxies are missing to say what the status says already.
fn was_programmed(previous: &ChannelStatus, decision: &Decision) -> bool {
    let programmed = |one: &&landbridge_crds::condition::Condition| one.type_ == types::PROGRAMMED;
    decision.channel.is_some()
        && previous
            .conditions
            .iter()
            .find(programmed)
            .is_some_and(|one| one.status == status::TRUE)
        && previous.address == decision.status.address
}
