//! What was measured, and how it is printed.

use std::collections::BTreeMap;
use std::time::Duration;

use landbridge_tests::process;

use super::Options;
use super::changes::{Creations, StoreChanges};
use super::cold::{Again, Cold};
use super::floor::Floor;
use super::leader::Handovers;

/// Resident memory of a process in MB, now and at its peak.
pub fn memory(pid: i32) -> (f64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("procfs");
    let field = |name: &str| -> f64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.split_ascii_whitespace().next());
        let kibibytes: f64 = value.expect("a field").parse().expect("a number");
        kibibytes * 1024.0 / 1e6
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// CPU seconds by process, since a moment.
pub struct Cpu {
    processes: Vec<(String, i32, f64)>,
}

impl Cpu {
    /// Begins to count.
    pub fn begin(processes: impl IntoIterator<Item = (String, i32)>) -> Self {
        let now = |(name, pid)| (name, pid, process::cpu_seconds(pid));
        Self {
            processes: processes.into_iter().map(now).collect(),
        }
    }

    /// What was used since then.
    pub fn used(&self) -> Vec<(String, f64)> {
        let used =
            |(name, pid, before): &(String, i32, f64)| (name.clone(), process::cpu_seconds(*pid) - before);
        self.processes.iter().map(used).collect()
    }
}

/// Median, 99th percentile and maximum, in milliseconds.
pub fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let Some(last) = times.len().checked_sub(1) else {
        return "none".to_owned();
    };
    let at = |share: f64| times[(last as f64 * share).round() as usize].as_secs_f64() * 1e3;
    format!("{:.0} / {:.0} / {:.0} ms", at(0.5), at(0.99), at(1.0))
}

/// The table, as Markdown, so that it can go into documents as it is.
pub struct Table {
    head: String,
    rows: Vec<(String, String)>,
    floor: Option<f64>,
}

impl Table {
    /// Has no rows yet.
    pub fn new(options: &Options) -> Self {
        Self {
            head: format!(
                "{} destinations, {} namespaces, {} proxies",
                options.destinations,
                usize::from(options.destinations).div_ceil(super::PER_NAMESPACE),
                options.proxies
            ),
            rows: Vec::new(),
            floor: None,
        }
    }

    fn row(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        super::say(&format!("  {name}: {value}"));
        self.rows.push((name.to_owned(), value));
    }

    pub fn floor(&mut self, floor: &Floor) {
        self.floor = Some(floor.seconds);
        self.row("plain client: the same objects written", seconds(floor.seconds));
        for (kind, times) in &floor.calls {
            self.row(&format!("- one {kind}: p50 / p99 / max"), spread(times));
        }
        self.row("- CPU seconds", cpu(&floor.cpu));
    }

    pub fn cold(&mut self, cold: &Cold) {
        self.row("from cold: all programmed and said to be", seconds(cold.seconds));
        if let Some(floor) = self.floor {
            let ratio = cold.seconds / floor;
            self.row("- ratio to the plain client", format!("{ratio:.2}"));
        }
        self.row("- writes", counts(&cold.writes));
        self.row("- CPU seconds", cpu(&cold.cpu));
        self.row("- memory of the operator, then / peak", megabytes(cold.operator));
        for proxy in &cold.proxies {
            self.row("- memory of the proxy, then / peak", megabytes(*proxy));
        }
    }

    pub fn store_changes(&mut self, changes: &StoreChanges) {
        let name = format!(
            "store change until proxies have it, {} times: p50 / p99 / max",
            changes.arrived.len()
        );
        self.row(&name, spread(&changes.arrived));
        self.row("- of it the answer of the store", spread(&changes.stored));
    }

    pub fn creations(&mut self, creations: &Creations) {
        let name = format!(
            "resource created until it is Ready and a proxy answers, {} times: p50 / p99 / max",
            creations.usable.len()
        );
        self.row(&name, spread(&creations.usable));
        self.row("- of it the answer of the API server", spread(&creations.stored));
    }

    pub fn again(&mut self, again: &Again) {
        self.row(
            "restart: until it leads and all is looked at",
            seconds(again.seconds),
        );
        let name = format!("- writes within {} s", again.watched);
        self.row(&name, counts(&again.writes));
        self.row("- CPU seconds of the operator", format!("{:.1}", again.cpu));
        self.row("- memory of the operator, then / peak", megabytes(again.operator));
    }

    pub fn handovers(&mut self, handovers: &Handovers) {
        self.row("leader stops: until the other leads", list(&handovers.stopped));
        self.row("leader killed: until the other leads", list(&handovers.killed));
        self.row("- proxies report to it after", list(&handovers.reported));
        self.row("- writes of children and statuses", counts(&handovers.writes));
        let (failed, sent) = handovers.calls;
        self.row(
            "- calls through the proxy that failed",
            format!("{failed} of {sent}"),
        );
    }

    pub fn print(&self) {
        println!("\n{}\n", self.head);
        println!("| What | Figure |\n|---|---:|");
        for (name, value) in &self.rows {
            println!("| {name} | {value} |");
        }
    }
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

fn megabytes((now, peak): (f64, f64)) -> String {
    format!("{now:.0} / {peak:.0} MB")
}

fn list(times: &[Duration]) -> String {
    let times: Vec<String> = times
        .iter()
        .map(|time| format!("{:.1}", time.as_secs_f64()))
        .collect();
    format!("{} s", times.join(" / "))
}

fn counts(writes: &BTreeMap<String, usize>) -> String {
    let parts: Vec<String> = writes
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    if parts.is_empty() {
        "0".to_owned()
    } else {
        parts.join(", ")
    }
}

fn cpu(used: &[(String, f64)]) -> String {
    let parts: Vec<String> = used
        .iter()
        .map(|(name, seconds)| format!("{name} {seconds:.1}"))
        .collect();
    parts.join(", ")
}
