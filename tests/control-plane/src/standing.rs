//! The control plane that stays: `up`, `down`, and where it is. One per user.
//!
//! Its folder is its state: a file per process, named by its id, with the moment of its start; a process that has the
//! id of one of ours but another start is somebody else's and is left alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::control_plane::ControlPlane;
use crate::{Clock, Progress, folders, pause};

const PROCESSES: &str = "processes";
const FOLDERS: &str = "path";

/// Where the control plane that stays is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Of a user who may do everything.
    pub kubeconfig: PathBuf,
    /// Folders with its programs, as in `PATH`.
    pub path: String,
    /// Its logs and keys.
    pub folder: PathBuf,
}

impl Standing {
    /// The one that runs, if one does.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn find() -> Result<Option<Self>> {
        Self::find_in(&folder()?)
    }

    fn find_in(folder: &Path) -> Result<Option<Self>> {
        let complete = folder.join(FOLDERS);
        // The list of folders is written last: without it the start was interrupted.
        if !stands(folder)? || !complete.is_file() {
            return Ok(None);
        }
        let path =
            std::fs::read_to_string(&complete).with_context(|| format!("read {}", complete.display()))?;
        Ok(Some(Self {
            kubeconfig: folder.join("admin.kubeconfig"),
            path,
            folder: folder.to_path_buf(),
        }))
    }

    /// Lines for a shell: `eval "$(cargo xtask kube env)"`.
    pub fn exports(&self) -> String {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        format!(
            "export KUBECONFIG={}\nexport KUBECACHEDIR={}\nexport PATH={}:\"$PATH\"\n",
            quoted(&self.kubeconfig.display().to_string()),
            quoted(&self.folder.join("kubectl-cache").display().to_string()),
            quoted(&self.path)
        )
    }
}

/// Starts it, unless it runs; what an interrupted or half-dead one has left is removed first.
///
/// # Errors
/// As for [`ControlPlane::start`].
pub fn up(progress: Progress<'_>) -> Result<Standing> {
    let folder = folder()?;
    let _lock = guard(&folder)?;
    if let Some(standing) = Standing::find_in(&folder)? {
        progress("it runs already");
        return Ok(standing);
    }
    clear(&folder)?;
    folders::private_folder(&folder.join(PROCESSES))?;
    let started = match ControlPlane::start_in(&folder, progress) {
        Ok(started) => started,
        Err(error) => {
            clear(&folder)?;
            return Err(error);
        }
    };
    let path =
        std::env::join_paths(started.programs().folders()).context("name the folders of the programs")?;
    std::fs::write(folder.join(FOLDERS), path.as_encoded_bytes())
        .context("note the folders of the programs")?;
    Standing::find_in(&folder)?.context("it ended right after its start: look at the logs in its folder")
}

/// Stops it and removes its folder; says whether anything was there.
///
/// # Errors
/// When a process does not end, or the folder cannot be removed.
pub fn down() -> Result<bool> {
    let folder = folder()?;
    let _lock = guard(&folder)?;
    clear(&folder)
}

fn folder() -> Result<PathBuf> {
    Ok(folders::cache()?.join("kube"))
}

/// One `up` or `down` at a time.
fn guard(folder: &Path) -> Result<std::fs::File> {
    if let Some(parent) = folder.parent() {
        folders::private_folder(parent)?;
    }
    folders::lock(&folder.with_extension("lock"))
}

/// Notes a process that was started for `folder` and stays.
///
/// # Errors
/// When the note cannot be written.
pub fn remember(folder: &Path, id: u32) -> Result<()> {
    let id = i32::try_from(id).context("a process id is out of range")?;
    // None when it has ended already, which the caller finds out by itself.
    let Some(start) = start_of(id) else {
        return Ok(());
    };
    let processes = folder.join(PROCESSES);
    folders::private_folder(&processes)?;
    std::fs::write(processes.join(id.to_string()), start.to_string()).context("note a process")
}

/// A process as it was noted.
#[derive(Debug)]
struct Noted {
    id: i32,
    start: u64,
}

impl Noted {
    fn runs(&self) -> bool {
        start_of(self.id) == Some(self.start)
    }
}

fn noted(folder: &Path) -> Result<Vec<Noted>> {
    let processes = folder.join(PROCESSES);
    if !processes.is_dir() {
        return Ok(Vec::new());
    }
    let mut noted = Vec::new();
    for entry in std::fs::read_dir(&processes).with_context(|| format!("list {}", processes.display()))? {
        let path = entry
            .with_context(|| format!("list {}", processes.display()))?
            .path();
        let id = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        let start = std::fs::read_to_string(&path)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        if let (Some(id), Some(start)) = (id, start) {
            noted.push(Noted { id, start });
        }
    }
    // The youngest first: the database was started before those who wait for it.
    noted.sort_by_key(|one| std::cmp::Reverse((one.start, one.id)));
    Ok(noted)
}

/// Whether all processes that were noted for `folder` run, and there are some.
///
/// # Errors
/// When its notes cannot be read.
pub fn stands(folder: &Path) -> Result<bool> {
    let noted = noted(folder)?;
    Ok(!noted.is_empty() && noted.iter().all(Noted::runs))
}

/// Ends the processes that were noted for `folder`, the youngest first.
///
/// # Errors
/// When a process does not end.
pub fn end(folder: &Path) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(30);
    for one in noted(folder)? {
        if let (true, Some(id)) = (one.runs(), Pid::from_raw(one.id)) {
            let _ = kill_process(id, Signal::KILL);
        }
        let start = Clock::now();
        while one.runs() {
            if start.elapsed() > PATIENCE {
                bail!("process {} does not end: look at it with `ps {}`", one.id, one.id);
            }
            pause(Duration::from_millis(20));
        }
    }
    Ok(())
}

fn clear(folder: &Path) -> Result<bool> {
    let there = folder.is_dir();
    end(folder)?;
    if there {
        std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    Ok(there)
}

/// When a process was started, in clock ticks since the machine's own start; none when it has ended (proc(5)).
fn start_of(id: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Fields are counted after the command name, which is in parentheses and may hold spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").spawn().unwrap()
    }

    #[test]
    fn only_own_processes_are_ended() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("kube");
        let (mut own, mut foreign) = (sleeper(), sleeper());
        remember(&folder, own.id()).unwrap();
        // An id of ours that was given to somebody else since.
        std::fs::write(folder.join(PROCESSES).join(foreign.id().to_string()), "1").unwrap();
        assert!(clear(&folder).unwrap());
        assert!(!own.wait().unwrap().success());
        assert!(foreign.try_wait().unwrap().is_none());
        assert!(!folder.exists());
        assert!(!clear(&folder).unwrap(), "nothing is there the second time");
        foreign.kill().unwrap();
        foreign.wait().unwrap();
    }

    #[test]
    fn it_stands_while_all_its_processes_run() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(Standing::find_in(folder).unwrap(), None);
        let (mut one, mut two) = (sleeper(), sleeper());
        remember(folder, one.id()).unwrap();
        remember(folder, two.id()).unwrap();
        assert_eq!(
            Standing::find_in(folder).unwrap(),
            None,
            "its start was not finished"
        );
        std::fs::write(folder.join(FOLDERS), "/a:/b").unwrap();
        let standing = Standing::find_in(folder).unwrap().unwrap();
        assert_eq!(standing.path, "/a:/b");
        one.kill().unwrap();
        one.wait().unwrap();
        assert_eq!(Standing::find_in(folder).unwrap(), None);
        two.kill().unwrap();
        two.wait().unwrap();
    }

    #[test]
    fn a_shell_reads_the_exports() {
        let standing = Standing {
            kubeconfig: "/tmp/it's here/admin.kubeconfig".into(),
            path: "/a:/b".into(),
            folder: "/f".into(),
        };
        let script = format!("{}printf '%s|%s' \"$KUBECONFIG\" \"$PATH\"", standing.exports());
        let output = Command::new("/bin/sh")
            .args(["-c", &script])
            .env("PATH", "/usr/bin")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, "/tmp/it's here/admin.kubeconfig|/a:/b:/usr/bin");
    }
}
