//! Keys that sign SAML assertions.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256};
use landbridge_destination::saml::SignatureMethod;
use moka::sync::Cache;
use rustls_pki_types::PrivateKeyDer;

use super::surroundings::Identity;

/// Signing keys kept, of a few KiB each.
const MAX_SIGNERS: u64 = 1000;

/// How long an unused one is kept.
const SIGNER_IDLE: Duration = Duration::from_secs(600);

/// Shortest RSA modulus in bytes: 2048 bits (RFC 8301 section 3.2 gives the same floor for signatures on the Internet).
const SHORTEST_RSA: usize = 256;

/// A key that cannot sign assertions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SigningError {
    #[error("the signing key is neither an RSA key nor an EC key on P-256; use one of these")]
    Kind,
    #[error("the signing key is an RSA key of less than 2048 bits; use a longer one")]
    Weak,
    #[error("the key store has no certificate of its key; add it")]
    Certificate,
    #[error("the assertion could not be signed")]
    Sign,
}

/// Signing keys of destinations that were read already: reading one of RSA checks it, which costs more than signing.
#[derive(Debug, Clone)]
pub(super) struct Signers(Cache<[u8; 32], Arc<SigningKey>>);

impl Signers {
    pub(super) fn new() -> Self {
        let keys = Cache::builder()
            .max_capacity(MAX_SIGNERS)
            .time_to_idle(SIGNER_IDLE)
            .build();
        Self(keys)
    }

    /// The signing key of an identity. Its issuer is the common name of the certificate; without one, the destination
    /// has to name the issuer.
    pub(super) async fn of(&self, identity: &Arc<Identity>) -> Result<Arc<SigningKey>, SigningError> {
        if let Some(key) = self.0.get(identity.id()) {
            return Ok(key);
        }
        let read = Arc::clone(identity);
        let key = tokio::task::spawn_blocking(move || {
            let certificate = read.chain().first().ok_or(SigningError::Certificate)?;
            SigningKey::new(read.key(), certificate, common_name(certificate))
        });
        let key = Arc::new(key.await.map_err(|_| SigningError::Sign)??);
        self.0.insert(*identity.id(), Arc::clone(&key));
        Ok(key)
    }
}

fn common_name(certificate: &[u8]) -> String {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    let name = parsed.ok().and_then(|(_, certificate)| {
        let mut names = certificate.subject().iter_common_name();
        names.next()?.as_str().ok().map(str::to_owned)
    });
    name.unwrap_or_default()
}

enum Pair {
    Rsa(rsa::KeyPair),
    Ecdsa(EcdsaKeyPair),
}

/// A key with its certificate. `Debug` shows the name alone.
pub(crate) struct SigningKey {
    pair: Pair,
    certificate: Vec<u8>,
    common_name: String,
    id: [u8; 32],
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SigningKey({})", self.common_name)
    }
}

impl SigningKey {
    /// A key with its certificate (DER), whose common name is the issuer of what it signs.
    pub(crate) fn new(
        key: &PrivateKeyDer<'_>,
        certificate: &[u8],
        common_name: String,
    ) -> Result<Self, SigningError> {
        let pair = match rsa_pair(key) {
            Some(pair) if pair.public_modulus_len() < SHORTEST_RSA => return Err(SigningError::Weak),
            Some(pair) => Pair::Rsa(pair),
            None => Pair::Ecdsa(ecdsa_pair(key).ok_or(SigningError::Kind)?),
        };
        let mut id = [0; 32];
        id.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Ok(Self {
            pair,
            certificate: certificate.to_vec(),
            common_name,
            id,
        })
    }

    /// The certificate (DER).
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Common name of the certificate.
    pub(crate) fn common_name(&self) -> &str {
        &self.common_name
    }

    /// Which key it is: digest of the certificate.
    pub(crate) fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// How it signs.
    pub(crate) fn method(&self) -> SignatureMethod {
        match self.pair {
            Pair::Rsa(_) => SignatureMethod::RsaSha256,
            Pair::Ecdsa(_) => SignatureMethod::EcdsaSha256,
        }
    }

    /// Signs. With RSA of 4096 bits that takes some 2 ms of processor time, so not on an async thread.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, SigningError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature)
                    .map_err(|_| SigningError::Sign)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&random, bytes).map_err(|_| SigningError::Sign)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

fn rsa_pair(key: &PrivateKeyDer<'_>) -> Option<rsa::KeyPair> {
    match key {
        PrivateKeyDer::Pkcs8(der) => rsa::KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Pkcs1(der) => rsa::KeyPair::from_der(der.secret_pkcs1_der()).ok(),
        _ => None,
    }
}

fn ecdsa_pair(key: &PrivateKeyDer<'_>) -> Option<EcdsaKeyPair> {
    let curve = &ECDSA_P256_SHA256_FIXED_SIGNING;
    match key {
        PrivateKeyDer::Pkcs8(der) => EcdsaKeyPair::from_pkcs8(curve, der.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Sec1(der) => EcdsaKeyPair::from_private_key_der(curve, der.secret_sec1_der()).ok(),
        _ => None,
    }
}
