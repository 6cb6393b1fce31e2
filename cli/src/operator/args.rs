//! Options of `operator`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::inject::InjectArgs;
use crate::args::{ServerArgs, StoreCallArgs};

/// Options of `operator`.
#[derive(Debug, Args)]
pub(crate) struct OperatorArgs {
    /// Namespace that Landbridge is installed in.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub namespace: String,
    /// Name of this replica; the pod's.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: Option<String>,
    /// Address at which proxies reach this replica; the pod's.
    #[arg(long, env = "POD_IP", value_name = "IP")]
    pub advertise: Option<IpAddr>,
    /// Kubeconfig to use instead of the pod's service account.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// A destination service instance: its name, and where its service key is: a file, or
    /// secret:NAMESPACE/NAME[/KEY]. May be given several times.
    #[arg(
        long,
        env = "LANDBRIDGE_DESTINATION_SERVICES",
        value_delimiter = ',',
        value_name = "NAME=SOURCE"
    )]
    pub destination_service: Vec<String>,
    /// The instance of resources that name none; the only or first one unless told.
    #[arg(long, env = "LANDBRIDGE_DEFAULT_INSTANCE", value_name = "NAME")]
    pub default_instance: Option<String>,
    /// Which namespaces are looked after: all, or those with the label
    /// transparent-proxy.connectivity.api.sap/namespace with the install namespace as its value.
    #[arg(long, env = "LANDBRIDGE_MANAGED_NAMESPACES", value_enum, default_value_t = ManagedNamespaces::All)]
    pub managed_namespaces: ManagedNamespaces,
    /// Look after this namespace only, with rights in it and in the install namespace alone.
    #[arg(
        long,
        env = "LANDBRIDGE_WATCH_NAMESPACE",
        value_name = "NAME",
        conflicts_with = "managed_namespaces"
    )]
    pub watch_namespace: Option<String>,
    /// Service accounts of the proxies, NAMESPACE/NAME; landbridge-proxy of the install namespace unless told.
    #[arg(
        long,
        env = "LANDBRIDGE_PROXY_ACCOUNTS",
        value_delimiter = ',',
        value_name = "NAMESPACE/NAME"
    )]
    pub proxy_account: Vec<String>,
    /// Service accounts of the proxies that intercept on nodes (`proxy --mode node`), NAMESPACE/NAME. They are told
    /// everything, as the others are, but never receive calls by a Service.
    #[arg(
        long,
        env = "LANDBRIDGE_NODE_ACCOUNTS",
        value_delimiter = ',',
        value_name = "NAMESPACE/NAME"
    )]
    pub node_account: Vec<String>,
    /// Labels of the proxies' pods, for NetworkPolicies.
    #[arg(
        long,
        env = "LANDBRIDGE_PROXY_LABELS",
        value_delimiter = ',',
        default_value = "app.kubernetes.io/name=landbridge,app.kubernetes.io/component=proxy",
        value_name = "KEY=VALUE"
    )]
    pub proxy_labels: Vec<String>,
    /// Write no NetworkPolicies; the proxies enforce the scope all the same.
    #[arg(long, env = "LANDBRIDGE_NO_NETWORK_POLICIES")]
    pub no_network_policies: bool,
    /// Ports of the proxies, one for each destination.
    #[arg(
        long,
        env = "LANDBRIDGE_PORT_RANGE",
        default_value = "10000-29999",
        value_name = "FIRST-LAST"
    )]
    pub port_range: String,
    /// Minutes after which a store without a change feed is asked whether something has changed.
    #[arg(long, env = "LANDBRIDGE_EXECUTION_INTERVAL_MINUTES", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1440))]
    pub execution_interval_minutes: u64,
    /// Most questions to a store at the same time.
    #[arg(long, env = "LANDBRIDGE_LOOKUP_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub lookup_concurrency: u16,
    /// Who may call a destination whose resource does not say.
    #[arg(long, env = "LANDBRIDGE_DEFAULT_SCOPE", value_enum, default_value_t = DefaultScope::Namespaced)]
    pub default_scope: DefaultScope,
    /// Let destinations and service channels lead to loopback addresses, which are the proxies' own. For tests.
    #[arg(long, env = "LANDBRIDGE_ALLOW_LOCAL_TARGETS")]
    pub allow_local_targets: bool,
    /// Where proxies connect.
    #[arg(
        long,
        env = "LANDBRIDGE_SERVE_LISTEN",
        default_value = "0.0.0.0:8443",
        value_name = "ADDR:PORT"
    )]
    pub serve_listen: SocketAddr,
    /// Name of the Service in front of the operator.
    #[arg(
        long,
        env = "LANDBRIDGE_OPERATOR_SERVICE",
        default_value = "landbridge-operator",
        value_name = "NAME"
    )]
    pub service: String,
    /// Folder with a certificate that somebody else makes, such as cert-manager: tls.crt, tls.key, ca.crt, read again
    /// when they change. Its dnsNames: landbridge-operator, and SERVICE.NAMESPACE.svc of the operator's Service.
    /// Without, the operator makes certificates itself.
    #[arg(long, env = "LANDBRIDGE_SERVE_CERTIFICATE_DIR", value_name = "DIR")]
    pub serve_certificate_dir: Option<PathBuf>,
    /// Where the API server calls the admission webhook, or "off".
    #[arg(
        long,
        env = "LANDBRIDGE_WEBHOOK_LISTEN",
        default_value = "0.0.0.0:9443",
        value_name = "ADDR:PORT|off"
    )]
    pub webhook_listen: String,
    /// Register the webhook under this address instead of the Service, for an operator outside of the cluster.
    #[arg(long, env = "LANDBRIDGE_WEBHOOK_URL", value_name = "URL")]
    pub webhook_url: Option<String>,
    /// Refuse resources while the admission webhook does not answer.
    #[arg(long, env = "LANDBRIDGE_WEBHOOK_FAIL_CLOSED")]
    pub webhook_fail_closed: bool,
    /// The sidecar that pods get.
    #[command(flatten)]
    pub inject: InjectArgs,
    /// Where health, status and metrics are served, in plain HTTP.
    #[arg(
        long,
        env = "LANDBRIDGE_ADMIN_LISTEN",
        default_value = "0.0.0.0:9494",
        value_name = "ADDR:PORT"
    )]
    pub admin_listen: SocketAddr,
    /// How long stores are waited for.
    #[command(flatten)]
    pub store_calls: StoreCallArgs,
    /// What every command that serves has.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Which namespaces are looked after; the published values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
pub(crate) enum ManagedNamespaces {
    /// All.
    All,
    /// Those with the label.
    LabelSelector,
}

/// Scope of a resource that names none; the published values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
pub(crate) enum DefaultScope {
    /// Workloads of the resource's own namespace.
    Namespaced,
    /// Every workload.
    ClusterWide,
}
