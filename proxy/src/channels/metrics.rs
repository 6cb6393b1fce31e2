//! Figures of service channels. Labels are fixed sets.

use prometheus_client::encoding::EncodeLabelValue;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// How a stream that a connector opened ended up.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(super) enum StreamResult {
    /// Carried to its end.
    Served,
    /// The table does not allow it.
    Denied,
    /// The service refused, or its name has no address.
    Unreachable,
    /// The service did not answer in time.
    Timeout,
    /// Too many connections.
    Overload,
    /// The connector gave up while the service was dialled.
    Abandoned,
    /// The channel was removed or changed while it was open.
    Revoked,
}

/// Clones share the figures.
#[derive(Clone, Debug, Default)]
pub(super) struct ChannelMetrics {
    streams: Family<[(&'static str, StreamResult); 1], Counter>,
    pub(super) active: Gauge,
    pub(super) channels: Gauge,
    pub(super) sent: Counter,
    pub(super) received: Counter,
}

impl ChannelMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("service_channel");
        registry.register(
            "streams",
            "Streams that connectors opened by result",
            self.streams.clone(),
        );
        registry.register("active_streams", "Streams open now", self.active.clone());
        registry.register("offered", "Channels in the table", self.channels.clone());
        registry.register(
            "sent_bytes",
            "Bytes from connectors to services",
            self.sent.clone(),
        );
        registry.register(
            "received_bytes",
            "Bytes from services to connectors",
            self.received.clone(),
        );
    }

    pub(super) fn stream(&self, result: StreamResult) {
        self.streams.get_or_create(&[("result", result)]).inc();
    }
}
