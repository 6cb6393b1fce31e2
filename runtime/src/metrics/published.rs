//! Figures of the process under the names that the original published.

use std::fmt;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

/// Memory and CPU. The share of CPU is that since the last time somebody asked.
#[derive(Debug)]
pub(super) struct PublishedProcess {
    last: Mutex<(Instant, f64)>,
}

impl PublishedProcess {
    pub(super) fn new() -> Self {
        Self {
            last: Mutex::new((Instant::now(), super::cpu_seconds().unwrap_or_default())),
        }
    }

    /// Percent of one core since the last call.
    fn cpu_percent(&self) -> Option<f64> {
        let used = super::cpu_seconds()?;
        let now = Instant::now();
        let mut last = self.last.lock();
        let (then, before) = std::mem::replace(&mut *last, (now, used));
        let seconds = now.duration_since(then).as_secs_f64();
        (seconds > 0.0).then(|| (used - before) / seconds * 100.0)
    }
}

impl Collector for PublishedProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(bytes) = super::resident_bytes() {
            let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            let help = "Resident memory (published name)";
            let metric = encoder.encode_descriptor("tp_memory_bytes", help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        if let Some(percent) = self.cpu_percent() {
            let gauge = ConstGauge::new(percent);
            let help = "CPU since the last look, in percent of a core (published name)";
            let metric = encoder.encode_descriptor("tp_cpu_percent", help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
