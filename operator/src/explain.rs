//! What a destination comes to, for `landbridge explain`: what it resolves to, how workloads call it, which proxies serve
//! it, and if they do not, why.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};
use landbridge_crds::Destination;
use landbridge_crds::conditions::{gateway_reasons, status, types};
use landbridge_crds::destination::{Condition, DestinationStatus};
use landbridge_destination::{DestinationConfig, DestinationKind, RouteKey, RouteProtocol, Scope};
use serde::Serialize;

use crate::cluster::children;
use crate::cluster::client::{CALL, CallError, within};
use crate::lookup::{Answer, Failure, Lookups};
use crate::manifest::Declared;
use crate::plan::{self, Facts, Lookup, PlanOptions, ServiceFact};

/// Everything there is to say about one destination.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// Name in the store; "*" is a gateway.
    pub destination: String,
    /// Instance that is asked; none is the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Whether a store was asked now.
    pub asked: bool,
    /// What it has under this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolution>,
    /// What workloads write to reach it; none while nothing is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Who may call it.
    pub callers: String,
    /// Its Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceView>,
    /// Proxies that serve it.
    pub proxies: Vec<ProxyLine>,
    /// Conditions of the resource.
    pub conditions: Vec<Condition>,
    /// What keeps it from working, and what to do; empty when it works.
    pub problems: Vec<String>,
}

/// What the store has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolution {
    /// Type, ProxyType and authentication.
    pub kind: String,
    /// Where it leads, without any credential.
    pub target: String,
}

/// The Service of a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// Its address.
    pub cluster_ip: String,
    /// Its port.
    pub port: i32,
    /// Port of the proxies behind it.
    pub proxy_port: Option<u16>,
    /// Whether Landbridge made it.
    pub ours: bool,
}

/// One proxy behind a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyLine {
    /// Namespace and name of its pod.
    pub pod: String,
    /// Its address.
    pub address: String,
    /// Node it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Whether new connections go there.
    pub ready: bool,
}

/// Explains a manifest that may not be in any cluster yet.
pub async fn manifest(
    declared: &Declared,
    lookups: Option<&impl Lookups>,
    options: PlanOptions,
    now: &str,
) -> Explanation {
    let (key, resource) = (&declared.key, &declared.resource);
    let selector = plan::to_look_up(key, resource);
    let lookup = match (selector, lookups) {
        (None, _) | (_, None) => Lookup::Pending,
        (Some(selector), _) if selector.is_gateway() => Lookup::NotNeeded,
        (Some(selector), Some(lookups)) => looked_up(lookups.find(selector, None).await),
    };
    let planned = plan::plan(
        Facts {
            key,
            resource,
            previous: &DestinationStatus::default(),
            lookup: &lookup,
            port: Ok(0),
            state: None,
            service: ServiceFact::NotUsed,
            served: None,
            now,
        },
        options,
    );
    let asked = lookups.is_some();
    let conditions: Vec<Condition> = planned
        .status
        .conditions
        .into_iter()
        // Without proxies there is nothing to say about the others.
        .filter(|condition| {
            condition.type_ == types::ACCEPTED || (asked && condition.type_ == types::RESOLVED_REFS)
        })
        .collect();
    let protocol = planned.route.as_ref().map(|route| route.protocol);
    let problems = problems(&conditions);
    Explanation {
        asked: lookup != Lookup::Pending,
        resolved: resolution(&lookup),
        address: protocol
            .filter(|_| problems.is_empty())
            .map(|protocol| plan::address(key, protocol, resource.spec.port())),
        callers: callers(key, resource, options.default_scope),
        problems,
        conditions,
        ..blank(key, resource)
    }
}

fn looked_up(answer: Result<Answer, Failure>) -> Lookup {
    match answer {
        Ok(Answer::Found { config, .. }) => Lookup::Found(config.into()),
        Ok(Answer::NotFound(why)) => Lookup::NotFound(why),
        Ok(Answer::FragmentNotFound(why)) => Lookup::FragmentNotFound(why),
        Ok(Answer::Unchanged) => Lookup::Pending,
        Err(Failure(reason)) => Lookup::Unavailable { reason, last: None },
    }
}

fn resolution(lookup: &Lookup) -> Option<Resolution> {
    match lookup {
        Lookup::Found(config) => Some(shown(config)),
        Lookup::NotNeeded => Some(Resolution {
            kind: "gateway".to_owned(),
            target: "each request names its destination in the header X-Destination-Name".to_owned(),
        }),
        _ => None,
    }
}

fn shown(config: &DestinationConfig) -> Resolution {
    let kind = config
        .kind()
        .map_or_else(|| "no Type".to_owned(), |kind| kind.to_string());
    let target = if config.kind() == Some(DestinationKind::Http) {
        // A password in a URL is no part of where it leads.
        config.url().and_then(|url| url::Url::parse(url).ok()).map(|url| {
            let origin = url.origin().ascii_serialization();
            format!("{origin}{}", url.path())
        })
    } else {
        config
            .address()
            .ok()
            .map(|address| format!("{}:{}", address.host, address.port))
    };
    let mut parts = vec![
        kind,
        config.proxy_type().to_string(),
        config.authentication().to_string(),
    ];
    parts.extend(
        config
            .location_id()
            .map(|location| format!("location {location}")),
    );
    Resolution {
        kind: parts.join(", "),
        target: target.unwrap_or_else(|| "nothing that can be called".to_owned()),
    }
}

/// Explains a destination of a cluster, by what the API server has. None if there is no such resource.
///
/// # Errors
/// What the API server says.
pub async fn resource(
    client: &Client,
    key: &RouteKey,
    lookups: Option<&impl Lookups>,
    options: PlanOptions,
) -> Result<Option<Explanation>, CallError> {
    let destinations: Api<Destination> = Api::namespaced(client.clone(), &key.namespace);
    let Some(resource) = within(CALL, destinations.get_opt(&key.name)).await? else {
        return Ok(None);
    };
    let services: Api<Service> = Api::namespaced(client.clone(), &key.namespace);
    let service = within(CALL, services.get_opt(&key.name)).await?;
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &key.namespace);
    let of = ListParams::default().labels(&format!("kubernetes.io/service-name={}", key.name));
    let slices = within(CALL, slices.list(&of)).await?.items;
    let lookup = match (plan::to_look_up(key, &resource), lookups) {
        (Some(selector), _) if selector.is_gateway() => Lookup::NotNeeded,
        (Some(selector), Some(lookups)) => looked_up(lookups.find(selector, None).await),
        _ => Lookup::Pending,
    };
    Ok(Some(live(
        key,
        &resource,
        service.as_ref(),
        &slices,
        &lookup,
        options,
    )))
}

/// Puts together what was read.
fn live(
    key: &RouteKey,
    resource: &Destination,
    service: Option<&Service>,
    slices: &[EndpointSlice],
    lookup: &Lookup,
    options: PlanOptions,
) -> Explanation {
    let conditions = resource
        .status
        .as_ref()
        .map(|status| status.conditions.clone())
        .unwrap_or_default();
    let mut problems = problems(&conditions);
    let stale = |condition: &Condition| condition.observed_generation != resource.metadata.generation;
    if conditions.is_empty() {
        problems.push("no operator has looked at it yet: check that one runs, and whether it looks after this namespace".to_owned());
    } else if conditions.iter().any(stale) {
        problems.push("the status is about an older generation of the resource: wait a moment, or see the log of the operator".to_owned());
    }
    let service = service.map(view);
    let ours = service.as_ref().is_some_and(|service| service.view.ours);
    let proxies: Vec<ProxyLine> = if ours {
        slices.iter().flat_map(lines).collect()
    } else {
        Vec::new()
    };
    if ours && problems.is_empty() && !proxies.iter().any(|proxy| proxy.ready) {
        problems.push("no proxy that serves it is ready: check the proxy pods".to_owned());
    }
    let protocol = service.as_ref().filter(|_| ours).map(|service| service.protocol);
    Explanation {
        asked: *lookup != Lookup::Pending,
        resolved: resolution(lookup),
        address: protocol.map(|protocol| plan::address(key, protocol, resource.spec.port())),
        callers: callers(key, resource, options.default_scope),
        service: service.map(|service| service.view),
        proxies,
        conditions,
        problems,
        ..blank(key, resource)
    }
}

struct SeenService {
    view: ServiceView,
    protocol: RouteProtocol,
}

fn view(service: &Service) -> SeenService {
    let ours = children::owner(&service.metadata).is_some();
    let target = children::target(service);
    let spec = service.spec.as_ref();
    let port = spec.and_then(|spec| spec.ports.as_ref()?.first());
    SeenService {
        protocol: target.map_or(RouteProtocol::Http, |(_, protocol)| protocol),
        view: ServiceView {
            cluster_ip: spec.and_then(|spec| spec.cluster_ip.clone()).unwrap_or_default(),
            port: port.map_or(0, |port| port.port),
            proxy_port: target.map(|(port, _)| port),
            ours,
        },
    }
}

fn lines(slice: &EndpointSlice) -> impl Iterator<Item = ProxyLine> {
    let port = slice
        .ports
        .iter()
        .flatten()
        .find_map(|port| port.port)
        .unwrap_or(0);
    slice.endpoints.iter().flat_map(move |endpoint| {
        let pod = endpoint.target_ref.as_ref().map_or_else(String::new, |pod| {
            let (namespace, name) = (pod.namespace.as_deref(), pod.name.as_deref());
            format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default())
        });
        let ready = endpoint
            .conditions
            .as_ref()
            .is_some_and(|conditions| conditions.ready == Some(true));
        endpoint.addresses.iter().map(move |address| ProxyLine {
            pod: pod.clone(),
            address: format!("{address}:{port}"),
            node: endpoint.node_name.clone(),
            ready,
        })
    })
}

fn blank(key: &RouteKey, resource: &Destination) -> Explanation {
    Explanation {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        destination: resource.spec.destination_ref.name.clone(),
        instance: resource.spec.destination_service_instance_name.clone(),
        asked: false,
        resolved: None,
        address: None,
        callers: String::new(),
        service: None,
        proxies: Vec::new(),
        conditions: Vec::new(),
        problems: Vec::new(),
    }
}

fn callers(key: &RouteKey, resource: &Destination, default: Scope) -> String {
    match plan::scope(&resource.spec, default) {
        Scope::ClusterWide => "every workload of the cluster".to_owned(),
        Scope::Namespaced => format!("workloads of the namespace {}", key.namespace),
    }
}

/// What the conditions complain about, each cause once.
fn problems(conditions: &[Condition]) -> Vec<String> {
    let mut problems: Vec<String> = Vec::new();
    for condition in conditions {
        let summary = condition.type_ == types::READY || condition.reason == gateway_reasons::NO_ROUTE;
        let fine = condition.status == status::TRUE;
        let known = problems
            .iter()
            .any(|problem| problem.ends_with(&condition.message));
        if !fine && !summary && !known {
            problems.push(format!("{}: {}", condition.reason, condition.message));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
