//! TLS of the listener: a certificate from files that is exchanged when they change, and client certificates that are
//! asked for but not required.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_runtime::tls::{TlsError, provider, read_certificates, read_key};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::config::TlsFiles;
use crate::error::Error;

/// How often the files are looked at. Certificates are renewed days before they expire.
const LOOK: Duration = Duration::from_secs(10);

/// The listener's side of TLS.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    files: TlsFiles,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    pub(crate) async fn load(files: TlsFiles) -> Result<Self, Error> {
        let first = read(files.clone()).await?;
        let current = Arc::new(Current(ArcSwap::from_pointee(first)));
        let verifier = Arc::new(AnyClient {
            algorithms: provider().signature_verification_algorithms,
        });
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::from)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&current) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            files,
            current,
            config: Arc::new(config),
        })
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Exchanges the certificate whenever the files have another one, until `shutdown` begins. One that cannot be used
    /// is told once and changes nothing: certificate and key are two files and may be written one after the other.
    pub(crate) async fn follow(self, shutdown: Shutdown) {
        let mut told = String::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.started() => return,
            }
            match read(self.files.clone()).await {
                Ok(next) => {
                    told.clear();
                    if next.cert != self.current.0.load().cert {
                        self.current.0.store(Arc::new(next));
                        tracing::info!(file = %self.files.certificate.display(), "the TLS certificate was exchanged");
                    }
                }
                Err(error) => {
                    let text = error.to_string();
                    if text != told {
                        tracing::warn!(
                            "the new TLS certificate cannot be used, the one before stays: {text}"
                        );
                        told = text;
                    }
                }
            }
        }
    }
}

async fn read(files: TlsFiles) -> Result<CertifiedKey, Error> {
    let reading = tokio::task::spawn_blocking(move || {
        let chain = read_certificates(&files.certificate)?;
        let key = read_key(&files.key)?;
        // Also checks that the two belong together.
        CertifiedKey::from_der(chain, key, &provider()).map_err(|error| mismatch(files.certificate, &error))
    });
    Ok(reading.await.map_err(std::io::Error::other)??)
}

fn mismatch(path: PathBuf, error: &rustls::Error) -> TlsError {
    TlsError::File {
        what: "certificates",
        path,
        reason: format!("they do not go with the key: {error}"),
    }
}

/// The certificate that is shown.
#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Lets every client in, with a certificate or without. A certificate proves here only that the client has its key; who
/// that is, and whether the certificate is still valid, is decided where a service key names exactly this certificate.
#[derive(Debug)]
struct AnyClient {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No names: certificates of service keys are not signed by anyone in particular.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
