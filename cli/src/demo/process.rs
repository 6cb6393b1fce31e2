//! The demo's child processes: this same binary, with other arguments.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a child may take to stop before it is killed.
const STOP: Duration = Duration::from_millis(1500);

/// Bytes of a dead child's log that are shown.
const LOG_TAIL: u64 = 4096;

/// A running child. Killed when dropped.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `landbridge <arguments>` with its log in `folder`.
    pub(super) fn start(name: &'static str, folder: &Path, arguments: &[&str]) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let child = command(arguments)?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting the {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Fails, with the end of its log, when the child has died.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the {} ended ({status}):\n{}", self.name, tail(&self.log));
        }
        Ok(())
    }

    /// The end of its log, for error messages.
    pub(super) fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// Asks the child to stop, and kills it when it does not.
    pub(super) async fn stop(mut self) {
        let pid = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// This binary with other arguments. Settings of the caller's environment must not reach the demo's children.
pub(super) fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("finding this program's file")?);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("LANDBRIDGE_")) {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    Ok(command)
}

fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("(no log: {error})"))
}
