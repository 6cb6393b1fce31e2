//! The control plane of Kubernetes that the suites use, for the person at the keyboard: `cargo xtask kube`.
//!
//! A program of its own does the work, so that this one builds in seconds (no cryptography in it).

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::process;
use crate::workspace::Workspace;

/// Its exit code when Go is missing; the program has the same number.
const MISSING_TOOLS: i32 = 3;

/// What to do with the control plane.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Kube {
    /// Start it, unless it runs, and print the lines that make kubectl use it.
    Up,
    /// Stop it and forget everything in it.
    Down,
    /// Print the lines for a shell: eval "$(cargo xtask kube env)".
    Env,
    /// Build its programs, where that has not been done (6 minutes the first time).
    Build,
}

impl Kube {
    fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Env => "env",
            Self::Build => "build",
        }
    }

    fn command(self, workspace: &Workspace) -> Command {
        let mut command = workspace.cargo();
        command
            .args(["run", "--quiet", "-p", "landbridge-control-plane"])
            .args(workspace.locked())
            .args(["--", self.name()]);
        command
    }

    /// Runs it with this program's own output: its standard output is for a shell to evaluate.
    pub(crate) fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        let status = self.command(workspace).status().context("start cargo")?;
        Ok(if status.success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Whether the suites can have a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Programs {
    /// Built, or there already.
    Ready,
    /// There is nothing to build them with.
    MissingTools,
    /// The build failed and has said why.
    Failed,
}

/// Builds the programs of the control plane.
pub(crate) fn programs(workspace: &Workspace) -> Result<Programs> {
    let ended = process::run("control plane", &mut Kube::Build.command(workspace))?;
    Ok(verdict(ended.success, ended.code))
}

/// Builds what charts are checked with, beside the control plane.
pub(crate) fn chart_tools(workspace: &Workspace) -> Result<Programs> {
    let mut command = workspace.cargo();
    command
        .args(["run", "--quiet", "-p", "landbridge-control-plane"])
        .args(workspace.locked())
        .args(["--", "chart-tools"]);
    let ended = process::run("chart tools", &mut command)?;
    Ok(verdict(ended.success, ended.code))
}

fn verdict(success: bool, code: Option<i32>) -> Programs {
    match code {
        _ if success => Programs::Ready,
        Some(MISSING_TOOLS) => Programs::MissingTools,
        _ => Programs::Failed,
    }
}

/// How many tests a `cargo test -- --list` has named.
pub(crate) fn listed(lines: &[String]) -> u64 {
    lines.iter().map(|line| u64::from(line.ends_with(": test"))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_tools_are_a_reason_to_skip() {
        for (success, code, expected) in [
            (true, Some(0), Programs::Ready),
            (false, Some(3), Programs::MissingTools),
            (false, Some(1), Programs::Failed),
            (false, Some(101), Programs::Failed),
            (false, None, Programs::Failed),
        ] {
            assert_eq!(verdict(success, code), expected, "{success} {code:?}");
        }
    }

    #[test]
    fn skipped_tests_are_counted() {
        let lines = ["crds::a: test", "crds::b: test", "", "2 tests, 0 benchmarks"];
        assert_eq!(listed(&lines.map(str::to_owned)), 2);
    }
}
