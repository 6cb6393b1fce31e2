//! Where the checkout is and how cargo is called in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Names the built `landbridge` binary to the end-to-end suites and to the load program.
pub(crate) const BINARY_VARIABLE: &str = "LANDBRIDGE_BIN";

/// The checkout.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    ci: bool,
}

/// The parts of `cargo metadata` that are looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

/// One package of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a `[dependencies]`, `[dev-dependencies]` or `[build-dependencies]` table.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// A folder for the rooms of this workspace, absent for everything from a registry.
    pub(crate) path: Option<PathBuf>,
}

impl Workspace {
    /// The checkout this program was built from; cargo names the folder of the package at run time.
    pub(crate) fn find() -> Result<Self> {
        let package = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let Some(root) = package.parent().filter(|root| root.join("Cargo.toml").is_file()) else {
            bail!(
                "no workspace above {}: start this with `cargo xtask`",
                package.display()
            );
        };
        let ci = std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false");
        Ok(Self {
            root: root.to_path_buf(),
            ci,
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `cargo` in the root folder.
    pub(crate) fn cargo(&self) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .current_dir(&self.root)
            .env("CARGO_TERM_PROGRESS_WHEN", "never");
        // The outer cargo exports what belongs to this package alone.
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// `--locked` with `CI=true`, where a stale Cargo.lock is an error; nothing on a machine where one edits it.
    pub(crate) fn locked(&self) -> &'static [&'static str] {
        if self.ci { &["--locked"] } else { &[] }
    }

    /// Whether `CI=true`: what a developer's machine may lack must be there.
    pub(crate) fn is_ci(&self) -> bool {
        self.ci
    }

    /// `cargo metadata` of the workspace's own packages.
    pub(crate) fn metadata(&self) -> Result<Metadata> {
        let output = self
            .cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .args(self.locked())
            .output()
            .context("start `cargo metadata`")?;
        if !output.status.success() {
            bail!(
                "`cargo metadata` failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        serde_json::from_slice(&output.stdout).context("read the answer of `cargo metadata`")
    }

    /// The version of the compiler, such as `1.95.0`.
    pub(crate) fn rustc_version(&self) -> Result<String> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let output = Command::new(rustc)
            .current_dir(&self.root)
            .arg("--version")
            .output()
            .context("start `rustc --version`")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split_whitespace()
            .nth(1)
            .map(str::to_owned)
            .with_context(|| format!("`rustc --version` says {text:?}"))
    }

    /// The path of the `landbridge` binary of one profile folder (`debug`, `quick-release`).
    pub(crate) fn binary(&self, profile: &str) -> Result<PathBuf> {
        Ok(self.metadata()?.target_directory.join(profile).join("landbridge"))
    }
}
