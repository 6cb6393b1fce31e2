//! Which certificate belongs to which key: by the public key, since names and ids are missing or wrong in many files.

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{KeyEntry, KeyStore, KeyStoreError};

/// A key that was found, with its name.
pub(super) struct Found {
    pub(super) alias: String,
    pub(super) key: PrivateKeyDer<'static>,
}

/// Gives each key its certificate and those above it; what is left is there to be trusted.
pub(super) fn link(
    keys: Vec<Found>,
    mut certificates: Vec<CertificateDer<'static>>,
) -> Result<KeyStore, KeyStoreError> {
    let mut entries = Vec::with_capacity(keys.len());
    let mut used = vec![false; certificates.len()];
    for Found { alias, key } in keys {
        let public = public_key(&key).ok_or(KeyStoreError::Key)?;
        let own = certificates
            .iter()
            .position(|certificate| key_of(certificate).is_some_and(|held| held == public))
            .ok_or(KeyStoreError::NoCertificate)?;
        let places = chain(&certificates, own);
        let chain = places.iter().map(|place| certificates[*place].clone()).collect();
        for place in places {
            used[place] = true;
        }
        entries.push(KeyEntry { alias, chain, key });
    }
    let mut place = 0;
    certificates.retain(|_| {
        place += 1;
        !used[place - 1]
    });
    Ok(KeyStore {
        entries,
        certificates,
    })
}

/// A certificate and those above it, by name.
fn chain(certificates: &[CertificateDer<'static>], own: usize) -> Vec<usize> {
    let names: Vec<_> = certificates
        .iter()
        .map(|certificate| names(certificate))
        .collect();
    let mut chain = vec![own];
    let mut last = own;
    while let Some((subject, issuer)) = &names[last] {
        if subject == issuer {
            break;
        }
        let above = (0..names.len()).find(|place| {
            !chain.contains(place)
                && names[*place]
                    .as_ref()
                    .is_some_and(|(subject, _)| subject == issuer)
        });
        let Some(above) = above else { break };
        chain.push(above);
        last = above;
    }
    chain
}

/// Subject and issuer.
fn names(certificate: &CertificateDer<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some((
        certificate.subject().as_raw().to_vec(),
        certificate.issuer().as_raw().to_vec(),
    ))
}

/// The bits of a certificate's public key.
fn key_of(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.public_key().subject_public_key.data.to_vec())
}

/// The same bits, from the private key.
fn public_key(key: &PrivateKeyDer<'_>) -> Option<Vec<u8>> {
    let der = key.secret_der();
    let rsa = match key {
        PrivateKeyDer::Pkcs1(_) => rsa::KeyPair::from_der(der),
        _ => rsa::KeyPair::from_pkcs8(der),
    };
    if let Ok(rsa) = rsa {
        return Some(rsa.public_key().as_ref().to_vec());
    }
    for curve in [
        &ECDSA_P256_SHA256_ASN1_SIGNING,
        &ECDSA_P384_SHA384_ASN1_SIGNING,
        &ECDSA_P521_SHA512_ASN1_SIGNING,
    ] {
        let pair = match key {
            PrivateKeyDer::Sec1(_) => EcdsaKeyPair::from_private_key_der(curve, der),
            _ => EcdsaKeyPair::from_pkcs8(curve, der),
        };
        if let Ok(pair) = pair {
            return Some(pair.public_key().as_ref().to_vec());
        }
    }
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
    Some(pair.public_key().as_ref().to_vec())
}
