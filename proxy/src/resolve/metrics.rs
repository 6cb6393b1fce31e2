//! What the resolver counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

#[derive(Default)]
pub(super) struct ResolverMetrics {
    pub(super) hits: Counter,
    pub(super) fetches: Counter,
    pub(super) coalesced: Counter,
    pub(super) failures: Counter,
    pub(super) stale: Counter,
    pub(super) rejected: Counter,
    pub(super) outdated: Counter,
}

impl ResolverMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("resolver");
        registry.register("hits", "Requests served from a kept answer", self.hits.clone());
        registry.register("fetches", "Calls to the store or a gateway", self.fetches.clone());
        registry.register(
            "coalesced",
            "Requests that shared another's call",
            self.coalesced.clone(),
        );
        registry.register(
            "failures",
            "Calls to the store or a gateway without a usable answer",
            self.failures.clone(),
        );
        registry.register(
            "stale",
            "Renewals that failed while the old answer still holds",
            self.stale.clone(),
        );
        registry.register(
            "tokens_rejected",
            "Tokens refused by targets",
            self.rejected.clone(),
        );
        registry.register(
            "outdated",
            "Kept answers that the store said have changed",
            self.outdated.clone(),
        );
    }
}
