//! The certificate by which a sidecar and a gateway know each other: a key of our own, signed by the operator for the
//! service account that our token belongs to, and renewed long before it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::StatusCode;
use landbridge_destination::identity::{
    BadIdentity, CERTIFICATE_PATH, CertificateAnswer, CertificateRequest, WorkloadIdentity,
};
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::ReadyToken;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_runtime::tls;
use rcgen::{CertificateParams, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::Notify;
use tokio::time::sleep;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::control::{Authority, ControlError, Learned, Place, Settings, delay, refused, roots};

mod kept;
mod metrics;

use metrics::CertificateMetrics;

/// Protocol of the talk between sidecars and gateways.
const ALPN: &[u8] = b"h2";

/// A certificate is renewed after this, however long it lives: the answer brings the trusted authorities, and a new one is
/// told of for an hour before it signs.
const MOST: Duration = Duration::from_secs(30 * 60);

/// Pause after an operator has said that it cannot sign: somebody has to change its configuration first.
const NEVER_SOON: Duration = Duration::from_secs(300);

/// Longest sleep without a look at the wall clock: a machine that slept has missed timers.
const LOOK: Duration = Duration::from_secs(60);

/// A certificate, exchanged while it is in use. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Certificate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    current: ArcSwapOption<Current>,
    authority: Authority,
    learned: Learned,
    /// Somebody has met a peer that could not be verified: there may be a new authority.
    doubted: Notify,
}

#[derive(Debug)]
struct Current {
    certified: Arc<CertifiedKey>,
    /// Seconds since 1970.
    until: u64,
}

/// Gets certificates; see [`Renewal::run`].
pub struct Renewal {
    certificate: Certificate,
    place: Place,
    metrics: CertificateMetrics,
    /// Where the authorities are kept; `None`: nowhere.
    kept: Option<PathBuf>,
    /// Those that were told last.
    told: String,
}

/// A certificate that there is not yet, and what gets it.
///
/// # Errors
/// The resolver of names cannot be built.
pub fn certificate(settings: &Settings, metrics: &Metrics) -> Result<(Certificate, Renewal), ControlError> {
    let dialer = Dialer::new(AddressPolicy::Any).map_err(ControlError::Resolver)?;
    let figures = CertificateMetrics::default();
    metrics.register(|registry| figures.register(registry));
    let certificate = Certificate {
        inner: Arc::new(Inner {
            current: ArcSwapOption::default(),
            authority: settings.authority.clone(),
            learned: settings.learned.clone(),
            doubted: Notify::new(),
        }),
    };
    let renewal = Renewal {
        certificate: certificate.clone(),
        place: Place::new(settings, dialer),
        metrics: figures,
        kept: settings.state_file.as_deref().map(kept::beside),
        told: String::new(),
    };
    Ok((certificate, renewal))
}

impl Certificate {
    /// Whether there is one that counts now.
    pub fn is_there(&self) -> bool {
        let current = self.inner.current.load();
        current.as_ref().is_some_and(|current| unix_now() < current.until)
    }

    /// A peer could not be verified: asks the operator soon whether there is another authority.
    pub(crate) fn doubt(&self) {
        self.inner.doubted.notify_one();
    }

    /// For connections to gateways, as things are now.
    ///
    /// # Errors
    /// The authorities cannot be read.
    pub(crate) async fn client_config(&self) -> Result<ClientConfig, ControlError> {
        let roots = roots(&self.inner.authority, &self.inner.learned).await?;
        let mut config = ClientConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }

    /// For connections from sidecars, as things are now: a caller without a certificate of the operator does not get
    /// through the handshake.
    ///
    /// # Errors
    /// The authorities cannot be read.
    pub(crate) async fn server_config(&self) -> Result<ServerConfig, ControlError> {
        let roots = roots(&self.inner.authority, &self.inner.learned).await?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
            .build()
            .map_err(|error| ControlError::Exchange(error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A ticket would let a caller in whose certificate has ended.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(config)
    }

    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        let current = self.inner.current.load();
        current.as_ref().map(|current| Arc::clone(&current.certified))
    }
}

fn unusable(error: rustls::Error) -> ControlError {
    ControlError::Exchange(error.to_string())
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }
}

impl ResolvesClientCert for Certificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certified()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Renewal {
    /// Gets a certificate, says that it is `ready`, and renews it until `shutdown` begins. What is there stays in use
    /// while the operator is away.
    pub async fn run(mut self, ready: ReadyToken, shutdown: Shutdown) {
        if let Some(file) = &self.kept
            && let Some(authorities) = kept::read(file).await
        {
            self.certificate.inner.learned.replace(authorities);
        }
        let mut ready = Some(ready);
        let mut failures = 0;
        loop {
            let renewed = tokio::select! {
                renewed = self.renew() => renewed,
                () = shutdown.started() => return,
            };
            let pause = match renewed {
                Ok(valid) => {
                    failures = 0;
                    if let Some(ready) = ready.take() {
                        tracing::info!(
                            valid_s = valid.as_secs(),
                            "the operator has signed this proxy's certificate"
                        );
                        ready.ready();
                    }
                    pause(valid, fastrand::f64())
                }
                Err(error) => {
                    failures += 1;
                    self.metrics.failures.inc();
                    if failures % 10 == 1 {
                        let there = self.certificate.is_there();
                        tracing::warn!(%error, failures, kept = there, "the operator has not signed this proxy's certificate; asking again");
                    }
                    retry(&error, failures)
                }
            };
            tokio::select! {
                () = wait_until(SystemTime::now() + pause) => {}
                // At most so often, whatever peers do.
                () = async { self.certificate.inner.doubted.notified().await; sleep(delay(6, fastrand::f64())).await } => {}
                () = shutdown.started() => return,
            }
        }
    }

    /// One certificate; how long it counts.
    async fn renew(&mut self) -> Result<Duration, ControlError> {
        let failed =
            |error: rcgen::Error| ControlError::Exchange(format!("no signing request can be made: {error}"));
        let key = KeyPair::generate().map_err(failed)?;
        // Without names: the operator knows from our token who we are, and takes only the key.
        let request = CertificateParams::default()
            .serialize_request(&key)
            .map_err(failed)?;
        let request = CertificateRequest {
            csr: request.pem().map_err(failed)?,
        };
        let json = serde_json::to_vec(&request).map_err(|error| ControlError::Exchange(error.to_string()))?;
        let mut link = self.place.connect(None).await?;
        let (status, text) = link.post(CERTIFICATE_PATH, Bytes::from(json)).await?;
        if status != StatusCode::OK {
            return Err(refused(status, &text));
        }
        let answer: CertificateAnswer = serde_json::from_slice(&text).map_err(|error| {
            ControlError::Unreadable(format!(
                "{:?} error at column {}",
                error.classify(),
                error.column()
            ))
        })?;
        let valid = self.take(&answer, &key)?;
        if let Some(file) = self.kept.clone()
            && self.told != answer.authority
        {
            self.told.clone_from(&answer.authority);
            kept::write(file, answer.authority).await;
        }
        Ok(valid)
    }

    fn take(&self, answer: &CertificateAnswer, key: &KeyPair) -> Result<Duration, ControlError> {
        let odd =
            |error: String| ControlError::Unreadable(format!("its certificate cannot be used: {error}"));
        let chain =
            tls::certificates(answer.certificate.as_bytes()).map_err(|error| odd(error.to_string()))?;
        let authorities =
            tls::certificates(answer.authority.as_bytes()).map_err(|error| odd(error.to_string()))?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let certified =
            CertifiedKey::from_der(chain, key, &tls::provider()).map_err(|error| odd(error.to_string()))?;
        let until = unix_now().saturating_add(answer.valid_seconds);
        self.certificate.inner.learned.replace(authorities);
        self.certificate.inner.current.store(Some(Arc::new(Current {
            certified: Arc::new(certified),
            until,
        })));
        self.metrics.renewals.inc();
        self.metrics.until.set(i64::try_from(until).unwrap_or(i64::MAX));
        Ok(Duration::from_secs(answer.valid_seconds))
    }
}

/// When to ask again after so many failures. An operator that has no authority (501) will not have one soon.
fn retry(error: &ControlError, failures: u32) -> Duration {
    match error {
        ControlError::Refused { status: 501, .. } => NEVER_SOON,
        _ => delay(failures, fastrand::f64()),
    }
}

/// When to renew a certificate that counts for so long: after two thirds, and earlier to hear of authorities. Up to a
/// tenth earlier, so that all who started together do not ask together.
fn pause(valid: Duration, random: f64) -> Duration {
    (valid * 2 / 3).min(MOST).mul_f64(1.0 - 0.1 * random)
}

async fn wait_until(due: SystemTime) {
    while let Ok(left) = due.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        sleep(left.min(LOOK)).await;
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Who shows this certificate, and until when (seconds since 1970). It must have been verified.
///
/// # Errors
/// It names nobody.
pub(crate) fn holder(leaf: &CertificateDer<'_>) -> Result<(WorkloadIdentity, u64), BadIdentity> {
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| BadIdentity::Uri)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| BadIdentity::Uri)?;
    let uris = names
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
    let identity = WorkloadIdentity::from_uris(uris)?;
    let until = certificate.validity().not_after.timestamp();
    Ok((identity, u64::try_from(until).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewed_after_two_thirds_and_at_least_twice_an_hour() {
        for (valid, random, expected) in [
            (86_400, 0.0, 1800),
            (86_400, 1.0, 1620),
            (900, 0.0, 600),
            (900, 1.0, 540),
            (0, 0.5, 0),
        ] {
            let found = pause(Duration::from_secs(valid), random);
            assert_eq!(found.as_secs_f64().round() as u64, expected, "{valid} {random}");
        }
    }

    #[test]
    fn an_operator_without_an_authority_is_not_asked_all_the_time() {
        let refused = |status| ControlError::Refused {
            status,
            reason: String::new(),
        };
        assert_eq!(retry(&refused(501), 1), NEVER_SOON);
        assert!(retry(&refused(503), 1) < Duration::from_secs(1));
        assert!(retry(&refused(503), 100) <= Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_by_the_clock_is_not_waited_for() {
        let waiting = wait_until(SystemTime::now() - Duration::from_secs(1));
        assert!(tokio::time::timeout(Duration::ZERO, waiting).await.is_ok());
    }

    #[test]
    fn the_holder_is_who_the_uri_names() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        assert_eq!(
            holder(params.clone().self_signed(&key).unwrap().der()),
            Err(BadIdentity::Uri)
        );
        let uri = "spiffe://landbridge/ns/shop/sa/cart".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let (identity, until) = holder(params.self_signed(&key).unwrap().der()).unwrap();
        assert_eq!(
            (identity.to_string().as_str(), until),
            ("shop/cart", 1_893_456_000)
        );
    }
}
