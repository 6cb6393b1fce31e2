//! The Kubernetes cluster with real nodes that the suites use, for the person at the keyboard: `cargo xtask cluster`; and
//! what the step `cluster` needs.
//!
//! A program of its own does the work, as for `cargo xtask kube`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::counts::Counts;
use crate::process::{self, Clock, say};
use crate::workspace::Workspace;

/// Its exit code when this machine cannot have a node; the program has the same number and says why.
const NOT_HERE: i32 = 3;

/// What to do with the cluster.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Cluster {
    /// Start it with one node, unless it runs, and print the lines that make kubectl use it (as root).
    Up,
    /// Stop it; nothing of it is left.
    Down,
    /// Print the lines for a shell: eval "$(cargo xtask cluster env)".
    Env,
    /// Join one more node.
    AddNode {
        /// What it is called, such as node2.
        name: String,
    },
    /// Build its programs, where that has not been done (10 minutes the first time).
    Build,
    /// Say whether this machine can have a node, and what is missing when it cannot.
    Check,
}

impl Cluster {
    fn arguments(&self) -> Vec<&str> {
        match self {
            Self::Up => vec!["up"],
            Self::Down => vec!["down"],
            Self::Env => vec!["env"],
            Self::AddNode { name } => vec!["add-node", name],
            Self::Build => vec!["build"],
            Self::Check => vec!["check"],
        }
    }

    fn command(&self, workspace: &Workspace) -> Command {
        let mut command = workspace.cargo();
        command
            .args(["run", "--quiet", "-p", "landbridge-test-node"])
            .args(workspace.locked())
            .arg("--")
            .args(self.arguments());
        command
    }

    /// Runs it with this program's own output: its standard output is for a shell to evaluate.
    pub(crate) fn run(&self, workspace: &Workspace) -> Result<ExitCode> {
        let status = self.command(workspace).status().context("start cargo")?;
        Ok(if status.success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Whether the suites can have a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Possible {
    /// Everything is there, and built.
    Yes,
    /// This machine cannot; the program has said why.
    NotHere,
    /// Something failed and has said why.
    Failed,
}

/// Looks at the machine, and builds the programs of the cluster.
pub(crate) fn possible(workspace: &Workspace) -> Result<Possible> {
    for action in [Cluster::Check, Cluster::Build] {
        let ended = process::run("cluster", &mut action.command(workspace))?;
        match verdict(ended.success, ended.code) {
            Possible::Yes => {}
            other => return Ok(other),
        }
    }
    Ok(Possible::Yes)
}

fn verdict(success: bool, code: Option<i32>) -> Possible {
    match code {
        _ if success => Possible::Yes,
        Some(NOT_HERE) => Possible::NotHere,
        _ => Possible::Failed,
    }
}

/// Suites that have clusters of their own, in groups that take about as long as each other; those beside them share an
/// installation.
const OWN: [&[&str]; 2] = [&["node::", "nodes::", "lifecycle::"], &["interception::"]];

/// The arguments that divide the tests: those with clusters of their own, and the others. They mostly wait, so they run side
/// by side, and none can be in the way of another.
pub(crate) fn groups() -> [Vec<&'static str>; 3] {
    let [mut nodes, modes] = OWN.map(<[_]>::to_vec);
    let others = nodes.iter().chain(&modes).flat_map(|suite| ["--skip", suite]);
    let others = others.collect();
    // A filter is a part of a name, and the modes have a module `node` as well.
    nodes.extend(modes.iter().flat_map(|suite| ["--skip", suite]));
    [nodes, modes, others]
}

/// Runs them at the same time; the sum of their counts.
pub(crate) fn side_by_side<const N: usize>(commands: [Command; N]) -> Result<Counts> {
    let runs = commands.map(|mut command| std::thread::spawn(move || timed(&mut command)));
    let mut sum = Counts::default();
    for run in runs {
        match run.join() {
            Ok(counts) => sum += counts?,
            Err(_) => sum += Counts::step(false),
        }
    }
    Ok(sum)
}

/// Runs tests that end one after the other, and adds to the line of each how long it took.
fn timed(command: &mut Command) -> Result<Counts> {
    let mut last = Clock::now();
    let ended = process::run_into("cluster", command, &mut |line: &str| {
        if is_verdict(line) {
            say(&format!("{line} ({:.1} s)", last.elapsed().as_secs_f64()));
        } else {
            say(line);
        }
        // What is printed before the first test is the compiler's time, not the test's.
        if is_verdict(line) || line.starts_with("running ") {
            last = Clock::now();
        }
    })?;
    Ok(ended.tests.of_test_run(ended.success))
}

/// `test NAME ... ok`, as the test harness prints it when a test has ended.
fn is_verdict(line: &str) -> bool {
    line.strip_prefix("test ")
        .is_some_and(|rest| rest.contains(" ... ") && !line.starts_with("test result:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_machine_that_cannot_is_a_reason_to_skip() {
        for (success, code, expected) in [
            (true, Some(0), Possible::Yes),
            (false, Some(3), Possible::NotHere),
            (false, Some(1), Possible::Failed),
            (false, Some(101), Possible::Failed),
            (false, None, Possible::Failed),
        ] {
            assert_eq!(verdict(success, code), expected, "{success} {code:?}");
        }
    }

    #[test]
    fn verdicts_are_told_from_other_lines() {
        for (line, expected) in [
            ("test node::a_pod_answers ... ok", true),
            ("test node::a_pod_answers ... FAILED", true),
            ("test node::a_pod_answers ... ignored, why", true),
            ("test result: ok. 3 passed; 0 failed; 0 ignored", false),
            ("running 3 tests", false),
            ("the test took ... long", false),
        ] {
            assert_eq!(is_verdict(line), expected, "{line}");
        }
    }
}
