//! What is counted of sidecars.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Default)]
pub(super) struct AnswerMetrics {
    connections: Gauge,
    /// Handshakes that did not tell who it is.
    pub(super) unverified: Counter,
    /// Connections over a limit.
    pub(super) turned_away: Counter,
    answers: Family<Labels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: Outcome,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "as the label says it")]
pub(super) enum Outcome {
    resolved,
    /// With an answer that is older than was wanted.
    outdated,
    carried_by_gateway,
    forbidden,
    failed,
    /// Not a question.
    invalid,
    /// Too many at one time, or the routes are not known yet.
    busy,
}

/// A connection that is counted.
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl AnswerMetrics {
    pub(super) fn open(&self) -> Open {
        self.connections.inc();
        Open(self.connections.clone())
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.answers.get_or_create(&Labels { outcome }).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("sidecars");
        registry.register(
            "connections",
            "Connections of sidecars that are open",
            self.connections.clone(),
        );
        registry.register(
            "unverified",
            "Connections that were closed because the certificate did not tell who calls",
            self.unverified.clone(),
        );
        registry.register(
            "turned_away",
            "Connections of sidecars over a limit",
            self.turned_away.clone(),
        );
        registry.register("answers", "Answers to sidecars, by outcome", self.answers.clone());
    }
}
