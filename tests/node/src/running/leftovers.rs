//! Where clusters are kept, and removing what is left of one when its namespaces are gone.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use landbridge_control_plane::folders::{self, RunFolder};

use crate::machine::cgroup;

/// Every program that was started into the network of a cluster has this variable, with the cluster's folder: so the
/// cleaner finds those whose test is gone.
pub(crate) const MARK: &str = "TEST_NODE_FOLDER";

const CLEAN: &str = include_str!("../clean.sh");

/// Folder below which clusters are.
pub(crate) fn place() -> Result<PathBuf> {
    let cache = folders::cache()?;
    // A socket's path has 107 bytes, of which the deepest below a node takes 60.
    if cache.as_os_str().len() > 60 {
        bail!(
            "{} is too long for sockets below it: set XDG_CACHE_HOME to a shorter folder",
            cache.display()
        );
    }
    if ["/run", "/var"].iter().any(|hidden| cache.starts_with(hidden)) {
        bail!(
            "nodes have /run and /var of their own and would not see {}: set XDG_CACHE_HOME to another folder",
            cache.display()
        );
    }
    Ok(cache)
}

/// What stays when namespaces are gone; removed when dropped, and by a process of its own when this one has ended
/// without dropping anything, as test programs do.
pub(super) struct Leftovers {
    run: RunFolder,
    cleaner: Option<Child>,
}

impl Leftovers {
    pub(super) fn of(run: RunFolder) -> Result<Self> {
        use std::os::unix::process::CommandExt;
        let mut command = cleaner(run.path())?;
        command
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        Ok(Self {
            cleaner: Some(command.spawn().context("start sh")?),
            run,
        })
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        if let Some(mut cleaner) = self.cleaner.take() {
            // It begins when its standard input ends.
            drop(cleaner.stdin.take());
            let _ = cleaner.wait();
        }
        // The next start tries again when something is still there.
        let _ = self.run.path();
    }
}

fn cleaner(folder: &Path) -> Result<Command> {
    let mut command = Command::new("sh");
    command
        .args(["-c", CLEAN, "clean"])
        .arg(folder)
        .args([&cgroup(folder)?, MARK])
        .stdin(Stdio::null());
    Ok(command)
}

/// Removes what the cluster in `folder`, whose owner is gone, has left.
pub(crate) fn clean(folder: &Path) -> Result<()> {
    let output = cleaner(folder)?.output().context("start sh")?;
    if !output.status.success() {
        bail!(
            "what a cluster has left cannot be removed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
