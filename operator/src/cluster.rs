//! In a cluster: watches of the API server in, Services, EndpointSlices, NetworkPolicies, statuses and Events out, and
//! routes for the proxies over the serve API.
//!
//! In the order the data flows: [`watch`] sees, [`stores`] asks, [`model`] decides (with [`ports`], [`children`],
//! [`policy`]), [`queue`] orders, [`apply`] writes; [`controller`] is the loop around them, [`lease`] says which replica
//! may write, [`health`] shows how things stand.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use landbridge_runtime::http_client::HttpClient;
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::Readiness;
use tokio::net::TcpListener;

use crate::channels::ChannelOptions;
use crate::injection::report::UnprovenPods;
use crate::plan::PlanOptions;
use crate::workloads::ProxyAccount;

pub mod apply;
pub mod children;
pub mod client;
pub mod controller;
pub mod events;
pub mod health;
pub mod injection;
pub mod lease;
pub mod metrics;
#[cfg(test)]
pub(crate) mod mock;
pub mod model;
pub mod observed;
pub mod policies;
pub mod policy;
pub mod ports;
pub mod proxies;
pub mod queue;
mod start;
pub mod stores;
pub mod watch;
pub mod webhook;

use injection::InjectionConfig;
use stores::Instance;
use webhook::WebhookConfig;

/// Label that chooses namespaces, with the install namespace as its value (seed L35291).
pub const NAMESPACE_LABEL: &str = "transparent-proxy.connectivity.api.sap/namespace";

/// Which namespaces are looked after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespaces {
    /// All.
    All,
    /// Those with [`NAMESPACE_LABEL`].
    Labelled,
    /// This one, with rights in it and in the install namespace alone.
    Only(String),
}

impl fmt::Display for Namespaces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all namespaces"),
            Self::Labelled => write!(formatter, "namespaces with the label {NAMESPACE_LABEL}"),
            Self::Only(namespace) => write!(formatter, "the namespace {namespace}"),
        }
    }
}

/// Settings of the operator.
#[derive(Debug, Clone)]
pub struct Config {
    /// Namespace it is installed in; the proxies run there too.
    pub namespace: String,
    /// Name of this replica: the pod's.
    pub identity: String,
    /// Where proxies reach this replica, told to them when it leads.
    pub advertise: Option<SocketAddr>,
    /// Name of the Service in front of the replicas; in the certificate.
    pub service: String,
    /// More names or addresses that its servers are called by; in the certificate too.
    pub extra_names: Vec<String>,
    /// Folder with the certificate of its servers, made by somebody else; none makes them itself.
    pub serve_certificate: Option<PathBuf>,
    /// Which namespaces.
    pub namespaces: Namespaces,
    /// Destination service instances.
    pub instances: Vec<Instance>,
    /// The one of resources that name none.
    pub default_instance: String,
    /// Service accounts of proxies.
    pub proxies: Vec<ProxyAccount>,
    /// Service accounts of proxies that intercept on nodes.
    pub nodes: Vec<ProxyAccount>,
    /// Labels of the proxies' pods, for NetworkPolicies; none writes no policies.
    pub proxy_labels: Option<BTreeMap<String, String>>,
    /// Ports of the proxies.
    pub ports: RangeInclusive<u16>,
    /// How often a store is asked whether something has changed (published as `executionIntervalMinutes`).
    pub interval: Duration,
    /// Most look-ups at the same time.
    pub lookup_concurrency: usize,
    /// What holds for all destinations.
    pub options: PlanOptions,
    /// What holds for all service channels.
    pub channels: ChannelOptions,
    /// The sidecar that pods get; none puts nothing in.
    pub injection: Option<InjectionConfig>,
    /// What is done about pods whose redirection failed.
    pub unproven_pods: UnprovenPods,
}

/// What it runs on.
pub struct Environment {
    /// Client of the API server.
    pub client: Client,
    /// For stores.
    pub http: HttpClient,
    /// What the process waits for.
    pub readiness: Readiness,
    /// Figures.
    pub metrics: Metrics,
}

/// Where it is reached.
pub struct Listeners {
    /// Where proxies connect.
    pub serve: TcpListener,
    /// Where the API server calls the admission webhook.
    pub webhook: Option<(TcpListener, WebhookConfig)>,
}

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TLS library refuses our settings.
    #[error("the serve API cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

pub use start::{Operator, start};
