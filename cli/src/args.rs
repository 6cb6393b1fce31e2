//! The command line. Every option can also be set by the environment variable shown in its help.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use landbridge_runtime::http_client::Deadlines;

use crate::check::CheckArgs;
use crate::explain::ExplainArgs;
use crate::log_level::LogLevelArgs;
use crate::operator::args::OperatorArgs;
use crate::proxy::args::ProxyArgs;
use crate::redirect::args::{RedirectCommand, ValidateArgs};
use crate::store::args::StoreArgs;

/// Plain HTTP and TCP from your workloads to the Internet and into company networks, with the right credentials.
#[derive(Debug, Parser)]
#[command(name = "landbridge", version, max_term_width = 110)]
pub(crate) struct Cli {
    /// Log lines: text or json.
    #[arg(
        long,
        global = true,
        default_value = "text",
        env = "LANDBRIDGE_LOG_FORMAT",
        value_name = "FORMAT"
    )]
    pub log_format: String,
    /// What is logged: a level, or target=level pairs ("info,access=off").
    #[arg(
        long,
        global = true,
        default_value = "info",
        env = "LANDBRIDGE_LOG",
        value_name = "FILTER"
    )]
    pub log: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the main job: everything in one process tree, nothing to install, no cluster.
    Demo(DemoArgs),
    /// Serve the Destination manifests of a folder, without a cluster.
    Standalone(Box<StandaloneArgs>),
    /// The on-premise agent: reaches out from a company network.
    #[command(subcommand)]
    Connector(ConnectorCommand),
    /// The way into company networks, from this side: enrolment tokens for connectors.
    #[command(subcommand)]
    Tunnel(TunnelCommand),
    /// The destination store: serve it, make service keys, manage destinations.
    Store(Box<StoreArgs>),
    /// The control plane in a cluster: Destinations and service channels in, Services and routes of the proxies out.
    Operator(Box<OperatorArgs>),
    /// Say whether a cluster is fit for an installation (--pre), whether it works, whether it can go (--uninstall).
    Check(Box<CheckArgs>),
    /// Say what a Destination comes to, of a file or of the cluster: what it resolves to, which proxies serve it, why not.
    Explain(Box<ExplainArgs>),
    /// The data plane in a cluster: serves what the operator says.
    Proxy(Box<ProxyArgs>),
    /// The rules that lead connections to the proxy beside the workload: plan, write, remove, show them.
    #[command(subcommand)]
    Redirect(RedirectCommand),
    /// Prove that connections are redirected in this network namespace; exit code 95 if they are not.
    ValidateRedirect(ValidateArgs),
    /// Change what a running process logs, without a restart.
    LogLevel(LogLevelArgs),
    /// Succeed if a process has written its ready file, for probes.
    Ready {
        /// What the process was told with --ready-file.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Print the custom resource definitions as YAML.
    Crds,
}

/// Options of `demo`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Make the calls, then stop; the exit code says whether all went as they must.
    #[arg(long)]
    pub check: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Options of `standalone`.
#[derive(Debug, Args)]
pub(crate) struct StandaloneArgs {
    /// Folder with Destination manifests, the same that kubectl takes; watched for changes.
    #[arg(long, env = "LANDBRIDGE_MANIFESTS", value_name = "DIR")]
    pub manifests: PathBuf,
    /// Where destinations are kept: "embedded", or the address of a destination service (with --binding).
    #[arg(
        long,
        env = "LANDBRIDGE_STORE",
        default_value = "embedded",
        value_name = "URL|embedded"
    )]
    pub store: String,
    /// Service key of the destination service, JSON.
    #[arg(long, env = "LANDBRIDGE_BINDING", value_name = "FILE")]
    pub binding: Option<PathBuf>,
    /// Where the embedded store listens.
    #[arg(
        long,
        env = "LANDBRIDGE_STORE_LISTEN",
        default_value = "127.0.0.1:20080",
        value_name = "ADDRESS"
    )]
    pub store_listen: SocketAddr,
    /// Folder for everything that must survive a restart.
    #[arg(
        long,
        env = "LANDBRIDGE_DATA_DIR",
        default_value = "./landbridge-data",
        value_name = "DIR"
    )]
    pub data_dir: PathBuf,
    /// Address the destinations' ports are opened on.
    #[arg(long, env = "LANDBRIDGE_BIND", default_value = "127.0.0.1", value_name = "IP")]
    pub bind: IpAddr,
    /// Ports for destinations without spec.service.port; 0 takes any free ones.
    #[arg(
        long,
        env = "LANDBRIDGE_PORTS",
        default_value = "20100-20999",
        value_name = "FIRST-LAST"
    )]
    pub ports: String,
    /// Where /healthz, /readyz, /metrics, /destinations and /tunnels are served.
    #[arg(
        long,
        env = "LANDBRIDGE_ADMIN_LISTEN",
        default_value = "127.0.0.1:9494",
        value_name = "ADDRESS"
    )]
    pub admin_listen: SocketAddr,
    /// Where connectors connect; "off" for none.
    #[arg(
        long,
        env = "LANDBRIDGE_TUNNEL_LISTEN",
        default_value = "127.0.0.1:8042",
        value_name = "ADDRESS|off"
    )]
    pub tunnel_listen: String,
    /// Host names or addresses under which connectors reach this acceptor.
    #[arg(
        long,
        env = "LANDBRIDGE_TUNNEL_NAMES",
        default_value = "localhost,127.0.0.1",
        value_delimiter = ',',
        value_name = "NAMES"
    )]
    pub tunnel_names: Vec<String>,
    /// Let destinations and token services be on this machine or its link (loopback, link-local).
    #[arg(long, env = "LANDBRIDGE_ALLOW_LOCAL_TARGETS")]
    pub allow_local_targets: bool,
    /// Seconds after which the store is asked again for a destination in use (1 to 3600).
    #[arg(long, env = "LANDBRIDGE_DESTINATION_TTL", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub destination_ttl: u64,
    /// What all servers have.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Subcommands of `connector`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConnectorCommand {
    /// Connect to the tunnel acceptor and serve what the configuration exposes.
    Run {
        /// Configuration, TOML or YAML.
        #[arg(long, env = "LANDBRIDGE_CONNECTOR_CONFIG", value_name = "FILE")]
        config: PathBuf,
    },
}

/// Subcommands of `tunnel`.
#[derive(Debug, Subcommand)]
pub(crate) enum TunnelCommand {
    /// Print a one-time token with which a connector enrols.
    CreateToken {
        /// The acceptor's data folder.
        #[arg(
            long,
            env = "LANDBRIDGE_DATA_DIR",
            default_value = "./landbridge-data",
            value_name = "DIR"
        )]
        data_dir: PathBuf,
        /// Tenant (subaccount id) whose destinations may use the connector; the embedded store's when neither this nor a
        /// service key is given.
        #[arg(long, env = "LANDBRIDGE_TENANT", value_name = "ID")]
        tenant: Option<String>,
        /// Service key (JSON) of the destination service: the tenant is its subaccount, unless --tenant says another.
        #[arg(long, env = "LANDBRIDGE_TENANT_OF", value_name = "FILE")]
        tenant_of: Option<PathBuf>,
        /// Name of the connector.
        #[arg(long, value_name = "NAME")]
        connector: String,
        /// The only location id the connector may serve; any when not given.
        #[arg(long, value_name = "ID")]
        location: Option<String>,
        /// Minutes the token may be used.
        #[arg(long, default_value_t = 60, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=10080))]
        minutes: u64,
    },
}

/// How long destination services are waited for; the published ranges and defaults.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct StoreCallArgs {
    /// Seconds to connect to a destination service or its token service (1 to 60).
    #[arg(long, env = "LANDBRIDGE_STORE_CONNECT_TIMEOUT", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub store_connect_timeout: u64,
    /// Seconds until its answer must be there, connecting included (1 to 60).
    #[arg(long, env = "LANDBRIDGE_STORE_READ_TIMEOUT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub store_read_timeout: u64,
}

impl StoreCallArgs {
    /// The same for a client.
    pub(crate) fn deadlines(self) -> Deadlines {
        Deadlines {
            connect: Duration::from_secs(self.store_connect_timeout),
            answer: Duration::from_secs(self.store_read_timeout),
        }
    }
}

/// Options of every command that serves.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// PEM file with authorities to trust beside the public ones, for targets and token services.
    #[arg(
        long,
        env = "LANDBRIDGE_ADDITIONAL_CA",
        value_delimiter = ',',
        value_name = "FILE"
    )]
    pub additional_ca: Vec<PathBuf>,
    /// Seconds that requests in flight may take once asked to stop.
    #[arg(long, env = "LANDBRIDGE_DRAIN", default_value_t = 25, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub drain: u64,
    /// Write the addresses to this file once ready.
    #[arg(long, env = "LANDBRIDGE_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}
