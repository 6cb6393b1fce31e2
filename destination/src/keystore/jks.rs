//! JKS, the format of Java before PKCS#12. It has no standard but its one implementation; what follows is what every file
//! of it has, in the order it has it. Lengths and numbers are big-endian.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use x509_parser::asn1_rs::{Any, FromDer, Oid, oid};
use zeroize::Zeroizing;

use super::{KeyEntry, KeyStore, KeyStoreError, MAX_ENTRIES};

/// Length of SHA-1 digests: of the file's, of a key's, and of a key's salt.
const DIGEST: usize = 20;
/// Comes between password and content in the digest of the file.
const WHITENER: &[u8] = b"Mighty Aphrodite";
/// How keys are protected: a stream of digests of the password.
const PROTECTION: Oid<'static> = oid!(1.3.6.1.4.1.42.2.17.1.1);

const KEY: u32 = 1;
const CERTIFICATE: u32 = 2;

pub(super) fn read(bytes: &[u8], password: Option<&SecretString>) -> Result<KeyStore, KeyStoreError> {
    let password = utf16(password.ok_or(KeyStoreError::PasswordMissing)?);
    let (content, expected) = bytes
        .split_at_checked(bytes.len().saturating_sub(DIGEST))
        .ok_or(KeyStoreError::Format("its JKS ends early"))?;
    // The digest is the only thing that tells a wrong password, and a file that was cut.
    if !bool::from(digest(&[&password, WHITENER, content]).ct_eq(expected)) {
        return Err(KeyStoreError::WrongPassword);
    }
    let mut reader = Reader(content);
    let (_magic, version, count) = (reader.number()?, reader.number()?, reader.number()?);
    if !matches!(version, 1 | 2) {
        return Err(KeyStoreError::Format("its JKS has an unknown version"));
    }
    if count as usize > MAX_ENTRIES {
        return Err(KeyStoreError::TooLarge);
    }
    let mut store = KeyStore::default();
    for _ in 0..count {
        let (tag, alias) = (reader.number()?, reader.text()?);
        reader.take(8)?; // when it was made
        match tag {
            KEY => {
                let protected = reader.block()?;
                let key = unprotect(protected, &password)?;
                let length = reader.number()? as usize;
                if length > MAX_ENTRIES {
                    return Err(KeyStoreError::TooLarge);
                }
                let mut chain = Vec::new();
                for _ in 0..length {
                    chain.push(reader.certificate(version)?);
                }
                if chain.is_empty() {
                    return Err(KeyStoreError::NoCertificate);
                }
                store.entries.push(KeyEntry { alias, chain, key });
            }
            CERTIFICATE => store.certificates.push(reader.certificate(version)?),
            _ => return Err(KeyStoreError::Format("its JKS has an unknown entry")),
        }
    }
    Ok(store)
}

/// The plain key: salt, key mixed with a stream of digests, digest of the key.
fn unprotect(protected: &[u8], password: &[u8]) -> Result<PrivateKeyDer<'static>, KeyStoreError> {
    let broken = || KeyStoreError::Format("a key of its JKS is broken");
    let (_, outer) = Any::from_der(protected).map_err(|_| broken())?;
    let (rest, algorithm) = Any::from_der(outer.data).map_err(|_| broken())?;
    let (_, identifier) = Oid::from_der(algorithm.data).map_err(|_| broken())?;
    if identifier != PROTECTION {
        return Err(KeyStoreError::Unusable(
            "a key of its JKS is protected in an unknown way".to_owned(),
        ));
    }
    let (_, content) = Any::from_der(rest).map_err(|_| broken())?;
    let (salt, content) = content.data.split_at_checked(DIGEST).ok_or_else(broken)?;
    let (mixed, expected) = content
        .split_at_checked(content.len().saturating_sub(DIGEST))
        .filter(|(_, expected)| expected.len() == DIGEST)
        .ok_or_else(broken)?;
    let mut key = Zeroizing::new(Vec::with_capacity(mixed.len()));
    let mut stream = salt.to_vec();
    for block in mixed.chunks(DIGEST) {
        stream = digest(&[password, &stream]);
        key.extend(block.iter().zip(&stream).map(|(mixed, stream)| mixed ^ stream));
    }
    // A store's keys may have passwords of their own.
    if !bool::from(digest(&[password, &key]).ct_eq(expected)) {
        return Err(KeyStoreError::WrongPassword);
    }
    Ok(PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.to_vec())))
}

fn digest(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

/// Java's characters, two bytes each.
fn utf16(password: &SecretString) -> Zeroizing<Vec<u8>> {
    let units = password.expose_secret().encode_utf16();
    Zeroizing::new(units.flat_map(u16::to_be_bytes).collect())
}

/// What is left of the content.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], KeyStoreError> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(KeyStoreError::Format("its JKS ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, KeyStoreError> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(u32::from_be_bytes(bytes))
    }

    fn block(&mut self) -> Result<&'a [u8], KeyStoreError> {
        let length = self.number()?;
        self.take(length as usize)
    }

    fn text(&mut self) -> Result<String, KeyStoreError> {
        let mut bytes = [0; 2];
        bytes.copy_from_slice(self.take(2)?);
        let text = self.take(usize::from(u16::from_be_bytes(bytes)))?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn certificate(&mut self, version: u32) -> Result<CertificateDer<'static>, KeyStoreError> {
        if version == 2 && self.text()? != "X.509" {
            return Err(KeyStoreError::Format("a certificate of its JKS is not X.509"));
        }
        Ok(CertificateDer::from(self.block()?.to_vec()))
    }
}
