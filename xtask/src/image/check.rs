//! The step `image`: the debug build as an image, twice; what is in it; and that it runs in nothing but itself.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use landbridge_oci_image::images::PRODUCT_USER;
use landbridge_oci_image::{Archive, Compression, Written};

use super::pack;
use crate::counts::Counts;
use crate::process::{Clock, say};
use crate::workspace::Workspace;

/// How long one command may take in the unpacked image; the slowest needs 2 s on an idle machine.
const LONGEST: Duration = Duration::from_secs(120);

/// An operator that waits for nothing but an API server.
const OPERATOR: [&str; 7] = [
    "operator",
    "--kubeconfig=/kubeconfig",
    "--namespace=x",
    "--destination-service=default=secret:x/y/z",
    "--serve-listen=127.0.0.1:0",
    "--webhook-listen=off",
    "--admin-listen=127.0.0.1:0",
];

/// What its log says once it had its authorities and tried to connect.
const REACHED: &str = "client error (Connect)";

/// A kubeconfig that names no authority, so that those of the image count, and a server that is not there.
const KUBECONFIG: &str = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "x",
  "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}],
  "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
  "users": [{"name": "x", "user": {"token": "none"}}]}
"#;

/// Runs all checks on the image of `binary`.
pub(crate) fn check(workspace: &Workspace, binary: &Path) -> Result<Counts> {
    let parent = workspace.root().join("target/image");
    std::fs::create_dir_all(&parent).with_context(|| format!("create {}", parent.display()))?;
    let folder = tempfile::Builder::new()
        .prefix("check-")
        .tempdir_in(&parent)
        .with_context(|| format!("create a folder in {}", parent.display()))?;
    let write = |file: &str| -> Result<Written> {
        let output = folder.path().join(file);
        let name = format!("landbridge:{}", super::version());
        Ok(pack(workspace, binary, None, &name, Compression::None, &output)?.written)
    };
    let (one, two) = (write("one.tar")?, write("two.tar")?);
    let mut counts = Counts::default();
    let mut told = |what: &str, problems: Vec<String>| {
        for problem in &problems {
            say(&format!("error: {problem}"));
        }
        say(&format!(
            "{} {what}",
            if problems.is_empty() { "ok    " } else { "FAILED" }
        ));
        counts += Counts::step(problems.is_empty());
    };
    told("two builds have one digest", same(&one, &two));
    let archive = Archive::open(&one.path)?;
    told(
        "non-root, no shell, no rights to gain, the same at any time",
        structure(&archive)?,
    );
    match Root::unpack(&archive, folder.path(), workspace.is_ci())? {
        Ok(root) => {
            for (what, problems) in root.checks()? {
                told(what, problems);
            }
        }
        Err(reason) => {
            say(&format!("skipped: running the unpacked image {reason}"));
            counts.ignored += RUNS;
        }
    }
    Ok(counts)
}

fn same(one: &Written, two: &Written) -> Vec<String> {
    let mut problems = Vec::new();
    if one.digest != two.digest {
        problems.push(format!(
            "{} is not {}: something in the image changes",
            one.digest, two.digest
        ));
    }
    problems
}

fn structure(archive: &Archive) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut expect = |right: bool, problem: String| {
        if !right {
            problems.push(problem);
        }
    };
    let config = archive.config();
    expect(
        config.user == PRODUCT_USER,
        format!("the user is {:?}", config.user),
    );
    expect(
        config.entrypoint == ["/landbridge"],
        format!("the entrypoint is {:?}", config.entrypoint),
    );
    for (path, entry) in archive.entries()? {
        let library = path.starts_with("/lib") && path.contains(".so");
        let program =
            path == "/landbridge" || path.ends_with("/landbridge") || path.ends_with("/kubectl-landbridge");
        let executable = !entry.folder && entry.mode & 0o111 != 0;
        expect(
            !executable || library || program,
            format!("{path} can be executed: only the program and its libraries may"),
        );
        expect(
            entry.mode & 0o6000 == 0,
            format!("{path} gives rights to whoever starts it"),
        );
        expect(
            (entry.uid, entry.gid, entry.mtime) == (0, 0, 0),
            format!("{path} is not of root or has a time"),
        );
        expect(
            entry.mode & 0o002 == 0 || path == "/tmp" || entry.link.is_some(),
            format!("{path} can be written by all"),
        );
    }
    Ok(problems)
}

/// How many checks need the unpacked image to run.
const RUNS: u64 = 4;

/// The unpacked image, in which programs run as the image's user on a file system they cannot write.
struct Root {
    folder: PathBuf,
}

struct Ran {
    success: bool,
    output: String,
}

impl Root {
    /// Or the reason why nothing can run here; with CI=true that is an error.
    fn unpack(archive: &Archive, folder: &Path, ci: bool) -> Result<Result<Self, &'static str>> {
        let mut probe = Command::new("unshare");
        probe
            .args(["--mount", "true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            let reason = "needs root with the right to mount (unshare --mount)";
            if ci {
                anyhow::bail!("running the unpacked image {reason}");
            }
            return Ok(Err(reason));
        }
        let folder = folder.join("root");
        archive.unpack(&folder)?;
        // What a container runtime mounts.
        for name in ["dev", "proc"] {
            std::fs::create_dir_all(folder.join(name)).with_context(|| format!("create /{name}"))?;
        }
        std::fs::write(folder.join("kubeconfig"), KUBECONFIG).context("write the kubeconfig")?;
        Ok(Ok(Self { folder }))
    }

    fn checks(&self) -> Result<[(&'static str, Vec<String>); RUNS as usize]> {
        let version = self.run(&["--version"])?;
        let wanted = format!("landbridge {}", super::version());
        let demo = self.run(&["demo", "--check"])?;
        let last = demo.output.lines().last().unwrap_or_default().to_owned();
        // The link goes through PATH, as in `kubectl exec POD -- landbridge`.
        let link = self.start("landbridge", &["--version"])?;
        Ok([
            (
                "runs as 65532 on a read-only file system",
                problems(version.success && version.output.contains(&wanted), &version),
            ),
            (
                "is on the PATH",
                problems(link.success && link.output.contains(&wanted), &link),
            ),
            (
                "carries calls: landbridge demo --check",
                problems(demo.success && last.ends_with(" ok"), &demo),
            ),
            ("knows the public authorities", self.authorities()?),
        ])
    }

    /// Without them the client cannot be made; with them it is made, and finds that nobody listens.
    fn authorities(&self) -> Result<Vec<String>> {
        let log = self.folder.with_extension("log");
        let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut child = self
            .command("/landbridge", &OPERATOR)
            .stdout(file.try_clone().context("share the log")?)
            .stderr(file)
            .spawn()
            .context("start unshare (package util-linux)")?;
        // It asks for its API server until it is ended, so the log is looked at, not the exit code.
        let start = Clock::now();
        let output = loop {
            let ended = child.try_wait().context("wait for the operator")?.is_some();
            let output = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
            if ended || output.contains(REACHED) || start.elapsed() > LONGEST {
                break output;
            }
            pause();
        };
        // unshare, the shell and chroot became the program one after the other: this ends the operator itself.
        let _ = child.kill();
        child.wait().context("wait for the operator")?;
        let good = output.contains(REACHED);
        Ok(problems(
            good,
            &Ran {
                success: good,
                output,
            },
        ))
    }

    fn run(&self, arguments: &[&str]) -> Result<Ran> {
        self.start("/landbridge", arguments)
    }

    fn start(&self, program: &str, arguments: &[&str]) -> Result<Ran> {
        let longest = LONGEST.as_secs().to_string();
        let output = Command::new("timeout")
            .arg(longest)
            .args(command_line(&self.command(program, arguments)))
            .stdin(Stdio::null())
            .output()
            .context("start timeout (package coreutils)")?;
        let text = [output.stdout, output.stderr].concat();
        Ok(Ran {
            success: output.status.success(),
            output: String::from_utf8_lossy(&text).into_owned(),
        })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let script = format!(
            "mount --bind -o ro \"$1\" \"$1\" && mount -t tmpfs -o mode=1777 tmpfs \"$1/tmp\" && \
             mount -t proc proc \"$1/proc\" && mount --rbind /dev \"$1/dev\" && root=$1 && shift && \
             exec env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin \
             chroot --userspec={PRODUCT_USER} --groups= \"$root\" \"$@\""
        );
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"])
            .arg(&self.folder)
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null());
        command
    }
}

fn command_line(command: &Command) -> impl Iterator<Item = &OsStr> {
    std::iter::once(command.get_program()).chain(command.get_args())
}

#[allow(clippy::disallowed_methods, reason = "no tokio in this program")]
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

fn problems(good: bool, ran: &Ran) -> Vec<String> {
    if good {
        Vec::new()
    } else {
        vec![format!("the program said: {}", ran.output.trim())]
    }
}

#[cfg(test)]
mod tests;
