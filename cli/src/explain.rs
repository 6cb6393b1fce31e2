//! `landbridge explain`: what a destination comes to, and if it does not work, why.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use landbridge_destination::{Binding, RouteKey, StoreClient};
use landbridge_operator::cluster::client;
use landbridge_operator::cluster::stores::{Instance, Source};
use landbridge_operator::explain::{self, Explanation};
use landbridge_operator::lookup::StoreLookups;
use landbridge_operator::manifest;
use landbridge_operator::plan::PlanOptions;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::{http_client, tls};

use crate::output;

mod text;

/// Largest manifest file.
const MAX_MANIFEST: u64 = 4 << 20;

/// Options of `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Name of a Destination in the cluster.
    #[arg(value_name = "NAME", required_unless_present = "file")]
    pub name: Option<String>,
    /// Its namespace; that of the kubeconfig's context unless told.
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Explain the Destinations of this file instead; no cluster is needed.
    #[arg(short, long, conflicts_with_all = ["name", "kubeconfig", "context"], value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A destination service instance to ask, by the file of its service key. May be given several times; the
    /// first one answers for resources that name none.
    #[arg(
        long,
        env = "LANDBRIDGE_DESTINATION_SERVICES",
        value_delimiter = ',',
        value_name = "NAME=FILE"
    )]
    pub destination_service: Vec<String>,
    /// PEM file with authorities to trust beside the public ones.
    #[arg(
        long,
        env = "LANDBRIDGE_ADDITIONAL_CA",
        value_delimiter = ',',
        value_name = "FILE"
    )]
    pub additional_ca: Vec<PathBuf>,
    /// Let destinations lead to this machine, as the option of the operator does.
    #[arg(long, env = "LANDBRIDGE_ALLOW_LOCAL_TARGETS")]
    pub allow_local_targets: bool,
    /// Kubeconfig to use.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Explains. Fails when something does not work, so that a script notices.
///
/// # Errors
/// Something cannot be read, there is no such resource, or something keeps it from working.
pub(crate) async fn run(args: ExplainArgs) -> Result<()> {
    let lookups = lookups(&args)?;
    let options = PlanOptions {
        allow_loopback: args.allow_local_targets,
        ..PlanOptions::default()
    };
    let explanations = match (&args.file, &args.name) {
        (Some(file), _) => of_file(file, lookups.as_ref(), options).await?,
        (None, Some(name)) => {
            let client = client::connect_to(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
            let namespace = args
                .namespace
                .as_deref()
                .unwrap_or(client.default_namespace())
                .to_owned();
            let key = RouteKey::new(&namespace, name);
            let explanation = explain::resource(&client, &key, lookups.as_ref(), options)
                .await?
                .ok_or_else(|| {
                    anyhow!(
                        "there is no Destination {name} in the namespace {namespace}; see `kubectl get dst -A`"
                    )
                })?;
            vec![explanation]
        }
        (None, None) => bail!("name a Destination, or a file with -f"),
    };
    if args.json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&explanations)?));
    } else {
        let texts: Vec<String> = explanations.iter().map(text::of).collect();
        output::print(&texts.join("\n"));
    }
    let failing = explanations.iter().filter(|one| !one.problems.is_empty()).count();
    if failing > 0 {
        bail!("{failing} of {} cannot be used as they are", explanations.len());
    }
    Ok(())
}

async fn of_file(
    file: &Path,
    lookups: Option<&StoreLookups>,
    options: PlanOptions,
) -> Result<Vec<Explanation>> {
    let reading = || format!("reading {}", file.display());
    if std::fs::metadata(file).with_context(reading)?.len() > MAX_MANIFEST {
        bail!("{} is longer than 4 MiB: split it", file.display());
    }
    let bytes = std::fs::read(file).with_context(reading)?;
    let parsed = manifest::parse(&file.to_string_lossy(), &bytes);
    if !parsed.problems.is_empty() {
        let problems: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
        bail!("{}", problems.join("\n"));
    }
    if parsed.destinations.is_empty() {
        bail!("{} declares no Destination", file.display());
    }
    let now = String::new();
    let mut explanations = Vec::with_capacity(parsed.destinations.len());
    for declared in &parsed.destinations {
        explanations.push(explain::manifest(declared, lookups, options, &now).await);
    }
    Ok(explanations)
}

fn lookups(args: &ExplainArgs) -> Result<Option<StoreLookups>> {
    if args.destination_service.is_empty() {
        return Ok(None);
    }
    let mut roots = Vec::new();
    for file in &args.additional_ca {
        roots.extend(tls::read_certificates(file)?);
    }
    let http = http_client::standard(Dialer::new(AddressPolicy::Any)?, &roots)?;
    let mut first = None;
    let mut named = HashMap::new();
    for text in &args.destination_service {
        let instance = Instance::parse(text).map_err(|why| anyhow!("--destination-service: {why}"))?;
        let Source::File(path) = instance.source else {
            bail!(
                "--destination-service: explain reads service keys from files; save the Secret's entry to one"
            );
        };
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let binding = Binding::from_json(&text).with_context(|| format!("reading {}", path.display()))?;
        let client = StoreClient::new(binding, http.clone());
        first.get_or_insert_with(|| client.clone());
        named.insert(instance.name, client);
    }
    Ok(first.map(|first| StoreLookups::new(first, named)))
}
