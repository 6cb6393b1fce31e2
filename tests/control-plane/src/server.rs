//! One server process: started so that it cannot outlive its owner, or so that it does; its log in a file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{Clock, Life, pause};

/// How long a server may take to be ready. It takes 3 s on an idle machine; this one may be busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// How much of a log is shown with an error.
const TAIL: u64 = 4 * 1024;

/// A running server. Killed when dropped, unless it was made to stay.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
    life: Life,
}

impl Server {
    /// Starts `program`, with its log in `folder`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        folder: &Path,
        life: Life,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("open {}", log.display()))?;
        let errors = file.try_clone().context("share a log")?;
        let mut command = match life {
            Life::WithThisProcess => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
            Life::UntilStopped => Command::new(program),
        };
        // A group of its own: Ctrl-C in the terminal is for the owner, which then ends its servers in order.
        command
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .process_group(0);
        let child = spawn(command).with_context(|| match life {
            Life::WithThisProcess => {
                format!("start {} through setpriv (package util-linux)", program.display())
            }
            Life::UntilStopped => format!("start {}", program.display()),
        })?;
        Ok(Self {
            name,
            child,
            log,
            life,
        })
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` says so; the reason it gives last is part of the error.
    ///
    /// # Errors
    /// When it ends, or is not ready after three minutes; then with the end of its log.
    pub fn wait_until(&mut self, mut ready: impl FnMut() -> Result<()>) -> Result<()> {
        let start = Clock::now();
        loop {
            if let Some(status) = self.child.try_wait().context("look at a server")? {
                bail!(
                    "{} ended at its start ({status}):\n{}",
                    self.name,
                    tail(&self.log)
                );
            }
            match ready() {
                Ok(()) => return Ok(()),
                Err(reason) if start.elapsed() > PATIENCE => bail!(
                    "{} is not ready after {} s: {reason:#}\n{}",
                    self.name,
                    PATIENCE.as_secs(),
                    tail(&self.log)
                ),
                Err(_) => pause(Duration::from_millis(100)),
            }
        }
    }

    /// Ends it at once. SIGTERM would make an API server wait for its database, for minutes when that is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.life == Life::WithThisProcess {
            self.kill();
        }
    }
}

type Order = (Command, SyncSender<std::io::Result<Child>>);

/// Starts `command` from a thread that lives as long as this process: the signal at the parent's death is sent when the
/// *thread* that started the child ends, and threads of pools end when they have been idle for a while.
pub(crate) fn spawn(command: Command) -> Result<Child> {
    static KEEPER: OnceLock<SyncSender<Order>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (orders, received) = sync_channel::<Order>(1);
        std::thread::spawn(move || {
            while let Ok((mut command, answer)) = received.recv() {
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, child) = sync_channel(1);
    keeper
        .send((command, answer))
        .context("the thread that starts servers has ended")?;
    Ok(child
        .recv()
        .context("the thread that starts servers has ended")??)
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) => format!("(no log at {}: {error})", log.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path, life: Life) -> Server {
        let arguments = ["-c".to_owned(), script.to_owned()];
        Server::start("shell", Path::new("/bin/sh"), &arguments, folder, life).unwrap()
    }

    fn running(id: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }

    #[test]
    fn a_server_that_ends_at_its_start_shows_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = shell(
            "echo bind: address already in use >&2; exit 3",
            folder.path(),
            Life::WithThisProcess,
        );
        let error = server.wait_until(|| bail!("not yet")).unwrap_err().to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("address already in use"),
            "{error}"
        );
    }

    #[test]
    fn it_ends_with_its_owner_or_stays() {
        let folder = tempfile::tempdir().unwrap();
        let server = shell("exec sleep 600", folder.path(), Life::WithThisProcess);
        let id = server.id();
        assert!(running(id));
        drop(server);
        assert!(!running(id));
        let mut server = shell("exec sleep 600", folder.path(), Life::UntilStopped);
        let id = server.id();
        let kept = std::mem::replace(&mut server.child, spawn(Command::new("true")).unwrap());
        drop(server);
        assert!(running(id));
        let mut kept = kept;
        kept.kill().unwrap();
        kept.wait().unwrap();
    }

    /// The trap that the thread of [`spawn`] is for.
    #[test]
    fn it_outlives_the_thread_that_asked_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_path_buf();
        let mut server = std::thread::spawn(move || shell("exec sleep 600", &path, Life::WithThisProcess))
            .join()
            .unwrap();
        pause(Duration::from_millis(200));
        assert!(server.child.try_wait().unwrap().is_none());
    }
}
