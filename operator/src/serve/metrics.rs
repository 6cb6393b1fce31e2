//! What the serve API counts.

use http::StatusCode;
use landbridge_destination::serve::ReportAnswer;
use landbridge_runtime::metrics::Metrics;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::identity::{Identity, ReviewError};

/// Counters of the serve API. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct ServeMetrics {
    /// Streams that are open.
    pub(super) streams: Gauge,
    /// Lines sent.
    pub(super) lines: Counter,
    /// Bytes of them.
    pub(super) bytes: Counter,
    /// Streams closed because nobody read them.
    pub(super) stuck: Counter,
    reviews: Family<Labels, Counter>,
    reports: Family<Labels, Counter>,
    certificates: Family<Labels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "as the label says it")]
enum Outcome {
    accepted,
    refused,
    unavailable,
    send_whole,
    not_leader,
}

impl ServeMetrics {
    /// Publishes them.
    pub fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            registry.register(
                "serve_streams",
                "Streams of the serve API that are open",
                self.streams.clone(),
            );
            registry.register("serve_lines", "Messages sent to proxies", self.lines.clone());
            registry.register(
                "serve_sent_bytes",
                "Bytes of messages sent to proxies",
                self.bytes.clone(),
            );
            let help = "Streams of the serve API closed because nobody read them";
            registry.register("serve_stuck_streams", help, self.stuck.clone());
            let help = "Questions to the API server about tokens, by result";
            registry.register("serve_token_reviews", help, self.reviews.clone());
            registry.register(
                "serve_reports",
                "Reports of proxies, by result",
                self.reports.clone(),
            );
            let help = "Certificates for sidecars and gateways, by result";
            registry.register("serve_certificates", help, self.certificates.clone());
        });
    }

    pub(super) fn reviewed(&self, result: &Result<Identity, ReviewError>) {
        let result = match result {
            Ok(_) => Outcome::accepted,
            Err(ReviewError::Refused(_)) => Outcome::refused,
            Err(ReviewError::Unavailable(_)) => Outcome::unavailable,
        };
        self.reviews.get_or_create(&Labels { result }).inc();
    }

    pub(super) fn certified(&self, status: Option<StatusCode>) {
        let result = match status {
            None => Outcome::accepted,
            Some(status) if status.is_server_error() => Outcome::unavailable,
            Some(_) => Outcome::refused,
        };
        self.certificates.get_or_create(&Labels { result }).inc();
    }

    /// None is a report that was refused.
    pub(super) fn reported(&self, answer: Option<&ReportAnswer>) {
        let result = match answer {
            Some(ReportAnswer::Taken) => Outcome::accepted,
            Some(ReportAnswer::SendWhole) => Outcome::send_whole,
            Some(ReportAnswer::NotLeader { .. }) => Outcome::not_leader,
            None => Outcome::refused,
        };
        self.reports.get_or_create(&Labels { result }).inc();
    }
}
