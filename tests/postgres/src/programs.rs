//! The programs of PostgreSQL, and the user who runs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The oldest version the store supports.
const OLDEST: u32 = 15;

/// Where Debian keeps the programs of the server, one folder per version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The user whom Debian's package makes. PostgreSQL refuses to run as root.
const USER: &str = "postgres";

/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// The newest version that is installed.
    pub(crate) fn find() -> Result<Self> {
        let entries = std::fs::read_dir(DEBIAN).map(|entries| entries.flatten().collect::<Vec<_>>());
        let newest = entries
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|version| {
                Path::new(DEBIAN)
                    .join(version.to_string())
                    .join("bin/initdb")
                    .is_file()
            })
            .max();
        match newest {
            Some(version) if version >= OLDEST => Ok(Self {
                folder: Path::new(DEBIAN).join(version.to_string()).join("bin"),
            }),
            Some(version) => {
                bail!("PostgreSQL {version} in {DEBIAN} is too old: install version {OLDEST} or newer")
            }
            None => bail!(
                "there is no PostgreSQL in {DEBIAN}: install the package postgresql (`cargo xtask tools` does it)"
            ),
        }
    }

    /// One of them.
    pub(crate) fn command(&self, program: &str) -> Command {
        as_user(self.folder.join(program))
    }

    /// The path of one of them.
    pub(crate) fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }
}

/// A program as a user who is not root.
pub(crate) fn as_user(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args([&format!("--reuid={USER}"), &format!("--regid={USER}")])
            .args(["--init-groups", "--"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    // The folder of the checkout may be closed to that user, and settings of the caller are not for this server.
    command.current_dir("/").env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("LC_ALL", "C.UTF-8");
    command
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn output(what: &str, command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("{what}: start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!(
            "{what}: {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
