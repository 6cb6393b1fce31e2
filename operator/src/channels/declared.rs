//! What both kinds of resources say, in one form.

use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::error_boundary::InvalidObject;
use landbridge_crds::check::{Declared as _, Mistake};
use landbridge_crds::service_channel::{ChannelStatus, ChannelType, ConnectorSpec, ServiceChannel};
use landbridge_crds::service_mapping::{MappingType, ServiceMapping};
use landbridge_destination::channel::{ChannelKey, ChannelKind, ConnectorSide};

/// Keeps a deleted resource until no connector holds its channel any more.
pub const FINALIZER: &str = "connectivity.landbridge.dev/channel";

/// With the value `true`: a deleted resource goes at once, whoever holds its channel.
pub const SKIP_CLEANUP: &str = "connectivity.landbridge.dev/skip-cleanup";

/// A `ServiceChannel` or a `ServiceMapping`.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// Identity; without a namespace it is a `ServiceMapping`.
    pub key: ChannelKey,
    /// Uid.
    pub uid: String,
    /// Generation.
    pub generation: Option<i64>,
    /// When it was created; the older of two claims wins.
    pub created: Timestamp,
    /// When its deletion was asked for.
    pub deleted: Option<Timestamp>,
    /// All of its finalizers.
    pub finalizers: Vec<String>,
    /// Whether it may go without anybody having let go of it.
    pub skip_cleanup: bool,
    /// The status it has.
    pub observed: ChannelStatus,
    /// What it wants, or why that cannot be told.
    pub wanted: Result<Wanted, Unusable>,
}

/// What a resource wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// What runs through it.
    pub kind: ChannelKind,
    /// Virtual host.
    pub service_id: String,
    /// Subaccount, where it names one.
    pub subaccount: Option<String>,
    /// Tenant, where it names one.
    pub tenant: Option<String>,
    /// Locations, each once, at least one.
    pub locations: Vec<String>,
    /// Where it leads.
    pub target: Target,
    /// The connector's end.
    pub connector: Option<ConnectorSide>,
}

/// Where a channel leads.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// A Service of the same namespace.
    Service {
        /// Its name.
        name: String,
        /// Number or name of its port.
        port: IntOrString,
    },
    /// Host and port.
    Address(String),
}

/// Why a resource says nothing that can be worked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// It breaks the rules; it was stored before they were in force.
    Rules(String),
    /// It is of a form that this version cannot read.
    Unreadable(String),
}

impl Declared {
    /// Reads a `ServiceChannel`.
    pub fn channel(resource: &ServiceChannel) -> Self {
        let wanted = usable(&resource.spec, ServiceChannel::rules).and_then(|()| {
            let spec = &resource.spec;
            Ok(Wanted {
                kind: match spec.type_ {
                    ChannelType::Tcp => ChannelKind::Tcp,
                    ChannelType::Rfc => ChannelKind::Rfc,
                    ChannelType::Hana => ChannelKind::Hana,
                    ChannelType::K8s => ChannelKind::K8s,
                },
                service_id: spec.service_id.clone(),
                subaccount: filled(spec.subaccount_id.as_ref()),
                tenant: filled(spec.tenant_id.as_ref()),
                locations: locations(spec.location_ids.as_deref()),
                target: match (&spec.service_ref, &spec.internal_address) {
                    (Some(service), None) => Target::Service {
                        name: service.name.clone(),
                        port: service.port.clone(),
                    },
                    (None, Some(address)) => Target::Address(address.clone()),
                    _ => {
                        return Err(Unusable::Rules(
                            "a channel leads to one place: set either serviceRef or internalAddress"
                                .to_owned(),
                        ));
                    }
                },
                connector: spec.connector.as_ref().and_then(connector_side),
            })
        });
        Self::new(
            true,
            &resource.metadata,
            resource.status.clone().unwrap_or_default(),
            wanted,
        )
    }

    /// Reads a `ServiceMapping`.
    pub fn mapping(resource: &ServiceMapping) -> Self {
        let spec = &resource.spec;
        let wanted = usable(spec, ServiceMapping::rules).map(|()| Wanted {
            kind: match spec.type_ {
                MappingType::Rfc => ChannelKind::Rfc,
                MappingType::Tcp => ChannelKind::Tcp,
            },
            service_id: spec.service_id.clone(),
            subaccount: filled(spec.subaccount_id.as_ref()),
            tenant: filled(spec.tenant_id.as_ref()),
            locations: locations(spec.location_ids.as_deref()),
            target: Target::Address(spec.internal_address.clone()),
            connector: None,
        });
        Self::new(
            false,
            &resource.metadata,
            resource.status.clone().unwrap_or_default(),
            wanted,
        )
    }

    /// An object that could not be read.
    pub fn unreadable(namespaced: bool, object: &InvalidObject) -> Self {
        Self::new(
            namespaced,
            &object.metadata,
            ChannelStatus::default(),
            Err(Unusable::Unreadable(object.error.clone())),
        )
    }

    fn new(
        namespaced: bool,
        metadata: &ObjectMeta,
        observed: ChannelStatus,
        wanted: Result<Wanted, Unusable>,
    ) -> Self {
        Self {
            key: ChannelKey {
                namespace: namespaced.then(|| metadata.namespace.clone().unwrap_or_default()),
                name: metadata.name.clone().unwrap_or_default(),
            },
            uid: metadata.uid.clone().unwrap_or_default(),
            generation: metadata.generation,
            created: metadata
                .creation_timestamp
                .as_ref()
                .map_or(Timestamp::MAX, |time| time.0),
            deleted: metadata.deletion_timestamp.as_ref().map(|time| time.0),
            finalizers: metadata.finalizers.clone().unwrap_or_default(),
            skip_cleanup: metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(SKIP_CLEANUP))
                .is_some_and(|value| value == "true"),
            observed,
            wanted,
        }
    }

    /// Whether our finalizer is on it.
    pub fn has_finalizer(&self) -> bool {
        self.finalizers.iter().any(|one| one == FINALIZER)
    }
}

/// The rules once more: a resource may have been stored before they were in force.
fn usable<S: serde::Serialize>(
    spec: &S,
    rules: fn(&serde_json::Value) -> Vec<Mistake>,
) -> Result<(), Unusable> {
    let value = serde_json::to_value(spec).map_err(|error| Unusable::Unreadable(error.to_string()))?;
    let mistakes: Vec<_> = rules(&value).iter().map(ToString::to_string).collect();
    if mistakes.is_empty() {
        Ok(())
    } else {
        Err(Unusable::Rules(mistakes.join("; ")))
    }
}

fn filled(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

/// Without a list it is the default location alone (seed L32694-32697).
fn locations(declared: Option<&[String]>) -> Vec<String> {
    let mut seen = HashSet::new();
    let given = declared.unwrap_or_default().iter();
    let mut found: Vec<_> = given.filter(|id| seen.insert(id.as_str())).cloned().collect();
    if found.is_empty() {
        found.push(String::new());
    }
    found
}

/// The schema bounds all three; what is beyond it is left to the connector.
fn connector_side(spec: &ConnectorSpec) -> Option<ConnectorSide> {
    Some(ConnectorSide {
        local_port: u16::try_from(spec.local_port).ok()?,
        connections: u16::try_from(spec.connections).ok()?,
        enabled: spec.enabled,
    })
}
