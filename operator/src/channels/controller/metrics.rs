//! Figures of the channels.

use std::sync::atomic::AtomicI64;

use landbridge_runtime::metrics::Metrics;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::cluster::metrics::Outcome;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Part {
    Status,
    Finalizer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    part: Part,
    outcome: Outcome,
}

/// Counters and gauges; clones share them.
#[derive(Debug, Clone, Default)]
pub struct ChannelMetrics {
    writes: Family<Labels, Counter>,
    offered: Gauge<i64, AtomicI64>,
    declared: Gauge<i64, AtomicI64>,
}

impl ChannelMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register(
                "operator_channel_writes",
                "Writes to resources of service channels",
                own.writes.clone(),
            );
            registry.register(
                "operator_channels_offered",
                "Service channels that proxies are told to offer",
                own.offered.clone(),
            );
            registry.register(
                "operator_channels_declared",
                "Resources that declare service channels",
                own.declared.clone(),
            );
        });
        own
    }

    pub(super) fn written(&self, part: Part, ok: bool) {
        let outcome = if ok { Outcome::Ok } else { Outcome::Failed };
        self.writes.get_or_create(&Labels { part, outcome }).inc();
    }

    pub(super) fn offered(&self, offered: usize, declared: usize) {
        self.offered.set(i64::try_from(offered).unwrap_or(i64::MAX));
        self.declared.set(i64::try_from(declared).unwrap_or(i64::MAX));
    }
}
