//! Figures of injection.

use std::fmt::Write as _;

use landbridge_runtime::metrics::Metrics;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// What was done with a pod that the API server asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It got the sidecar.
    Injected,
    /// It was to have the sidecar, and has not.
    Skipped,
    /// There was nothing to do.
    Unchanged,
}

/// What was done about a pod whose redirection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// People were told.
    Reported,
    /// It was ended, so that its controller makes another.
    Evicted,
    /// Not for now: a disruption budget forbids it, or the API server is slow.
    Held,
    /// The API server refuses it for another reason.
    Failed,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(match self {
            Self::Injected => "injected",
            Self::Skipped => "skipped",
            Self::Unchanged => "unchanged",
        })
    }
}

impl EncodeLabelValue for Action {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        encoder.write_str(match self {
            Self::Reported => "reported",
            Self::Evicted => "evicted",
            Self::Held => "held",
            Self::Failed => "failed",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Unproven {
    action: Action,
}

/// All figures. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct InjectionMetrics {
    decided: Family<Decided, Counter>,
    unproven: Family<Unproven, Counter>,
    missed: Counter,
}

impl InjectionMetrics {
    /// Registers the figures.
    pub fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            let of = registry.sub_registry_with_prefix("operator");
            of.register(
                "injections",
                "Pods that the API server asked about, dry runs included",
                self.decided.clone(),
            );
            of.register(
                "unproven_pods",
                "Pods whose redirection failed, by what was done",
                self.unproven.clone(),
            );
            of.register(
                "sightings_missed",
                "News of pods' sidecars that were not looked at, because there were too many",
                self.missed.clone(),
            );
        });
    }

    /// A pod was asked about.
    pub fn decided(&self, outcome: Outcome) {
        self.decided.get_or_create(&Decided { outcome }).inc();
    }

    /// A pod whose redirection failed was dealt with.
    pub fn unproven(&self, action: Action) {
        self.unproven.get_or_create(&Unproven { action }).inc();
    }

    /// Something seen found the queue full.
    pub fn missed(&self) {
        self.missed.inc();
    }
}
