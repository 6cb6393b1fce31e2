//! One `go build`, kept by the hash of everything that decides its result.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::source::{Pinned, Program};
use crate::{Clock, Progress, folders, pause, server};

/// A build that takes longer hangs (a module proxy that does not answer, most likely).
const LONGEST: Duration = Duration::from_secs(40 * 60);

/// How often a long build says that it still runs.
const SILENCE: Duration = Duration::from_secs(30);

/// Something must be built, and what builds it is not installed.
#[derive(Debug)]
pub struct MissingTools;

impl std::fmt::Display for MissingTools {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(
            "needs Go 1.26 or newer on the PATH (https://go.dev/doc/install), which builds the control plane once; or set \
             KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver, kube-controller-manager and kubectl",
        )
    }
}

impl std::error::Error for MissingTools {}

/// The folder with `programs`, built first where they are missing.
pub(super) fn ensure(
    pinned: &Pinned,
    programs: &[Program],
    cache: &Path,
    progress: Progress<'_>,
) -> Result<PathBuf> {
    let go = go_version()?;
    let name = format!("{}-{}-{}", pinned.name, pinned.version, key(pinned, &go));
    let folder = cache.join(&name);
    if complete(&folder, programs) {
        return Ok(folder);
    }
    folders::private_folder(cache)?;
    let _lock = lock(&cache.join(format!("{name}.lock")), &name, progress)?;
    if complete(&folder, programs) {
        return Ok(folder);
    }
    // Programs appear in the folder by renaming: whoever looks sees a whole one or none.
    let partial = cache.join(format!("{name}.partial"));
    let _ = std::fs::remove_dir_all(&partial);
    folders::private_folder(&partial)?;
    folders::private_folder(&folder)?;
    compile(
        pinned,
        programs,
        &partial,
        &cache.join(format!("{name}.log")),
        progress,
    )?;
    for program in programs {
        let (from, to) = (partial.join(program.name), folder.join(program.name));
        std::fs::rename(&from, &to)
            .with_context(|| format!("move {} to {}", from.display(), to.display()))?;
    }
    let _ = std::fs::remove_dir_all(&partial);
    Ok(folder)
}

fn complete(folder: &Path, programs: &[Program]) -> bool {
    programs.iter().all(|program| folder.join(program.name).is_file())
}

fn lock(path: &Path, name: &str, progress: Progress<'_>) -> Result<File> {
    if let Some(file) = folders::try_lock(path)? {
        return Ok(file);
    }
    progress(&format!("waiting for another process that builds {name}"));
    folders::lock(path)
}

/// What `go version` prints, which names the platform too.
fn go_version() -> Result<String> {
    let output = match Command::new("go").arg("version").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => output,
        Ok(output) => bail!(
            "`go version` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(MissingTools),
        Err(error) => return Err(error).context("start `go version`"),
    };
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// 12 hexadecimal digits over the pinned modules, the compiler and the way it is called.
fn key(pinned: &Pinned, go: &str) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(&pinned.files);
    context.update(go.as_bytes());
    context.update(link_flags(pinned).as_bytes());
    let digest = context.finish();
    digest
        .as_ref()
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Without the version the API server would call itself v0.0.0, and checks of its version would fail.
fn link_flags(pinned: &Pinned) -> String {
    let version = &pinned.version;
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    let at = "k8s.io/component-base/version";
    let more = &pinned.link;
    format!("-s -w -X {at}.gitVersion={version} -X {at}.gitMajor={major} -X {at}.gitMinor={minor}{more}")
}

fn compile(
    pinned: &Pinned,
    programs: &[Program],
    output: &Path,
    log: &Path,
    progress: Progress<'_>,
) -> Result<()> {
    for program in programs {
        let mut command = Command::new("go");
        command
            .current_dir(&pinned.folder)
            .args([
                "build",
                "-mod=readonly",
                "-trimpath",
                "-ldflags",
                &link_flags(pinned),
                "-o",
            ])
            .args([output.join(program.name).as_os_str(), program.package.as_ref()])
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .env_remove("GOFLAGS");
        let what = format!("{} {}", program.name, pinned.version);
        progress(&format!(
            "building {what} once (minutes when nothing is cached; log: {})",
            log.display()
        ));
        run(&mut command, &what, log, progress)?;
    }
    Ok(())
}

fn run(command: &mut Command, what: &str, log: &Path, progress: Progress<'_>) -> Result<()> {
    let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let errors = file.try_clone().context("share the log of the build")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .context("start `go build`")?;
    let start = Clock::now();
    let mut said = Duration::ZERO;
    let status = loop {
        if let Some(status) = child.try_wait().context("wait for `go build`")? {
            break status;
        }
        let elapsed = start.elapsed();
        if elapsed > LONGEST {
            let _ = child.kill();
            let _ = child.wait();
            bail!(
                "building {what} took over {} minutes and was ended:\n{}",
                LONGEST.as_secs() / 60,
                server::tail(log)
            );
        }
        if elapsed - said >= SILENCE {
            said = elapsed;
            progress(&format!("... building {what}: {} s", elapsed.as_secs()));
        }
        pause(Duration::from_millis(100));
    };
    if !status.success() {
        bail!(
            "building {what} failed (is the Go module proxy reachable?):\n{}",
            server::tail(log)
        );
    }
    progress(&format!("built {what} in {} s", start.elapsed().as_secs()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(files: &str, version: &str) -> Pinned {
        Pinned {
            folder: PathBuf::new(),
            name: "kubernetes",
            version: version.into(),
            files: files.as_bytes().to_vec(),
            link: String::new(),
        }
    }

    #[test]
    fn everything_that_changes_the_result_changes_the_key() {
        let base = key(&pinned("a", "v1.36.3"), "go version go1.26.8 linux/amd64");
        assert_eq!(base.len(), 12);
        assert_eq!(
            base,
            key(&pinned("a", "v1.36.3"), "go version go1.26.8 linux/amd64")
        );
        for other in [
            key(&pinned("b", "v1.36.3"), "go version go1.26.8 linux/amd64"),
            key(&pinned("a", "v1.36.4"), "go version go1.26.8 linux/amd64"),
            key(&pinned("a", "v1.36.3"), "go version go1.27.0 linux/amd64"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_version_is_linked_in() {
        let flags = link_flags(&pinned("", "v1.36.3"));
        for part in ["gitVersion=v1.36.3 ", "gitMajor=1 ", "gitMinor=36"] {
            assert!(flags.contains(part), "{flags}");
        }
    }

    #[test]
    fn a_failed_build_shows_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo first; echo 'no such module' >&2; exit 1"]);
        let error = run(
            &mut command,
            "x v1",
            &folder.path().join("log"),
            &mut |line: &str| lines.push(line.to_owned()),
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("first\nno such module"), "{error}");
        assert!(lines.is_empty(), "{lines:?}");
    }
}
