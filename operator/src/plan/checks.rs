//! What can be proxied, and what is refused with which reason.

use std::net::IpAddr;

use landbridge_crds::check::is_service_name;
use landbridge_crds::conditions::{gateway_reasons, reasons};
use landbridge_crds::destination::Destination;
use landbridge_destination::properties::keys;
use landbridge_destination::{
    Address, DestinationConfig, DestinationKind, ProxyType, RouteKey, RouteProtocol,
};
use url::{Host, Url};

use super::PlanOptions;

/// Names the tenants of a destination that is not HTTP, where the proxies are shared.
pub const TENANTS_ANNOTATION: &str = "transparent-proxy.connectivity.api.sap/tenant-subdomains";

/// The certificate stores that can be read, by the end of their names (seed L37000-37034).
const STORE_TYPES: [&str; 6] = ["p12", "pfx", "pem", "der", "cer", "crt"];

/// All properties that a decision reads.
const RELEVANT: [&str; 8] = [
    keys::TYPE,
    keys::LOCATION_ID,
    keys::LDAP_PROXY_TYPE,
    keys::PROXY_TYPE,
    keys::URL,
    keys::ADDRESS,
    keys::KEY_STORE_LOCATION,
    keys::TRUST_STORE_LOCATION,
];

/// The properties that a decision reads, which is what is worth keeping of each of up to 10 000 destinations: a whole
/// one may have 1 MiB.
pub(crate) fn relevant(config: &DestinationConfig) -> DestinationConfig {
    RELEVANT
        .iter()
        .filter_map(|key| Some((*key, config.get(key)?)))
        .collect()
}

/// Why a resource is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Reason of the condition `Available`.
    pub reason: &'static str,
    /// Reason of the condition `Accepted`.
    pub accepted_reason: &'static str,
    /// Cause and remedy.
    pub message: String,
}

impl Refusal {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            accepted_reason: gateway_reasons::INVALID,
            message: message.into(),
        }
    }
}

/// What the resource alone already rules out.
pub(super) fn resource(key: &RouteKey, resource: &Destination) -> Result<(), Refusal> {
    let spec = &resource.spec;
    if !is_service_name(&key.name) {
        return Err(Refusal::new(
            reasons::SERVICE_CREATION_FAILED,
            format!(
                "\"{}\" cannot be the name of a Service: rename the resource to at most 63 lower-case letters, digits \
                 and '-', beginning with a letter",
                key.name
            ),
        ));
    }
    if spec.is_gateway() && spec.fragment().is_some() {
        return Err(Refusal::new(
            reasons::FRAGMENT_SPECIFICATION_NOT_SUPPORTED,
            "a gateway (destinationRef.name \"*\") cannot have a fixed fragment: remove fragmentRef and name the \
             fragment in the request header X-Fragment-Name",
        ));
    }
    // Only version 2 of the store's find call, which is used for a destination of a level, knows fragments of a level;
    // version 1 would look for one whose name is "eu@instance".
    let fragment_level = spec
        .fragment()
        .is_some_and(|(fragment, _)| fragment.level.is_some());
    if fragment_level && spec.destination_ref.level.is_none() {
        return Err(Refusal::new(
            reasons::FRAGMENT_SPECIFICATION_NOT_SUPPORTED,
            "fragmentRef.level has an effect only together with the level of the destination: set destinationRef.level \
             too, or remove fragmentRef.level",
        ));
    }
    if spec.actions.as_ref().is_some_and(|actions| !actions.is_empty()) {
        return Err(Refusal {
            reason: reasons::CONFIGURATION_FAILED,
            accepted_reason: gateway_reasons::ACTIONS_NOT_SUPPORTED,
            message: "this version does not run spec.actions, and without them the target would be called with other \
                      credentials than declared: remove actions, or use an authentication type of the destination"
                .to_owned(),
        });
    }
    tenants(resource)
}

fn tenants(resource: &Destination) -> Result<(), Refusal> {
    let annotation = resource
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(TENANTS_ANNOTATION));
    match annotation.map(|text| serde_json::from_str::<Vec<String>>(text)) {
        None => Ok(()),
        Some(Err(error)) => Err(Refusal::new(
            reasons::MULTITENANCY_ANNOTATION_INVALID,
            format!(
                "the annotation {TENANTS_ANNOTATION} must be a JSON list of strings, as in [\"a\",\"b\"]: {error}"
            ),
        )),
        Some(Ok(_)) => Err(Refusal::new(
            reasons::PROXY_TENANT_MODE_MISMATCH,
            format!("the proxies serve one tenant: remove the annotation {TENANTS_ANNOTATION}"),
        )),
    }
}

/// What the destination in the store allows: the protocol to serve.
pub(super) fn destination(
    config: &DestinationConfig,
    with_fragment: bool,
    options: PlanOptions,
) -> Result<RouteProtocol, Refusal> {
    let protocol = match config.kind() {
        Some(DestinationKind::Http) => RouteProtocol::Http,
        Some(DestinationKind::Tcp) => RouteProtocol::Tcp,
        other => {
            let is = other.map_or_else(|| shown(config, "Type"), |kind| kind.to_string());
            return Err(Refusal::new(
                reasons::TYPE_NOT_SUPPORTED,
                format!("Type of the destination is {is}: set it to HTTP or TCP"),
            ));
        }
    };
    let internet = match config.proxy_type() {
        ProxyType::Internet => true,
        ProxyType::OnPremise => false,
        other => {
            let (reason, whose) = if with_fragment {
                (
                    reasons::PROXY_TYPE_WITH_FRAGMENT_NOT_SUPPORTED,
                    "the destination with its fragment",
                )
            } else {
                (reasons::PROXY_TYPE_NOT_SUPPORTED, "the destination")
            };
            return Err(Refusal::new(
                reason,
                format!("ProxyType of {whose} is {other}: set it to Internet or OnPremise"),
            ));
        }
    };
    let loopback = match protocol {
        RouteProtocol::Http => http(config)?,
        RouteProtocol::Tcp => is_loopback(&tcp(config)?.host),
    };
    // The host of an on-premise destination is a virtual name, which the connector translates.
    if internet && loopback && !options.allow_loopback {
        return Err(Refusal::new(
            reasons::LOOPBACK_URL_NOT_SUPPORTED,
            "the destination points to the proxy's own machine: use the name of the target, or allow loopback targets \
             if this is a test",
        ));
    }
    Ok(protocol)
}

/// Whether the host is a loopback one.
fn http(config: &DestinationConfig) -> Result<bool, Refusal> {
    let refused = |why: String| {
        Refusal::new(
            reasons::URL_NOT_SUPPORTED,
            format!(
                "URL of the destination {why}: set it to http://host or https://host, with port and path as needed"
            ),
        )
    };
    let text = config.url().ok_or_else(|| refused("is empty".to_owned()))?;
    // The URL itself is not repeated where it could not be read: it may hold a password.
    let url = Url::parse(text).map_err(|error| refused(format!("cannot be read ({error})")))?;
    let secure = match url.scheme() {
        "https" => true,
        "http" => false,
        other => {
            return Err(refused(format!(
                "begins with {}://",
                other.chars().take(32).collect::<String>()
            )));
        }
    };
    stores(config, secure)?;
    match url.host() {
        None => Err(refused("names no host".to_owned())),
        Some(Host::Domain(name)) => Ok(is_loopback(name)),
        Some(Host::Ipv4(address)) => Ok(is_own(IpAddr::V4(address))),
        Some(Host::Ipv6(address)) => Ok(is_own(IpAddr::V6(address))),
    }
}

fn stores(config: &DestinationConfig, secure: bool) -> Result<(), Refusal> {
    let stores = [
        ("KeyStoreLocation", config.key_store(), reasons::KEY_STORE_INVALID),
        (
            "TrustStoreLocation",
            config.trust_store(),
            reasons::TRUST_STORE_INVALID,
        ),
    ];
    for (property, location, reason) in stores {
        let Some(location) = location else { continue };
        if !secure {
            return Err(Refusal::new(
                reasons::HTTP_URL_WITH_STORES_NOT_SUPPORTED,
                format!(
                    "URL is http://, where certificates have no use: make it https://, or remove {property}"
                ),
            ));
        }
        let extension = location
            .rsplit_once('.')
            .map(|(_, extension)| extension.to_ascii_lowercase());
        if !extension.is_some_and(|extension| STORE_TYPES.contains(&extension.as_str())) {
            return Err(Refusal::new(
                reason,
                format!(
                    "{property} is {}: use a certificate store of the type {}",
                    shown(config, property),
                    STORE_TYPES.join(", ")
                ),
            ));
        }
    }
    Ok(())
}

fn tcp(config: &DestinationConfig) -> Result<Address, Refusal> {
    config.address().map_err(|error| {
        // The seed knows the address of a TCP destination both as Address (L35186) and as URL (L36986).
        match (config.text("Address"), config.text("URL")) {
            (None, Some(_)) => Refusal::new(
                reasons::URL_NOT_SUPPORTED,
                format!("URL of a TCP destination must be tcp://host:port, or remove it and set Address: it {error}"),
            ),
            _ => Refusal::new(reasons::TCP_ADDRESS_NOT_SUPPORTED, format!("Address of the destination {error}")),
        }
    })
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    // Names below localhost are reserved for loopback (RFC 6761 section 6.3).
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(is_own)
}

/// Loopback, also in the form ::ffff:127.0.0.1, and 0.0.0.0, which connects to it.
fn is_own(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

fn shown(config: &DestinationConfig, property: &str) -> String {
    config.text(property).map_or_else(
        || "not set".to_owned(),
        |value| format!("\"{}\"", value.chars().take(100).collect::<String>()),
    )
}
