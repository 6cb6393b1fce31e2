//! Makes certificates.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, date_time_ymd,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::renewal::{CA_LIFE, LEAF_LIFE, Life};

/// Certificates count from an hour ago: clocks of nodes differ.
const SKEW: i64 = 3600;

/// A certificate that cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("a certificate cannot be made: {0}; please report this")]
pub struct IssueError(String);

impl From<rcgen::Error> for IssueError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

impl IssueError {
    pub(super) fn from_text(text: String) -> Self {
        Self(text)
    }
}

/// A certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Certificate.
    pub certificate: String,
    /// Private key, PKCS#8.
    pub key: SecretString,
}

/// A new authority. Its name has the time in it, so that two of them are never taken for one.
///
/// # Errors
/// See [`IssueError`].
pub fn new_authority(now: i64) -> Result<Issued, IssueError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name(&format!("landbridge operator authority {now}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    validity(&mut params, now, now + CA_LIFE);
    let certificate = params.self_signed(&key)?;
    Ok(issued(&certificate, &key))
}

/// A new server certificate. It does not outlive its authority.
///
/// # Errors
/// See [`IssueError`].
pub fn new_leaf(authority: &Issued, life: Life, names: &[String], now: i64) -> Result<Issued, IssueError> {
    let signer = KeyPair::from_pem(authority.key.expose_secret())?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, signer)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = name("landbridge operator");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    validity(&mut params, now, life.until.min(now + LEAF_LIFE));
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(issued(&certificate, &key))
}

/// The public half of a private key, as it stands in certificates (SubjectPublicKeyInfo, RFC 5280).
///
/// # Errors
/// It is no private key.
pub fn public_half(key: &SecretString) -> Result<Vec<u8>, IssueError> {
    Ok(KeyPair::from_pem(key.expose_secret())?.subject_public_key_info())
}

fn issued(certificate: &rcgen::Certificate, key: &KeyPair) -> Issued {
    Issued {
        certificate: certificate.pem().replace("\r\n", "\n"),
        key: SecretString::from(key.serialize_pem()),
    }
}

pub(super) fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

pub(super) fn validity(params: &mut CertificateParams, now: i64, until: i64) {
    let epoch = date_time_ymd(1970, 1, 1);
    let seconds = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    params.not_before = epoch + seconds(now - SKEW);
    params.not_after = epoch + seconds(until);
}
