//! The Service and the EndpointSlices of one destination: what they are to be, and whether that is what they are.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource as _;
use landbridge_crds::Destination;
use landbridge_destination::{RouteKey, RouteProtocol};

use crate::plan::default_service_port;

/// Who made it; on everything the operator makes.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Value of [`MANAGED_BY`], and of the label that keeps other controllers away from an EndpointSlice.
pub const MANAGER: &str = "landbridge";

/// Which destination it belongs to.
pub const DESTINATION_LABEL: &str = "connectivity.landbridge.dev/destination";

/// Which installation made it, by its namespace: several in one cluster must leave each other's objects alone.
pub const INSTALLATION_LABEL: &str = "connectivity.landbridge.dev/installation";

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

/// Labels that are ours on any object; the others are not looked at.
const OUR_LABELS: [&str; 5] = [
    MANAGED_BY,
    DESTINATION_LABEL,
    INSTALLATION_LABEL,
    SERVICE_NAME,
    SLICE_MANAGED_BY,
];

/// Names of the port of a Service, by what is spoken.
const HTTP: &str = "http";
const TCP: &str = "tcp";

/// Most endpoints of one EndpointSlice (limit of the API).
const MAX_ENDPOINTS: usize = 1000;

/// A destination for which there is to be a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name and namespace.
    pub key: RouteKey,
    /// Uid of the resource, which owns the children.
    pub uid: String,
    /// Namespace of this installation.
    pub installation: String,
    /// What is spoken.
    pub protocol: RouteProtocol,
    /// Port of the Service that the resource names.
    pub service_port: Option<u16>,
    /// Port of the proxies.
    pub proxy_port: u16,
}

/// A proxy that serves a destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProxyEndpoint {
    /// Address of its pod.
    pub address: IpAddr,
    /// Whether new connections may go there.
    pub ready: bool,
    /// Whether it is about to end.
    pub terminating: bool,
    /// Node it runs on.
    pub node: Option<String>,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod.
    pub uid: String,
}

/// Which addresses an EndpointSlice holds: one family each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Whether the address is of this family.
    pub fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }

    /// Name of the slice of a destination.
    pub fn slice_name(self, destination: &str) -> String {
        format!("{destination}{}", self.suffix())
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "-landbridge",
            Self::V6 => "-landbridge-ipv6",
        }
    }
}

impl Wanted {
    /// Port that workloads call.
    pub fn port(&self) -> u16 {
        self.service_port
            .unwrap_or_else(|| default_service_port(self.protocol))
    }

    fn port_name(&self) -> &'static str {
        match self.protocol {
            RouteProtocol::Http => HTTP,
            RouteProtocol::Tcp => TCP,
        }
    }

    fn app_protocol(&self) -> Option<String> {
        (self.protocol == RouteProtocol::Http).then(|| "http".to_owned())
    }

    fn metadata(&self, name: String, labels: &[(&str, &str)]) -> ObjectMeta {
        let common = [
            (MANAGED_BY, MANAGER),
            (DESTINATION_LABEL, self.key.name.as_str()),
            (INSTALLATION_LABEL, self.installation.as_str()),
        ];
        let labels: BTreeMap<_, _> = common
            .iter()
            .chain(labels)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let owner = OwnerReference {
            api_version: Destination::api_version(&()).into_owned(),
            kind: Destination::kind(&()).into_owned(),
            name: self.key.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        };
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.key.namespace.clone()),
            labels: Some(labels),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        }
    }

    /// The Service: of the name of the resource, without selector, because its endpoints are ours.
    pub fn service(&self) -> Service {
        let port = ServicePort {
            name: Some(self.port_name().to_owned()),
            port: i32::from(self.port()),
            protocol: Some("TCP".to_owned()),
            target_port: Some(IntOrString::Int(i32::from(self.proxy_port))),
            app_protocol: self.app_protocol(),
            node_port: None,
        };
        Service {
            metadata: self.metadata(self.key.name.clone(), &[]),
            spec: Some(ServiceSpec {
                type_: Some("ClusterIP".to_owned()),
                ports: Some(vec![port]),
                ..ServiceSpec::default()
            }),
            status: None,
        }
    }

    /// The EndpointSlice of one family, with those of `endpoints` that are of it.
    pub fn slice(&self, family: Family, endpoints: &[ProxyEndpoint]) -> EndpointSlice {
        let name = family.slice_name(&self.key.name);
        let labels = [
            (SERVICE_NAME, self.key.name.as_str()),
            (SLICE_MANAGED_BY, MANAGER),
        ];
        let port = EndpointPort {
            name: Some(self.port_name().to_owned()),
            port: Some(i32::from(self.proxy_port)),
            protocol: Some("TCP".to_owned()),
            app_protocol: self.app_protocol(),
        };
        let mut endpoints: Vec<_> = endpoints
            .iter()
            .filter(|endpoint| family.has(endpoint.address))
            .collect();
        endpoints.sort_unstable();
        EndpointSlice {
            address_type: family.name().to_owned(),
            metadata: self.metadata(name, &labels),
            ports: Some(vec![port]),
            endpoints: endpoints
                .into_iter()
                .take(MAX_ENDPOINTS)
                .map(ProxyEndpoint::endpoint)
                .collect(),
        }
    }
}

impl ProxyEndpoint {
    fn endpoint(&self) -> Endpoint {
        Endpoint {
            addresses: vec![self.address.to_string()],
            conditions: Some(EndpointConditions {
                ready: Some(self.ready),
                // Serving while it ends: connections that have nowhere else to go are still answered.
                serving: Some(self.ready || self.terminating),
                terminating: Some(self.terminating),
            }),
            node_name: self.node.clone(),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".to_owned()),
                namespace: Some(self.namespace.clone()),
                name: Some(self.pod.clone()),
                uid: Some(self.uid.clone()),
                ..ObjectReference::default()
            }),
            ..Endpoint::default()
        }
    }
}

/// Uid of the destination that an object belongs to, if it is one of ours.
pub fn owner(metadata: &ObjectMeta) -> Option<&str> {
    let labels = metadata.labels.as_ref()?;
    if labels.get(MANAGED_BY).map(String::as_str) != Some(MANAGER) {
        return None;
    }
    let owner = metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.controller == Some(true))?;
    (owner.kind == Destination::kind(&()) && owner.api_version == Destination::api_version(&()))
        .then_some(owner.uid.as_str())
}

/// Namespace of the installation that made an object.
pub fn installation(metadata: &ObjectMeta) -> Option<&str> {
    let labels = metadata.labels.as_ref()?;
    labels.get(INSTALLATION_LABEL).map(String::as_str)
}

/// What a Service of ours leads to: the port of the proxies, and what is spoken there.
pub fn target(service: &Service) -> Option<(u16, RouteProtocol)> {
    let port = service.spec.as_ref()?.ports.as_ref()?.first()?;
    let protocol = match port.name.as_deref()? {
        HTTP => RouteProtocol::Http,
        TCP => RouteProtocol::Tcp,
        _ => return None,
    };
    match port.target_port.as_ref()? {
        IntOrString::Int(number) => Some((u16::try_from(*number).ok()?, protocol)),
        IntOrString::String(_) => None,
    }
}

/// Where workloads call a Service: its cluster IPs with its port, sorted. Empty for a headless one, and before it has any.
pub fn frontends(service: &Service) -> Vec<SocketAddr> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let port = spec.ports.iter().flatten().next();
    let Some(port) = port.and_then(|port| u16::try_from(port.port).ok()) else {
        return Vec::new();
    };
    // The singular field is there for readers of before dual stack; it is the first of the others.
    let addresses = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut frontends: Vec<SocketAddr> = addresses
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address.to_canonical(), port))
        .collect();
    frontends.sort_unstable();
    frontends.dedup();
    frontends
}

/// Name of the destination that an EndpointSlice of ours belongs to.
pub fn destination_of_slice(name: &str) -> &str {
    [Family::V4, Family::V6]
        .into_iter()
        .find_map(|family| name.strip_suffix(family.suffix()))
        .unwrap_or(name)
}

/// A number that stands for everything of a Service that we decide; equal for the wanted and the real one when there
/// is nothing to write.
pub fn service_shape(service: &Service) -> u64 {
    let mut shape = DefaultHasher::new();
    metadata_shape(&service.metadata, &mut shape);
    if let Some(spec) = &service.spec {
        spec.type_.as_deref().hash(&mut shape);
        spec.selector
            .as_ref()
            .is_some_and(|labels| !labels.is_empty())
            .hash(&mut shape);
        for port in spec.ports.iter().flatten() {
            (port.port, port.name.as_deref(), port.app_protocol.as_deref()).hash(&mut shape);
            port.protocol.as_deref().unwrap_or("TCP").hash(&mut shape);
            match &port.target_port {
                Some(IntOrString::Int(number)) => number.hash(&mut shape),
                Some(IntOrString::String(name)) => name.hash(&mut shape),
                None => 0.hash(&mut shape),
            }
        }
    }
    shape.finish()
}

/// The same for an EndpointSlice.
pub fn slice_shape(slice: &EndpointSlice) -> u64 {
    let mut shape = DefaultHasher::new();
    metadata_shape(&slice.metadata, &mut shape);
    slice.address_type.hash(&mut shape);
    for port in slice.ports.iter().flatten() {
        (port.port, port.name.as_deref(), port.app_protocol.as_deref()).hash(&mut shape);
    }
    for endpoint in &slice.endpoints {
        endpoint.addresses.hash(&mut shape);
        endpoint.node_name.hash(&mut shape);
        let target = endpoint.target_ref.as_ref();
        target.and_then(|target| target.uid.as_deref()).hash(&mut shape);
        let conditions = endpoint.conditions.as_ref();
        conditions
            .map(|conditions| (conditions.ready, conditions.serving, conditions.terminating))
            .hash(&mut shape);
    }
    shape.finish()
}

fn metadata_shape(metadata: &ObjectMeta, shape: &mut DefaultHasher) {
    for key in OUR_LABELS {
        metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .hash(shape);
    }
    for owner in metadata.owner_references.iter().flatten() {
        (owner.uid.as_str(), owner.controller).hash(shape);
    }
}

#[cfg(test)]
mod tests;
