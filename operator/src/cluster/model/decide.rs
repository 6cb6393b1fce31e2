//! A round of decisions: for everything that something is new about, the route, the status and what is to be written.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use landbridge_crds::conditions::reasons;
use landbridge_destination::{RouteKey, RouteState};
use tokio::time::Instant;

use super::entry::{Entry, shape};
use super::{Decided, Model, ProxyView, Role, SETTLING};
use crate::cluster::children::{ProxyEndpoint, Wanted};
use crate::plan::{self, Facts, Lookup, Obstacle, Planned, ServiceFact};
use crate::reach::Reach;

/// Passes over what one decision makes another look at: a port that is given back goes to somebody. What comes after
/// them is left to the next round.
const PASSES: usize = 4;

/// A decision, with what it depended on.
struct Decision {
    planned: Planned,
    /// Whether it has to wait for the store.
    pending: bool,
    /// The proxies that serve it.
    endpoints: Vec<ProxyEndpoint>,
}

impl Model {
    /// Decides about everything that is marked. `now` is the time for the conditions, RFC 3339 in UTC.
    pub fn decide(&mut self, proxies: &impl ProxyView, clock: Instant, now: &str) -> Decided {
        let mut decided = Decided {
            gone: std::mem::take(&mut self.gone),
            renewed: std::mem::take(&mut self.renewed),
            ..Decided::default()
        };
        decided.removed.clone_from(&decided.gone);
        // Without the whole picture a port could be given twice, or a Service of the replica before be taken for none.
        if !self.is_complete() {
            return decided;
        }
        self.claim_ports();
        for _ in 0..PASSES {
            for key in std::mem::take(&mut self.dirty) {
                if !self.settings.managed.contains(&key.namespace) {
                    self.withdraw(&key, &mut decided);
                } else if let Some(decision) = self.decide_one(&key, proxies, now) {
                    self.take_over(&key, decision, proxies.settled(), clock, &mut decided);
                }
            }
        }
        self.tidy(&mut decided);
        decided
    }

    /// What was decided several times counts once, as it is now. A resource that went and came again between two rounds
    /// has a new route, and is not gone.
    fn tidy(&self, decided: &mut Decided) {
        let route = |key: &RouteKey| self.destinations.get(key)?.route.clone();
        decided
            .routes
            .retain(|decided| route(&decided.key).is_some_and(|now| Arc::ptr_eq(&now, decided)));
        decided.removed.retain(|key| route(key).is_none());
    }

    fn decide_one(&mut self, key: &RouteKey, proxies: &impl ProxyView, now: &str) -> Option<Decision> {
        let readable = self.destinations.get(key)?.unreadable.is_none();
        let port = self.port_of(key, readable);
        let reach = self.reach(key);
        let endpoints = port.map_or_else(Vec::new, |port| proxies.endpoints(key, port, &reach));
        self.overcome(key, &endpoints, proxies.settled());
        let entry = self.destinations.get(key)?;
        let state = state(key, port, entry, &endpoints, proxies);
        let (mut planned, pending) = self.plan(key, port, state.as_ref(), now)?;
        if let Some(route) = &mut planned.route {
            route.frontends = self.frontends(key, &reach, pending);
        }
        Some(Decision {
            planned,
            pending,
            endpoints,
        })
    }

    /// Where proxies beside the workloads may take the connections to it. They have no tunnels: what needs one, or may need
    /// one, is left to the gateways. While the store is not known to say either, it stays as it was.
    fn frontends(&self, key: &RouteKey, reach: &Reach, pending: bool) -> Vec<SocketAddr> {
        let Some(entry) = self.destinations.get(key) else {
            return Vec::new();
        };
        let taken_before = entry
            .route
            .as_ref()
            .is_some_and(|route| !route.frontends.is_empty());
        if *reach != Reach::Anywhere || entry.is_ending() || (pending && !taken_before) {
            return Vec::new();
        }
        self.services
            .get(key)
            .filter(|service| service.owner.as_deref() == Some(entry.uid()))
            .map(|service| service.frontends.to_vec())
            .unwrap_or_default()
    }

    /// The plan, and whether it has to wait for the store.
    fn plan(
        &self,
        key: &RouteKey,
        port: Option<u16>,
        state: Option<&RouteState>,
        now: &str,
    ) -> Option<(Planned, bool)> {
        let entry = self.destinations.get(key)?;
        let used_up = port.is_none().then(|| self.claims.used_up());
        let lookup = entry
            .selector
            .as_ref()
            .map_or(Lookup::Pending, |selector| self.table.get(selector));
        let service = self.services.get(key);
        let foreign = service
            .is_some_and(|service| service.owner.is_none())
            .then(|| in_the_way(key));
        let obstacle = foreign.as_ref().or(entry.obstacle.as_ref());
        let ours = service.filter(|service| service.owner.as_deref() == Some(entry.uid()));
        let facts = Facts {
            key,
            resource: &entry.resource,
            previous: entry.published(),
            lookup: &lookup,
            port: port.ok_or(used_up.as_deref().unwrap_or_default()),
            state,
            service: match obstacle {
                Some(obstacle) => ServiceFact::Obstructed(obstacle),
                None if ours.is_some() => ServiceFact::Ready,
                None => ServiceFact::Pending,
            },
            served: ours
                .and_then(|service| service.target)
                .map(|(_, protocol)| protocol),
            now,
        };
        let planned = match &entry.unreadable {
            Some(why) => plan::unreadable(&facts, why),
            None => plan::plan(facts, self.settings.options),
        };
        Some((planned, lookup == Lookup::Pending && entry.selector.is_some()))
    }

    /// Forgets why the children could not be written, if they are there now: a call that was given up may have done its
    /// work, or another replica has done it.
    fn overcome(&mut self, key: &RouteKey, endpoints: &[ProxyEndpoint], settled: bool) {
        let obstructed = |entry: &Entry| entry.obstacle.is_some();
        if self.destinations.get(key).is_some_and(obstructed)
            && !self.children_differ(key, endpoints, settled)
            && let Some(entry) = self.destinations.get_mut(key)
        {
            entry.obstacle = None;
        }
    }

    /// Notes the decision, and what follows from it.
    fn take_over(
        &mut self,
        key: &RouteKey,
        decision: Decision,
        settled: bool,
        clock: Instant,
        decided: &mut Decided,
    ) {
        let Decision {
            planned,
            pending,
            endpoints,
        } = decision;
        let Some(entry) = self.destinations.get_mut(key) else {
            return;
        };
        if entry.route.as_deref() != planned.route.as_ref() {
            if let Some(old) = entry.route.take() {
                self.scopes.refuse(&key.namespace, old.scope, old.port);
            }
            match planned.route {
                Some(route) => {
                    self.scopes.allow(&key.namespace, route.scope, route.port);
                    let route = Arc::new(route);
                    entry.route = Some(Arc::clone(&route));
                    decided.routes.push(route);
                }
                None => decided.removed.push(key.clone()),
            }
        }
        // What holds is not doubted only because the store has not been asked yet, as after a start.
        let keep = pending && entry.is_observed();
        if self.role == Role::Follower || entry.is_ending() {
            return;
        }
        if !keep {
            entry.take_status(planned.status, clock);
            if !planned.events.is_empty() {
                decided.events.push((key.clone(), planned.events));
            }
        }
        let settled_at = entry.settling.map(|since| since + SETTLING);
        let status_differs = shape(&entry.status) != entry.seen;
        if self.children_differ(key, &endpoints, settled) {
            decided.write.push((key.clone(), clock));
        } else if status_differs {
            decided.write.push((key.clone(), settled_at.unwrap_or(clock)));
        }
    }

    /// Its namespace is not managed (any more): no route; what was made for it is an orphan now.
    fn withdraw(&mut self, key: &RouteKey, decided: &mut Decided) {
        if let Some(entry) = self.destinations.get_mut(key)
            && let Some(route) = entry.route.take()
        {
            self.scopes.refuse(&key.namespace, route.scope, route.port);
            decided.removed.push(key.clone());
        }
        self.give_back(key);
    }

    /// What the Service of a destination is to be; none while it has no route.
    pub(super) fn wanted(&self, key: &RouteKey) -> Option<Wanted> {
        let entry = self.destinations.get(key)?;
        let route = entry.route.as_ref().filter(|_| !entry.is_ending())?;
        Some(Wanted {
            key: key.clone(),
            uid: entry.uid().to_owned(),
            installation: self.settings.installation.clone(),
            protocol: route.protocol,
            service_port: entry.resource.spec.port(),
            proxy_port: route.port,
        })
    }
}

/// What the proxies say, taken together: one that listens is enough to be served.
fn state(
    key: &RouteKey,
    port: Option<u16>,
    entry: &Entry,
    endpoints: &[ProxyEndpoint],
    proxies: &impl ProxyView,
) -> Option<RouteState> {
    let port = port?;
    if let Some(endpoint) = endpoints.first() {
        return Some(RouteState::Listening((endpoint.address, port).into()));
    }
    if let Some(why) = proxies.failure(key) {
        return Some(RouteState::Failed(why));
    }
    if !proxies.settled() {
        // They have not had the time to report to this replica; what they said to the one before still holds.
        let held = entry.is_programmed() && entry.published_port() == Some(port);
        return held.then(|| RouteState::Listening((Ipv4Addr::UNSPECIFIED, port).into()));
    }
    (proxies.reporting() == 0).then(|| {
        RouteState::Failed(
            "no proxy is connected to the operator: check that the proxy pods run and can reach it"
                .to_owned(),
        )
    })
}

fn in_the_way(key: &RouteKey) -> Obstacle {
    Obstacle {
        reason: reasons::NAME_ALREADY_PRESENT,
        message: format!(
            "the namespace {} has a Service {} that Landbridge did not make, and will not touch: rename this \
             Destination, or delete that Service",
            key.namespace, key.name
        ),
    }
}
