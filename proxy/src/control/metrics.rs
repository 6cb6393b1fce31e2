//! How well the operator is heard.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

/// Figures of the serve API's client. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct ControlMetrics {
    /// 1 while a stream of an operator replica is open and its snapshot has come.
    pub(super) connected: Gauge,
    /// The operator's version of what is served.
    pub(super) version: Gauge<u64, AtomicU64>,
    /// Routes to serve.
    pub(super) routes: Gauge,
    /// Pods whose address is known.
    pub(super) workloads: Gauge,
    /// Connections after the first.
    pub(super) reconnects: Counter,
    /// Reports that the leader did not take.
    pub(super) reports_failed: Counter,
    /// When the operator last confirmed what is served.
    confirmed: Arc<Mutex<Option<Instant>>>,
}

impl ControlMetrics {
    pub(super) fn new() -> Self {
        Self {
            connected: Gauge::default(),
            version: Gauge::default(),
            routes: Gauge::default(),
            workloads: Gauge::default(),
            reconnects: Counter::default(),
            reports_failed: Counter::default(),
            confirmed: Arc::default(),
        }
    }

    /// The operator has said something.
    pub(super) fn confirmed(&self) {
        *self.confirmed.lock() = Some(Instant::now());
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("control");
        registry.register(
            "connected",
            "Whether an operator is heard",
            self.connected.clone(),
        );
        registry.register(
            "snapshot_version",
            "The operator's version of what is served",
            self.version.clone(),
        );
        registry.register("routes", "Routes to serve", self.routes.clone());
        registry.register("workloads", "Addresses of known pods", self.workloads.clone());
        registry.register(
            "reconnects",
            "Connections to an operator after the first",
            self.reconnects.clone(),
        );
        registry.register(
            "reports_failed",
            "Reports that no leading operator took",
            self.reports_failed.clone(),
        );
        registry.register_collector(Box::new(Age(Arc::clone(&self.confirmed))));
    }
}

/// Worked out when it is asked for. Absent until the operator was heard for the first time.
#[derive(Debug)]
struct Age(Arc<Mutex<Option<Instant>>>);

impl Collector for Age {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(confirmed) = *self.0.lock() else {
            return Ok(());
        };
        let gauge = ConstGauge::new(confirmed.elapsed().as_secs_f64());
        let help = "Time since the operator last confirmed what is served";
        let metric = encoder.encode_descriptor("snapshot_age_seconds", help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}
