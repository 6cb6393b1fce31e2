//! Figures of the store. Labels come from closed sets: our route patterns, known methods, statuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use landbridge_destination::token_cache::TokenCacheStats;
use landbridge_runtime::metrics::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// How often what is read was remembered, for each kind of things.
#[derive(Debug, Clone, Default)]
pub(crate) struct CacheFigures {
    hits: Family<KindLabels, Counter>,
    misses: Family<KindLabels, Counter>,
}

impl CacheFigures {
    /// The counters of one kind: remembered, and asked of the database.
    pub(crate) fn of(&self, kind: &'static str) -> (Counter, Counter) {
        let labels = KindLabels { kind };
        (
            self.hits.get_or_create(&labels).clone(),
            self.misses.get_or_create(&labels).clone(),
        )
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "store_cache_hits",
            "Reads answered from memory",
            self.hits.clone(),
        );
        registry.register(
            "store_cache_misses",
            "Reads that asked the database",
            self.misses.clone(),
        );
    }
}

/// Counters of requests.
#[derive(Debug, Clone)]
pub(crate) struct StoreMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    shed: Counter,
    limited: Counter,
    feeds: Gauge,
}

/// Counts one open change feed as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenFeed(Gauge);

impl Drop for OpenFeed {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// From a find out of memory (0.1 ms) to a token service at its limit.
fn buckets() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0])
}

impl StoreMetrics {
    pub(crate) fn new() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(buckets),
            shed: Counter::default(),
            limited: Counter::default(),
            feeds: Gauge::default(),
        }
    }

    /// Registers everything, the token engine's figures included.
    pub(crate) fn register(&self, metrics: &Metrics, tokens: Arc<TokenCacheStats>, caches: &CacheFigures) {
        metrics.register(|registry: &mut Registry| {
            caches.register(registry);
            registry.register("store_requests", "Requests answered", self.requests.clone());
            registry.register_with_unit(
                "store_request_duration",
                "Time from a request's head to its answer's head",
                Unit::Seconds,
                self.durations.clone(),
            );
            registry.register(
                "store_requests_shed",
                "Requests refused for overload",
                self.shed.clone(),
            );
            registry.register(
                "store_requests_limited",
                "Requests refused because their client calls too often",
                self.limited.clone(),
            );
            registry.register("store_feeds", "Change feeds that are open", self.feeds.clone());
            registry.register_collector(Box::new(TokenFigures(tokens)));
        });
    }

    pub(crate) fn answered(&self, route: &str, method: &http::Method, status: u16, took: Duration) {
        let labels = RequestLabels {
            route: route.to_owned(),
            method: known(method),
            status,
        };
        self.requests.get_or_create(&labels).inc();
        self.durations
            .get_or_create(&RouteLabels {
                route: route.to_owned(),
            })
            .observe(took.as_secs_f64());
    }

    /// A change feed was opened.
    pub(crate) fn feed_opened(&self) -> OpenFeed {
        self.feeds.inc();
        OpenFeed(self.feeds.clone())
    }

    pub(crate) fn limited(&self) {
        self.limited.inc();
    }

    pub(crate) fn shed(&self) {
        self.shed.inc();
    }
}

/// Methods are chosen by clients, so unknown ones share a label.
fn known(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        _ => "other",
    }
}

#[derive(Debug)]
struct TokenFigures(Arc<TokenCacheStats>);

impl Collector for TokenFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stats = &self.0;
        let figures: [(&str, &str, &AtomicU64); 6] = [
            ("store_token_hits", "Tokens from the cache", &stats.hits),
            (
                "store_token_fetches",
                "Tokens fetched while a caller waited",
                &stats.fetches,
            ),
            (
                "store_token_coalesced",
                "Callers that waited for another's fetch",
                &stats.coalesced,
            ),
            ("store_token_failures", "Fetches that failed", &stats.failures),
            ("store_token_renewals", "Tokens renewed ahead", &stats.renewals),
            (
                "store_token_renewal_failures",
                "Renewals that failed",
                &stats.renewal_failures,
            ),
        ];
        for (name, help, value) in figures {
            let counter = ConstCounter::new(value.load(Ordering::Relaxed));
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}
