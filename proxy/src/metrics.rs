//! What the proxy counts, by route: a bounded set of labels, made once per route so that a request only adds to
//! atomics. A route's series end with the route.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use landbridge_destination::route::RouteKey;

use crate::record::Outcome;

mod published;

pub use published::{OpenTcp, Published};

/// Seconds. From a cached hop inside a node to the longest ordinary read timeout.
const DURATIONS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0,
];

/// Series of one route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    namespace: String,
    destination: String,
}

/// Series of one route and result.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    namespace: String,
    destination: String,
    code: Code,
}

/// Class of the answer, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Code {
    Informational,
    Success,
    Redirection,
    ClientError,
    ServerError,
    /// Answered by this proxy, not by the target.
    ProxyError,
    /// The application went away, or the answer broke off.
    Incomplete,
}

const CODES: [Code; 7] = [
    Code::Informational,
    Code::Success,
    Code::Redirection,
    Code::ClientError,
    Code::ServerError,
    Code::ProxyError,
    Code::Incomplete,
];

/// All metrics of the proxy.
#[derive(Clone, Debug)]
pub struct ProxyMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<RouteLabels, Gauge>,
    received: Family<RouteLabels, Counter>,
    opened: Family<RouteLabels, Counter>,
    reused: Family<RouteLabels, Counter>,
    tcp: Family<RouteLabels, Counter>,
    denied: Family<RouteLabels, Counter>,
    /// Totals under published names.
    pub published: Published,
    /// Connections from applications.
    pub connections: Gauge,
    /// Connections refused because the limit was reached.
    pub refused: Counter,
}

/// Handles to one route's series.
#[derive(Debug)]
pub struct RouteMetrics {
    by_code: [Counter; CODES.len()],
    durations: Histogram,
    /// Requests being worked on.
    pub in_flight: Gauge,
    received: Counter,
    /// Connections made to the target.
    pub opened: Counter,
    /// Requests sent on a connection that was there already.
    pub reused: Counter,
    tcp: Counter,
    published: Published,
    /// Requests and connections of callers that may not use the route.
    pub denied: Counter,
}

impl Default for ProxyMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            in_flight: Family::default(),
            received: Family::default(),
            opened: Family::default(),
            reused: Family::default(),
            tcp: Family::default(),
            denied: Family::default(),
            published: Published::default(),
            connections: Gauge::default(),
            refused: Counter::default(),
        }
    }
}

impl ProxyMetrics {
    /// Puts all metrics into `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("proxy");
        registry.register(
            "requests",
            "Requests by route and class of answer",
            self.requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From head to last byte of the answer",
            self.durations.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Requests being worked on",
            self.in_flight.clone(),
        );
        registry.register("received_bytes", "Bytes of answers", self.received.clone());
        registry.register(
            "upstream_connections_opened",
            "Connections made to targets",
            self.opened.clone(),
        );
        registry.register(
            "upstream_connections_reused",
            "Requests on a kept connection",
            self.reused.clone(),
        );
        registry.register("tcp_connections", "TCP connections carried", self.tcp.clone());
        registry.register(
            "denied",
            "Requests and TCP connections of callers that may not use the route",
            self.denied.clone(),
        );
        registry.register(
            "connections",
            "Connections from applications",
            self.connections.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections over the limit",
            self.refused.clone(),
        );
    }

    /// The series of one route.
    pub fn route(&self, key: &RouteKey) -> Arc<RouteMetrics> {
        let labels = labels(key);
        Arc::new(RouteMetrics {
            by_code: CODES.map(|code| self.requests.get_or_create(&request_labels(key, code)).clone()),
            durations: self.durations.get_or_create(&labels).clone(),
            in_flight: self.in_flight.get_or_create(&labels).clone(),
            received: self.received.get_or_create(&labels).clone(),
            opened: self.opened.get_or_create(&labels).clone(),
            reused: self.reused.get_or_create(&labels).clone(),
            tcp: self.tcp.get_or_create(&labels).clone(),
            denied: self.denied.get_or_create(&labels).clone(),
            published: self.published.clone(),
        })
    }

    /// Ends the series of a route that is gone.
    pub fn remove(&self, key: &RouteKey) {
        let labels = labels(key);
        for code in CODES {
            self.requests.remove(&request_labels(key, code));
        }
        self.durations.remove(&labels);
        self.in_flight.remove(&labels);
        self.received.remove(&labels);
        self.opened.remove(&labels);
        self.reused.remove(&labels);
        self.tcp.remove(&labels);
        self.denied.remove(&labels);
    }
}

fn labels(key: &RouteKey) -> RouteLabels {
    RouteLabels {
        namespace: key.namespace.clone(),
        destination: key.name.clone(),
    }
}

fn request_labels(key: &RouteKey, code: Code) -> RequestLabels {
    RequestLabels {
        namespace: key.namespace.clone(),
        destination: key.name.clone(),
        code,
    }
}

impl RouteMetrics {
    /// Counts a TCP connection, which is open as long as the answer lives.
    pub fn tcp(&self) -> OpenTcp {
        self.tcp.inc();
        self.published.open()
    }

    /// Counts a finished request.
    pub fn request(
        &self,
        status: Option<StatusCode>,
        outcome: &Outcome<'_>,
        received: u64,
        elapsed: Duration,
    ) {
        let code = match outcome {
            Outcome::Failed(_) => Code::ProxyError,
            Outcome::Aborted | Outcome::Broken(_) => Code::Incomplete,
            Outcome::Complete => match status.map_or(0, |status| status.as_u16() / 100) {
                1 => Code::Informational,
                2 => Code::Success,
                3 => Code::Redirection,
                4 => Code::ClientError,
                _ => Code::ServerError,
            },
        };
        self.by_code[code as usize].inc();
        self.published.received.inc();
        if !matches!(outcome, Outcome::Failed(_)) {
            self.published.target.inc();
        }
        self.received.inc_by(received);
        self.durations.observe(elapsed.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    #[test]
    fn series_come_and_go_with_their_route() {
        let (metrics, mut registry) = (ProxyMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        let key = RouteKey::new("default", "erp");
        let route = metrics.route(&key);
        route.request(
            Some(StatusCode::OK),
            &Outcome::Complete,
            10,
            Duration::from_millis(3),
        );
        route.request(Some(StatusCode::OK), &Outcome::Aborted, 0, Duration::ZERO);
        let text = |registry: &Registry| {
            let mut out = String::new();
            encode(&mut out, registry).unwrap();
            out
        };
        let shown = text(&registry);
        let line = |code: &str| {
            format!("proxy_requests_total{{namespace=\"default\",destination=\"erp\",code=\"{code}\"}} 1")
        };
        assert!(
            shown.contains(&line("Success")) && shown.contains(&line("Incomplete")),
            "{shown}"
        );
        metrics.remove(&key);
        assert!(!text(&registry).contains("erp"));
    }

    #[test]
    fn totals_have_their_published_names_too() {
        let (metrics, mut registry) = (ProxyMetrics::default(), Registry::default());
        metrics.published.register(&mut registry);
        let shown = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        let (one, two) = (RouteKey::new("a", "x"), RouteKey::new("b", "x"));
        for key in [&one, &two] {
            let route = metrics.route(key);
            route.request(Some(StatusCode::OK), &Outcome::Complete, 1, Duration::ZERO);
        }
        let open = metrics.route(&one).tcp();
        let text = shown();
        for line in [
            "tp_received_requests_total 2",
            "tp_target_system_requests_total 2",
            "tp_tcp_connections_total 1",
            "tp_open_tcp_connections 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        drop(open);
        assert!(shown().contains("tp_open_tcp_connections 0"));
    }
}
