//! What became of intercepted connections.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Served,
    Passed,
    Stale,
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: Outcome,
}

/// Counters, made once so that a connection only adds to an atomic.
#[derive(Clone, Debug)]
pub(super) struct InterceptMetrics {
    family: Family<Labels, Counter>,
    /// For a destination.
    pub(super) served: Counter,
    /// On to where they were going.
    pub(super) passed: Counter,
    /// Reset, because the address was no destination's any more.
    pub(super) stale: Counter,
    /// Not on the way to anything.
    pub(super) refused: Counter,
}

impl Default for InterceptMetrics {
    fn default() -> Self {
        let family = Family::<Labels, Counter>::default();
        let counter = |outcome| family.get_or_create(&Labels { outcome }).clone();
        Self {
            served: counter(Outcome::Served),
            passed: counter(Outcome::Passed),
            stale: counter(Outcome::Stale),
            refused: counter(Outcome::Refused),
            family,
        }
    }
}

impl InterceptMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "intercepted_connections",
            "Connections that were taken on their way, by what became of them",
            self.family.clone(),
        );
    }
}
