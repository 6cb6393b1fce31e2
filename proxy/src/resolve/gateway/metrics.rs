//! How well gateways are heard.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Default)]
pub(super) struct LinkMetrics {
    pub(super) connected: Gauge,
    pub(super) dials: Counter,
    pub(super) failures: Counter,
}

impl LinkMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("gateway_link");
        registry.register(
            "connected",
            "Whether a connection to a gateway is open",
            self.connected.clone(),
        );
        registry.register("dials", "Connections made to gateways", self.dials.clone());
        registry.register(
            "failures",
            "Connections and questions to gateways that failed",
            self.failures.clone(),
        );
    }
}
