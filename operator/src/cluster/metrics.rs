//! Figures of the operator, with the published names of the original as aliases where it has them.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;

use landbridge_runtime::metrics::Metrics;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Kind of the watched or written object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

/// What became of a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Done.
    Ok,
    /// To be tried again.
    Failed,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: Outcome,
}

/// The published metric has this label, in this spelling.
type Available = Vec<(&'static str, &'static str)>;

/// All figures. Cloning shares them.
#[derive(Debug, Clone)]
pub struct OperatorMetrics {
    watch_failures: Family<Kind, Counter>,
    writes: Family<Kind, Counter>,
    reconciles: Family<Result, Counter>,
    reconcile_seconds: Histogram,
    queue: Gauge,
    leading: Gauge,
    destinations: Family<Available, Gauge>,
    undecodable: Counter,
    lookups: Family<Result, Counter>,
    events_dropped: Counter,
    last_success: Gauge<f64, AtomicU64>,
    proxies: Gauge,
}

impl OperatorMetrics {
    /// Registers the figures.
    pub fn new(metrics: &Metrics) -> Self {
        let this = Self {
            watch_failures: Family::default(),
            writes: Family::default(),
            reconciles: Family::default(),
            reconcile_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            queue: Gauge::default(),
            leading: Gauge::default(),
            destinations: Family::default(),
            undecodable: Counter::default(),
            lookups: Family::default(),
            events_dropped: Counter::default(),
            last_success: Gauge::default(),
            proxies: Gauge::default(),
        };
        metrics.register(|registry| {
            let of = registry.sub_registry_with_prefix("operator");
            of.register(
                "watch_failures",
                "Watches and lists that failed",
                this.watch_failures.clone(),
            );
            of.register("writes", "Objects written to the API server", this.writes.clone());
            of.register("reconciles", "Destinations written", this.reconciles.clone());
            of.register(
                "reconcile_seconds",
                "Time to write one destination",
                this.reconcile_seconds.clone(),
            );
            of.register(
                "queue",
                "Destinations that wait to be written",
                this.queue.clone(),
            );
            of.register("leading", "Whether this replica writes", this.leading.clone());
            of.register(
                "destinations",
                "Destinations by whether workloads can use them",
                this.destinations.clone(),
            );
            of.register(
                "undecodable",
                "Objects that could not be read",
                this.undecodable.clone(),
            );
            of.register("lookups", "Look-ups in the store", this.lookups.clone());
            of.register(
                "events_dropped",
                "Events not written, because there were too many",
                this.events_dropped.clone(),
            );
            of.register(
                "last_success_timestamp_seconds",
                "When a destination was last written",
                this.last_success.clone(),
            );
            of.register(
                "proxies",
                "Proxies that report to this replica",
                this.proxies.clone(),
            );
        });
        let published = this.destinations.clone();
        metrics.register_published(|registry| {
            registry.register(
                "tp_destination_crs",
                "Destinations by whether workloads can use them (published name)",
                published,
            );
        });
        this
    }

    /// A watch failed.
    pub fn watch_failed(&self, kind: &str) {
        self.watch_failures.get_or_create(&kind_of(kind)).inc();
    }

    /// An object was written.
    pub fn wrote(&self, kind: &str) {
        self.writes.get_or_create(&kind_of(kind)).inc();
    }

    /// A destination was written, or not, in so many seconds.
    pub fn reconciled(&self, outcome: Outcome, seconds: f64) {
        self.reconciles.get_or_create(&Result { result: outcome }).inc();
        self.reconcile_seconds.observe(seconds);
        if outcome == Outcome::Ok {
            let now = jiff::Timestamp::now().as_microsecond();
            self.last_success.set(now as f64 / 1e6);
        }
    }

    /// A look-up ended.
    pub fn looked_up(&self, outcome: Outcome) {
        self.lookups.get_or_create(&Result { result: outcome }).inc();
    }

    /// An object could not be read.
    pub fn undecodable(&self) {
        self.undecodable.inc();
    }

    /// An event was dropped.
    pub fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    /// How things stand.
    pub fn stand(&self, queue: usize, leading: bool, proxies: usize, destinations: (usize, usize)) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.queue.set(number(queue));
        self.leading.set(i64::from(leading));
        self.proxies.set(number(proxies));
        let (available, other) = destinations;
        for (state, count) in [("True", available), ("False", other)] {
            self.destinations
                .get_or_create(&vec![("Available", state)])
                .set(number(count));
        }
    }
}

fn kind_of(kind: &str) -> Kind {
    Kind {
        kind: kind.to_owned(),
    }
}
