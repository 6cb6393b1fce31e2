//! A process that outlives its owner for a moment, and takes the server and its folder away.
//!
//! A signal at the death of the parent would not do: the kernel sends it when the *thread* ends that started the
//! child, and every test has a thread of its own.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};

use anyhow::{Context, Result};

use crate::programs::{Programs, as_user};

/// Its standard input ends when this process does, also by SIGKILL. A process that was paused gets no signal but
/// SIGKILL before it goes on, hence the `-CONT`.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
cat >/dev/null
if [ -f "$2/data/postmaster.pid" ]; then
    read -r pid <"$2/data/postmaster.pid"
    kill -CONT "$pid" $(ps -o pid= --ppid "$pid") 2>/dev/null
    "$1" --pgdata "$2/data" --mode immediate --silent stop
fi
rm -rf "$2"
"#;

/// Ends the server when dropped, or when this process ends.
#[derive(Debug)]
pub(crate) struct Guardian {
    child: Child,
    open: Option<ChildStdin>,
}

impl Guardian {
    pub(crate) fn start(programs: &Programs, folder: &Path) -> Result<Self> {
        let mut child = as_user("sh")
            .args(["-c", SCRIPT, "guardian"])
            .arg(programs.path("pg_ctl"))
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not in the group that a terminal interrupts.
            .process_group(0)
            .spawn()
            .context("start the guardian of PostgreSQL")?;
        let open = child.stdin.take();
        Ok(Self { child, open })
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.open.take());
        let _ = self.child.wait();
    }
}
