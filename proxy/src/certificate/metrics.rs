//! How the certificate is.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Default)]
pub(super) struct CertificateMetrics {
    /// End of the certificate, seconds since 1970; 0 while there is none.
    pub(super) until: Gauge,
    pub(super) renewals: Counter,
    pub(super) failures: Counter,
}

impl CertificateMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("certificate");
        registry.register(
            "expiry_timestamp_seconds",
            "End of this proxy's certificate of the operator, 0 while there is none",
            self.until.clone(),
        );
        registry.register(
            "renewals",
            "Certificates that the operator has signed for this proxy",
            self.renewals.clone(),
        );
        registry.register(
            "failures",
            "Certificates that the operator has not signed, or could not be asked for",
            self.failures.clone(),
        );
    }
}
