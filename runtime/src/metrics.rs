//! The process's metrics in one registry, in the OpenMetrics text format.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::telemetry;

mod published;

/// `Content-Type` of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry, shared by the components of one process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<RwLock<Registry>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with the process's own figures (memory, CPU, descriptors, version, lost log lines). All names start
    /// with `landbridge_`, except the process ones, which have their standard names.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process));
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("landbridge_build", "Version of this program", build);
        Self {
            registry: Arc::new(RwLock::new(registry)),
        }
    }

    /// Lets a component register its metrics, below the `landbridge` prefix.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(self.registry.write().sub_registry_with_prefix("landbridge"));
    }

    /// Adds memory and CPU of the process under their published names, tp_memory_bytes and tp_cpu_percent.
    pub fn publish_process(&self) {
        let collector = Box::new(published::PublishedProcess::new());
        self.registry.write().register_collector(collector);
    }

    /// Registers metrics without our prefix: under names that others have published and dashboards already read.
    pub fn register_published(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.write());
    }

    /// The text to answer `GET /metrics` with.
    ///
    /// # Errors
    /// Formatting failed (does not happen with a `String`).
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::with_capacity(4096);
        text::encode(&mut out, &self.registry.read())?;
        Ok(out)
    }
}

/// Figures of this process, most of them from procfs, read when asked for.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // A figure the system does not give is left out; metrics must not fail because of it.
        if let Some(bytes) = resident_bytes() {
            let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            let help = "Resident memory";
            let metric = encoder.encode_descriptor(
                "process_resident_memory",
                help,
                Some(&Unit::Bytes),
                gauge.metric_type(),
            )?;
            gauge.encode(metric)?;
        }
        if let Some(seconds) = cpu_seconds() {
            let counter = ConstCounter::new(seconds);
            let help = "User and system CPU time";
            let metric = encoder.encode_descriptor(
                "process_cpu",
                help,
                Some(&Unit::Seconds),
                counter.metric_type(),
            )?;
            counter.encode(metric)?;
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            let gauge = ConstGauge::new(i64::try_from(entries.count()).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(
                "process_open_fds",
                "Open descriptors",
                None,
                gauge.metric_type(),
            )?;
            gauge.encode(metric)?;
        }
        let counter = ConstCounter::new(telemetry::dropped());
        let help = "Log lines lost because nobody read them fast enough";
        let metric =
            encoder.encode_descriptor("landbridge_log_lines_dropped", help, None, counter.metric_type())?;
        counter.encode(metric)
    }
}

/// Resident memory of this process.
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Fields are counted after the command name, which is in parentheses and may hold spaces (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_figures_have_their_published_names_too() {
        let metrics = Metrics::new();
        metrics.publish_process();
        let text = metrics.encode().unwrap();
        for name in ["\ntp_memory_bytes ", "\ntp_cpu_percent "] {
            assert!(text.contains(name), "{name} in {text}");
        }
    }

    #[test]
    fn has_the_process_figures() {
        let text = Metrics::new().encode().unwrap();
        for name in [
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
            "process_open_fds ",
            "landbridge_build_info",
            "landbridge_log_lines_dropped_total ",
        ] {
            assert!(text.contains(name), "{name} missing in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
