//! Programs of others against a running store: the client libraries of the original service (`sdk`) and a tool that
//! compares answers with the description of the API (`openapi`).

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::counts::Counts;
use crate::process::{self, say};
use crate::tools::{self, SystemTool};
use crate::workspace::{BINARY_VARIABLE, Workspace};

/// The oldest Node.js that the libraries and the program run on.
const NODE: (u32, u32) = (20, 11);

/// What the SDK program needs.
const SDK_TOOLS: &[SystemTool] = &[
    tool("node", "nodejs", "sdk: the client libraries"),
    tool("npm", "npm", "sdk: installing them"),
    tool("openssl", "openssl", "sdk: certificates"),
];

/// What schemathesis needs.
const OPENAPI_TOOLS: &[SystemTool] = &[tool("python3", "python3-venv", "openapi: schemathesis")];

/// Stands for a Python that can make environments: Debian's can only with this package.
const ENVIRONMENTS: &[SystemTool] = &[tool(
    "/usr/share/doc/python3-venv/copyright",
    "python3-venv",
    "openapi: schemathesis",
)];

const fn tool(command: &'static str, package: &'static str, needed_by: &'static str) -> SystemTool {
    SystemTool {
        command,
        package,
        needed_by,
    }
}

/// The tools of both.
pub(crate) fn tools() -> impl Iterator<Item = SystemTool> {
    SDK_TOOLS.iter().chain(OPENAPI_TOOLS).copied()
}

/// `cargo xtask sdk-conformance`.
pub(crate) fn sdk_command(workspace: &Workspace) -> Result<ExitCode> {
    let counts = sdk(workspace)?;
    say(&format!("{} passed, {} failed", counts.passed, counts.failed));
    Ok(if counts.failed == 0 && counts.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds the binary and runs the cases of tests/sdk with it.
pub(crate) fn sdk(workspace: &Workspace) -> Result<Counts> {
    let mut lacking = missing(SDK_TOOLS)?;
    lacking.extend(old_node());
    if !lacking.is_empty() {
        return Ok(cannot(workspace, "sdk", &lacking));
    }
    let Some(binary) = build(workspace)? else {
        return Ok(Counts::step(false));
    };
    let folder = installed_program(workspace)?;
    let mut program = Command::new("node");
    program.arg(folder.join("run.js")).env(BINARY_VARIABLE, binary);
    run("sdk", &mut program)
}

/// Builds the binary and runs schemathesis over every path of a store.
pub(crate) fn openapi(workspace: &Workspace) -> Result<Counts> {
    let mut lacking = missing(OPENAPI_TOOLS)?;
    if lacking.is_empty() && !makes_environments() {
        missing(ENVIRONMENTS)?;
        if !makes_environments() {
            lacking.push("a Python with venv (package python3-venv)".to_owned());
        }
    }
    if !lacking.is_empty() {
        return Ok(cannot(workspace, "openapi", &lacking));
    }
    let Some(binary) = build(workspace)? else {
        return Ok(Counts::step(false));
    };
    let source = workspace.root().join("tests/openapi");
    let python = virtual_environment(&source.join("requirements.txt"))?;
    let mut program = Command::new(python);
    program
        .arg(source.join("run.py"))
        .env(BINARY_VARIABLE, binary)
        // No compiled files beside the sources.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    run("openapi", &mut program)
}

fn run(name: &str, command: &mut Command) -> Result<Counts> {
    let ended = process::run(name, command)?;
    Ok(ended.tests.of_test_run(ended.success))
}

fn build(workspace: &Workspace) -> Result<Option<PathBuf>> {
    let mut build = workspace.cargo();
    build.args(["build", "-p", "landbridge"]).args(workspace.locked());
    let built = process::run("landbridge (build)", &mut build)?.success;
    built.then(|| workspace.binary("debug")).transpose()
}

fn missing(tools: &[SystemTool]) -> Result<Vec<String>> {
    let missing = tools::ensure(tools)?;
    let named = |tool: &SystemTool| format!("{} (package {})", tool.command, tool.package);
    Ok(missing.iter().map(named).collect())
}

/// Skipped where a person works, a failure where everything must run.
fn cannot(workspace: &Workspace, name: &str, lacking: &[String]) -> Counts {
    say(&format!("skipped: {name} needs {}", lacking.join(", ")));
    if workspace.is_ci() {
        return Counts::step(false);
    }
    Counts {
        ignored: 1,
        ..Counts::default()
    }
}

fn makes_environments() -> bool {
    let mut probe = Command::new("python3");
    probe.args(["-c", "import ensurepip, venv"]);
    probe.output().is_ok_and(|output| output.status.success())
}

/// What is wrong with the Node.js that is found, if anything.
fn old_node() -> Option<String> {
    let output = Command::new("node").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let (major, minor) = NODE;
    (version(&text) < Some(NODE)).then(|| format!("Node.js {major}.{minor} or newer; `node` is {text}"))
}

/// `v20.11.1` as (20, 11).
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix('v')?.split('.').map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A copy of the program below the target folder, with the libraries that its lock file names.
fn installed_program(workspace: &Workspace) -> Result<PathBuf> {
    let source = workspace.root().join("tests/sdk");
    let folder = workspace.metadata()?.target_directory.join("sdk");
    for part in ["lib", "cases"] {
        // Else a case that was renamed would still run.
        let _ = std::fs::remove_dir_all(folder.join(part));
    }
    copy(&source, &folder)?;
    let (lock, stamp) = (
        folder.join("package-lock.json"),
        folder.join("node_modules/.installed"),
    );
    let wanted = std::fs::read(&lock).with_context(|| format!("read {}", lock.display()))?;
    if std::fs::read(&stamp).ok().as_deref() == Some(wanted.as_slice()) {
        return Ok(folder);
    }
    let mut npm = Command::new("npm");
    // Nothing of these packages needs a script, and none may run one.
    npm.args([
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel",
        "error",
    ])
    .current_dir(&folder);
    if !process::run("npm ci", &mut npm)?.success {
        bail!("the client libraries could not be installed: is the npm registry reachable?");
    }
    std::fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        if entry.file_name() == "node_modules" {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).with_context(|| format!("write {}", target.display()))?;
        }
    }
    Ok(())
}

/// The Python of an environment with exactly the packages of `requirements`, in the user's cache folder.
fn virtual_environment(requirements: &Path) -> Result<PathBuf> {
    let wanted = std::fs::read(requirements).with_context(|| format!("read {}", requirements.display()))?;
    let folder = tools::cache()?.join("schemathesis");
    let (python, stamp) = (folder.join("bin/python"), folder.join("installed"));
    if python.is_file() && std::fs::read(&stamp).ok().as_deref() == Some(wanted.as_slice()) {
        return Ok(python);
    }
    say(&format!("installing schemathesis into {}", folder.display()));
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&folder);
    if !process::run("python3 -m venv", &mut make)?.success {
        bail!("no Python environment could be made: install the package python3-venv");
    }
    let mut install = Command::new(&python);
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "-r",
        ])
        .arg(requirements);
    if !process::run("pip install", &mut install)?.success {
        bail!("schemathesis could not be installed: is the Python package index reachable?");
    }
    std::fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))?;
    Ok(python)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node_are_read() {
        for (text, expected) in [
            ("v20.11.1", Some((20, 11))),
            ("v18.20.4", Some((18, 20))),
            ("20.11.1", None),
            ("", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
        assert!(version("") < Some(NODE) && version("v18.20.4") < Some(NODE));
        assert!(version("v20.11.0") >= Some(NODE));
    }

    #[test]
    fn programs_are_copied_without_their_libraries() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(from.path().join("lib/deep")).unwrap();
        std::fs::create_dir_all(from.path().join("node_modules/x")).unwrap();
        std::fs::write(from.path().join("lib/deep/a.js"), "1").unwrap();
        copy(from.path(), to.path()).unwrap();
        assert_eq!(
            std::fs::read_to_string(to.path().join("lib/deep/a.js")).unwrap(),
            "1"
        );
        assert!(!to.path().join("node_modules").exists());
    }
}
