//! The decision, pure: what a declared destination and the answer of the store become. Used with and without a cluster.

use std::sync::Arc;

use landbridge_crds::conditions::{gateway_reasons, reasons, types};
use landbridge_crds::destination::{
    AccessScope, Destination, DestinationSpec, DestinationStatus, Level as DeclaredLevel,
};
use landbridge_destination::selector::{ChainSelector, ChainVariable, FragmentSelector};
use landbridge_destination::{
    DestinationConfig, DestinationSelector, Level, Route, RouteKey, RouteProtocol, RouteState, Scope,
};

mod checks;

pub use crate::conditions::{Event, Severity};
pub(crate) use checks::relevant;
pub use checks::{Refusal, TENANTS_ANNOTATION};

use crate::conditions::{self, Aspect, Holds};

/// What the store said about the destination that a resource refers to.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// Not asked yet.
    Pending,
    /// It exists. Of its properties only those that are read here need to be kept.
    Found(Arc<DestinationConfig>),
    /// It does not; the text says what to do.
    NotFound(String),
    /// It does, but not its fragment; the text says what to do.
    FragmentNotFound(String),
    /// The store could not tell; the text says why. What it said before still counts.
    Unavailable {
        /// Why, and what to do.
        reason: String,
        /// The last configuration it gave.
        last: Option<Arc<DestinationConfig>>,
    },
    /// Each request names its own destination (gateway).
    NotNeeded,
}

/// What holds for all destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanOptions {
    /// Let a destination point to the proxy's own machine. For demonstrations and tests: anything that may edit a
    /// destination could reach the proxy's private ports through it.
    pub allow_loopback: bool,
    /// Scope of a resource that names none; namespaced unless configured (seed L35330).
    pub default_scope: Scope,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            allow_loopback: false,
            default_scope: Scope::Namespaced,
        }
    }
}

/// Everything a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Identity of the resource.
    pub key: &'a RouteKey,
    /// The resource. Its own status is not looked at.
    pub resource: &'a Destination,
    /// The status that was decided before.
    pub previous: &'a DestinationStatus,
    /// The answer of the store.
    pub lookup: &'a Lookup,
    /// Port for it (0 = any free one), or why there is none.
    pub port: Result<u16, &'a str>,
    /// What the proxies report, if they have reported.
    pub state: Option<&'a RouteState>,
    /// The Service that workloads call.
    pub service: ServiceFact<'a>,
    /// The protocol that it is known to be served with; what holds until the store has answered.
    pub served: Option<RouteProtocol>,
    /// Time of the decision, RFC 3339 in UTC.
    pub now: &'a str,
}

/// How the Service of a destination stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceFact<'a> {
    /// There is none, because there is no cluster.
    NotUsed,
    /// It has not been made yet.
    Pending,
    /// It is there.
    Ready,
    /// It cannot be made.
    Obstructed(&'a Obstacle),
}

/// Why there is no Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Reason of the condition `Available`.
    pub reason: &'static str,
    /// Cause and remedy.
    pub message: String,
}

/// The decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// What the proxies are to serve.
    pub route: Option<Route>,
    /// The new status; equal to the old one when nothing changed.
    pub status: DestinationStatus,
    /// What is worth telling; empty when nothing changed.
    pub events: Vec<Event>,
}

/// Decides.
pub fn plan(mut facts: Facts<'_>, options: PlanOptions) -> Planned {
    // A report about the port before is no report about this one.
    facts.state = facts.state.filter(|state| match (state, facts.port) {
        (RouteState::Listening(address), Ok(port)) => port == 0 || address.port() == port,
        _ => true,
    });
    let accepted = checks::resource(facts.key, facts.resource);
    let resolved = match &accepted {
        Ok(()) => resolve(&facts, options),
        Err(refusal) => Resolved {
            protocol: None,
            accepted: Some(refusal.clone()),
            references: Holds::yes(),
        },
    };
    let route = match (resolved.protocol, facts.port) {
        (Some(protocol), Ok(port)) => Some(Route {
            key: facts.key.clone(),
            selector: selector(&facts.resource.spec),
            protocol,
            port,
            scope: scope(&facts.resource.spec, options.default_scope),
            generation: u64::try_from(facts.resource.metadata.generation.unwrap_or(0)).unwrap_or(0),
            frontends: Vec::new(),
        }),
        _ => None,
    };
    decided(&facts, &resolved, route)
}

fn decided(facts: &Facts<'_>, resolved: &Resolved, route: Option<Route>) -> Planned {
    let aspects = aspects(facts, resolved, route.is_some());
    let (conditions, events) = conditions::merge(
        &facts.previous.conditions,
        aspects,
        &[types::AVAILABLE],
        facts.resource.metadata.generation,
        facts.now,
    );
    let proxy_port = match (facts.state, &route) {
        (Some(RouteState::Listening(address)), Some(_)) => Some(address.port()),
        (_, Some(route)) => Some(route.port).filter(|port| *port != 0),
        (_, None) => None,
    };
    let status = DestinationStatus {
        conditions,
        proxy_port: proxy_port.map(i32::from),
        tenants: facts.previous.tenants.clone(),
    };
    Planned {
        route,
        status,
        events,
    }
}

/// Which destination of the store has to be looked up for a resource; none for one that is refused whatever the store
/// says.
pub fn to_look_up(key: &RouteKey, resource: &Destination) -> Option<DestinationSelector> {
    checks::resource(key, resource)
        .is_ok()
        .then(|| selector(&resource.spec))
}

/// Port of the Service of a destination that names none: 80 for HTTP, 20004 for TCP, as published.
pub fn default_service_port(protocol: RouteProtocol) -> u16 {
    match protocol {
        RouteProtocol::Http => 80,
        RouteProtocol::Tcp => 20004,
    }
}

/// What workloads write to reach it.
pub fn address(key: &RouteKey, protocol: RouteProtocol, service_port: Option<u16>) -> String {
    let RouteKey { namespace, name } = key;
    match (protocol, service_port.unwrap_or(default_service_port(protocol))) {
        (RouteProtocol::Http, 80) => format!("http://{name}.{namespace}"),
        (RouteProtocol::Http, port) => format!("http://{name}.{namespace}:{port}"),
        (RouteProtocol::Tcp, port) => format!("{name}.{namespace}:{port}"),
    }
}

/// The decision for a resource that cannot be read: its status says so, and nothing else happens.
pub fn unreadable(facts: &Facts<'_>, why: &str) -> Planned {
    let refusal = Refusal {
        reason: reasons::CONFIGURATION_FAILED,
        accepted_reason: gateway_reasons::INVALID,
        message: format!(
            "the resource cannot be read: {why}; correct it, or install the CustomResourceDefinitions of this version"
        ),
    };
    let resolved = Resolved {
        protocol: None,
        accepted: Some(refusal),
        references: Holds::unknown(gateway_reasons::PENDING, "the resource cannot be read"),
    };
    decided(facts, &resolved, None)
}

/// Which destination of the store a resource means.
pub fn selector(spec: &DestinationSpec) -> DestinationSelector {
    DestinationSelector {
        name: spec.destination_ref.name.clone(),
        level: spec.destination_ref.level.map(level),
        fragment: spec.fragment().map(|(fragment, name)| FragmentSelector {
            name: name.to_owned(),
            level: fragment.level.map(level),
            optional: fragment.optional,
        }),
        chain: spec.chain_ref.as_ref().map(|chain| ChainSelector {
            name: chain.name.clone(),
            variables: chain
                .variables
                .iter()
                .flatten()
                .map(|variable| ChainVariable {
                    name: variable.name.clone(),
                    value: variable.value.clone(),
                })
                .collect(),
        }),
        instance: spec.destination_service_instance_name.clone(),
    }
}

fn level(declared: DeclaredLevel) -> Level {
    match declared {
        DeclaredLevel::Subaccount => Level::Subaccount,
        DeclaredLevel::Instance => Level::Instance,
        DeclaredLevel::ProviderSubaccount => Level::ProviderSubaccount,
        DeclaredLevel::ProviderInstance => Level::ProviderInstance,
    }
}

/// Who may use a destination.
pub fn scope(spec: &DestinationSpec, default: Scope) -> Scope {
    match spec.scope() {
        Some(AccessScope::ClusterWide) => Scope::ClusterWide,
        Some(AccessScope::Namespaced) => Scope::Namespaced,
        None => default,
    }
}

/// What the references came to.
struct Resolved {
    /// Protocol to serve; none when nothing may be served.
    protocol: Option<RouteProtocol>,
    /// Why it is not accepted.
    accepted: Option<Refusal>,
    references: Holds,
}

fn resolve(facts: &Facts<'_>, options: PlanOptions) -> Resolved {
    let with_fragment = facts.resource.spec.fragment().is_some();
    let checked =
        |config: &DestinationConfig, references| match checks::destination(config, with_fragment, options) {
            Ok(protocol) => Resolved {
                protocol: Some(protocol),
                accepted: None,
                references,
            },
            Err(refusal) => Resolved {
                protocol: None,
                accepted: Some(refusal),
                references,
            },
        };
    // Served although it cannot work yet: so the caller hears which destination is missing and where, instead of
    // "connection refused", and the first call after it was created succeeds.
    let answering = |references| Resolved {
        protocol: facts.served.or(Some(RouteProtocol::Http)),
        accepted: None,
        references,
    };
    match facts.lookup {
        Lookup::NotNeeded => answering(Holds::yes_because(
            gateway_reasons::NOT_NEEDED,
            "each request names its own",
        )),
        Lookup::Found(config) => checked(config, Holds::yes()),
        Lookup::NotFound(message) | Lookup::FragmentNotFound(message) => {
            answering(Holds::no(gateway_reasons::REF_NOT_FOUND, message))
        }
        Lookup::Unavailable { reason, last } => {
            let references = Holds::unknown(gateway_reasons::STORE_UNAVAILABLE, reason);
            match last {
                Some(config) => checked(config, references),
                None => answering(references),
            }
        }
        Lookup::Pending => Resolved {
            protocol: facts.served,
            accepted: None,
            references: Holds::unknown(gateway_reasons::PENDING, "the store is being asked"),
        },
    }
}

/// The five conditions, `Available` last.
fn aspects(facts: &Facts<'_>, resolved: &Resolved, has_route: bool) -> Vec<Aspect> {
    let accepted = match &resolved.accepted {
        None => Holds::yes(),
        Some(refusal) => Holds::no(refusal.accepted_reason, &refusal.message),
    };
    let programmed = programmed(facts, resolved, has_route);
    let ready = Holds::all([&accepted, &resolved.references, &programmed]);
    let available = available(facts, resolved, &programmed);
    vec![
        accepted.named(types::ACCEPTED, gateway_reasons::ACCEPTED),
        resolved
            .references
            .clone()
            .named(types::RESOLVED_REFS, gateway_reasons::RESOLVED_REFS),
        programmed.named(types::PROGRAMMED, gateway_reasons::PROGRAMMED),
        ready.named(types::READY, gateway_reasons::READY),
        available.named(types::AVAILABLE, reasons::CONFIGURATION_SUCCESSFUL),
    ]
}

fn programmed(facts: &Facts<'_>, resolved: &Resolved, has_route: bool) -> Holds {
    match (facts.port, facts.state) {
        _ if resolved.protocol.is_none() => match facts.lookup {
            Lookup::Pending if resolved.accepted.is_none() => {
                Holds::unknown(gateway_reasons::PENDING, "the store is being asked")
            }
            _ => Holds::no(
                gateway_reasons::NO_ROUTE,
                "no route is served, see the condition Accepted",
            ),
        },
        (Err(why), _) => Holds::no(gateway_reasons::NO_PORT, why),
        _ if let ServiceFact::Obstructed(obstacle) = facts.service => {
            Holds::no(gateway_reasons::NO_SERVICE, &obstacle.message)
        }
        _ if facts.service == ServiceFact::Pending => {
            Holds::unknown(gateway_reasons::PENDING, "the Service is being made")
        }
        (Ok(_), Some(RouteState::Listening(_))) if has_route => Holds::yes(),
        (Ok(_), Some(RouteState::Failed(why))) => Holds::no(gateway_reasons::FAILED, why),
        (Ok(_), _) => Holds::unknown(gateway_reasons::PENDING, "no proxy has reported yet"),
    }
}

/// The published condition: one reason for the whole, the most telling one.
fn available(facts: &Facts<'_>, resolved: &Resolved, programmed: &Holds) -> Holds {
    if let Some(refusal) = &resolved.accepted {
        return Holds::no(refusal.reason, &refusal.message);
    }
    match facts.lookup {
        Lookup::NotFound(message) => Holds::no(reasons::DESTINATION_NOT_FOUND, message),
        Lookup::FragmentNotFound(message) => Holds::no(reasons::FRAGMENT_NOT_FOUND, message),
        Lookup::Unavailable { reason, last: None } => Holds::no(reasons::CONFIGURATION_FAILED, reason),
        _ if let ServiceFact::Obstructed(obstacle) = facts.service => {
            Holds::no(obstacle.reason, &obstacle.message)
        }
        _ if programmed.is_no() => Holds::no(reasons::FAILED_TO_APPLY_CONFIGURATION, programmed.message()),
        _ if programmed.is_unknown() => Holds::unknown(gateway_reasons::PENDING, programmed.message()),
        Lookup::Unavailable {
            reason,
            last: Some(_),
        } => Holds::yes_because(
            reasons::CONFIGURATION_SUCCESSFUL,
            &format!("served with the last known configuration: {reason}"),
        ),
        _ => match facts.service {
            ServiceFact::Ready => {
                let protocol = resolved.protocol.unwrap_or(RouteProtocol::Http);
                let address = address(facts.key, protocol, facts.resource.spec.port());
                Holds::yes_because(
                    reasons::CONFIGURATION_SUCCESSFUL,
                    &format!("workloads reach it at {address}"),
                )
            }
            _ => Holds::yes(),
        },
    }
}

#[cfg(test)]
mod tests;
