//! Where a channel may lead, and which address that is.

use std::collections::HashMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use landbridge_crds::conditions::{channel_reasons, gateway_reasons};

use super::ChannelOptions;
use super::declared::{Declared, Target};
use crate::conditions::Holds;

/// Ports that a message names; a Service may have hundreds.
const SHOWN_PORTS: usize = 10;

/// What is kept of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFacts {
    kind: ServiceKind,
    ports: Vec<PortFacts>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServiceKind {
    /// It has an address of its own.
    Cluster,
    /// Its name stands for its pods.
    Headless,
    /// Its name stands for another name.
    External,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PortFacts {
    name: Option<String>,
    number: i32,
    target: Option<IntOrString>,
    tcp: bool,
}

impl ServiceFacts {
    /// Takes over what counts.
    pub fn of(service: &Service) -> Self {
        let spec = service.spec.as_ref();
        let external = spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
        let headless = spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None");
        let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
        Self {
            kind: match (external, headless) {
                (true, _) => ServiceKind::External,
                (false, true) => ServiceKind::Headless,
                (false, false) => ServiceKind::Cluster,
            },
            ports: ports
                .iter()
                .map(|port| PortFacts {
                    name: port.name.clone(),
                    number: port.port,
                    target: port.target_port.clone(),
                    tcp: port.protocol.as_deref().unwrap_or("TCP") == "TCP",
                })
                .collect(),
        }
    }

    /// The port to dial.
    fn port(&self, service: &str, wanted: &IntOrString) -> Result<i32, Refused> {
        if self.kind == ServiceKind::External {
            return Err(Refused::new(
                channel_reasons::SERVICE_NOT_SUPPORTED,
                format!(
                    "the Service {service} is an ExternalName, which may lead anywhere: name a Service with pods, or \
                     let a cluster administrator declare a ServiceMapping with the host itself"
                ),
            ));
        }
        let (text, found) = match wanted {
            IntOrString::Int(number) => (
                number.to_string(),
                self.ports.iter().find(|port| port.tcp && port.number == *number),
            ),
            IntOrString::String(name) => (
                format!("\"{name}\""),
                self.ports
                    .iter()
                    .find(|port| port.tcp && port.name.as_ref() == Some(name)),
            ),
        };
        let Some(found) = found else {
            let number = matches!(wanted, IntOrString::String(name) if name.parse::<u16>().is_ok());
            let hint = if number {
                ", a number is written without quotes"
            } else {
                ""
            };
            return Err(Refused::new(
                gateway_reasons::REF_NOT_FOUND,
                format!(
                    "the Service {service} has no TCP port {text}: it has {}{hint}",
                    self.shown()
                ),
            ));
        };
        match (self.kind, &found.target) {
            // Its name stands for the addresses of its pods, where nothing translates the port.
            (ServiceKind::Headless, Some(IntOrString::Int(target))) => Ok(*target),
            (ServiceKind::Headless, Some(IntOrString::String(target))) => Err(Refused::new(
                channel_reasons::SERVICE_NOT_SUPPORTED,
                format!(
                    "the Service {service} is headless and its port {text} has the targetPort \"{target}\", which can \
                     differ from pod to pod: make targetPort a number, or give the Service a cluster IP"
                ),
            )),
            _ => Ok(found.number),
        }
    }

    fn shown(&self) -> String {
        let ports: Vec<_> = self
            .ports
            .iter()
            .filter(|port| port.tcp)
            .take(SHOWN_PORTS)
            .map(|port| match &port.name {
                Some(name) => format!("{} ({name})", port.number),
                None => port.number.to_string(),
            })
            .collect();
        if ports.is_empty() {
            "none".to_owned()
        } else {
            ports.join(", ")
        }
    }
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The Services there are.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// By namespace and name.
    pub(super) known: HashMap<ServiceKey, ServiceFacts>,
    /// Whether they are complete.
    pub(super) listed: bool,
}

/// A reason and a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Refused {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// Whether a resource may lead where it wants to. Depends on nothing but the resource.
pub(super) fn allowed(resource: &Declared, target: &Target, options: &ChannelOptions) -> Result<(), Refused> {
    let Target::Address(address) = target else {
        return Ok(());
    };
    let refused = |message: String| Err(Refused::new(channel_reasons::ADDRESS_NOT_ALLOWED, message));
    let host = host(address);
    if is_own(host) && !options.allow_loopback {
        return refused(format!(
            "{host} is the proxy's own machine or a link-local address: use the name of the service"
        ));
    }
    let Some(namespace) = resource.key.namespace.as_deref() else {
        return Ok(());
    };
    if options.any_address
        || (options.allow_loopback && is_own(host))
        || own_service(address, namespace).is_some()
    {
        return Ok(());
    }
    refused(format!(
        "a channel of the namespace {namespace} may lead to a Service of it alone: use serviceRef or NAME.{namespace}.svc, \
         declare the channel in the namespace of the service, or let a cluster administrator declare a ServiceMapping \
         or allow other addresses"
    ))
}

/// The Service whose state decides about the resource, if there is one.
pub(super) fn service_of(resource: &Declared, options: &ChannelOptions) -> Option<(ServiceKey, IntOrString)> {
    let namespace = resource.key.namespace.as_deref()?;
    let (name, port) = match &resource.wanted.as_ref().ok()?.target {
        Target::Service { name, port } => (name.clone(), port.clone()),
        // By its name, a Service could lead on to another namespace: it is looked at as if it were referred to.
        Target::Address(address) if !options.any_address => own_service(address, namespace)?,
        Target::Address(_) => return None,
    };
    let key = ServiceKey {
        namespace: namespace.to_owned(),
        name,
    };
    Some((key, port))
}

/// The address that a resource leads to, or why there is none.
pub(super) fn resolve(
    resource: &Declared,
    target: &Target,
    services: &Services,
    options: &ChannelOptions,
) -> Result<String, Holds> {
    let Some((key, port)) = service_of(resource, options) else {
        return match target {
            Target::Address(address) => Ok(address.clone()),
            // Only a ServiceMapping has no namespace, and it has no serviceRef.
            Target::Service { name, .. } => Err(Holds::no(
                gateway_reasons::REF_NOT_FOUND,
                &format!("the Service {name} has no namespace: use internalAddress"),
            )),
        };
    };
    let ServiceKey { namespace, name } = &key;
    match services.known.get(&key) {
        Some(facts) => facts
            .port(name, &port)
            // Through the search domains of the proxy's pod, whatever the cluster is called.
            .map(|port| format!("{name}.{namespace}.svc:{port}"))
            .map_err(|refused| Holds::no(refused.reason, &refused.message)),
        None if services.listed => Err(Holds::no(
            gateway_reasons::REF_NOT_FOUND,
            &format!("the namespace {namespace} has no Service {name}: create it, or correct the name"),
        )),
        None => Err(Holds::unknown(
            gateway_reasons::PENDING,
            "the Services are being listed",
        )),
    }
}

/// The Service that an address names, if it is one of `namespace`. Without `.svc` the name could be one of the
/// Internet: `web.shop` is, when no Service of that name exists.
fn own_service(address: &str, namespace: &str) -> Option<(String, IntOrString)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let mut labels = host.split('.');
    let (name, second, third) = (labels.next()?, labels.next()?, labels.next()?);
    // What follows is the domain of the cluster, which has its own rules of delegation: only its absence is sure.
    let rest: Vec<_> = labels.collect();
    let local = rest.is_empty() || rest == ["cluster", "local"];
    (second == namespace && third == "svc" && local)
        .then(|| {
            port.parse()
                .ok()
                .map(|port| (name.to_owned(), IntOrString::Int(port)))
        })
        .flatten()
}

fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Loopback, 0.0.0.0 (which connects to it), and the link-local range with the metadata of cloud machines.
fn is_own(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    // The forms 0x7f.1 and 127.1 are read by resolvers as well.
    let address = match url::Host::parse(&name) {
        Ok(url::Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        _ => host.parse::<IpAddr>().ok().map(|address| address.to_canonical()),
    };
    address.is_some_and(|address| {
        let link_local = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        address.is_loopback() || address.is_unspecified() || link_local
    })
}
