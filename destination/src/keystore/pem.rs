//! PEM (RFC 7468): certificates and keys, in any order; "several valid X.509 certificates and private keys" (seed L8980).

use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use secrecy::{ExposeSecret, SecretString};
use x509_parser::pem::Pem;

use super::linking::{Found, link};
use super::{KeyStore, KeyStoreError, MAX_ENTRIES, bounds};

const BEGIN: &[u8] = b"-----BEGIN ";

/// How keys were encrypted before PKCS#8 (RFC 1421): with MD5, one round.
const OLD_ENCRYPTION: &[u8] = b"Proc-Type: 4,ENCRYPTED";

pub(super) fn is_pem(bytes: &[u8]) -> bool {
    contains(bytes, BEGIN)
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

pub(super) fn read(bytes: &[u8], password: Option<&SecretString>) -> Result<KeyStore, KeyStoreError> {
    if contains(bytes, OLD_ENCRYPTION) {
        let reason = "its key is encrypted in a way that does not protect it (Proc-Type: 4,ENCRYPTED)";
        return Err(KeyStoreError::Unusable(reason.to_owned()));
    }
    let (mut keys, mut certificates) = (Vec::new(), Vec::new());
    for section in Pem::iter_from_buffer(bytes) {
        let section = section.map_err(|_| KeyStoreError::Format("its PEM is broken"))?;
        if keys.len() + certificates.len() >= MAX_ENTRIES {
            return Err(KeyStoreError::TooLarge);
        }
        let der = section.contents;
        let key = match section.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => {
                certificates.push(CertificateDer::from(der));
                continue;
            }
            "PRIVATE KEY" => PrivateKeyDer::from(PrivatePkcs8KeyDer::from(der)),
            "RSA PRIVATE KEY" => PrivateKeyDer::from(PrivatePkcs1KeyDer::from(der)),
            "EC PRIVATE KEY" => PrivateKeyDer::from(PrivateSec1KeyDer::from(der)),
            "ENCRYPTED PRIVATE KEY" => decrypt(&der, password)?,
            // Parameters, requests, revocation lists: nothing of them is needed.
            _ => continue,
        };
        let alias = String::new();
        keys.push(Found { alias, key });
    }
    link(keys, certificates)
}

/// PKCS#8 with PBES2 (RFC 8018).
fn decrypt(der: &[u8], password: Option<&SecretString>) -> Result<PrivateKeyDer<'static>, KeyStoreError> {
    let password = password.ok_or(KeyStoreError::PasswordMissing)?;
    bounds::check(der)?;
    let unusable = |error: pkcs8::Error| KeyStoreError::Unusable(error.to_string());
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(der)
        .map_err(|error| KeyStoreError::Unusable(error.to_string()))?;
    if encrypted.encryption_algorithm.pbes2().is_none() {
        let reason = "its key is encrypted with PBES1".to_owned();
        return Err(KeyStoreError::Unusable(reason));
    }
    let plain = match encrypted.decrypt(password.expose_secret()) {
        Ok(plain) => plain,
        Err(pkcs8::Error::EncryptedPrivateKey(_) | pkcs8::Error::Asn1(_)) => {
            return Err(KeyStoreError::WrongPassword);
        }
        Err(error) => return Err(unusable(error)),
    };
    Ok(PrivateKeyDer::from(PrivatePkcs8KeyDer::from(
        plain.as_bytes().to_vec(),
    )))
}
