//! The product's image: one program, the libraries it is linked with, and what tells where they come from.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempPath;

use super::base;
use crate::packages::{self, Package};
use crate::{Compression, Config, Image, Layer};

/// User and group of the product's processes, as numbers: `runAsNonRoot` cannot check a name.
pub const PRODUCT_USER: &str = super::NOBODY;

/// The certificates of public authorities as Debian's package has them. Not /etc/ssl/certs: there an administrator
/// may have added authorities of his own, which must not get into an image for others.
const AUTHORITIES: &str = "/usr/share/ca-certificates/mozilla";

/// What the product's image is made from.
#[derive(Debug)]
pub struct Product<'a> {
    /// The program, best without its debugging symbols ([`strip`]).
    pub binary: &'a Path,
    /// Shown by tools as the version of the image.
    pub version: &'a str,
    /// What the program and its libraries are made of, in CycloneDX JSON.
    pub sbom: Option<&'a [u8]>,
    /// How layers are stored.
    pub compression: Compression,
}

impl Product<'_> {
    /// The packages of this machine that come into the image beside the program, and files that are of no package.
    ///
    /// # Errors
    /// When the program cannot be read, or `dpkg-query` fails.
    pub fn packages(&self) -> Result<(Vec<Package>, Vec<PathBuf>)> {
        let mut layer = Layer::new();
        layer.libraries(self.binary)?;
        let libraries = layer.sources().map(|(_, source)| source);
        packages::of(libraries.chain([Path::new(AUTHORITIES)]))
    }

    /// Two layers: what changes with the distribution below, what changes with each build above.
    ///
    /// # Errors
    /// When something cannot be found; the message names what to install.
    pub fn image(&self) -> Result<Image> {
        let mut system = Layer::new();
        base(&mut system)?;
        system.bytes("/etc/ssl/certs/ca-certificates.crt", 0o644, authorities()?)?;
        system.libraries(self.binary)?;
        let (packages, _) = self.packages()?;
        for package in &packages {
            describe(&mut system, package)?;
        }
        if !packages.is_empty() {
            // Which distribution's advisories count for these packages.
            system.file("/etc/os-release", 0o644, Path::new("/etc/os-release"))?;
        }
        Ok(Image {
            layers: vec![system, self.program()?],
            config: self.config(),
            compression: self.compression,
        })
    }

    fn program(&self) -> Result<Layer> {
        let mut layer = Layer::new();
        layer.file("/landbridge", 0o755, self.binary)?;
        // `kubectl exec POD -- landbridge ...` looks a program up on the PATH.
        for name in ["landbridge", "kubectl-landbridge"] {
            layer.link(&format!("/usr/local/bin/{name}"), "/landbridge")?;
        }
        layer.bytes(
            "/usr/share/doc/landbridge/LICENSE",
            0o644,
            include_str!("../../../../LICENSE"),
        )?;
        layer.bytes(
            "/usr/share/doc/landbridge/NOTICE",
            0o644,
            include_str!("../../../../NOTICE"),
        )?;
        if let Some(sbom) = self.sbom {
            layer.bytes("/usr/share/sbom/landbridge.cdx.json", 0o644, sbom)?;
        }
        Ok(layer)
    }

    fn config(&self) -> Config {
        let labels = [
            ("title", "Landbridge"),
            (
                "description",
                "Operator, proxy, store and connector of Landbridge",
            ),
            ("version", self.version),
            ("licenses", "Apache-2.0"),
        ];
        Config {
            user: PRODUCT_USER.to_owned(),
            entrypoint: vec!["/landbridge".to_owned()],
            env: vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned()],
            working_dir: "/".to_owned(),
            labels: labels
                .map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned()))
                .into(),
            ..Config::default()
        }
    }
}

/// What scanners and licence checks look for; there is no package database for them.
fn describe(layer: &mut Layer, package: &Package) -> Result<()> {
    let status = package.status()?;
    layer.bytes(&format!("/var/lib/dpkg/status.d/{}", package.name), 0o644, status)?;
    let copyright = package.copyright();
    if copyright.is_file() {
        layer.file(&copyright.to_string_lossy(), 0o644, &copyright)?;
    }
    Ok(())
}

/// All certificates of the package in one file, by name: the file system's order must not count.
pub(super) fn authorities() -> Result<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(AUTHORITIES)
        .with_context(|| format!("list {AUTHORITIES}: install the package ca-certificates"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "crt"))
        .collect();
    files.sort();
    let mut bundle = Vec::new();
    for file in &files {
        let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        bundle.extend_from_slice(text.trim_ascii_end());
        bundle.push(b'\n');
    }
    if bundle.is_empty() {
        bail!("{AUTHORITIES} has no certificates: install the package ca-certificates");
    }
    Ok(bundle)
}

/// A copy of `binary` without symbols, in `folder`, which goes when the result is dropped: 83 MB instead of 211 MB for
/// a debug build, and no difference for a release build, which has none.
///
/// # Errors
/// When `strip` is not installed or fails.
pub fn strip(binary: &Path, folder: &Path) -> Result<TempPath> {
    let stripped = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("create a file in {}", folder.display()))?
        .into_temp_path();
    let output = Command::new("strip")
        .arg("--strip-all")
        .arg("-o")
        .arg(&stripped)
        .arg(binary)
        .stdin(Stdio::null())
        .output()
        .context("start strip (package binutils)")?;
    if !output.status.success() {
        bail!(
            "strip {} failed: {}",
            binary.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(stripped)
}
