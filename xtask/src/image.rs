//! `cargo xtask image`: the container image of the product, without a builder and without a registry.
//!
//! The release is linked against the C library of the machine that builds it, and the image carries that library: so the
//! suites, which package the debug build the same way, run what is shipped, and no second compilation is needed. The
//! library is 1.6 of 16.7 MB, which is all that a static build could save. One is packaged too, without libraries.

mod check;
mod sbom;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use landbridge_oci_image::images::{Product, strip};
use landbridge_oci_image::{Archive, Compression, Written};

use crate::process::{self, say};
use crate::tools;
use crate::workspace::Workspace;

pub(crate) use check::check;

/// A node downloads this many bytes at most before the first start of a pod; measured: docs/how-to/build-the-image.md.
const LARGEST_RELEASE: u64 = 20_000_000;

/// What to build and where to put it.
#[derive(Debug, Args)]
pub(crate) struct Image {
    /// Profile of cargo the program is built with.
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
    /// Build for another target than this machine; one of another architecture must link statically.
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Package this program instead of building one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The archive to write; its bill of materials appears beside it.
    #[arg(long, value_name = "FILE", default_value = "target/image/landbridge.tar")]
    output: PathBuf,
    /// Also unpack the image into this folder, which must be empty or not there.
    #[arg(long, value_name = "FOLDER")]
    unpack: Option<PathBuf>,
    /// Name and tag of the image [default: landbridge:VERSION].
    #[arg(long, value_name = "REPOSITORY:TAG")]
    name: Option<String>,
}

impl Image {
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        for tool in tools::ensure(tools::IMAGE)? {
            say(&format!("missing: {} (package {})", tool.command, tool.package));
        }
        let binary = match &self.binary {
            Some(binary) if !binary.is_file() => {
                bail!("{} is no file: name the built program", binary.display())
            }
            Some(binary) => binary.clone(),
            None => self.build(workspace)?,
        };
        let output = workspace.root().join(&self.output);
        let name = self
            .name
            .clone()
            .unwrap_or_else(|| format!("landbridge:{}", version()));
        let compression = Compression::Gzip(9);
        let packed = pack(
            workspace,
            &binary,
            self.target.as_deref(),
            &name,
            compression,
            &output,
        )?;
        report(&packed);
        if let Some(folder) = &self.unpack {
            unpack(&packed, folder)?;
        }
        let release = self.binary.is_none() && self.profile == "release";
        if release && packed.download() > LARGEST_RELEASE {
            bail!(
                "the image is larger than {} MB: find out what grew",
                LARGEST_RELEASE / 1_000_000
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    fn build(&self, workspace: &Workspace) -> Result<PathBuf> {
        let mut build = workspace.cargo();
        build
            .args(["build", "-p", "landbridge", "--profile", &self.profile])
            .args(workspace.locked());
        // The folder of the profile `dev` has the name of the time before profiles had names.
        let mut folder = match self.profile.as_str() {
            "dev" => "debug".to_owned(),
            profile => profile.to_owned(),
        };
        if let Some(target) = &self.target {
            build.args(["--target", target]);
            folder = format!("{target}/{folder}");
        }
        if !process::run("image (build)", &mut build)?.success {
            bail!("the program could not be built");
        }
        workspace.binary(&folder)
    }
}

/// An image that was written, with what is in it.
#[derive(Debug)]
struct Packed {
    written: Written,
    sbom: PathBuf,
    components: usize,
}

impl Packed {
    /// What a node downloads.
    fn download(&self) -> u64 {
        self.written.layers.iter().map(|layer| layer.size).sum()
    }
}

/// The version of the workspace, which is this program's own.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Writes the image and, beside it, its bill of materials.
fn pack(
    workspace: &Workspace,
    binary: &Path,
    target: Option<&str>,
    name: &str,
    compression: Compression,
    output: &Path,
) -> Result<Packed> {
    let folder = output.parent().unwrap_or(workspace.root());
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let stripped = strip(binary, folder)?;
    let mut product = Product {
        binary: &stripped,
        version: version(),
        sbom: None,
        compression,
    };
    let bill = sbom::Bill::of(workspace, target, &product.packages()?)?;
    let text = bill.text()?;
    product.sbom = Some(&text);
    let written = product.image()?.write(name, output)?;
    let sbom = output.with_extension("cdx.json");
    std::fs::write(&sbom, &text).with_context(|| format!("write {}", sbom.display()))?;
    Ok(Packed {
        written,
        sbom,
        components: bill.len(),
    })
}

fn unpack(packed: &Packed, folder: &Path) -> Result<()> {
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!(
            "{} is not empty: name another folder, or empty it",
            folder.display()
        );
    }
    Archive::open(&packed.written.path)?.unpack(folder)
}

fn report(packed: &Packed) {
    let written = &packed.written;
    say(&format!(
        "image     {} in {}",
        written.name,
        written.path.display()
    ));
    say(&format!("digest    {}", written.digest));
    say(&format!("image id  {}", written.id));
    for (layer, what) in written.layers.iter().zip(["libraries", "program"]) {
        say(&format!(
            "layer     {what}: {} to download, {} unpacked",
            megabytes(layer.size),
            megabytes(layer.unpacked)
        ));
    }
    say(&format!("size      {}", megabytes(packed.download())));
    say(&format!(
        "materials {} components in {}",
        packed.components,
        packed.sbom.display()
    ));
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

#[cfg(test)]
mod tests;
