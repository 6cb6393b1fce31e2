//! `landbridge check`: whether a cluster is fit for an installation, whether an installation works, whether it can go.
//!
//! [`gather`] reads the cluster within a deadline, [`facts`] is what it brings, [`decide`] turns facts into findings and
//! does nothing else, [`catalogue`] names every check. What may not be read is said, not guessed.

use serde::Serialize;

pub mod catalogue;
pub mod decide;
pub mod facts;
pub mod gather;
mod reader;

pub use catalogue::Entry;
pub use reader::Trouble;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it must be.
    Ok,
    /// It works, but somebody should look at it. Fails nothing.
    Warning,
    /// It does not work.
    Failed,
    /// Not checked; the message says why.
    Skipped,
}

/// What a check has found. The names of the fields, of checks and of categories stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Group of checks.
    pub category: &'static str,
    /// Name of the check. Some have several findings, one for each thing that they look at.
    pub name: &'static str,
    /// What is checked, in words.
    #[serde(skip)]
    pub title: &'static str,
    /// How it went.
    pub result: Outcome,
    /// What was seen.
    pub message: String,
    /// What to do; empty when there is nothing to do.
    pub remedy: String,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order of the catalogue.
    pub checks: Vec<Finding>,
    /// Whether nothing has failed.
    pub success: bool,
}

impl Report {
    /// Of these findings.
    pub fn of(checks: Vec<Finding>) -> Self {
        let success = checks.iter().all(|check| check.result != Outcome::Failed);
        Self { checks, success }
    }

    /// There is not even a client: nothing else was checked.
    pub fn without_cluster(why: &str) -> Self {
        Self::of(vec![catalogue::API_SERVER.failed(
            why,
            "name the cluster with --kubeconfig or --context; `kubectl cluster-info` must work",
        )])
    }

    /// How many have this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|check| check.result == outcome).count()
    }
}

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before an installation.
    Before,
    /// An installation.
    Installed,
    /// Before an installation is removed.
    Uninstall,
}

/// What else an installation will use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// Certificates of cert-manager.
    pub cert_manager: bool,
    /// VerticalPodAutoscalers.
    pub autoscaler: bool,
    /// ServiceMonitors.
    pub prometheus: bool,
}

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What is checked.
    pub phase: Phase,
    /// Namespace of the installation.
    pub namespace: String,
    /// The one namespace that it looks after; none is all.
    pub watch_namespace: Option<String>,
    /// What else it will use.
    pub extras: Extras,
    /// Version of the program that checks.
    pub version: &'static str,
}

/// Reads and decides. `timeout` is for everything together; what has not been read by then counts as not answered.
pub async fn run(client: kube::Client, options: &Options, timeout: std::time::Duration) -> Report {
    let reader = reader::Reader::new(client, timeout);
    Report::of(match options.phase {
        Phase::Before => decide::before(&gather::before(&reader, options).await, options),
        Phase::Installed => decide::installed(&gather::installed(&reader, options).await, options),
        Phase::Uninstall => decide::uninstall(&gather::leftovers(&reader, options).await, options),
    })
}
