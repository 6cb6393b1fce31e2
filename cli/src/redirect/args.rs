//! Options of `redirect` and `validate-redirect`.

use clap::{Args, Subcommand, ValueEnum};

use crate::operator_link::OperatorLinkArgs;

/// What is done with the rules.
#[derive(Debug, Subcommand)]
pub(crate) enum RedirectCommand {
    /// Print what `apply` would write, in the notation of nft; nothing is changed, no privilege is needed.
    Plan(PlanArgs),
    /// Write the rules of this network namespace, or bring them up to date. Needs NET_ADMIN.
    Apply(Box<ApplyArgs>),
    /// Remove table and policy routing, if there. A proxy of a node that runs writes its own again within seconds.
    Remove,
    /// Print the rules that this network namespace has. Needs NET_ADMIN.
    Show {
        /// text or json.
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
}

/// How rules are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The notation of nft(8); policy routing as comments.
    Text,
    /// For programs.
    Json,
}

/// Whose connections are redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// Those that the containers of this pod make.
    Sidecar,
    /// Those that come from the pods of this node.
    Node,
}

/// What shall be redirected.
#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    /// Whose connections are redirected.
    #[arg(long, env = "LANDBRIDGE_MODE", value_enum)]
    pub mode: Way,
    /// The proxy's port on loopback.
    #[arg(
        long,
        env = "LANDBRIDGE_INTERCEPT_PORT",
        default_value_t = landbridge_redirect::INTERCEPT_PORT,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub port: u16,
    /// Mode sidecar: user of the proxy, whose connections are left alone.
    #[arg(long, env = "LANDBRIDGE_PROXY_UID", value_name = "UID")]
    pub proxy_uid: Option<u32>,
    /// Cluster IP and port of a destination. May be given several times.
    #[arg(
        long,
        env = "LANDBRIDGE_REDIRECT_DESTINATIONS",
        value_delimiter = ',',
        value_name = "IP:PORT"
    )]
    pub destination: Vec<String>,
    /// The same, one a line; "-" is standard input.
    #[arg(long, env = "LANDBRIDGE_REDIRECT_DESTINATIONS_FILE", value_name = "FILE|-")]
    pub destinations_file: Option<String>,
    /// Mode sidecar: a network of which every TCP connection is redirected; the proxy passes on what is no destination. May
    /// be given several times.
    #[arg(
        long,
        env = "LANDBRIDGE_REDIRECT_NETWORKS",
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    pub network: Vec<String>,
}

/// Options of `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// What shall be redirected.
    #[command(flatten)]
    pub rules: RulesArgs,
    /// text or json.
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

/// Options of `apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// What shall be redirected.
    #[command(flatten)]
    pub rules: RulesArgs,
    /// Ask this operator for the destinations that this pod may use, https://HOST:PORT. If it does not answer within 10 s,
    /// none are redirected and gateways serve them all; that is no error.
    #[arg(long, env = "LANDBRIDGE_OPERATOR", value_name = "URL")]
    pub operator: Option<String>,
    /// How the operator is known, and this pod to it.
    #[command(flatten)]
    pub link: OperatorLinkArgs,
}

/// Options of `validate-redirect`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Whose connections are redirected.
    #[arg(long, env = "LANDBRIDGE_MODE", value_enum, default_value_t = Way::Sidecar)]
    pub mode: Way,
    /// Port that connections are redirected to.
    #[arg(
        long,
        env = "LANDBRIDGE_INTERCEPT_PORT",
        default_value_t = landbridge_redirect::INTERCEPT_PORT,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub port: u16,
    /// Seconds until the proof must be there (1 to 60).
    #[arg(long, env = "LANDBRIDGE_REDIRECT_TIMEOUT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub timeout: u64,
    /// Admin address of the proxy that has the port already; http://127.0.0.1:20412 for a sidecar, port 20414 for a node
    /// unless told.
    #[arg(long, env = "LANDBRIDGE_ADMIN_URL", value_name = "URL")]
    pub admin: Option<String>,
}
