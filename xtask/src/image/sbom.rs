//! The bill of materials: CycloneDX 1.6 in JSON (ECMA-424), the same bytes for the same input, so without a time stamp.
//!
//! What is linked in comes from `cargo tree` (features of this one package, no build-time macros), licences from `cargo
//! metadata`, system libraries from dpkg.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use landbridge_oci_image::packages::Package;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::workspace::Workspace;

/// What stays as it is in a package URL.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The bill, ready to be written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bill {
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: Value,
    components: Vec<Component>,
    dependencies: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    reference: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(rename = "externalReferences", skip_serializing_if = "Vec::is_empty")]
    references: Vec<Value>,
}

/// A crate by name and version.
type Crate = (String, String);

/// What `cargo metadata` knows about a crate.
#[derive(Debug, Deserialize)]
struct Described {
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Described>,
}

impl Bill {
    /// The bill of the program built for `target` (this machine's when absent) and of what lies beside it in the image.
    pub(super) fn of(
        workspace: &Workspace,
        target: Option<&str>,
        system: &(Vec<Package>, Vec<PathBuf>),
    ) -> Result<Self> {
        let linked = Linked::read(&tree(workspace, target)?)?;
        let described = metadata(workspace)?;
        let mut components = Vec::new();
        for one in linked.crates.iter().filter(|one| **one != linked.root) {
            components.push(of_crate(one, &described)?);
        }
        components.push(standard_library(&workspace.rustc_version()?));
        let distribution = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        components.extend(system.0.iter().map(|package| of_package(package, &distribution)));
        components.extend(system.1.iter().map(|path| of_file(&path.to_string_lossy())));
        let beside: Vec<_> = components
            .iter()
            .filter(|component| !component.reference.starts_with("pkg:cargo/"))
            .map(|component| component.reference.clone())
            .collect();
        let mut root = of_crate(&linked.root, &described)?;
        root.kind = "application";
        Ok(Self {
            bom_format: "CycloneDX",
            spec_version: "1.6",
            version: 1,
            metadata: json!({ "component": root }),
            components,
            dependencies: linked.dependencies(&beside),
        })
    }

    /// How many components it has.
    pub(super) fn len(&self) -> usize {
        self.components.len()
    }

    /// The document.
    pub(super) fn text(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self).context("write the bill of materials")?;
        text.push(b'\n');
        Ok(text)
    }
}

fn tree(workspace: &Workspace, target: Option<&str>) -> Result<String> {
    let mut command = workspace.cargo();
    command
        .args(["tree", "-p", "landbridge", "-e", "normal,no-proc-macro"])
        .args(["--prefix", "depth", "--format", " {p}"])
        .args(workspace.locked());
    if let Some(target) = target {
        command.args(["--target", target]);
    }
    capture("cargo tree", &mut command)
}

fn metadata(workspace: &Workspace) -> Result<BTreeMap<Crate, Described>> {
    let mut command = workspace.cargo();
    command
        .args(["metadata", "--format-version", "1"])
        .args(workspace.locked());
    let metadata: Metadata =
        serde_json::from_str(&capture("cargo metadata", &mut command)?).context("read `cargo metadata`")?;
    let by_name = |one: Described| ((one.name.clone(), one.version.clone()), one);
    Ok(metadata.packages.into_iter().map(by_name).collect())
}

fn capture(name: &str, command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start `{name}`"))?;
    if !output.status.success() {
        bail!(
            "`{name}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("read what `{name}` says"))
}

/// What is linked into the program, and what of it uses what.
#[derive(Debug, PartialEq, Eq)]
struct Linked {
    root: Crate,
    crates: BTreeSet<Crate>,
    uses: BTreeMap<Crate, BTreeSet<Crate>>,
}

impl Linked {
    /// Lines of `DEPTH NAME vVERSION ...`. A crate that was shown with its dependencies before ends with `(*)` and has
    /// none below it, which is why they are collected by crate.
    fn read(lines: &str) -> Result<Self> {
        let mut path: Vec<Crate> = Vec::new();
        let mut crates = BTreeSet::new();
        let mut uses: BTreeMap<Crate, BTreeSet<Crate>> = BTreeMap::new();
        for line in lines.lines().filter(|line| !line.trim().is_empty()) {
            let (depth, one) = crate_of(line).with_context(|| format!("`cargo tree` says {line:?}"))?;
            if depth > path.len() {
                bail!("`cargo tree` jumps to {line:?}");
            }
            path.truncate(depth);
            if let Some(parent) = path.last() {
                uses.entry(parent.clone()).or_default().insert(one.clone());
            }
            crates.insert(one.clone());
            path.push(one);
        }
        let root = path.into_iter().next().context("`cargo tree` says nothing")?;
        Ok(Self { root, crates, uses })
    }

    fn dependencies(&self, beside: &[String]) -> Vec<Value> {
        let of = |one: &Crate| {
            let uses = self.uses.get(one).into_iter().flatten().map(reference);
            let more = beside.iter().filter(|_| *one == self.root).cloned();
            json!({ "ref": reference(one), "dependsOn": uses.chain(more).collect::<Vec<_>>() })
        };
        let alone = beside.iter().map(|one| json!({ "ref": one }));
        self.crates.iter().map(of).chain(alone).collect()
    }
}

fn crate_of(line: &str) -> Option<(usize, Crate)> {
    let mut words = line.split_whitespace();
    let depth = words.next()?.parse().ok()?;
    let name = words.next()?.to_owned();
    let version = words.next()?.strip_prefix('v')?.to_owned();
    Some((depth, (name, version)))
}

fn reference((name, version): &Crate) -> String {
    format!("pkg:cargo/{}@{}", encode(name), encode(version))
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

fn of_crate(one: &Crate, described: &BTreeMap<Crate, Described>) -> Result<Component> {
    let about = described
        .get(one)
        .with_context(|| format!("`cargo metadata` does not know {} {}", one.0, one.1))?;
    // The older way to write a choice is no SPDX expression.
    let license = about.license.as_deref().map(|text| text.replace('/', " OR "));
    Ok(Component {
        kind: "library",
        reference: reference(one),
        name: one.0.clone(),
        version: Some(one.1.clone()),
        licenses: license.iter().map(|text| json!({ "expression": text })).collect(),
        purl: Some(reference(one)),
        references: about
            .repository
            .iter()
            .map(|url| json!({ "type": "vcs", "url": url }))
            .collect(),
    })
}

fn standard_library(version: &str) -> Component {
    let purl = format!("pkg:github/rust-lang/rust@{}", encode(version));
    Component {
        kind: "library",
        reference: purl.clone(),
        name: "rust-std".to_owned(),
        version: Some(version.to_owned()),
        licenses: vec![json!({ "expression": "MIT OR Apache-2.0" })],
        purl: Some(purl),
        references: Vec::new(),
    }
}

fn of_package(package: &Package, os_release: &str) -> Component {
    let value = |name: &str| {
        let lines = os_release.lines();
        let mut found = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.next().map(|text| text.trim_matches('"').to_owned())
    };
    let vendor = value("ID").unwrap_or_else(|| "debian".to_owned());
    let distribution = value("VERSION_ID").map_or_else(String::new, |id| {
        format!("&distro={}", encode(&format!("{vendor}-{id}")))
    });
    let purl = format!(
        "pkg:deb/{}/{}@{}?arch={}{distribution}",
        encode(&vendor),
        encode(&package.name),
        encode(&package.version),
        encode(&package.architecture),
    );
    Component {
        kind: "library",
        reference: purl.clone(),
        name: package.name.clone(),
        version: Some(package.version.clone()),
        licenses: Vec::new(),
        purl: Some(purl),
        references: Vec::new(),
    }
}

fn of_file(path: &str) -> Component {
    Component {
        kind: "file",
        reference: format!("file:{path}"),
        name: path.to_owned(),
        version: None,
        licenses: Vec::new(),
        purl: None,
        references: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
