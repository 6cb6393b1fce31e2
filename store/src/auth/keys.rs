//! Signing keys of the authorization server: made at the first start, kept encrypted, published as a key set
//! (RFC 7517).

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use zeroize::Zeroizing;

use crate::config::TokenAlgorithm;
use crate::db::{SigningKeyRow, now_ms};
use crate::error::Error;
use crate::storage::Storage;
use crate::vault::Context;

/// What these records are in the vault.
const KIND: &str = "signing key";

/// All keys; the first of the chosen algorithm signs, all of them verify.
pub(crate) struct SigningKeys {
    keys: Vec<SigningKey>,
    signer: usize,
    set: JwkSet,
}

struct SigningKey {
    kid: String,
    algorithm: Algorithm,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_list()
            .entries(self.keys.iter().map(|key| &key.kid))
            .finish()
    }
}

impl SigningKeys {
    /// Reads the keys and makes one if there is none of the chosen algorithm.
    pub(crate) async fn load_or_create(storage: &Storage, algorithm: TokenAlgorithm) -> Result<Self, Error> {
        let wanted = jwt_algorithm(algorithm);
        let mut keys = Vec::new();
        let mut published = Vec::new();
        for row in storage.database.signing_keys().await? {
            let der = storage.vault.open(
                Context {
                    kind: KIND,
                    parts: &[&row.kid],
                },
                &row.sealed,
            )?;
            let stored = parse_algorithm(&row.algorithm)
                .ok_or_else(|| Error::SigningKey(format!("unknown algorithm {}", row.algorithm)))?;
            let (key, jwk) = usable(&der, stored)?;
            keys.push(key);
            published.push(jwk);
        }
        if !keys.iter().any(|key| key.algorithm == wanted) {
            let (key, jwk) = create(storage, wanted).await?;
            keys.insert(0, key);
            published.insert(0, jwk);
        }
        let signer = keys
            .iter()
            .position(|key| key.algorithm == wanted)
            .unwrap_or_default();
        Ok(Self {
            keys,
            signer,
            set: JwkSet { keys: published },
        })
    }

    /// Algorithm, key id and key that sign.
    pub(crate) fn signer(&self) -> (Algorithm, &str, &EncodingKey) {
        let key = &self.keys[self.signer];
        (key.algorithm, &key.kid, &key.encoding)
    }

    /// The key of that id, with the one algorithm it may be used with.
    pub(crate) fn verifier(&self, kid: &str) -> Option<(Algorithm, &DecodingKey)> {
        self.keys
            .iter()
            .find(|key| key.kid == kid)
            .map(|key| (key.algorithm, &key.decoding))
    }

    /// The public halves.
    pub(crate) fn public(&self) -> &JwkSet {
        &self.set
    }
}

fn jwt_algorithm(algorithm: TokenAlgorithm) -> Algorithm {
    match algorithm {
        TokenAlgorithm::Es256 => Algorithm::ES256,
        TokenAlgorithm::Rs256 => Algorithm::RS256,
    }
}

/// Only what is made here is ever accepted.
fn parse_algorithm(name: &str) -> Option<Algorithm> {
    [Algorithm::ES256, Algorithm::RS256]
        .into_iter()
        .find(|known| format!("{known:?}") == name)
}

async fn create(storage: &Storage, algorithm: Algorithm) -> Result<(SigningKey, Jwk), Error> {
    // An RSA key takes a good part of a second.
    let der = tokio::task::spawn_blocking(move || generate(algorithm))
        .await
        .map_err(std::io::Error::other)?;
    let der = der.ok_or_else(|| Error::SigningKey("none can be made".to_owned()))?;
    let (key, jwk) = usable(&der, algorithm)?;
    let row = SigningKeyRow {
        kid: key.kid.clone(),
        algorithm: format!("{algorithm:?}"),
        sealed: storage.vault.seal(
            Context {
                kind: KIND,
                parts: &[&key.kid],
            },
            &der,
        )?,
        created_ms: now_ms(),
        signs_from_ms: 0,
    };
    storage.database.insert_signing_key(&row).await?;
    Ok((key, jwk))
}

/// A new private key as PKCS#8.
fn generate(algorithm: Algorithm) -> Option<Zeroizing<Vec<u8>>> {
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

/// The key in the shapes the JWT library wants. Its id is the thumbprint of RFC 7638.
fn usable(der: &[u8], algorithm: Algorithm) -> Result<(SigningKey, Jwk), Error> {
    let failed = |error: jsonwebtoken::errors::Error| Error::SigningKey(error.to_string());
    let text = Zeroizing::new(STANDARD.encode(der));
    let mut pem = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
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
    Ok((
        SigningKey {
            kid,
            algorithm,
            encoding,
            decoding,
        },
        jwk,
    ))
}
