//! `landbridge check`: whether a cluster is fit for an installation, whether it works, whether it can go.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use landbridge_operator::check::{self, Extras, Options, Outcome, Phase, Report};
use landbridge_operator::cluster::client;

use crate::output;

mod text;

/// Options of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Check whether the cluster is fit for an installation.
    #[arg(long, conflicts_with = "uninstall")]
    pub pre: bool,
    /// Check whether the installation can be removed: nothing may be declared any more.
    #[arg(long)]
    pub uninstall: bool,
    /// Namespace of the installation.
    #[arg(
        short,
        long,
        env = "POD_NAMESPACE",
        default_value = "landbridge-system",
        value_name = "NAME"
    )]
    pub namespace: String,
    /// The one namespace that the installation looks after, if it looks after one only.
    #[arg(long, env = "LANDBRIDGE_WATCH_NAMESPACE", value_name = "NAME")]
    pub watch_namespace: Option<String>,
    /// With --pre: check that cert-manager is there.
    #[arg(long, requires = "pre")]
    pub cert_manager: bool,
    /// With --pre: check that the vertical pod autoscaler is there.
    #[arg(long, requires = "pre")]
    pub vertical_autoscaler: bool,
    /// With --pre: check that the Prometheus operator is there.
    #[arg(long, requires = "pre")]
    pub prometheus: bool,
    /// Kubeconfig to use.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub output: Format,
    /// Seconds for all checks together (1 to 600).
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600), value_name = "SECONDS")]
    pub timeout: u64,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line for each check.
    Text,
    /// One object; docs/reference/check.md describes it.
    Json,
}

/// Checks and prints. Fails when a check has failed, so that a script notices.
///
/// # Errors
/// Something has failed.
pub(crate) async fn run(args: CheckArgs) -> Result<()> {
    let options = Options {
        phase: match (args.pre, args.uninstall) {
            (true, _) => Phase::Before,
            (_, true) => Phase::Uninstall,
            _ => Phase::Installed,
        },
        namespace: args.namespace,
        watch_namespace: args.watch_namespace,
        extras: Extras {
            cert_manager: args.cert_manager,
            autoscaler: args.vertical_autoscaler,
            prometheus: args.prometheus,
        },
        version: env!("CARGO_PKG_VERSION"),
    };
    let report = match client::connect_to(args.kubeconfig.as_deref(), args.context.as_deref()).await {
        Ok(client) => check::run(client, &options, Duration::from_secs(args.timeout)).await,
        Err(error) => Report::without_cluster(&error.to_string()),
    };
    match args.output {
        Format::Text => output::print(&text::of(&report)),
        Format::Json => output::print(&serde_json::to_string_pretty(&report)?),
    }
    if !report.success {
        bail!("checks that failed: {}", report.count(Outcome::Failed));
    }
    Ok(())
}
