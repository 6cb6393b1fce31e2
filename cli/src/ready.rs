//! The ready file: tells scripts that a process serves, and where.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// What a standalone proxy tells once it is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    /// Health, metrics and status.
    pub admin: SocketAddr,
    /// Base address of the embedded store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// File with the service key for the embedded store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<PathBuf>,
    /// The embedded store's subaccount: the tenant connectors enrol for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Where connectors connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<SocketAddr>,
}

impl Ready {
    /// See [`write()`].
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        write(file, self)
    }

    /// See [`remove()`].
    ///
    /// # Errors
    /// The file is there but cannot be removed.
    pub(crate) fn remove(file: &Path) -> Result<()> {
        remove(file)
    }

    /// The file's content, or nothing while it is not there.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub(crate) fn read(file: &Path) -> Result<Option<Self>> {
        match std::fs::read(file) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
        }
    }
}

/// Writes the file so that a reader never sees half of it.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(file: &Path, content: &impl Serialize) -> Result<()> {
    let temporary = file.with_extension("tmp");
    std::fs::write(&temporary, serde_json::to_vec_pretty(content)?)
        .and_then(|()| std::fs::rename(&temporary, file))
        .with_context(|| format!("writing the ready file {}", file.display()))
}

/// `landbridge ready`: for probes that cannot ask a port, because another process may have the same one.
///
/// # Errors
/// The file is not there (yet), or no ready file.
pub(crate) fn check(file: &Path) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| {
        format!(
            "not ready: {} is written by a process (--ready-file) once it serves",
            file.display()
        )
    })?;
    let _: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes).with_context(|| format!("{} is no ready file", file.display()))?;
    Ok(())
}

/// Removes the file of an earlier run, which would tell of a process that does not serve yet.
///
/// # Errors
/// The file is there but cannot be removed.
pub(crate) fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing the old ready file {}", file.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_file_goes_and_none_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ready.json");
        Ready::remove(&file).unwrap();
        let ready = Ready {
            admin: "127.0.0.1:1".parse().unwrap(),
            store: None,
            binding: None,
            tenant: None,
            tunnel: None,
        };
        ready.write(&file).unwrap();
        assert_eq!(Ready::read(&file).unwrap().unwrap().admin, ready.admin);
        Ready::remove(&file).unwrap();
        assert!(Ready::read(&file).unwrap().is_none());
        // A folder is no ready file.
        let error = Ready::remove(folder.path()).unwrap_err();
        assert!(format!("{error:#}").contains("ready file"), "{error:#}");
    }
}
