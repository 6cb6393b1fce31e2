//! Destinations through the REST API, with a service key.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use landbridge_destination::binding::Binding;
use landbridge_destination::client::StoreClient;
use landbridge_destination::properties::DestinationConfig;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::http_client;
use serde_json::Value;

use crate::output::print;

/// Longest standard input: the largest request of the store, and some.
const MAX_INPUT: u64 = 16 << 20;

/// The key of commands that manage destinations.
#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// Service key, JSON.
    #[arg(
        long,
        env = "LANDBRIDGE_BINDING",
        default_value = "./landbridge-data/binding.json",
        value_name = "FILE"
    )]
    pub binding: PathBuf,
}

pub(super) async fn list(binding: &Path) -> Result<()> {
    for destination in client(binding)?.list().await? {
        print(destination.name());
    }
    Ok(())
}

pub(super) async fn put(binding: &Path, files: &[PathBuf]) -> Result<()> {
    let client = client(binding)?;
    let mut failed = 0;
    for file in files {
        for destination in read(file)? {
            match client.put(&destination).await {
                Ok(()) => print(&format!("{} stored", destination.name())),
                Err(error) => {
                    failed += 1;
                    tracing::error!(destination = destination.name(), file = %file.display(), "{error}");
                }
            }
        }
    }
    if failed > 0 {
        bail!("{failed} destinations were not stored; the lines above say why");
    }
    Ok(())
}

/// The text of a file, or of standard input for `-`.
pub(super) fn read_text(file: &Path) -> Result<String> {
    if file != Path::new("-") {
        return std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()));
    }
    let mut text = String::new();
    let mut stdin = std::io::stdin().take(MAX_INPUT);
    stdin
        .read_to_string(&mut text)
        .context("reading standard input")?;
    Ok(text)
}

/// Destinations of a file: one object, or an array of them.
pub(super) fn read(file: &Path) -> Result<Vec<DestinationConfig>> {
    let text = read_text(file)?;
    let value: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    list.into_iter()
        .map(|one| {
            serde_json::from_value(one).with_context(|| format!("{} has no destination", file.display()))
        })
        .collect()
}

pub(super) async fn delete(binding: &Path, names: &[String]) -> Result<()> {
    let client = client(binding)?;
    let mut missing = Vec::new();
    for name in names {
        if client.delete(name).await? {
            print(&format!("{name} deleted"));
        } else {
            missing.push(name.as_str());
        }
    }
    if !missing.is_empty() {
        bail!("the store has no destination named {}", missing.join(", "));
    }
    Ok(())
}

pub(super) fn client(binding: &Path) -> Result<StoreClient> {
    let text = std::fs::read_to_string(binding).with_context(|| {
        format!(
            "reading the service key {}; name it with --binding",
            binding.display()
        )
    })?;
    let binding = Binding::from_json(&text)?;
    Ok(StoreClient::new(
        binding,
        http_client::standard(Dialer::new(AddressPolicy::Any)?, &[])?,
    ))
}
