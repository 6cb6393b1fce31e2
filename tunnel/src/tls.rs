//! TLS of the tunnel: version 1.3 only, both sides with certificates of the acceptor's own authority.
//!
//! One port serves tunnels and enrolment, told apart by ALPN (RFC 7301). A client without a certificate gets through
//! the handshake because it must be able to enrol; the acceptor lets it do nothing else.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use landbridge_runtime::tls::provider;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// ALPN of tunnel connections.
pub const ALPN_TUNNEL: &[u8] = b"landbridge/1";
/// ALPN of enrolment connections.
pub const ALPN_ENROL: &[u8] = b"landbridge-enrol/1";
/// Deadline of the handshake.
pub const HANDSHAKE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);
/// Bytes a peer may send before it is verified: a handshake with a chain of several certificates has under 16 KiB.
pub const UNVERIFIED_BYTES: u64 = 64 * 1024;

/// SHA-256 of a certificate: by it a connector recognises the acceptor's authority at the first contact.
pub type Pin = [u8; 32];

/// The pin of a certificate.
pub fn pin_of(certificate: &CertificateDer<'_>) -> Pin {
    let mut pin = Pin::default();
    pin.copy_from_slice(digest(&SHA256, certificate).as_ref());
    pin
}

/// The certificate that the acceptor shows; exchanged while it runs.
#[derive(Debug)]
pub struct CurrentCertificate {
    current: ArcSwap<CertifiedKey>,
}

impl CurrentCertificate {
    pub(crate) fn new(first: CertifiedKey) -> Self {
        Self {
            current: ArcSwap::from_pointee(first),
        }
    }

    pub(crate) fn replace(&self, next: CertifiedKey) {
        self.current.store(Arc::new(next));
    }
}

impl ResolvesServerCert for CurrentCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// Pairs a chain with its key.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'_>,
) -> Result<CertifiedKey, Error> {
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(key)?;
    Ok(CertifiedKey::new(chain, key))
}

/// The acceptor's configuration.
pub(crate) fn server_config(
    authority: &CertificateDer<'static>,
    certificate: Arc<CurrentCertificate>,
) -> Result<ServerConfig, Error> {
    let roots = Arc::new(roots_of(authority)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![ALPN_TUNNEL.to_vec(), ALPN_ENROL.to_vec()];
    // Connections live for days, so resumption gains nothing, and a ticket would outlive a revocation.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

/// The configuration of an enrolled connector: trusts only the authority it enrolled with.
pub(crate) fn client_config(
    authority: &CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots_of(authority)?)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN_TUNNEL.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// The configuration of a connector that enrols: trusts only an authority with this pin.
pub(crate) fn enrolling_config(pin: Pin) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(PinnedAuthority { pin }))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_ENROL.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn roots_of(authority: &CertificateDer<'static>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(roots)
}

/// Verifies a server by an authority that is known only by its hash: the server sends the authority's certificate,
/// the hash says whether it is the right one, and then everything is checked as usual.
#[derive(Debug)]
struct PinnedAuthority {
    pin: Pin,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| pin_of(certificate) == self.pin);
        let authority = authority.ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let roots = Arc::new(roots_of(&authority.clone().into_owned())?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
