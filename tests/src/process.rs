//! Processes of the real binary.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::PATIENCE;

/// The binary under test: `LANDBRIDGE_BIN`, or the one beside the test's own folder.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("LANDBRIDGE_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test has a file");
    let path = test
        .ancestors()
        .nth(2)
        .expect("tests run in target/<profile>/deps")
        .join("landbridge");
    assert!(
        path.is_file(),
        "{} is missing; run `cargo build -p landbridge` first",
        path.display()
    );
    path
}

/// `landbridge <arguments>`, without the settings of the caller's environment.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    without_settings(&mut command);
    command.args(arguments).stdin(Stdio::null());
    command
}

fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("LANDBRIDGE_")) {
            command.env_remove(name);
        }
    }
}

/// Output of a command that ends by itself.
#[derive(Debug)]
pub struct Ended {
    /// Exit code, or `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `landbridge <arguments>` to its end.
pub async fn run(arguments: &[&str]) -> Ended {
    let output = timeout(PATIENCE * 2, command(arguments).output())
        .await
        .expect("the command ends")
        .expect("it starts");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A process that runs until it is stopped. Killed when dropped; its log is printed when the test panics.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `landbridge <arguments>`, logging to `log`.
    pub fn start(arguments: &[&str], log: &Path) -> Self {
        Self::spawn(command(arguments), log)
    }

    /// The same by another program that becomes it, such as setpriv(1).
    pub fn start_under(program: &[String], arguments: &[String], log: &Path) -> Self {
        let (first, rest) = program.split_first().expect("a program");
        // By an open file: another user may not be allowed into the folder of the checkout.
        let file = std::fs::File::open(binary()).expect("the binary can be read");
        let mut under = Command::new(first);
        under
            .args(rest)
            .arg("/proc/self/fd/0")
            .args(arguments)
            .stdin(file);
        without_settings(&mut under);
        Self::spawn(under, log)
    }

    fn spawn(mut command: Command, log: &Path) -> Self {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("log file");
        let child = command
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("its state can be read")
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id().expect("it runs")).expect("a pid fits")
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGKILL and waits for the end.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Waits for the end.
    pub async fn wait(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait())
            .await
            .expect("it ends")
            .expect("its state can be read")
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).expect("procfs");
        let pages: u64 = statm
            .split_ascii_whitespace()
            .nth(1)
            .expect("a field")
            .parse()
            .expect("a number");
        pages * rustix::param::page_size() as u64
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).expect("a pid"), signal).expect("it can be signalled");
    }
}

/// CPU time a process has used so far, in seconds.
pub fn cpu_seconds(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("procfs");
    // Fields are counted after the command name, which is in parentheses and may hold spaces (proc(5)).
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .expect("a name")
        .1
        .split_ascii_whitespace()
        .collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks");
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- {} ----\n{}", self.log.display(), self.log());
        }
    }
}
