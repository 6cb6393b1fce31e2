//! Certificates and keys as PEM text: read, held against each other, and judged as a client judges them.

use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::tls::provider;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use secrecy::{ExposeSecret as _, SecretString};

use super::renewal::Life;

/// The server's certificate and those between it and its authority; in Secrets and folders of the type
/// `kubernetes.io/tls`, as the next two.
pub(super) const LEAF: &str = "tls.crt";

/// Its key.
pub(super) const LEAF_KEY: &str = "tls.key";

/// The authorities to trust.
pub(super) const BUNDLE: &str = "ca.crt";

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// Trusted authorities at the same time: the present, the next, and former ones of a year.
const MAX_TRUSTED: usize = 8;

/// Content that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A key of the Secret is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It is no PEM of the wanted kind.
    #[error("{0} cannot be read: {1}")]
    Unreadable(&'static str, String),
    /// Certificate and key are of different pairs.
    #[error("{0} is not the key of the first certificate in {1}")]
    Mismatch(&'static str, &'static str),
    /// More than there can be.
    #[error("{BUNDLE} has more than {MAX_TRUSTED} certificates")]
    TooMany,
}

/// The certificates of a PEM text, each as PEM with a newline at its end. Text around them is left out.
pub(super) fn certificates_of(name: &'static str, text: &str) -> Result<Vec<String>, Broken> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let pems: Vec<String> = text
        .split_inclusive(PEM_END)
        .filter_map(|piece| piece.find(PEM_BEGIN).map(|begin| &piece[begin..]))
        .map(|pem| pem.replace("\r\n", "\n") + "\n")
        .collect();
    if pems.len() > MAX_TRUSTED {
        return Err(Broken::TooMany);
    }
    for pem in &pems {
        life_of(name, pem)?;
    }
    if pems.is_empty() {
        let reason = format!("no {PEM_BEGIN} in it");
        return Err(Broken::Unreadable(name, reason));
    }
    Ok(pems)
}

/// From when to when the first certificate counts.
pub(super) fn life_of(name: &'static str, pem: &str) -> Result<Life, Broken> {
    parsed(name, pem).map(|(life, _)| life)
}

/// Validity and public key of the first certificate.
pub(super) fn parsed(name: &'static str, pem: &str) -> Result<(Life, Vec<u8>), Broken> {
    let unreadable = |error: String| Broken::Unreadable(name, error);
    let der =
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| unreadable(error.to_string()))?;
    let (_, certificate) =
        x509_parser::parse_x509_certificate(&der).map_err(|error| unreadable(error.to_string()))?;
    let validity = certificate.validity();
    let life = Life {
        from: validity.not_before.timestamp(),
        until: validity.not_after.timestamp(),
    };
    Ok((life, certificate.public_key().raw.to_vec()))
}

/// Certificate and key for a server; each with the name that a message calls it by.
pub(super) fn certified_key(
    (certificate_name, certificate): (&'static str, &str),
    (key_name, key): (&'static str, &SecretString),
) -> Result<CertifiedKey, Broken> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| Broken::Unreadable(certificate_name, error.to_string()))?;
    let unreadable = |error: String| Broken::Unreadable(key_name, error);
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
        .map_err(|error| unreadable(error.to_string()))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => Broken::Mismatch(key_name, certificate_name),
        other => unreadable(other.to_string()),
    })
}

/// Says of certificates what a client with these authorities says.
pub(super) struct Judge {
    verifier: Arc<WebPkiServerVerifier>,
}

impl Judge {
    /// A client that trusts the authorities of a PEM text.
    pub(super) fn new(authorities: &str) -> Result<Self, Broken> {
        let unreadable = |error: String| Broken::Unreadable(BUNDLE, error);
        let mut roots = RootCertStore::empty();
        for pem in certificates_of(BUNDLE, authorities)? {
            let der = CertificateDer::from_pem_slice(pem.as_bytes());
            let added = der.map(|der| roots.add(der));
            added
                .map_err(|error| unreadable(error.to_string()))?
                .map_err(|error| unreadable(error.to_string()))?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let verifier = verifier.map_err(|error| unreadable(error.to_string()))?;
        Ok(Self { verifier })
    }

    /// Whether it takes a server with this chain for `name` at the time `now`.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) fn accepts(
        &self,
        chain: &[CertificateDer<'_>],
        name: &str,
        now: i64,
    ) -> Result<(), rustls::Error> {
        let (leaf, between) = chain
            .split_first()
            .ok_or_else(|| rustls::Error::General("there is no certificate".to_owned()))?;
        let name = ServerName::try_from(name)
            .map_err(|_| rustls::Error::General(format!("{name} is no name of a server")))?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or(0)));
        self.verifier
            .verify_server_cert(leaf, between, &name, &[], now)
            .map(|_| ())
    }
}
