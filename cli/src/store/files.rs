//! Destinations out of files and into files, through the REST API with a service key.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use landbridge_destination::client::StoreClient;
use landbridge_destination::properties::DestinationConfig;
use landbridge_destination::property_file::{self, EXTENSIONS};

use super::destinations::{client, read};
use crate::output::print;

/// From how many files on progress is shown.
const MANY: usize = 20;

/// Stores the destinations of files: property files and JSON. What cannot be used is told and left out.
pub(super) async fn import(binding: &Path, paths: &[PathBuf]) -> Result<()> {
    let client = client(binding)?;
    let files = files(paths)?;
    let bar = progress(files.len())?;
    let mut failed = 0;
    for file in &files {
        match store(&client, file).await {
            Ok(names) => names
                .iter()
                .for_each(|name| bar.suspend(|| print(&format!("{name} stored")))),
            Err(error) => {
                failed += 1;
                bar.suspend(|| tracing::error!(file = %file.display(), "{error:#}"));
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if failed > 0 {
        bail!(
            "{failed} of {} files were not stored; the lines above say why",
            files.len()
        );
    }
    Ok(())
}

fn progress(count: usize) -> Result<ProgressBar> {
    if count < MANY {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{pos}/{len} files {wide_bar} {eta}")?;
    Ok(ProgressBar::new(count as u64).with_style(style))
}

/// The files that are named, and those of folders, by name.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let reading = || format!("reading the folder {}", path.display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).with_context(reading)? {
            let file = entry.with_context(reading)?.path();
            if file.is_file() {
                found.push(file);
            }
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

async fn store(client: &StoreClient, file: &Path) -> Result<Vec<String>> {
    let destinations = destinations(file)?;
    for destination in &destinations {
        // Every mistake of every property, before anything is sent.
        destination
            .validate()
            .map_err(|invalid| anyhow!("{}: {invalid}", destination.name()))?;
    }
    let mut names = Vec::new();
    for destination in destinations {
        client.put(&destination).await?;
        names.push(destination.name().to_owned());
    }
    Ok(names)
}

/// JSON by the name's ending; the endings of property files, and none, are those of the original service.
fn destinations(file: &Path) -> Result<Vec<DestinationConfig>> {
    let extension = file
        .extension()
        .map(|extension| extension.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("json") => read(file),
        Some(other) if !EXTENSIONS.contains(&other) => {
            bail!(
                "the ending .{other} is none of a destination: use .json, .{}, or no ending",
                EXTENSIONS.join(", .")
            )
        }
        _ => {
            let bytes = std::fs::read(file).context("reading it")?;
            Ok(vec![property_file::read(&bytes)?])
        }
    }
}

/// Writes destinations into property files, each named after its destination and readable by its owner alone, since it has
/// credentials.
pub(super) async fn export(binding: &Path, names: &[String], output: &Path) -> Result<()> {
    let all = client(binding)?.list().await?;
    std::fs::create_dir_all(output).with_context(|| format!("making {}", output.display()))?;
    for name in names {
        let destination = find(&all, name)?;
        if let Some(key_store) = destination.key_store() {
            tracing::warn!(
                destination = name,
                key_store,
                "the key store that it names is not exported; get it by the REST API"
            );
        }
        let file = output.join(name);
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .and_then(|mut out| {
                let bytes = property_file::write(destination).map_err(std::io::Error::other)?;
                out.write_all(&bytes)
            })
            .with_context(|| format!("writing {}", file.display()))?;
        print(&file.display().to_string());
    }
    Ok(())
}

/// Makes a destination with all properties of another one; one of that name must not exist.
pub(super) async fn clone(binding: &Path, name: &str, new: &str) -> Result<()> {
    let client = client(binding)?;
    let all = client.list().await?;
    let mut copy = find(&all, name)?.clone();
    copy.set("Name", new);
    client.create(&copy).await?;
    print(&format!("{new} stored"));
    Ok(())
}

fn find<'a>(all: &'a [DestinationConfig], name: &str) -> Result<&'a DestinationConfig> {
    all.iter()
        .find(|destination| destination.name() == name)
        .ok_or_else(|| anyhow!("the store has no destination named {name}"))
}
