//! Totals under the names that the original published, so that dashboards made for it go on working.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Totals over all routes. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Published {
    pub(super) received: Counter,
    pub(super) target: Counter,
    pub(super) tcp_connections: Counter,
    open_tcp: Gauge,
}

impl Published {
    /// Puts them into `registry`, which must add no prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "tp_received_requests",
            "Requests from applications (published name)",
            self.received.clone(),
        );
        registry.register(
            "tp_target_system_requests",
            "Requests that a target answered (published name)",
            self.target.clone(),
        );
        registry.register(
            "tp_tcp_connections",
            "TCP connections carried (published name)",
            self.tcp_connections.clone(),
        );
        registry.register(
            "tp_open_tcp_connections",
            "TCP connections that are open (published name)",
            self.open_tcp.clone(),
        );
    }

    pub(super) fn open(&self) -> OpenTcp {
        self.tcp_connections.inc();
        self.open_tcp.inc();
        OpenTcp(self.open_tcp.clone())
    }
}

/// A TCP connection is open as long as this lives.
#[derive(Debug)]
#[must_use = "dropping it counts the connection as closed"]
pub struct OpenTcp(Gauge);

impl Drop for OpenTcp {
    fn drop(&mut self) {
        self.0.dec();
    }
}
