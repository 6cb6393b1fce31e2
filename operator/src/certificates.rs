//! Certificates of the operator's own HTTPS servers: the serve API and the admission webhook.
//!
//! A small authority of its own, in a Secret that all replicas share, so that nothing else has to be installed. The
//! server certificate lives for a week, the authority for a year; a new authority is trusted by everybody before it
//! signs anything, and the old one as long as it lives. Proxies read whom to trust from a ConfigMap.
//!
//! [`renewal`] decides, [`material`] reads and writes the Secret's content, [`authority`] signs, [`workload`] signs for
//! sidecars and gateways, [`keeper`] talks to the API server. Where somebody else makes certificates, [`mounted`] takes
//! them from files instead; `bundle` is the ConfigMap, [`pem`] what both have in common.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use landbridge_destination::serve::SERVER_NAME;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

pub mod authority;
mod bundle;
pub mod keeper;
pub mod material;
pub mod mounted;
pub mod pem;
pub mod renewal;
pub mod workload;

/// Name of the ConfigMap with the trusted authorities, and its key.
pub const BUNDLE_CONFIG_MAP: &str = "landbridge-ca";

/// Key of the ConfigMap.
pub const BUNDLE_KEY: &str = "ca.crt";

/// From when to when each certificate of a PEM text counts.
pub(crate) fn lives(pem: &str) -> Result<Vec<renewal::Life>, pem::Broken> {
    let certificates = pem::certificates_of(pem::BUNDLE, pem)?;
    certificates
        .iter()
        .map(|one| pem::life_of(pem::BUNDLE, one))
        .collect()
}

/// Where certificates are kept and for which names they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateConfig {
    /// Namespace the operator is installed in.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Name of the operator's Service.
    pub service: String,
    /// More names or addresses that it is called by.
    pub extra_names: Vec<String>,
}

impl CertificateConfig {
    /// With the usual names of Secret and Service.
    pub fn new(namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            secret: "landbridge-operator-tls".to_owned(),
            service: "landbridge-operator".to_owned(),
            extra_names: Vec::new(),
        }
    }

    /// Names in the server certificate: the one proxies insist on, whatever they dial, and those of the Service.
    pub fn names(&self) -> Vec<String> {
        let service = format!("{}.{}.svc", self.service, self.namespace);
        let mut names = vec![
            SERVER_NAME.to_owned(),
            format!("{service}.cluster.local"),
            service,
        ];
        names.extend(self.extra_names.iter().cloned());
        names
    }
}

/// The certificate that is shown to callers; exchanged while servers run. Until there is one, handshakes fail.
#[derive(Debug, Default)]
pub struct CurrentCertificate {
    current: ArcSwapOption<CertifiedKey>,
}

impl CurrentCertificate {
    pub(crate) fn replace(&self, next: Arc<CertifiedKey>) {
        self.current.store(Some(next));
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.current.load().is_some()
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

/// How the certificates are; for the health view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateHealth {
    /// End of the server certificate, seconds since 1970; none while there is none.
    pub leaf_until: Option<i64>,
    /// End of the authority that signs.
    pub authority_until: Option<i64>,
    /// What is wrong and what to do.
    pub problem: Option<String>,
}

/// What the rest of the operator uses.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// For servers.
    pub current: Arc<CurrentCertificate>,
    /// Signs for sidecars and gateways; none where somebody else makes certificates.
    pub signer: Option<Arc<workload::CurrentSigner>>,
    /// Trusted authorities as PEM, for the webhook's `caBundle`; empty until they are known.
    pub bundle: watch::Receiver<Bytes>,
    /// For the health view.
    pub health: watch::Receiver<CertificateHealth>,
}

/// The giving side of [`Certificates`]: of whoever looks after them.
#[derive(Debug, Default)]
struct Outlets {
    current: Arc<CurrentCertificate>,
    signer: Option<Arc<workload::CurrentSigner>>,
    bundle: watch::Sender<Bytes>,
    health: watch::Sender<CertificateHealth>,
}

impl Outlets {
    fn certificates(&self) -> Certificates {
        Certificates {
            current: Arc::clone(&self.current),
            signer: self.signer.clone(),
            bundle: self.bundle.subscribe(),
            health: self.health.subscribe(),
        }
    }

    /// Notes what is wrong, or that nothing is; another problem than before is logged.
    fn tell(&self, problem: Option<String>) {
        self.health.send_if_modified(|health| {
            let news = health.problem != problem;
            if news && let Some(problem) = &problem {
                tracing::warn!("certificates: {problem}");
            }
            health.problem = problem;
            news
        });
    }
}

#[cfg(test)]
mod tests;
