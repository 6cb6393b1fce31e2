//! One signing key, in the shapes that are needed of it.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::Error;

/// A key with its id.
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) encoding: EncodingKey,
    pub(crate) decoding: DecodingKey,
    /// From when on it signs, milliseconds since 1970.
    pub(crate) signs_from_ms: i64,
    published: Value,
}

impl SigningKey {
    /// The key of a PKCS#8 text. Its id is the thumbprint of RFC 7638.
    pub(super) fn from_pkcs8(der: &[u8], algorithm: Algorithm) -> Result<Self, Error> {
        let failed = |error: jsonwebtoken::errors::Error| Error::SigningKey(error.to_string());
        let pem = pem("PRIVATE KEY", der);
        let encoding = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            _ => EncodingKey::from_ec_pem(pem.as_bytes()),
        }
        .map_err(failed)?;
        let mut jwk = Jwk::from_encoding_key(&encoding, algorithm).map_err(failed)?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(failed)?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let decoding = DecodingKey::from_jwk(&jwk).map_err(failed)?;
        let unusable = |()| Error::SigningKey("the public half cannot be read".to_owned());
        let mut published = serde_json::to_value(&jwk).map_err(|_| unusable(()))?;
        let spki = public(der, algorithm).ok_or_else(|| unusable(()))?;
        // Older clients of the original service read the key from here.
        published["value"] = pem_text(&spki).into();
        Ok(Self {
            kid,
            algorithm,
            encoding,
            decoding,
            signs_from_ms: 0,
            published,
        })
    }

    /// The public half: RFC 7517, with `value` in PEM beside it.
    pub(super) fn published(&self) -> &Value {
        &self.published
    }
}

/// A new private key as PKCS#8. For RSA that takes a good part of a second.
pub(super) fn generate(algorithm: Algorithm) -> Option<Zeroizing<Vec<u8>>> {
    let der = match algorithm {
        Algorithm::RS256 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).ok()?;
            let der: Pkcs8V1Der<'_> = pair.as_der().ok()?;
            der.as_ref().to_vec()
        }
        _ => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .ok()?
            .as_ref()
            .to_vec(),
    };
    Some(Zeroizing::new(der))
}

/// The public half as SubjectPublicKeyInfo.
fn public(der: &[u8], algorithm: Algorithm) -> Option<Vec<u8>> {
    let spki: PublicKeyX509Der<'_> = match algorithm {
        Algorithm::RS256 => RsaKeyPair::from_pkcs8(der).ok()?.public_key().as_der().ok()?,
        _ => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .ok()?
            .public_key()
            .as_der()
            .ok()?,
    };
    Some(spki.as_ref().to_vec())
}

fn pem_text(spki: &[u8]) -> String {
    pem("PUBLIC KEY", spki).trim_end().to_owned()
}

fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let text = Zeroizing::new(STANDARD.encode(der));
    let mut pem = Zeroizing::new(format!("-----BEGIN {label}-----\n"));
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END ");
    pem.push_str(label);
    pem.push_str("-----\n");
    pem
}
