//! Key and trust stores as destinations name them: JKS, PKCS#12, PEM, DER (seed L6213, L8977, L35257). Without I/O; reading
//! one may take a second of processor time, which is what protects its password.

mod bounds;
mod jks;
mod linking;
mod pem;
mod pkcs12;

use std::fmt;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretString;

/// Largest store, in bytes. Bundles of all public authorities have some 300 KB.
pub const MAX_BYTES: usize = 2 << 20;

/// Most keys and certificates of one store. Bundles of all public authorities have some 150.
const MAX_ENTRIES: usize = 2000;

/// What a store holds.
#[derive(Debug, Default)]
pub struct KeyStore {
    /// Keys with their certificates, in the order of the file.
    pub entries: Vec<KeyEntry>,
    /// All other certificates: those to trust.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// A key with its certificates. `Debug` hides the key.
pub struct KeyEntry {
    /// Name in the store; empty where the format has none.
    pub alias: String,
    /// Its certificate, then those above it.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
}

impl fmt::Debug for KeyEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeyEntry")
            .field("alias", &self.alias)
            .field("certificates", &self.chain.len())
            .finish_non_exhaustive()
    }
}

/// A store that cannot be read, in words for whoever keeps it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyStoreError {
    /// Too large.
    #[error(
        "the key store is larger than {MAX_BYTES} bytes, or has more than {MAX_ENTRIES} entries; split it"
    )]
    TooLarge,
    /// JKS and PKCS#12 are never without one (seed L8977).
    #[error("the key store has a password; set the property for it, such as KeyStorePassword")]
    PasswordMissing,
    /// The password does not open it.
    #[error("the password does not open the key store, or its key; correct the property with the password")]
    WrongPassword,
    /// None of the formats.
    #[error(
        "the file is no key store that can be read ({0}); use JKS, PKCS#12, or PEM with certificates and keys"
    )]
    Format(&'static str),
    /// The format, but broken or of an unusual kind.
    #[error(
        "the key store cannot be read: {0}; convert it to PKCS#12 with AES (openssl pkcs12 -export, or keytool -importkeystore)"
    )]
    Unusable(String),
    /// What protects the password would take too long.
    #[error("the key store asks for more than {0} rounds of key derivation; export it with fewer")]
    TooSlow(u64),
    /// A key that no certificate belongs to.
    #[error("the key store has a private key without its certificate; add the certificate")]
    NoCertificate,
    /// A kind or size of key that cannot be used.
    #[error(
        "a key of the key store cannot be used: it must be RSA of 2048 to 8192 bits, EC on P-256, P-384 or P-521, or Ed25519"
    )]
    Key,
}

/// Reads a store. The format follows from the content, and only where that does not tell from the ending of `name`.
///
/// # Errors
/// See [`KeyStoreError`].
pub fn read(name: &str, bytes: &[u8], password: Option<&SecretString>) -> Result<KeyStore, KeyStoreError> {
    if bytes.len() > MAX_BYTES {
        return Err(KeyStoreError::TooLarge);
    }
    let store = match bytes {
        [0xfe, 0xed, 0xfe, 0xed, ..] => jks::read(bytes, password),
        [0xce, 0xce, 0xce, 0xce, ..] => Err(KeyStoreError::Format("it is a JCEKS")),
        // A SEQUENCE of DER: a store has one, and so has a certificate.
        [0x30, ..] if is_certificate(bytes) => Ok(KeyStore {
            entries: Vec::new(),
            certificates: vec![CertificateDer::from(bytes.to_vec())],
        }),
        [0x30, ..] => pkcs12::read(bytes, password),
        _ if pem::is_pem(bytes) => pem::read(bytes, password),
        [] => Err(KeyStoreError::Format("it is empty")),
        _ => Err(KeyStoreError::Format(match name.rsplit_once('.') {
            Some((_, ending)) if ending.eq_ignore_ascii_case("jks") => "it does not begin as a JKS does",
            Some((_, ending)) if ending.eq_ignore_ascii_case("p12") || ending.eq_ignore_ascii_case("pfx") => {
                "it does not begin as PKCS#12 does"
            }
            _ => "it begins as none of them",
        })),
    }?;
    if store.entries.len() + store.certificates.len() > MAX_ENTRIES {
        return Err(KeyStoreError::TooLarge);
    }
    if store.entries.is_empty() && store.certificates.is_empty() {
        return Err(KeyStoreError::Format("it has neither a key nor a certificate"));
    }
    Ok(store)
}

fn is_certificate(bytes: &[u8]) -> bool {
    use x509_parser::prelude::{FromDer, X509Certificate};
    X509Certificate::from_der(bytes).is_ok_and(|(rest, _)| rest.is_empty())
}

#[cfg(test)]
mod tests;
