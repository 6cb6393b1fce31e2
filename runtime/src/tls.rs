//! TLS building blocks: the one crypto provider, trust roots, PEM files, client configurations.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// PEM material that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or holds no well-formed PEM of the wanted kind.
    #[error("cannot read {what} from {path}: {reason}")]
    File {
        /// "certificates" or "a private key".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// PEM text that did not come from a file.
    #[error("cannot read {what}: {reason}")]
    Text {
        /// "certificates" or "a private key".
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The TLS library refused the material.
    #[error("unusable certificate or key: {0}")]
    Refused(#[from] rustls::Error),
}

/// The crypto provider of the whole program. One function, so that a FIPS build swaps it in one place.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Makes [`provider`] the process default, for libraries that ask for one. Later calls change nothing.
pub fn install_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// All certificates of a PEM file, in order.
///
/// # Errors
/// The file is unreadable, malformed, or has no certificate.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = |reason: String| TlsError::File {
        what: "certificates",
        path: path.to_owned(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|e| error(e.to_string()))?;
    certificates(&pem).map_err(|e| match e {
        TlsError::Text { reason, .. } => error(reason),
        other => other,
    })
}

/// All certificates of a PEM text, in order.
///
/// # Errors
/// Malformed, or no certificate.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let error = |reason: String| TlsError::Text {
        what: "certificates",
        reason,
    };
    let list: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|e| error(e.to_string()))?;
    if list.is_empty() {
        return Err(error("no -----BEGIN CERTIFICATE----- in it".to_owned()));
    }
    Ok(list)
}

/// The first private key of a PEM file (PKCS#8, PKCS#1 or SEC1, unencrypted).
///
/// # Errors
/// The file is unreadable, malformed, or has no key.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let error = |reason: String| TlsError::File {
        what: "a private key",
        path: path.to_owned(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|e| error(e.to_string()))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|e| error(e.to_string()))
}

/// The public web's roots plus `additional` ones (corporate or test authorities).
///
/// The compiled-in set is used, not the machine's: images of ours have no certificate store, and what is trusted
/// must not depend on the node.
///
/// # Errors
/// One of `additional` is not an X.509 certificate.
pub fn roots(additional: &[CertificateDer<'_>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    for certificate in additional {
        roots.add(certificate.clone().into_owned())?;
    }
    Ok(roots)
}

/// A client configuration (TLS 1.2 and 1.3) that trusts `roots` and offers `alpn`, without a client certificate.
///
/// # Errors
/// The provider lacks the protocol versions (does not happen with ours).
pub fn client_config(roots: RootCertStore, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// A client configuration that accepts any server certificate: destinations with `TrustAll=TRUE` (seed L6725), which
/// is for tests only. Signatures are still checked, so the peer does own the key of what it presents.
///
/// # Errors
/// As [`client_config`].
pub fn trust_all_client_config(alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
    let algorithms = provider().signature_verification_algorithms;
    let mut config = client_config(RootCertStore::empty(), alpn)?;
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(AcceptAny { algorithms }));
    Ok(config)
}

#[derive(Debug)]
struct AcceptAny {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_which_file_and_why() {
        let error = read_certificates(Path::new("/nonexistent/ca.pem"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nonexistent/ca.pem") && error.contains("No such file"),
            "{error}"
        );
        assert!(
            certificates(b"hello")
                .unwrap_err()
                .to_string()
                .contains("BEGIN CERTIFICATE")
        );
    }

    #[test]
    fn the_webs_roots_are_always_there() {
        assert!(roots(&[]).unwrap().roots.len() > 50);
        assert!(roots(&[CertificateDer::from(vec![1, 2, 3])]).is_err());
    }
}
