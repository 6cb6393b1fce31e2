//! One round of planning over all destinations. Pure; the worker around it reads and publishes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use landbridge_crds::DestinationStatus;
use landbridge_destination::{Route, RouteKey, RouteSnapshot, RouteState};

use super::view::{DestinationView, StatusView};
use super::wanted_ports;
use crate::lookup::Table;
use crate::manifest::{Declared, ManifestSet};
use crate::plan::{Facts, PlanOptions, ServiceFact, Severity, plan, selector};
use crate::ports::{Allocation, Memory, PortPolicy, allocate};

/// What one round changed.
#[derive(Debug)]
pub(super) struct Round {
    /// The new snapshot, if the routes changed.
    pub(super) routes: Option<Arc<RouteSnapshot>>,
    /// The whole view.
    pub(super) status: StatusView,
    /// The memory of ports, if it has to be saved.
    pub(super) memory: Option<Memory>,
}

/// What one round leaves to the next.
#[derive(Debug)]
pub(super) struct Rounds {
    policy: PortPolicy,
    options: PlanOptions,
    memory: Memory,
    /// The last attempt to save it failed, hence every round is another one.
    unsaved: Option<String>,
    allocation: Allocation,
    statuses: BTreeMap<RouteKey, DestinationStatus>,
    routes: Arc<RouteSnapshot>,
}

impl Rounds {
    pub(super) fn new(policy: PortPolicy, options: PlanOptions, memory: Memory) -> Self {
        Self {
            policy,
            options,
            memory,
            unsaved: None,
            allocation: Allocation::new(),
            statuses: BTreeMap::new(),
            routes: Arc::new(RouteSnapshot::default()),
        }
    }

    pub(super) fn next(
        &mut self,
        set: &ManifestSet,
        table: &Table,
        states: &HashMap<RouteKey, RouteState>,
        now: &str,
    ) -> Round {
        let (allocation, memory) = allocate(&wanted_ports(set), &self.policy, &self.memory, &self.allocation);
        let save = memory != self.memory || self.unsaved.is_some();
        (self.allocation, self.memory) = (allocation, memory);
        self.statuses.retain(|key, _| set.destinations.contains_key(key));

        let mut routes = Vec::with_capacity(set.destinations.len());
        let mut views = Vec::with_capacity(set.destinations.len());
        for (key, declared) in &set.destinations {
            let (route, view) = self.decide(key, declared, table, states.get(key), now);
            routes.extend(route);
            views.push(view);
        }
        let routes = self.snapshot(routes);
        let status = StatusView {
            version: self.routes.version,
            settled: table.is_settled(),
            destinations: views,
            problems: set.problems.clone(),
            skipped: set.skipped.clone(),
            port_file_problem: None,
        };
        Round {
            routes,
            status,
            memory: save.then(|| self.memory.clone()),
        }
    }

    /// Notes whether the memory could be saved, for the view and for the next round.
    pub(super) fn with_port_file_problem(
        &mut self,
        mut status: StatusView,
        saved: Option<Result<(), String>>,
    ) -> StatusView {
        if let Some(saved) = saved {
            self.unsaved = saved.err();
        }
        status.port_file_problem = self.unsaved.clone();
        status
    }

    fn decide(
        &mut self,
        key: &RouteKey,
        declared: &Declared,
        table: &Table,
        state: Option<&RouteState>,
        now: &str,
    ) -> (Option<Route>, DestinationView) {
        let port_error;
        let port = match self.allocation.get(key) {
            Some(Ok(port)) => Ok(*port),
            Some(Err(error)) => {
                port_error = error.to_string();
                Err(port_error.as_str())
            }
            None => Err("no port was given to it"),
        };
        let previous = self.statuses.remove(key).unwrap_or_default();
        let lookup = table.get(&selector(&declared.resource.spec));
        let facts = Facts {
            key,
            resource: &declared.resource,
            previous: &previous,
            lookup: &lookup,
            port,
            state,
            service: ServiceFact::NotUsed,
            served: None,
            now,
        };
        let planned = plan(facts, self.options);
        for event in &planned.events {
            match event.severity {
                Severity::Normal => {
                    tracing::info!(destination = %key, reason = event.reason, "{}", event.message)
                }
                Severity::Warning => {
                    tracing::warn!(destination = %key, reason = event.reason, "{}", event.message)
                }
            }
        }
        let view = DestinationView::new(key, declared, planned.route.as_ref(), &planned.status, state);
        self.statuses.insert(key.clone(), planned.status);
        (planned.route, view)
    }

    /// A new snapshot if anything differs; what does not is shared with the one before.
    fn snapshot(&mut self, routes: Vec<Route>) -> Option<Arc<RouteSnapshot>> {
        let before: HashMap<&RouteKey, &Arc<Route>> = self
            .routes
            .routes
            .iter()
            .map(|route| (&route.key, route))
            .collect();
        let mut same = before.len() == routes.len();
        let shared: Vec<_> = routes
            .into_iter()
            .map(|route| match before.get(&route.key) {
                Some(old) if ***old == route => Arc::clone(old),
                _ => {
                    same = false;
                    Arc::new(route)
                }
            })
            .collect();
        // Version 0 is the snapshot before the first one: an empty first one is news as well.
        if same && self.routes.version > 0 {
            return None;
        }
        self.routes = Arc::new(RouteSnapshot::new(self.routes.version + 1, shared));
        Some(self.routes.clone())
    }
}
