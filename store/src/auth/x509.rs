//! Client certificates of service keys (seed L11587, L11668; RFC 8705).

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use secrecy::SecretString;
use subtle::ConstantTimeEq;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::Error;

/// Longest life of a service key's certificate, in days: a year, as certificates of the original service.
pub(crate) const LONGEST_DAYS: u32 = 366;

/// A certificate and its key, made for one service key. The key is shown once and kept nowhere.
pub(crate) struct ClientCertificate {
    pub(crate) der: Vec<u8>,
    pub(crate) pem: String,
    pub(crate) key_pem: SecretString,
    /// Its end, milliseconds since 1970.
    pub(crate) expires_ms: i64,
}

/// Makes a certificate. It signs itself: a service key names exactly this certificate, so it needs nobody's word.
///
/// # Errors
/// [`Error::Invalid`] for a life that is not offered.
pub(crate) async fn issue(
    client_id: &str,
    subaccount_id: &str,
    days: u32,
) -> Result<ClientCertificate, Error> {
    if !(1..=LONGEST_DAYS).contains(&days) {
        return Err(Error::Invalid(format!(
            "a service key's certificate cannot be valid for {days} days; choose 1 to {LONGEST_DAYS}"
        )));
    }
    let (client_id, subaccount_id) = (client_id.to_owned(), subaccount_id.to_owned());
    // An RSA key takes a good part of a second.
    tokio::task::spawn_blocking(move || make(&client_id, &subaccount_id, days))
        .await
        .map_err(std::io::Error::other)?
        .map_err(|error| Error::Invalid(format!("the client certificate cannot be made: {error}")))
}

fn make(client_id: &str, subaccount_id: &str, days: u32) -> Result<ClientCertificate, rcgen::Error> {
    // RSA, because older clients know nothing else.
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, client_id);
    name.push(DnType::LocalityName, subaccount_id);
    name.push(DnType::OrganizationName, "Landbridge");
    params.distinguished_name = name;
    // Random, so that no two certificates are equal.
    params.serial_number = Some(SerialNumber::from_slice(uuid::Uuid::new_v4().as_bytes()));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let now = std::time::SystemTime::now();
    // An hour before now: clocks of clients differ.
    params.not_before = (now - Duration::from_secs(3600)).into();
    let end = now + Duration::from_secs(u64::from(days) * 86_400);
    params.not_after = end.into();
    let certificate = params.self_signed(&key)?;
    let expires = end
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    Ok(ClientCertificate {
        der: certificate.der().to_vec(),
        pem: certificate.pem(),
        key_pem: key.serialize_pem().into(),
        expires_ms: i64::try_from(expires).unwrap_or(i64::MAX),
    })
}

/// Why a client certificate does not identify a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It is not the one of the service key.
    #[error("it is not the certificate of this client")]
    Other,
    /// It is too old, or not valid yet.
    #[error("it is not valid now; make a new service key")]
    NotNow,
}

/// Whether the certificate of a connection is the one of a service key and valid at `now` (seconds since 1970). The
/// handshake has shown that the client has its private key.
pub(crate) fn accepts(kept: &[u8], shown: &CertificateDer<'_>, now: i64) -> Result<(), Refused> {
    let same: bool = kept.ct_eq(shown.as_ref()).into();
    if !same || kept.is_empty() {
        return Err(Refused::Other);
    }
    let (_, parsed) = X509Certificate::from_der(kept).map_err(|_| Refused::Other)?;
    let validity = parsed.validity();
    if (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now) {
        Ok(())
    } else {
        Err(Refused::NotNow)
    }
}

/// The claim `cnf` of a token that was asked for with a certificate: its SHA-256 (RFC 8705 section 3.1).
pub(crate) fn thumbprint(certificate: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, certificate))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[tokio::test]
    async fn only_the_very_certificate_and_only_while_it_is_valid() {
        let one = issue("sb-1", "s", 30).await.unwrap();
        let two = issue("sb-1", "s", 30).await.unwrap();
        let (one_der, two_der) = (
            CertificateDer::from(one.der.clone()),
            CertificateDer::from(two.der.clone()),
        );
        let now = jiff::Timestamp::now().as_second();
        assert_eq!(accepts(&one.der, &one_der, now), Ok(()));
        assert_eq!(accepts(&one.der, &two_der, now), Err(Refused::Other));
        assert_eq!(
            accepts(&[], &CertificateDer::from(Vec::new()), now),
            Err(Refused::Other)
        );
        assert_eq!(
            accepts(&one.der, &one_der, now + 31 * 86_400),
            Err(Refused::NotNow)
        );
        assert_eq!(accepts(&one.der, &one_der, now - 7200), Err(Refused::NotNow));
        assert!(one.pem.starts_with("-----BEGIN CERTIFICATE-----"));
        assert!(one.key_pem.expose_secret().contains("PRIVATE KEY"));
        assert!((one.expires_ms / 1000 - now - 30 * 86_400).abs() < 60);
        assert_ne!(thumbprint(&one.der), thumbprint(&two.der));
        for days in [0, LONGEST_DAYS + 1] {
            assert!(issue("sb-1", "s", days).await.is_err());
        }
    }
}
