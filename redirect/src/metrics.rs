//! What the keeper counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Figures of the keeper, `landbridge_redirect_*`.
#[derive(Clone, Debug, Default)]
pub struct RedirectMetrics {
    /// 1 while the rules are known to be as they must be.
    pub installed: Gauge,
    /// Destinations in the sets.
    pub entries: Gauge,
    /// Changes of the set of destinations that were made.
    pub updates: Counter,
    /// Times that rules or routing had been changed by somebody else and were written again.
    pub repairs: Counter,
    /// Operations that failed.
    pub failures: Counter,
}

impl RedirectMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("redirect");
        registry.register(
            "installed",
            "Whether the redirection rules are in place",
            self.installed.clone(),
        );
        registry.register(
            "entries",
            "Destinations that are redirected",
            self.entries.clone(),
        );
        registry.register(
            "updates",
            "Changes of the redirected destinations",
            self.updates.clone(),
        );
        registry.register(
            "repairs",
            "Times that rules or routing were written again because somebody else had changed them",
            self.repairs.clone(),
        );
        registry.register(
            "failures",
            "Operations on rules or routing that failed",
            self.failures.clone(),
        );
    }
}
