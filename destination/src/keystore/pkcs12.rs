//! PKCS#12 (RFC 7292), as openssl, keytool and Windows write it.

use p12_keystore::{Pkcs12Archive, error::Error};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use secrecy::{ExposeSecret, SecretString};

use super::linking::{Found, link};
use super::{KeyStore, KeyStoreError, bounds};

pub(super) fn read(bytes: &[u8], password: Option<&SecretString>) -> Result<KeyStore, KeyStoreError> {
    let password = password.ok_or(KeyStoreError::PasswordMissing)?;
    bounds::check(bytes)?;
    let archive =
        Pkcs12Archive::from_pkcs12(bytes, password.expose_secret()).map_err(|error| match error {
            Error::MacError(_) | Error::UnpadError => KeyStoreError::WrongPassword,
            error => KeyStoreError::Unusable(error.to_string()),
        })?;
    let certificates = archive.certs.iter();
    let certificates = certificates.map(|bag| CertificateDer::from(bag.cert.as_der().to_vec()));
    let keys = archive.keys.iter().map(|bag| Found {
        alias: bag.friendly_name.clone().unwrap_or_default(),
        key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec())),
    });
    link(keys.collect(), certificates.collect())
}
