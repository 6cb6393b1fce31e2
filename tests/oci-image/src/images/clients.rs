//! An image with a shell and the clients people use, taken from this machine's packages.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::product::authorities;
use super::{CLIENTS, NOBODY, base};
use crate::{Compression, Config, Image, Layer, Written};

/// A shell and what scripts call; all of them are in every Debian system. `tar` is for `kubectl cp`.
const SHELL: &[&str] = &[
    "dash", "cat", "chmod", "cp", "date", "echo", "env", "false", "grep", "head", "id", "ln", "ls", "mkdir",
    "mv", "rm", "sed", "seq", "sleep", "sort", "stat", "tail", "tar", "test", "timeout", "touch", "tr",
    "true", "wc",
];

/// Writes the image [`CLIENTS`].
///
/// # Errors
/// As [`clients_image`], or when `output` cannot be written.
pub fn clients(output: &Path) -> Result<Written> {
    clients_image()?.write(CLIENTS, output)
}

/// The image: `sh` and friends, `curl` (which speaks LDAP too), `psql`, `openssl`.
///
/// # Errors
/// When one of them is not installed (packages curl, postgresql-client, openssl, ca-certificates).
pub fn clients_image() -> Result<Image> {
    let mut layer = Layer::new();
    base(&mut layer)?;
    for name in SHELL {
        layer.executable(&format!("/usr/bin/{name}"), &find(name, name)?)?;
    }
    layer.executable("/usr/bin/curl", &find("curl", "curl")?)?;
    layer.executable("/usr/bin/openssl", &find("openssl", "openssl")?)?;
    layer.executable("/usr/bin/psql", &psql()?)?;
    layer.link("/bin/sh", "/usr/bin/dash")?;
    layer.bytes("/etc/nsswitch.conf", 0o644, "hosts: files dns\n")?;
    layer.bytes("/etc/ssl/certs/ca-certificates.crt", 0o644, authorities()?)?;
    Ok(Image {
        layers: vec![layer],
        config: Config {
            user: NOBODY.to_owned(),
            command: vec!["/bin/sh".to_owned()],
            env: vec![
                "PATH=/usr/bin:/bin".to_owned(),
                // /etc/passwd names a folder that nobody may write; psql and openssl keep histories at home.
                "HOME=/tmp".to_owned(),
            ],
            ..Config::default()
        },
        compression: Compression::None,
    })
}

fn find(name: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{name} is not installed: install the package {package}"))
}

/// Debian's /usr/bin/psql is a script that picks one of the installed versions; the newest is taken here.
fn psql() -> Result<PathBuf> {
    let version = |path: &PathBuf| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        name.parse::<u32>().unwrap_or(0)
    };
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("bin/psql").is_file())
        .collect();
    versions.sort_by_key(version);
    match versions.pop() {
        Some(newest) => Ok(newest.join("bin/psql")),
        None => find("psql", "postgresql-client"),
    }
}
