//! Proxies that do as they are told, a store, a cluster, and the model between them.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use landbridge_crds::conditions::types;
use landbridge_crds::destination::{Condition, DestinationSpec};
use landbridge_destination::{DestinationConfig, Route, RouteKey};
use tokio::time::Instant;

use super::super::{Decided, Managed, Model, ProxyView, Role, Settings, Work};
use super::cluster::{Cluster, Told};
use crate::cluster::children::ProxyEndpoint;
use crate::cluster::queue::WorkQueue;
use crate::cluster::watch::Seen;
use crate::lookup::{Answer, Failure, Timing};
use crate::plan::{Event, PlanOptions};
use crate::reach::Reach;

pub(super) const LABEL: &str = "chosen";

pub(super) fn key(name: &str) -> RouteKey {
    match name.split_once('/') {
        Some((namespace, name)) => RouteKey::new(namespace, name),
        None => RouteKey::new("shop", name),
    }
}

pub(super) fn found(kind: &str) -> Result<Answer, Failure> {
    let mut config = DestinationConfig::new();
    config.set("Name", "erp");
    config.set("Type", kind);
    config.set("ProxyType", if kind == "TCP" { "OnPremise" } else { "Internet" });
    if kind == "TCP" {
        config.set("Address", "db.corp:5432");
    } else {
        config.set("URL", "https://erp.example");
    }
    let etag = Some(kind.to_owned());
    Ok(Answer::Found { config, etag })
}

/// Proxies: what they listen for, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    pub(super) listening: HashMap<RouteKey, u16>,
    pub(super) failing: HashMap<RouteKey, String>,
    pub(super) addresses: Vec<&'static str>,
    pub(super) settled: bool,
    /// How often somebody asked for endpoints.
    pub(super) asked: Cell<usize>,
}

impl ProxyView for Proxies {
    fn endpoints(&self, key: &RouteKey, port: u16, _: &Reach) -> Vec<ProxyEndpoint> {
        self.asked.set(self.asked.get() + 1);
        if self.listening.get(key) != Some(&port) {
            return Vec::new();
        }
        self.addresses
            .iter()
            .map(|address| ProxyEndpoint {
                address: address.parse().unwrap(),
                ready: true,
                terminating: false,
                node: None,
                namespace: "system".into(),
                pod: format!("proxy-{address}"),
                uid: format!("uid-{address}"),
            })
            .collect()
    }

    fn failure(&self, key: &RouteKey) -> Option<String> {
        self.failing.get(key).cloned()
    }

    fn reporting(&self) -> usize {
        self.addresses.len()
    }

    fn settled(&self) -> bool {
        self.settled
    }
}

/// All of it, and time.
pub(super) struct World {
    pub(super) model: Model,
    pub(super) cluster: Cluster,
    pub(super) proxies: Proxies,
    /// Answers by the name of the destination; others are found.
    pub(super) store: HashMap<String, Result<Answer, Failure>>,
    /// Whether the store answers at all.
    pub(super) answers: bool,
    /// Whether proxies serve the routes they are told.
    pub(super) serves: bool,
    pub(super) clock: Instant,
    start: Instant,
    pub(super) routes: HashMap<RouteKey, Route>,
    pub(super) events: Vec<(RouteKey, Event)>,
    pub(super) queue: WorkQueue<RouteKey>,
    /// Destinations that were written, in order, with what.
    pub(super) writes: Vec<(RouteKey, String)>,
}

pub(super) fn settings() -> Settings {
    Settings {
        installation: "system".into(),
        options: PlanOptions::default(),
        ports: 10_000..=10_999,
        lookups: Timing {
            refresh: Duration::from_secs(180),
            concurrency: 8,
        },
        managed: Managed::All,
    }
}

impl World {
    /// Nothing is known yet.
    pub(super) fn new(settings: Settings, role: Role) -> Self {
        let start = Instant::now();
        let mut model = Model::new(settings);
        model.set_role(role);
        Self {
            model,
            cluster: Cluster::default(),
            proxies: Proxies {
                addresses: vec!["10.0.0.1", "10.0.0.2"],
                settled: true,
                ..Proxies::default()
            },
            store: HashMap::new(),
            answers: true,
            serves: true,
            clock: start,
            start,
            routes: HashMap::new(),
            events: Vec::new(),
            queue: WorkQueue::new(8),
            writes: Vec::new(),
        }
    }

    /// A leader that has listed an empty cluster.
    pub(super) fn leader() -> Self {
        let mut world = Self::new(settings(), Role::Leader);
        world.list();
        world
    }

    /// Another process with the same cluster: it knows nothing.
    pub(super) fn restart(&mut self, settings: Settings, role: Role) {
        let mut next = Self::new(settings, role);
        next.clock = self.clock;
        next.start = self.start;
        std::mem::swap(&mut next.cluster, &mut self.cluster);
        std::mem::swap(&mut next.proxies, &mut self.proxies);
        std::mem::swap(&mut next.store, &mut self.store);
        next.answers = self.answers;
        next.serves = self.serves;
        *self = next;
    }

    pub(super) fn list(&mut self) {
        self.cluster.list();
        self.hear();
    }

    pub(super) fn declare(&mut self, name: &str) {
        self.declare_as(name, DestinationSpec::named(key(name).name));
    }

    pub(super) fn declare_as(&mut self, name: &str, spec: DestinationSpec) {
        self.cluster.declare(&key(name), spec);
        self.hear();
    }

    pub(super) fn hear(&mut self) {
        while self.hear_one() {}
    }

    /// One message of a watch.
    pub(super) fn hear_one(&mut self) -> bool {
        match self.cluster.told.pop_front() {
            None => return false,
            Some(Told::Destination(seen)) => self.model.see_destination(seen, self.clock),
            Some(Told::Service(seen)) => self.model.see_service(seen),
            Some(Told::Slice(seen)) => self.model.see_slice(seen),
        }
        true
    }

    pub(super) fn namespace(&mut self, name: &str, chosen: bool) {
        let namespace = PartialObjectMeta::<Namespace> {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: chosen.then(|| [(LABEL.to_owned(), "system".to_owned())].into()),
                ..ObjectMeta::default()
            },
            ..PartialObjectMeta::default()
        };
        let seen = Seen::Present(Box::new(namespace));
        self.model.see_namespace(seen, self.clock);
    }

    /// One round of decisions; proxies hear of its routes.
    pub(super) fn round(&mut self) -> Decided {
        let now = format!("2026-01-01T00:00:{:06}Z", (self.clock - self.start).as_millis());
        let mut decided = self.model.decide(&self.proxies, self.clock, &now);
        for key in &decided.removed {
            self.routes.remove(key);
            if self.serves && self.proxies.listening.remove(key).is_some() {
                self.model.proxies_changed([key]);
            }
        }
        for route in &decided.routes {
            self.routes.insert(route.key.clone(), (**route).clone());
            let port = Some(route.port);
            if self.serves && self.proxies.listening.insert(route.key.clone(), route.port) != port {
                self.model.proxies_changed([&route.key]);
            }
        }
        for key in &decided.gone {
            self.queue.remove(key);
        }
        for key in &decided.renewed {
            self.queue.forgive(key);
        }
        for (key, at) in &decided.write {
            self.queue.add(key, *at);
        }
        for (key, events) in std::mem::take(&mut decided.events) {
            self.events
                .extend(events.into_iter().map(|event| (key.clone(), event)));
        }
        decided
    }

    /// Answers every look-up that is due.
    pub(super) fn look_up(&mut self) -> usize {
        let mut count = 0;
        while self.answers
            && let Some((selector, known)) = self.model.next_lookup(self.clock)
        {
            let answer = self.store.get(&selector.name).cloned();
            let answer = match answer.unwrap_or_else(|| found("HTTP")) {
                Ok(Answer::Found { etag, .. }) if etag.is_some() && etag == known => Ok(Answer::Unchanged),
                other => other,
            };
            self.model.looked_up(&selector, answer, self.clock);
            count += 1;
        }
        count
    }

    /// Writes what is due. Whether there was anything.
    pub(super) fn write(&mut self) -> bool {
        let mut any = false;
        while let Some(key) = self.queue.take(self.clock) {
            let work = self.model.work(&key, &self.proxies, self.clock);
            if work.is_empty() {
                self.queue.succeeded(&key);
                if let Some(at) = work.again {
                    self.queue.add(&key, at);
                }
                continue;
            }
            any = true;
            self.note(&key, &work);
            let done = self.cluster.write(&key, work);
            if done.failed {
                self.queue.failed(&key, self.clock);
            } else {
                self.queue.succeeded(&key);
            }
            self.model.done(&key, done);
            self.hear();
        }
        any
    }

    pub(super) fn note(&mut self, key: &RouteKey, work: &Work) {
        let mut what = String::new();
        what.push_str(if work.service.is_some() { "service " } else { "" });
        for (slice, _) in &work.slices {
            what.push_str(&format!("slice[{}] ", slice.endpoints.len()));
        }
        what.push_str(if work.status.is_some() { "status" } else { "" });
        self.writes.push((key.clone(), what.trim().to_owned()));
    }

    /// Goes on, without time passing, until nothing more happens.
    pub(super) fn run_now(&mut self) {
        for _ in 0..50 {
            self.hear();
            self.round();
            let looked_up = self.look_up();
            if !self.write() && looked_up == 0 {
                self.round();
                if !self.write() {
                    return;
                }
            }
        }
        panic!("no end: {:?}", self.writes);
    }

    /// Goes on until nothing more happens for a few seconds.
    pub(super) fn run(&mut self) {
        for _ in 0..8 {
            self.run_now();
            self.clock += Duration::from_millis(500);
        }
        self.run_now();
    }

    /// What `run` wrote.
    pub(super) fn written(&mut self) -> Vec<String> {
        self.run();
        let written = std::mem::take(&mut self.writes).into_iter();
        written
            .map(|(key, what)| format!("{}: {what}", key.name))
            .collect()
    }

    pub(super) fn condition(&self, name: &str, type_: &str) -> Condition {
        let resource = &self.cluster.destinations[&key(name)];
        let status = resource.status.clone().unwrap_or_default();
        let mut conditions = status.conditions.into_iter();
        conditions
            .find(|one| one.type_ == type_)
            .unwrap_or_else(|| panic!("{name} has no condition {type_}"))
    }

    /// Status and reason of `Available`.
    pub(super) fn available(&self, name: &str) -> String {
        let condition = self.condition(name, types::AVAILABLE);
        format!("{}/{}", condition.status, condition.reason)
    }

    pub(super) fn port(&self, name: &str) -> u16 {
        self.routes[&key(name)].port
    }

    /// Addresses in the EndpointSlice of a destination.
    pub(super) fn endpoints(&self, name: &str) -> Option<usize> {
        let mut slice = key(name);
        slice.name.push_str("-landbridge");
        self.cluster.slices.get(&slice).map(|slice| slice.endpoints.len())
    }

    /// What must hold at any time: no port twice, and policies that say what the routes say.
    pub(super) fn check(&self) {
        let mut ports = BTreeSet::new();
        let mut scopes = crate::cluster::policy::Scopes::default();
        for (key, route) in &self.routes {
            assert!(
                ports.insert(route.port),
                "port {} twice: {:?}",
                route.port,
                self.routes
            );
            scopes.allow(&key.namespace, route.scope, route.port);
        }
        assert_eq!(self.model.scopes(), &scopes);
    }
}
