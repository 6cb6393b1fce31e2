//! Key sets of other issuers (RFC 7517) and the check of tokens with them.

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};
use url::Url;

use super::remote::{Remote, RemoteClient, RemoteError};

/// Signatures that are accepted: what RFC 7518 and RFC 8037 have with a public key. Never `none`, and never HMAC, where
/// the published key would be the secret.
pub(crate) const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Longest token looked at. Those with many groups have 10 KiB.
pub(crate) const MAX_TOKEN: usize = 32 * 1024;

/// Most keys of one set.
const MAX_KEYS: usize = 100;

/// Keys tried for a token that names none.
const MAX_TRIES: usize = 4;

/// Seconds the clocks of two machines may differ.
const SKEW: u64 = 30;

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwtError {
    /// It is no token, or one that is signed in a way that is not accepted.
    #[error("it is not a JWT signed with a public-key algorithm (such as RS256 or ES256)")]
    Malformed,
    /// It is longer than any sensible token.
    #[error("it is longer than {MAX_TOKEN} bytes")]
    TooLong,
    /// The algorithm is not one that was agreed on.
    #[error("its algorithm {0:?} is not accepted")]
    Algorithm(Algorithm),
    /// No key fits it.
    #[error("no key of the key set fits it (kid {0})")]
    UnknownKey(String),
    /// The signature is wrong.
    #[error("its signature is wrong")]
    Signature,
    /// It has expired.
    #[error("it has expired")]
    Expired,
    /// It is not valid yet.
    #[error("it is not valid yet (nbf)")]
    NotYet,
    /// Another issuer.
    #[error("its issuer (iss) is another one")]
    Issuer,
    /// Another audience.
    #[error("its audience (aud) is another one")]
    Audience,
    /// A claim is missing or has the wrong form.
    #[error("its claim {0} is missing or has the wrong form")]
    Claim(String),
    /// The keys cannot be had.
    #[error("its keys cannot be had: {0}")]
    Keys(#[from] RemoteError),
}

impl JwtError {
    /// Whether the same token may be accepted later: the trouble is not the token's.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Keys(RemoteError::Unavailable(_)))
    }
}

/// What a token must say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected<'a> {
    /// Its issuer; any where none is given.
    pub(crate) issuer: Option<&'a str>,
    /// One of these audiences; any where none is given.
    pub(crate) audiences: &'a [String],
    /// One of these algorithms, all of [`ALGORITHMS`] where none is given. Others are never accepted.
    pub(crate) algorithms: &'a [Algorithm],
}

/// Public keys that can be used.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<PublicKey>,
}

struct PublicKey {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} {:?}", self.kid, self.algorithms)
    }
}

impl KeySet {
    /// Reads a set (RFC 7517 section 5). Keys that cannot be used here are left out, as the RFC has it.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(json).map_err(|error| format!("it is no JSON Web Key Set: {error}"))?;
        let Some(list) = value.get("keys").and_then(Value::as_array) else {
            return Err("it is no JSON Web Key Set: \"keys\" with a list is missing".to_owned());
        };
        let keys: Vec<_> = list.iter().take(MAX_KEYS).filter_map(public_key).collect();
        if keys.is_empty() {
            return Err("it has no key for signatures of an accepted algorithm".to_owned());
        }
        Ok(Self { keys })
    }

    /// Keys that may have signed a token, those that carry its key id first.
    fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Vec<&DecodingKey> {
        let fits = |key: &&PublicKey| key.algorithms.contains(&algorithm);
        let named: Vec<_> = match kid {
            Some(kid) => self.with_id(kid).filter(fits).map(|key| &key.key).collect(),
            None => Vec::new(),
        };
        if !named.is_empty() {
            return named;
        }
        // A key without id may be meant by any id, and a token without one may mean any key.
        let open = self.keys.iter().filter(|key| kid.is_none() || key.kid.is_none());
        open.filter(fits).take(MAX_TRIES).map(|key| &key.key).collect()
    }

    fn with_id(&self, kid: &str) -> impl Iterator<Item = &PublicKey> {
        self.keys
            .iter()
            .filter(move |key| key.kid.as_deref() == Some(kid))
            .take(MAX_TRIES)
    }
}

fn public_key(jwk: &Value) -> Option<PublicKey> {
    let jwk: Jwk = serde_json::from_value(jwk.clone()).ok()?;
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let mut algorithms = algorithms(&jwk.algorithm);
    if let Some(named) = jwk.common.key_algorithm {
        algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == named);
    }
    if algorithms.is_empty() {
        return None;
    }
    Some(PublicKey {
        key: DecodingKey::from_jwk(&jwk).ok()?,
        kid: jwk.common.key_id,
        algorithms,
    })
}

/// Algorithms a key can be used with; none for secrets.
fn algorithms(key: &AlgorithmParameters) -> Vec<Algorithm> {
    match key {
        AlgorithmParameters::RSA(_) => ALGORITHMS[..6].to_vec(),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => Vec::new(),
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        _ => Vec::new(),
    }
}

/// Where the keys of a token are.
#[derive(Debug, Clone)]
pub(crate) enum KeySource {
    /// Here.
    Inline(Arc<KeySet>),
    /// At an address.
    Uri(Url),
}

/// Checks tokens with keys from anywhere.
#[derive(Debug)]
pub(crate) struct Jwks {
    client: RemoteClient,
    sets: Remote<KeySet>,
}

impl Jwks {
    pub(crate) fn new(client: RemoteClient) -> Self {
        Self {
            sets: Remote::new(client.clone(), KeySet::parse),
            client,
        }
    }

    /// Keys that are given as they are: the JSON of a set.
    pub(crate) fn inline(&self, json: &[u8]) -> Result<KeySource, JwtError> {
        let set = KeySet::parse(json).map_err(RemoteError::Content)?;
        Ok(KeySource::Inline(Arc::new(set)))
    }

    /// Keys at an address; fetched when they are needed.
    pub(crate) fn uri(&self, address: &str) -> Result<KeySource, JwtError> {
        Ok(KeySource::Uri(self.client.address(address)?))
    }

    /// The claims of a token of any issuer that has these keys, if it is valid now.
    pub(crate) async fn verify(&self, keys: &KeySource, token: &str) -> Result<Map<String, Value>, JwtError> {
        self.verify_as(keys, token, &Expected::default()).await
    }

    /// The claims of a token that says what is expected.
    pub(crate) async fn verify_as(
        &self,
        keys: &KeySource,
        token: &str,
        expected: &Expected<'_>,
    ) -> Result<Map<String, Value>, JwtError> {
        if token.len() > MAX_TOKEN {
            return Err(JwtError::TooLong);
        }
        let header = decode_header(token).map_err(|_| JwtError::Malformed)?;
        let algorithm = header.alg;
        if !ALGORITHMS.contains(&algorithm) {
            return Err(JwtError::Malformed);
        }
        if !expected.algorithms.is_empty() && !expected.algorithms.contains(&algorithm) {
            return Err(JwtError::Algorithm(algorithm));
        }
        let kid = header.kid.as_deref();
        let has_key = |set: &KeySet| !set.candidates(kid, algorithm).is_empty();
        let set = match keys {
            KeySource::Inline(set) => Arc::clone(set),
            KeySource::Uri(url) => self.sets.get(url, has_key).await?,
        };
        check(&set.candidates(kid, algorithm), kid, algorithm, token, expected)
    }
}

fn check(
    keys: &[&DecodingKey],
    kid: Option<&str>,
    algorithm: Algorithm,
    token: &str,
    expected: &Expected<'_>,
) -> Result<Map<String, Value>, JwtError> {
    let mut validation = Validation::new(algorithm);
    validation.leeway = SKEW;
    validation.validate_nbf = true;
    validation.validate_aud = !expected.audiences.is_empty();
    validation.set_required_spec_claims(&["exp"]);
    if !expected.audiences.is_empty() {
        validation.set_audience(expected.audiences);
        validation.required_spec_claims.insert("aud".to_owned());
    }
    if let Some(issuer) = expected.issuer {
        validation.set_issuer(&[issuer]);
        validation.required_spec_claims.insert("iss".to_owned());
    }
    // The id is a stranger's text.
    let shown = || kid.map_or_else(|| "missing".to_owned(), |kid| kid.chars().take(100).collect());
    let mut error = JwtError::UnknownKey(shown());
    for key in keys {
        match decode::<Map<String, Value>>(token, key, &validation) {
            Ok(token) => return Ok(token.claims),
            Err(refused) => error = translate(refused.kind()),
        }
        if error != JwtError::Signature {
            break;
        }
    }
    Err(error)
}

fn translate(kind: &ErrorKind) -> JwtError {
    match kind {
        ErrorKind::InvalidSignature => JwtError::Signature,
        ErrorKind::ExpiredSignature => JwtError::Expired,
        ErrorKind::ImmatureSignature => JwtError::NotYet,
        ErrorKind::InvalidIssuer => JwtError::Issuer,
        ErrorKind::InvalidAudience => JwtError::Audience,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            JwtError::Claim(claim.clone())
        }
        _ => JwtError::Malformed,
    }
}

#[cfg(test)]
mod tests;
