//! The namespaces of one machine of the cluster, held by one process each, and starting programs in them.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use landbridge_control_plane::{Life, tail};

use crate::{Clock, pause};

const INIT: &str = include_str!("init.sh");

/// Networks; [`Namespaces::network`] calls its functions.
const NETWORK: &str = include_str!("network.sh");

/// How long a handful of small programs may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Namespaces that live as long as the process that holds them.
#[derive(Debug)]
pub(crate) struct Namespaces {
    holder: Child,
    /// The process inside that is entered by others.
    init: u32,
}

impl Namespaces {
    /// Those of a node: network, mounts and processes.
    pub(crate) fn node(folder: &Path, life: Life) -> Result<Self> {
        let mut command = Command::new("unshare");
        command
            .args([
                "--net",
                "--mount",
                "--pid",
                "--mount-proc",
                "--propagation",
                "private",
            ])
            // The process inside is the first of its namespace of processes: all others end with it, at once.
            .args(["--fork", "--kill-child=KILL", "sh", "-c", INIT, "init"])
            .arg(folder)
            .arg(argument(life));
        let log = folder.join("init.log");
        let holder = start(command, &log, life)?;
        Self::when_ready(holder, &log, only_child)
    }

    /// Those of a company: only a network, since its programs are the test's.
    pub(crate) fn company(folder: &Path, life: Life) -> Result<Self> {
        const HOLD: &str = "echo ready; [ \"$1\" = owner ] && exec cat >/dev/null; exec sleep infinity";
        let mut command = Command::new("unshare");
        command
            .args(["--net", "sh", "-c", HOLD, "company"])
            .arg(argument(life));
        let log = folder.join("company.log");
        let holder = start(command, &log, life)?;
        Self::when_ready(holder, &log, Ok)
    }

    fn when_ready(mut holder: Child, log: &Path, init: impl FnOnce(u32) -> Result<u32>) -> Result<Self> {
        let start = Clock::now();
        let ready = loop {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            if said.lines().any(|line| line == "ready") {
                break init(holder.id());
            }
            if let Some(status) = holder.try_wait().context("look at a process")? {
                bail!("no namespaces could be made ({status}): {}", said.trim());
            }
            if start.elapsed() > PATIENCE {
                break Err(anyhow::anyhow!(
                    "namespaces are not there after {} s: {}",
                    PATIENCE.as_secs(),
                    tail(log)
                ));
            }
            pause(Duration::from_millis(10));
        };
        match ready {
            Ok(init) => Ok(Self { holder, init }),
            Err(error) => {
                let _ = holder.kill();
                let _ = holder.wait();
                Err(error)
            }
        }
    }

    /// Process that keeps them.
    pub(crate) fn holder(&self) -> u32 {
        self.holder.id()
    }

    /// Process in them.
    pub(crate) fn init(&self) -> u32 {
        self.init
    }

    /// Calls a function of network.sh in the network.
    pub(crate) fn network(&self, arguments: &[&str]) -> Result<()> {
        network(self.init, arguments)
    }

    /// Ends them and everything in them.
    pub(crate) fn end(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // A holder that stays is not ours to end: its file says so by having no standard input.
        if self.holder.stdin.is_some() {
            self.end();
        }
    }
}

fn argument(life: Life) -> &'static str {
    match life {
        Life::WithThisProcess => "owner",
        Life::UntilStopped => "stay",
    }
}

fn start(mut command: Command, log: &Path, life: Life) -> Result<Child> {
    let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let errors = file.try_clone().context("share a log")?;
    command
        // Its end of the pipe closes when this process is gone; nothing is ever written.
        .stdin(match life {
            Life::WithThisProcess => Stdio::piped(),
            Life::UntilStopped => Stdio::null(),
        })
        .stdout(file)
        .stderr(errors)
        .process_group(0);
    command.spawn().context("start unshare (package util-linux)")
}

fn only_child(parent: u32) -> Result<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    text.trim()
        .parse()
        .with_context(|| format!("{path} has no single process: {text:?}"))
}

/// Calls a function of network.sh in the network of a process.
pub(crate) fn network(init: u32, arguments: &[&str]) -> Result<()> {
    let words = network_words(init);
    let output = command(&words, "sh")
        .args(["-c", NETWORK, "network"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("start nsenter (package util-linux)")?;
    if !output.status.success() {
        bail!(
            "the network cannot be set up ({}): {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// The words before a program that is to run in the network of a process, and else as here. Not `ip netns exec`, which
/// mounts a new /sys, without cgroups.
pub(crate) fn network_words(init: u32) -> Vec<String> {
    vec![
        "nsenter".into(),
        format!("--net=/proc/{init}/ns/net"),
        "--".into(),
    ]
}

/// The words before a program that is to run in all namespaces of a process, and to end with nsenter.
pub(crate) fn all_words(init: u32) -> Vec<String> {
    let mut words = vec!["nsenter".into(), format!("--target={init}")];
    words.extend(
        [
            "--net",
            "--mount",
            "--pid",
            "--",
            "setpriv",
            "--pdeathsig",
            "KILL",
            "--",
        ]
        .map(str::to_owned),
    );
    words
}

/// `program` behind such words.
pub(crate) fn command(words: &[String], program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = match words.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.stdin(Stdio::null());
    command
}

/// Whether something in the network of a process listens at this port (TCP) or is bound to it (UDP).
pub(crate) fn bound(init: u32, protocol: &str, port: u16) -> Result<bool> {
    let path = PathBuf::from(format!("/proc/{init}/net/{protocol}"));
    let mut text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    // Programs in Go listen at both versions of IP with one socket, which is in the list of the newer.
    text.push_str(&std::fs::read_to_string(path.with_file_name(format!("{protocol}6"))).unwrap_or_default());
    Ok(has_port(&text, protocol, port))
}

/// proc_net_tcp: `sl local_address rem_address st ...`, addresses and states in hexadecimal; 0A is LISTEN.
fn has_port(table: &str, protocol: &str, port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next().unwrap_or_default();
        let state = fields.nth(1).unwrap_or_default();
        local.ends_with(&suffix) && (protocol != "tcp" || state == "0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_port_is_told_from_a_connection() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
                     0: 0100007F:094B 00000000:0000 0A 00000000:00000000\n\
                     1: 0100007F:094C 0100007F:C001 01 00000000:00000000\n";
        assert!(has_port(table, "tcp", 2379));
        assert!(!has_port(table, "tcp", 2380), "a connection");
        assert!(!has_port(table, "tcp", 1));
        let table = "  sl  local_address rem_address   st\n 5: 016433C6:0035 00000000:0000 07 0:0\n";
        assert!(has_port(table, "udp", 53));
    }

    #[test]
    fn words_come_before_the_program() {
        let command = command(&network_words(7), "kubectl");
        assert_eq!(command.get_program(), "nsenter");
        let arguments: Vec<_> = command
            .get_args()
            .map(|one| one.to_string_lossy().into_owned())
            .collect();
        assert_eq!(arguments, ["--net=/proc/7/ns/net", "--", "kubectl"]);
    }

    #[test]
    fn what_cannot_be_made_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo unshare: Operation not permitted >&2; exit 1"]);
        let holder = start(command, &log, Life::WithThisProcess).unwrap();
        let error = Namespaces::when_ready(holder, &log, only_child)
            .unwrap_err()
            .to_string();
        assert!(error.contains("Operation not permitted"), "{error}");
    }
}
