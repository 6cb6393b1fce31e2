//! Options of `proxy`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::mode::ModeName;
use crate::args::{ServerArgs, StoreCallArgs};
use crate::operator_link::OperatorLinkArgs;

/// Options of `proxy`.
#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// How applications reach the proxy.
    #[arg(long, env = "LANDBRIDGE_MODE", value_enum, default_value_t = ModeName::Gateway)]
    pub mode: ModeName,
    /// Where the operator is: https, HOST and PORT, as in `https://landbridge-operator.landbridge-system.svc:8443`.
    #[arg(long, env = "LANDBRIDGE_OPERATOR", value_name = "URL")]
    pub operator: String,
    /// How the operator is known, and this proxy to it.
    #[command(flatten)]
    pub link: OperatorLinkArgs,
    /// Mode sidecar: where gateways answer what a destination is, HOST:PORT.
    #[arg(long, env = "LANDBRIDGE_GATEWAY", value_name = "HOST:PORT")]
    pub gateway: Option<String>,
    /// Mode gateway: where sidecars ask what a destination is (TLS with client certificates); "off" for none.
    #[arg(
        long,
        env = "LANDBRIDGE_RESOLVE_LISTEN",
        default_value = "off",
        value_name = "ADDR:PORT|off"
    )]
    pub resolve_listen: String,
    /// Modes node and sidecar: port on loopback that connections are redirected to. A sidecar has 20411 unless told; on a
    /// node each process takes any free one, so that the next version can start beside it.
    #[arg(
        long,
        env = "LANDBRIDGE_INTERCEPT_PORT",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub intercept_port: Option<u16>,
    /// Keeps what is served, so that a restarted proxy serves at once while the operator is away. On a volume that
    /// outlives the container.
    #[arg(long, env = "LANDBRIDGE_STATE_FILE", value_name = "FILE")]
    pub state_file: Option<PathBuf>,
    /// Address the destinations' ports are opened on.
    #[arg(
        long,
        env = "LANDBRIDGE_LISTEN_ADDRESS",
        default_value = "0.0.0.0",
        value_name = "IP"
    )]
    pub listen_address: IpAddr,
    /// Where /healthz, /readyz, /metrics, /routes, /tunnels and /channels are served, in plain HTTP.
    #[arg(
        long,
        env = "LANDBRIDGE_ADMIN_LISTEN",
        default_value = "0.0.0.0:9494",
        value_name = "ADDR:PORT"
    )]
    pub admin_listen: SocketAddr,
    /// A destination service instance: its name and the file of its service key (JSON), read again when it changes.
    /// May be given several times.
    #[arg(
        long,
        env = "LANDBRIDGE_DESTINATION_SERVICES",
        value_delimiter = ',',
        value_name = "NAME=FILE"
    )]
    pub destination_service: Vec<String>,
    /// The instance of destinations that name none; the only or first one unless told.
    #[arg(long, env = "LANDBRIDGE_DEFAULT_INSTANCE", value_name = "NAME")]
    pub default_instance: Option<String>,
    /// Where connectors connect; "off" for none.
    #[arg(
        long,
        env = "LANDBRIDGE_TUNNEL_LISTEN",
        default_value = "off",
        value_name = "ADDR:PORT|off"
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
    /// Folder of the acceptor's authority and tokens.
    #[arg(
        long,
        env = "LANDBRIDGE_DATA_DIR",
        default_value = "./landbridge-data",
        value_name = "DIR"
    )]
    pub data_dir: PathBuf,
    /// Let destinations and service channels be on this machine or its link (loopback, link-local). For tests.
    #[arg(long, env = "LANDBRIDGE_ALLOW_LOCAL_TARGETS")]
    pub allow_local_targets: bool,
    /// Seconds after which a store is asked again for a destination in use, also when nobody has said that it changed
    /// (1 to 3600).
    #[arg(long, env = "LANDBRIDGE_DESTINATION_TTL", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub destination_ttl: u64,
    /// Most connections from applications at one time.
    #[arg(long, env = "LANDBRIDGE_MAX_CONNECTIONS", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,
    /// Seconds that new connections are still taken once asked to stop, while the cluster learns of it.
    #[arg(long, env = "LANDBRIDGE_DRAIN_DELAY", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=300))]
    pub drain_delay: u64,
    /// How long stores are waited for.
    #[command(flatten)]
    pub store_calls: StoreCallArgs,
    /// What every command that serves has.
    #[command(flatten)]
    pub server: ServerArgs,
}
