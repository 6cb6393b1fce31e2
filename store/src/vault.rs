//! Encryption at rest. Every record has a data key of its own, which is wrapped by the key-encryption key of the
//! store; both steps are AES-256-GCM-SIV (RFC 8452), which stays safe should a nonce ever repeat. The record's place
//! goes in as associated data, so that a record copied elsewhere in the database does not open.

mod key_file;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

pub use key_file::{KEY_FILE, Missing, add, new_key, read_or_create, remove};

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

/// Tells keys apart without telling anything about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; KEY_ID_LEN]);

impl KeyId {
    /// The id of a key.
    pub fn of(key: &KeyBytes) -> Self {
        let labelled: Zeroizing<Vec<u8>> =
            Zeroizing::new([b"landbridge key id".as_slice(), key.as_slice()].concat());
        let mut id = [0; KEY_ID_LEN];
        id.copy_from_slice(&digest(&SHA256, &labelled).as_ref()[..KEY_ID_LEN]);
        Self(id)
    }

    /// The id of the key that a record was sealed with.
    pub fn of_sealed(sealed: &[u8]) -> Option<Self> {
        let id = sealed.get(1..=KEY_ID_LEN)?;
        (sealed.first() == Some(&FORMAT)).then_some(Self(id.try_into().ok()?))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// A key-encryption key.
pub type KeyBytes = Zeroizing<[u8; KEY_LEN]>;

struct Key {
    id: KeyId,
    aead: LessSafeKey,
}

/// The keys at one time: all of them open, one of them seals.
#[derive(Clone)]
struct Ring {
    keys: Vec<Arc<Key>>,
    sealing: Arc<Key>,
}

/// Seals and opens records. Its keys may be exchanged while it is in use.
pub struct Vault {
    ring: ArcSwap<Ring>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Vault")
    }
}

impl Vault {
    /// A vault with these keys, of which the last one seals until another one is [chosen](Self::choose).
    ///
    /// # Errors
    /// [`VaultError::Crypto`], also without any key.
    pub fn new(keys: &[KeyBytes]) -> Result<Self, VaultError> {
        let keys = keys.iter().map(Key::new).collect::<Result<Vec<_>, _>>()?;
        let sealing = keys.last().cloned().ok_or(VaultError::Crypto)?;
        Ok(Self {
            ring: ArcSwap::from_pointee(Ring { keys, sealing }),
        })
    }

    /// Takes other keys. The one that seals goes on doing so, also when it is not among them: what was sealed by it a
    /// moment ago must open.
    ///
    /// # Errors
    /// [`VaultError::Crypto`].
    pub fn replace(&self, keys: &[KeyBytes]) -> Result<(), VaultError> {
        let mut keys = keys.iter().map(Key::new).collect::<Result<Vec<_>, _>>()?;
        let sealing = Arc::clone(&self.ring.load().sealing);
        if keys.iter().all(|key| key.id != sealing.id) {
            keys.push(Arc::clone(&sealing));
        }
        self.ring.store(Arc::new(Ring { keys, sealing }));
        Ok(())
    }

    /// Seals with that key from now on.
    ///
    /// # Errors
    /// [`VaultError::WrongKey`]: it is not there.
    pub fn choose(&self, id: KeyId) -> Result<(), VaultError> {
        let ring = self.ring.load();
        let sealing = ring.find(id).ok_or(VaultError::WrongKey)?;
        if sealing.id != ring.sealing.id {
            self.ring.store(Arc::new(Ring {
                keys: ring.keys.clone(),
                sealing: Arc::clone(sealing),
            }));
        }
        Ok(())
    }

    /// The key that seals.
    pub fn sealing(&self) -> KeyId {
        self.ring.load().sealing.id
    }

    /// Encrypts a record.
    ///
    /// # Errors
    /// [`VaultError::Crypto`].
    pub fn seal(&self, context: Context<'_>, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let ring = self.ring.load();
        let key = &ring.sealing;
        let aad = context.aad();
        let mut data_key = Zeroizing::new([0; KEY_LEN]);
        rand::fill(&mut *data_key).map_err(|_| VaultError::Crypto)?;
        let mut sealed = Vec::with_capacity(HEAD_LEN + plain.len() + TAG_LEN);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&key.id.0);
        append_sealed(&mut sealed, &key.aead, &aad, &*data_key)?;
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
        let ring = self.ring.load();
        let key_id = KeyId(key_id.try_into().map_err(|_| damaged())?);
        let key = ring.find(key_id).ok_or(VaultError::WrongKey)?;
        let (wrapped, rest) = rest
            .split_at_checked(NONCE_LEN + KEY_LEN + TAG_LEN)
            .ok_or_else(damaged)?;
        let data_key = open_part(&key.aead, &aad, wrapped).ok_or_else(damaged)?;
        let data_key: &[u8; KEY_LEN] = data_key.as_slice().try_into().map_err(|_| damaged())?;
        open_part(&aead(data_key)?, &aad, rest).ok_or_else(damaged)
    }
}

impl Key {
    fn new(key: &KeyBytes) -> Result<Arc<Self>, VaultError> {
        Ok(Arc::new(Self {
            id: KeyId::of(key),
            aead: aead(key)?,
        }))
    }
}

impl Ring {
    fn find(&self, id: KeyId) -> Option<&Arc<Key>> {
        self.keys.iter().find(|key| key.id == id)
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

    fn key(byte: u8) -> KeyBytes {
        Zeroizing::new([byte; KEY_LEN])
    }

    fn vault(byte: u8) -> Vault {
        Vault::new(&[key(byte)]).unwrap()
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
    fn keys_are_exchanged_in_steps() {
        let vault = vault(1);
        let old = vault.seal(PLACE, b"old").unwrap();
        assert!(matches!(
            vault.choose(KeyId::of(&key(2))),
            Err(VaultError::WrongKey)
        ));
        vault.replace(&[key(1), key(2)]).unwrap();
        // Known does not mean used: others may not know it yet.
        assert_eq!(vault.sealing(), KeyId::of(&key(1)));
        vault.choose(KeyId::of(&key(2))).unwrap();
        let new = vault.seal(PLACE, b"new").unwrap();
        assert_eq!(KeyId::of_sealed(&new), Some(KeyId::of(&key(2))));
        assert_eq!(KeyId::of_sealed(&old), Some(KeyId::of(&key(1))));
        assert_eq!(&*vault.open(PLACE, &old).unwrap(), b"old");
        vault.replace(&[key(2)]).unwrap();
        assert!(matches!(vault.open(PLACE, &old), Err(VaultError::WrongKey)));
        assert_eq!(&*vault.open(PLACE, &new).unwrap(), b"new");
        // What seals is never let go of.
        vault.replace(&[key(3)]).unwrap();
        assert_eq!(&*vault.open(PLACE, &new).unwrap(), b"new");
        assert_eq!(KeyId::of_sealed(b""), None);
        assert_eq!(KeyId::of_sealed(&[9; 20]), None);
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
