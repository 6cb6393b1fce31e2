//! Keys that sign SAML assertions.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256};
use landbridge_destination::saml::SignatureMethod;
use rustls_pki_types::PrivateKeyDer;

/// Shortest RSA modulus in bytes: 2048 bits (RFC 8301 section 3.2 gives the same floor for signatures on the Internet).
const SHORTEST_RSA: usize = 256;

/// A key that cannot sign assertions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SigningError {
    #[error("the signing key is neither an RSA key nor an EC key on P-256; use one of these")]
    Kind,
    #[error("the signing key is an RSA key of less than 2048 bits; use a longer one")]
    Weak,
    #[error("the assertion could not be signed")]
    Sign,
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
