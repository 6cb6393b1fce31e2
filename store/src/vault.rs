//! Encryption at rest. Every record has a data key of its own, which is wrapped by the key-encryption key of the
//! store; both steps are AES-256-GCM-SIV (RFC 8452), which stays safe should a nonce ever repeat. The record's place
//! goes in as associated data, so that a record copied elsewhere in the database does not open.

mod key_file;

use std::fmt;
use std::path::PathBuf;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

pub use key_file::{KEY_FILE, Missing, read_or_create};

/// Length of keys in bytes.
pub const KEY_LEN: usize = 32;
/// Length of the authentication tag in bytes.
const TAG_LEN: usize = 16;
/// Length of the id of the key-encryption key in bytes.
const KEY_ID_LEN: usize = 8;
/// First byte of every sealed record.
const FORMAT: u8 = 1;
/// Format, key id, nonce and wrapped data key, nonce.
const HEAD_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN + KEY_LEN + TAG_LEN + NONCE_LEN;

/// What can be wrong with keys and sealed records.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key file.
    #[error("key file {path}: {reason}")]
    KeyFile {
        /// Which.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The database was encrypted with another key.
    #[error(
        "the key file does not fit the database: it was encrypted with another key; give the right key file or \
         restore it from a backup"
    )]
    WrongKey,
    /// A record does not open although the key fits: it was changed or moved.
    #[error("a stored record of kind {0} does not open: it was damaged or moved; restore a backup")]
    Damaged(&'static str),
    /// The system gave no random bytes, or encryption failed.
    #[error("encryption failed; check that the system provides random numbers")]
    Crypto,
}

/// Which record a sealed text belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Kind of record.
    pub kind: &'static str,
    /// What identifies it among its kind.
    pub parts: &'a [&'a str],
}

impl Context<'_> {
    /// Each part with its length, so that no two contexts look alike.
    fn aad(&self) -> Vec<u8> {
        let mut aad = Vec::with_capacity(64);
        for part in std::iter::once(&self.kind).chain(self.parts) {
            aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
            aad.extend_from_slice(part.as_bytes());
        }
        aad
    }
}

/// Seals and opens records.
pub struct Vault {
    key: LessSafeKey,
    key_id: [u8; KEY_ID_LEN],
}

impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Vault")
    }
}

impl Vault {
    /// A vault with this key-encryption key.
    ///
    /// # Errors
    /// [`VaultError::Crypto`].
    pub fn new(key: &[u8; KEY_LEN]) -> Result<Self, VaultError> {
        // The id tells keys apart without telling anything about them.
        let labelled: Zeroizing<Vec<u8>> = Zeroizing::new([b"landbridge key id".as_slice(), key].concat());
        let mut key_id = [0; KEY_ID_LEN];
        key_id.copy_from_slice(&digest(&SHA256, &labelled).as_ref()[..KEY_ID_LEN]);
        Ok(Self {
            key: aead(key)?,
            key_id,
        })
    }

    /// Encrypts a record.
    ///
    /// # Errors
    /// [`VaultError::Crypto`].
    pub fn seal(&self, context: Context<'_>, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let aad = context.aad();
        let mut data_key = Zeroizing::new([0; KEY_LEN]);
        rand::fill(&mut *data_key).map_err(|_| VaultError::Crypto)?;
        let mut sealed = Vec::with_capacity(HEAD_LEN + plain.len() + TAG_LEN);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&self.key_id);
        append_sealed(&mut sealed, &self.key, &aad, &*data_key)?;
        append_sealed(&mut sealed, &aead(&data_key)?, &aad, plain)?;
        Ok(sealed)
    }

    /// Decrypts a record.
    ///
    /// # Errors
    /// [`VaultError::WrongKey`] or [`VaultError::Damaged`].
    pub fn open(&self, context: Context<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let damaged = || VaultError::Damaged(context.kind);
        let aad = context.aad();
        let (&format, rest) = sealed.split_first().ok_or_else(damaged)?;
        let (key_id, rest) = rest.split_at_checked(KEY_ID_LEN).ok_or_else(damaged)?;
        if format != FORMAT {
            return Err(damaged());
        }
        if key_id != self.key_id {
            return Err(VaultError::WrongKey);
        }
        let (wrapped, rest) = rest
            .split_at_checked(NONCE_LEN + KEY_LEN + TAG_LEN)
            .ok_or_else(damaged)?;
        let data_key = open_part(&self.key, &aad, wrapped).ok_or_else(damaged)?;
        let data_key: &[u8; KEY_LEN] = data_key.as_slice().try_into().map_err(|_| damaged())?;
        open_part(&aead(data_key)?, &aad, rest).ok_or_else(damaged)
    }
}

fn aead(key: &[u8; KEY_LEN]) -> Result<LessSafeKey, VaultError> {
    let key = UnboundKey::new(&AES_256_GCM_SIV, key).map_err(|_| VaultError::Crypto)?;
    Ok(LessSafeKey::new(key))
}

/// Appends a fresh nonce, the encrypted bytes and the tag.
fn append_sealed(out: &mut Vec<u8>, key: &LessSafeKey, aad: &[u8], plain: &[u8]) -> Result<(), VaultError> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| VaultError::Crypto)?;
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut out[start..])
        .map_err(|_| VaultError::Crypto)?;
    out.extend_from_slice(tag.as_ref());
    Ok(())
}

fn open_part(key: &LessSafeKey, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, bytes) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut bytes = Zeroizing::new(bytes.to_vec());
    let length = key.open_in_place(nonce, Aad::from(aad), &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(byte: u8) -> Vault {
        Vault::new(&[byte; KEY_LEN]).unwrap()
    }

    const PLACE: Context<'static> = Context {
        kind: "destination",
        parts: &["sub", "", "erp"],
    };

    #[test]
    fn opens_what_it_sealed_and_never_the_same_bytes() {
        let vault = vault(1);
        for plain in [b"".as_slice(), b"x", &[7; 5000]] {
            let (one, two) = (
                vault.seal(PLACE, plain).unwrap(),
                vault.seal(PLACE, plain).unwrap(),
            );
            assert_ne!(one, two);
            assert_eq!(one.len(), HEAD_LEN + plain.len() + TAG_LEN);
            assert_eq!(&*vault.open(PLACE, &one).unwrap(), plain);
        }
    }

    #[test]
    fn another_key_is_told_apart_from_damage() {
        let sealed = vault(1).seal(PLACE, b"secret").unwrap();
        assert!(matches!(vault(2).open(PLACE, &sealed), Err(VaultError::WrongKey)));
    }

    #[test]
    fn a_moved_or_changed_record_does_not_open() {
        let vault = vault(1);
        let sealed = vault.seal(PLACE, b"secret").unwrap();
        for parts in [
            &["sub", "", "crm"][..],
            &["sub2", "", "erp"],
            &["su", "b", "erp"],
            &["sub", "erp"],
        ] {
            let context = Context {
                kind: "destination",
                parts,
            };
            assert!(vault.open(context, &sealed).is_err(), "{parts:?}");
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.open(PLACE, &changed).is_err(), "byte {at}");
            assert!(vault.open(PLACE, &sealed[..at]).is_err(), "cut at {at}");
        }
    }
}
