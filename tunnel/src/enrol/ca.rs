//! The acceptor's certificate authority: made at the first start, used for its own server certificate and for the
//! certificates of connectors, for nothing else.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
    date_time_ymd,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::unix_now;
use crate::files;
use crate::identity::PeerIdentity;
use crate::tls::{Pin, certified, pin_of};

/// Certificate and key in one file, so that they are written in one step.
const CA_FILE: &str = "ca.pem";
const PEM_END: &str = "-----END CERTIFICATE-----\n";
const DAY: u64 = 86_400;
/// Life of the authority in days: ten years. Replacing it means enrolling every connector again.
const CA_DAYS: u64 = 3650;
/// Life of the server certificate in days; renewed in memory after two thirds.
const SERVER_DAYS: u64 = 30;
/// Life of a connector's certificate in days.
pub const CLIENT_DAYS: u64 = 90;
/// Certificates are valid from an hour ago: clocks in company networks differ.
const SKEW: u64 = 3600;

/// Why the authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The state folder cannot be read or written.
    #[error("cannot use {}: {source}; check that the folder exists and belongs to this user", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what this program wrote.
    #[error("{} is damaged ({detail}); restore it from a backup, or delete it and enrol every connector again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A certificate cannot be made.
    #[error("cannot issue a certificate: {0}")]
    Issue(String),
    /// The request of a connector cannot be used.
    #[error("the certificate signing request is not acceptable: {0}")]
    Request(String),
}

/// A certificate authority in a state folder.
#[derive(Debug)]
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A certificate made for a connector.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) pem: String,
    /// Seconds since 1970.
    pub(crate) not_after: u64,
}

impl Ca {
    /// Opens the authority of `state_dir`, making it first when there is none. Safe to be called by several
    /// processes at once. Blocks on files.
    pub fn load_or_create(state_dir: &Path) -> Result<Self, CaError> {
        let path = state_dir.join(CA_FILE);
        let file_error = |source| CaError::File {
            path: path.clone(),
            source,
        };
        files::create_private_dir(state_dir).map_err(file_error)?;
        match files::read_bounded(&path) {
            Ok(text) => return Self::parse(&text, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(file_error(error)),
        }
        let (key, certificate) = generate()?;
        let text = format!(
            "{}{}",
            certificate.pem().replace("\r\n", "\n"),
            key.serialize_pem()
        );
        match files::write_private_new(&path, text.as_bytes()) {
            Ok(()) => Self::parse(&text, &path),
            // Another process was faster; its authority counts.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::parse(&files::read_bounded(&path).map_err(file_error)?, &path)
            }
            Err(error) => Err(file_error(error)),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, CaError> {
        let damaged = |detail: String| CaError::Damaged {
            path: path.to_owned(),
            detail,
        };
        let certificate =
            CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error| damaged(error.to_string()))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|error| damaged(error.to_string()))?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .map_err(|error| damaged(error.to_string()))?;
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(|error| damaged(error.to_string()))?;
        // The file begins with the certificate.
        let pem = text
            .split_inclusive(PEM_END)
            .next()
            .unwrap_or_default()
            .to_owned();
        Ok(Self {
            issuer,
            certificate,
            pem,
        })
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The authority's certificate as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of the authority's certificate.
    pub fn pin(&self) -> Pin {
        pin_of(&self.certificate)
    }

    /// A server certificate with a new key for these names or addresses, and when to renew it. The authority is part
    /// of the chain, because enrolling connectors know only its hash.
    pub(crate) fn issue_server(&self, names: &[String]) -> Result<(CertifiedKey, Duration), CaError> {
        let issue = |error: rcgen::Error| CaError::Issue(error.to_string());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(issue)?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(issue)?;
        params.distinguished_name = name("landbridge tunnel acceptor");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        validity(&mut params, SERVER_DAYS);
        let certificate = params.signed_by(&key, &self.issuer).map_err(issue)?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let certified = certified(chain, &der).map_err(|error| CaError::Issue(error.to_string()))?;
        Ok((certified, Duration::from_secs(SERVER_DAYS * DAY * 2 / 3)))
    }

    /// A client certificate for the key of `csr`. Of the request only the key counts; every name is set here.
    pub(crate) fn issue_client(&self, csr: &str, identity: &PeerIdentity) -> Result<Issued, CaError> {
        let request = CertificateSigningRequestParams::from_pem(csr)
            .map_err(|error| CaError::Request(error.to_string()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("connector {}", identity.connector));
        for uri in identity.to_uris() {
            let uri = uri
                .try_into()
                .map_err(|error: rcgen::Error| CaError::Issue(error.to_string()))?;
            params.subject_alt_names.push(SanType::URI(uri));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let not_after = validity(&mut params, CLIENT_DAYS);
        let certificate = params
            .signed_by(&request.public_key, &self.issuer)
            .map_err(|error| CaError::Issue(error.to_string()))?;
        Ok(Issued {
            pem: certificate.pem(),
            not_after,
        })
    }
}

fn generate() -> Result<(KeyPair, rcgen::Certificate), CaError> {
    let issue = |error: rcgen::Error| CaError::Issue(error.to_string());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(issue)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name("landbridge tunnel authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    validity(&mut params, CA_DAYS);
    let certificate = params.self_signed(&key).map_err(issue)?;
    Ok((key, certificate))
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// Sets the validity and returns its end in seconds since 1970.
fn validity(params: &mut CertificateParams, days: u64) -> u64 {
    let epoch = date_time_ymd(1970, 1, 1);
    let now = unix_now();
    let end = now + days * DAY;
    params.not_before = epoch + Duration::from_secs(now.saturating_sub(SKEW));
    params.not_after = epoch + Duration::from_secs(end);
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ca::load_or_create(dir.path()).unwrap();
        let second = Ca::load_or_create(dir.path()).unwrap();
        assert_eq!(first.pin(), second.pin());
        assert_eq!(
            CertificateDer::from_pem_slice(first.pem().as_bytes()).unwrap(),
            *first.certificate()
        );
        std::fs::write(dir.path().join(CA_FILE), "garbage").unwrap();
        let error = Ca::load_or_create(dir.path()).unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("damaged"), "{error}");
    }

    #[test]
    fn only_the_key_of_a_request_counts() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::load_or_create(dir.path()).unwrap();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut wanted = CertificateParams::new(vec!["victim.example".to_owned()]).unwrap();
        let uri = "urn:landbridge:connector:other:admin"
            .to_owned()
            .try_into()
            .unwrap();
        wanted.subject_alt_names.push(SanType::URI(uri));
        let csr = wanted.serialize_request(&key).unwrap().pem().unwrap();
        let identity = PeerIdentity::new("acme", "c1", Some("hq")).unwrap();
        let issued = ca.issue_client(&csr, &identity).unwrap();
        let leaf = CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap();
        assert_eq!(PeerIdentity::of_certificate(&leaf).unwrap(), identity);
        assert!(issued.not_after > unix_now() + 89 * DAY);
        assert!(matches!(
            ca.issue_client("garbage", &identity),
            Err(CaError::Request(_))
        ));
    }
}
