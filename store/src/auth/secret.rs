//! Client secrets: made here, kept as a salted hash, compared in constant time.

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// Length of secret and salt, in bytes.
const LENGTH: usize = 32;

/// Shortest secret that is taken from elsewhere, in characters: 190 random bits, if they are letters and digits.
pub(crate) const SHORTEST: usize = 32;

/// A secret just made, with what is kept of it.
pub(crate) struct NewSecret {
    pub(crate) secret: SecretString,
    pub(crate) salt: Vec<u8>,
    pub(crate) hash: Vec<u8>,
}

/// Makes a secret of 256 random bits. Because it is random and not chosen by a person, one round of SHA-256 is enough:
/// nobody can try 2^256 secrets, and a slow hash would only let strangers keep the processor busy.
pub(crate) fn new_secret() -> Option<NewSecret> {
    let (mut secret, mut salt) = ([0_u8; LENGTH], vec![0_u8; LENGTH]);
    rand::fill(&mut secret).ok()?;
    rand::fill(&mut salt).ok()?;
    let secret = SecretString::from(URL_SAFE_NO_PAD.encode(secret));
    let hash = hash(&salt, &secret);
    Some(NewSecret { secret, salt, hash })
}

/// Salt and hash of a secret that was made elsewhere. None when it is too short to be a random one: see [`new_secret`]
/// for why that matters.
pub(crate) fn keep(secret: &SecretString) -> Option<(Vec<u8>, Vec<u8>)> {
    if secret.expose_secret().len() < SHORTEST {
        return None;
    }
    let mut salt = vec![0_u8; LENGTH];
    rand::fill(&mut salt).ok()?;
    let hash = hash(&salt, secret);
    Some((salt, hash))
}

fn hash(salt: &[u8], secret: &SecretString) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(salt);
    context.update(secret.expose_secret().as_bytes());
    context.finish().as_ref().to_vec()
}

/// Whether `given` is the secret of `kept` (salt and hash). Without one, the same work is done against nothing, so
/// that the time does not tell whether a client exists.
pub(crate) fn matches(kept: Option<(&[u8], &[u8])>, given: &SecretString) -> bool {
    let exists = kept.is_some();
    let (salt, expected) = kept.unwrap_or((&[0; LENGTH], &[0; LENGTH]));
    let same: bool = hash(salt, given).ct_eq(expected).into();
    same && exists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_secret_matches() {
        let (one, two) = (new_secret().unwrap(), new_secret().unwrap());
        assert_ne!(one.secret.expose_secret(), two.secret.expose_secret());
        assert!(matches(Some((&one.salt, &one.hash)), &one.secret));
        assert!(!matches(Some((&one.salt, &one.hash)), &two.secret));
        assert!(!matches(Some((&one.salt, &one.hash)), &"".into()));
        assert!(!matches(None, &one.secret));
    }

    #[test]
    fn a_secret_from_elsewhere_has_to_be_long() {
        let long = SecretString::from("0123456789abcdef0123456789abcdef");
        let (salt, hash) = keep(&long).unwrap();
        assert!(matches(Some((&salt, &hash)), &long));
        assert!(keep(&"0123456789abcdef0123456789abcde".into()).is_none());
    }
}
