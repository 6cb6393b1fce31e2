//! One server: started, paused, stopped and started again by a test.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::guardian::Guardian;
use crate::programs::{Programs, as_user, output};
use crate::{Database, ROLE};

/// The superuser, whom only this crate uses.
const SUPERUSER: &str = "postgres";

/// Seconds that starting and stopping may take: a busy machine is slow at both.
const PATIENCE: &str = "120";

/// Another port may be taken between looking for it and using it; three times in a row is no accident.
const ATTEMPTS: u32 = 3;

/// What differs from the defaults. `fsync` and `synchronous_commit` are said for the reader: what the store acknowledges
/// must be on disk here too. Less memory than the default 128 MB, since nobody keeps much in it.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
password_encryption = 'scram-sha-256'
fsync = on
synchronous_commit = on
max_connections = 400
shared_buffers = '32MB'
max_wal_size = '256MB'
";

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Connections are told and closed, everything is written.
    Fast,
    /// As if the machine had lost its power: the next start recovers from the log.
    Immediate,
}

impl Stop {
    fn word(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

/// A running server; ends, and its folder goes, when it is dropped or the process ends.
#[derive(Debug)]
pub struct Server {
    programs: Programs,
    folder: PathBuf,
    port: u16,
    password: String,
    databases: AtomicU32,
    _guardian: Guardian,
}

impl Server {
    /// Starts one of the caller's own, which it may stop and pause.
    ///
    /// # Errors
    /// PostgreSQL 15 or newer is not installed, or does not start; the message has its log.
    pub fn start() -> Result<Self> {
        let programs = Programs::find()?;
        let made = output(
            "make a folder",
            as_user("mktemp").args(["--directory", "/tmp/landbridge-postgres-XXXXXX"]),
        )?;
        let folder = PathBuf::from(made);
        let guardian = Guardian::start(&programs, &folder)?;
        let password = random()?;
        initialize(&programs, &folder, &password)?;
        let port = first_start(&programs, &folder)?;
        let this = Self {
            programs,
            folder,
            port,
            password,
            databases: AtomicU32::new(0),
            _guardian: guardian,
        };
        this.sql(&format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{}'", this.password))?;
        Ok(this)
    }

    /// A new, empty database.
    ///
    /// # Errors
    /// The server does not run.
    pub fn database(&self) -> Result<Database> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("CREATE DATABASE {name} OWNER {ROLE}"))?;
        Ok(Database {
            name,
            port: self.port,
            password: self.password.clone(),
        })
    }

    /// Runs one statement as superuser and returns its rows, fields separated by `|`.
    ///
    /// # Errors
    /// The server does not run, or refuses the statement.
    pub fn sql(&self, statement: &str) -> Result<String> {
        self.sql_in(SUPERUSER, statement)
    }

    /// The same in one database.
    ///
    /// # Errors
    /// See [`sql`](Self::sql).
    pub fn sql_in(&self, database: &str, statement: &str) -> Result<String> {
        let mut psql = self.programs.command("psql");
        psql.env("PGPASSWORD", &self.password)
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set", "ON_ERROR_STOP=1", "--username", SUPERUSER])
            .args(["--port", &self.port.to_string(), "--dbname", database])
            .arg("--host")
            .arg(&self.folder)
            .args(["--command", statement]);
        output("psql", &mut psql)
    }

    /// Everything that is kept in a database, as SQL text (bytes in hexadecimal).
    ///
    /// # Errors
    /// The server does not run.
    pub fn dump(&self, database: &Database) -> Result<String> {
        let mut dump = self.programs.command("pg_dump");
        dump.env("PGPASSWORD", &self.password)
            .args(["--username", SUPERUSER, "--port", &self.port.to_string()])
            .arg("--host")
            .arg(&self.folder)
            .arg(&database.name);
        output("pg_dump", &mut dump)
    }

    /// Cuts all connections to one database, as a network does that goes away; the server goes on.
    ///
    /// # Errors
    /// The server does not run.
    pub fn disconnect(&self, database: &Database) -> Result<()> {
        self.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
            database.name
        ))?;
        Ok(())
    }

    /// Stops the server; what was written stays.
    ///
    /// # Errors
    /// It does not stop within two minutes.
    pub fn stop(&self, how: Stop) -> Result<()> {
        let mut stop = control(&self.programs, &self.folder);
        stop.args(["--mode", how.word(), "stop"]);
        output("stop PostgreSQL", &mut stop).map(drop)
    }

    /// Starts it again after [`stop`](Self::stop), at the same address.
    ///
    /// # Errors
    /// It does not start within two minutes; the message has its log.
    pub fn start_again(&self) -> Result<()> {
        launch(&self.programs, &self.folder, self.port)
    }

    /// Holds the server still: connections stay open, and nothing answers.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<()> {
        // The parent first: it makes no more children then.
        let parent = self.pid()?;
        signal(parent, Signal::STOP)?;
        children(parent)?
            .into_iter()
            .try_for_each(|pid| signal(pid, Signal::STOP))
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self) -> Result<()> {
        let parent = self.pid()?;
        children(parent)?
            .into_iter()
            .try_for_each(|pid| signal(pid, Signal::CONT))?;
        signal(parent, Signal::CONT)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        log(&self.folder)
    }

    fn pid(&self) -> Result<i32> {
        let file = self.folder.join("data/postmaster.pid");
        let text = std::fs::read_to_string(&file).context("PostgreSQL does not run")?;
        text.lines()
            .next()
            .and_then(|line| line.trim().parse().ok())
            .with_context(|| format!("{} has no number", file.display()))
    }
}

fn initialize(programs: &Programs, folder: &Path, password: &str) -> Result<()> {
    // The folder is closed to others; the file must be readable for the user whose it is.
    let password_file = folder.join("password");
    std::fs::write(&password_file, password).context("write the password for initdb")?;
    readable(&password_file)?;
    let mut initdb = programs.command("initdb");
    initdb
        .args(["--username", SUPERUSER, "--auth", "scram-sha-256"])
        .args(["--encoding", "UTF8", "--locale", "C.UTF-8"])
        // Of the making alone: nobody needs a half-made folder after a power cut.
        .arg("--no-sync")
        .arg("--pgdata")
        .arg(folder.join("data"))
        .arg("--pwfile")
        .arg(&password_file);
    output("initdb", &mut initdb)?;
    let settings = folder.join("data/postgresql.auto.conf");
    std::fs::write(&settings, SETTINGS).context("write the settings")
}

fn readable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644))
        .with_context(|| format!("open {} for its user", file.display()))
}

fn first_start(programs: &Programs, folder: &Path) -> Result<u16> {
    let mut trouble = None;
    for _ in 0..ATTEMPTS {
        let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
        let port = listener.local_addr().context("find a free port")?.port();
        drop(listener);
        match launch(programs, folder, port) {
            Ok(()) => return Ok(port),
            Err(error) => trouble = Some(error),
        }
    }
    Err(trouble.unwrap_or_else(|| anyhow::anyhow!("no attempt was made")))
}

fn launch(programs: &Programs, folder: &Path, port: u16) -> Result<()> {
    let mut start = control(programs, folder);
    // Words for a shell: the path is mktemp's, which has no character that a shell knows.
    start
        .args(["--options", &format!("-p {port} -k {}", folder.display())])
        .arg("--log")
        .arg(folder.join("log"))
        .arg("start");
    output("start PostgreSQL", &mut start)
        .map(drop)
        .with_context(|| format!("its log: {}", log(folder)))
}

fn control(programs: &Programs, folder: &Path) -> Command {
    let mut command = programs.command("pg_ctl");
    command
        .args(["--wait", "--timeout", PATIENCE, "--silent", "--pgdata"])
        .arg(folder.join("data"));
    command
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn signal(pid: i32, signal: Signal) -> Result<()> {
    let Some(pid) = Pid::from_raw(pid) else {
        bail!("{pid} is no process")
    };
    match kill_process(pid, signal) {
        // A child may end at any time.
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).context("signal a process of PostgreSQL"),
    }
}

fn children(parent: i32) -> Result<Vec<i32>> {
    // Every child of the server has a session of its own, so that there is no group to signal.
    let listed = output(
        "list the processes of PostgreSQL",
        Command::new("ps").args(["-o", "pid=", "--ppid", &parent.to_string()]),
    )?;
    Ok(listed
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect())
}

/// 128 bits of the kernel, as letters and digits: they need no escape in an URL or in SQL.
fn random() -> Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid").context("random numbers")?;
    Ok(text.trim().replace('-', ""))
}

#[cfg(test)]
mod tests;
