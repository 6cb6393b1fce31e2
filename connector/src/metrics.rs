//! Figures of the connector. Labels are fixed sets.

use prometheus_client::encoding::EncodeLabelValue;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How a stream was answered.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum StreamResult {
    Served,
    Denied,
    Unreachable,
    Timeout,
}

/// What became of a client of a service channel.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum ClientResult {
    Served,
    Refused,
    Unreachable,
    Timeout,
    NotConnected,
    Overload,
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(crate) enum RequestResult {
    Answered,
    Upgraded,
    Denied,
    Unreachable,
    Timeout,
    Failed,
}

type Labels<T> = [(&'static str, T); 1];

/// Clones share the figures.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectorMetrics {
    streams: Family<Labels<StreamResult>, Counter>,
    requests: Family<Labels<RequestResult>, Counter>,
    pub(crate) active: Gauge,
    clients: Family<Labels<ClientResult>, Counter>,
    pub(crate) active_clients: Gauge,
    pub(crate) channels_open: Gauge,
    pub(crate) channels_failed: Gauge,
}

impl ConnectorMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("connector");
        registry.register("streams", "Streams asked for by result", self.streams.clone());
        registry.register("requests", "HTTP requests by result", self.requests.clone());
        registry.register("active_streams", "Streams served now", self.active.clone());
        registry.register(
            "channel_clients",
            "Clients of service channels by result",
            self.clients.clone(),
        );
        registry.register(
            "active_channel_clients",
            "Clients of service channels served now",
            self.active_clients.clone(),
        );
        registry.register(
            "service_channels_open",
            "Ports of service channels that are open",
            self.channels_open.clone(),
        );
        registry.register(
            "service_channels_failed",
            "Ports of service channels that cannot be opened",
            self.channels_failed.clone(),
        );
    }

    pub(crate) fn stream(&self, result: StreamResult) {
        self.streams.get_or_create(&[("result", result)]).inc();
    }

    pub(crate) fn client(&self, result: ClientResult) {
        self.clients.get_or_create(&[("result", result)]).inc();
    }

    pub(crate) fn request(&self, result: RequestResult) {
        self.requests.get_or_create(&[("result", result)]).inc();
    }
}
