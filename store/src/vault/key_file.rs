//! The file with the key-encryption keys: one in each line, the newest last. All of them open what is kept; which one
//! seals, the database says.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{KEY_LEN, KeyBytes, KeyId, VaultError};

/// Name of the file in the data directory.
pub const KEY_FILE: &str = "store.key";

/// What the file's line starts with, so that another file given by mistake is noticed.
const PREFIX: &str = "landbridge-key-1:";

/// Largest file read.
const MAX_BYTES: u64 = 4096;

/// Most keys in a file. Two are usual while one is exchanged.
const MAX_KEYS: usize = 16;

/// What it means that there is no key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The store is new: make one.
    Create,
    /// The store is new, but the file was named by its user, who has to make it.
    Named,
    /// The database exists and does not open without it.
    Lost,
}

/// Reads the keys. When the file does not exist, `missing` says what to do; one that is made has one fresh key and is
/// readable by its owner alone. Blocks; call it off the event loop.
///
/// # Errors
/// [`VaultError::KeyFile`] with what to do.
pub fn read_or_create(path: &Path, missing: Missing) -> Result<Vec<KeyBytes>, VaultError> {
    match read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => match missing {
            Missing::Create => {
                create(path).map_err(|error| failed(path, format!("cannot be made: {error}")))?;
                read(path)
            }
            Missing::Named => {
                let reason = format!(
                    "does not exist, and a key file that is named is never made, since the name may be misspelt; correct \
                     it, or make a key: umask 077; echo \"{PREFIX}$(head -c {KEY_LEN} /dev/urandom | base64)\" > '{}'",
                    path.display()
                );
                return Err(failed(path, reason));
            }
            Missing::Lost => {
                let reason = "does not exist, but the database does and was encrypted with it; restore it from a \
                              backup or say where it is";
                return Err(failed(path, reason.to_owned()));
            }
        },
        result => result,
    }
    .map_err(|error| failed(path, error.to_string()))
}

fn failed(path: &Path, reason: String) -> VaultError {
    VaultError::KeyFile {
        path: path.to_owned(),
        reason,
    }
}

fn read(path: &Path) -> std::io::Result<Vec<KeyBytes>> {
    let data = fs::metadata(path)?;
    let wrong = |message: &str| std::io::Error::new(ErrorKind::InvalidData, message.to_owned());
    if data.len() > MAX_BYTES {
        return Err(wrong("is no key file; it is too large"));
    }
    if data.permissions().mode() & 0o007 != 0 {
        return Err(wrong("can be read by everyone; run chmod 600 on it"));
    }
    let text = Zeroizing::new(fs::read_to_string(path)?);
    let mut keys: Vec<KeyBytes> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let key = parse(line).map_err(wrong)?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    match keys.len() {
        0 => Err(wrong("is no key file of a store")),
        1..=MAX_KEYS => Ok(keys),
        _ => Err(wrong(
            "has more than 16 keys; drop those that are not used any more",
        )),
    }
}

fn parse(line: &str) -> Result<KeyBytes, &'static str> {
    let encoded = line.strip_prefix(PREFIX).ok_or("is no key file of a store")?;
    let bytes = STANDARD
        .decode(encoded)
        .map(Zeroizing::new)
        .map_err(|_| "holds a damaged key")?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    if bytes.len() != KEY_LEN {
        return Err("holds a key of the wrong length");
    }
    key.copy_from_slice(&bytes);
    Ok(key)
}

/// A fresh key.
///
/// # Errors
/// [`VaultError::Crypto`].
pub fn new_key() -> Result<KeyBytes, VaultError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    rand::fill(&mut *key).map_err(|_| VaultError::Crypto)?;
    Ok(key)
}

/// Adds a key to a file as its newest. Blocks; call it off the event loop.
///
/// # Errors
/// [`VaultError::KeyFile`].
pub fn add(path: &Path, key: KeyBytes) -> Result<(), VaultError> {
    let change = || {
        let mut keys = read(path)?;
        keys.retain(|known| *known != key);
        if keys.len() == MAX_KEYS {
            return Err(std::io::Error::other(
                "has 16 keys already; drop those that are not used any more",
            ));
        }
        keys.push(key);
        write(path, &keys, |from, to| fs::rename(from, to))
    };
    change().map_err(|error| failed(path, format!("no key can be added: {error}")))
}

/// Takes a key out of a file and puts it into one of its own beside it, for backups that were made with it; that file.
/// Blocks; call it off the event loop.
///
/// # Errors
/// [`VaultError::KeyFile`].
pub fn remove(path: &Path, id: KeyId) -> Result<PathBuf, VaultError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".old-{id}"));
    let aside = PathBuf::from(aside);
    let change = || {
        let keys = read(path)?;
        let (old, kept): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| KeyId::of(key) == id);
        if old.is_empty() || kept.is_empty() {
            return Err(std::io::Error::other("it would leave no key, or is not there"));
        }
        match write(&aside, &old, |from, to| fs::hard_link(from, to)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            result => result?,
        }
        write(path, &kept, |from, to| fs::rename(from, to))
    };
    change().map_err(|error| failed(path, format!("the key {id} cannot be removed: {error}")))?;
    Ok(aside)
}

/// Makes a file with a fresh key; one that is there by now stays as it is: two processes that start together get the same
/// key.
fn create(path: &Path) -> std::io::Result<()> {
    let key = new_key().map_err(std::io::Error::other)?;
    match write(path, &[key], |from, to| fs::hard_link(from, to)) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Writes a complete file aside and puts it into place: no crash leaves half a key.
fn write(
    path: &Path,
    keys: &[KeyBytes],
    put: impl FnOnce(&Path, &Path) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let lines: Zeroizing<String> = Zeroizing::new(
        keys.iter()
            .map(|key| format!("{PREFIX}{}\n", STANDARD.encode(key.as_slice())))
            .collect(),
    );
    let mode = fs::metadata(path).map_or(0o600, |data| data.permissions().mode() & 0o660);
    let aside = path.with_extension(format!("new-{}", uuid::Uuid::now_v7()));
    let result = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&aside)?;
        file.write_all(lines.as_bytes())?;
        file.sync_all()?;
        put(&aside, path)
    })();
    let _ = fs::remove_file(&aside);
    result?;
    if let Some(directory) = path
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty())
    {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_private_file_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(KEY_FILE);
        let error = read_or_create(&path, Missing::Lost).unwrap_err().to_string();
        assert!(error.contains("restore it"), "{error}");
        let error = read_or_create(&path, Missing::Named).unwrap_err().to_string();
        assert!(!error.contains("backup"), "{error}");
        // The command it names makes a key that is read.
        let (_, command) = error.split_once("make a key: ").unwrap();
        let made = std::process::Command::new("sh").args(["-c", command]).status();
        assert!(made.unwrap().success());
        read_or_create(&path, Missing::Named).unwrap();
        fs::remove_file(&path).unwrap();
        let key = read_or_create(&path, Missing::Create).unwrap();
        assert_eq!(read_or_create(&path, Missing::Create).unwrap(), key);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "nothing is left aside"
        );
    }

    #[test]
    fn keys_come_and_go_and_none_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(KEY_FILE);
        let first = read_or_create(&path, Missing::Create).unwrap();
        let second = new_key().unwrap();
        add(&path, second.clone()).unwrap();
        add(&path, second.clone()).unwrap();
        let both = read_or_create(&path, Missing::Lost).unwrap();
        assert_eq!(both, [first[0].clone(), second.clone()]);
        let aside = remove(&path, KeyId::of(&first[0])).unwrap();
        assert_eq!(
            read_or_create(&path, Missing::Lost).unwrap(),
            std::slice::from_ref(&second)
        );
        assert_eq!(read_or_create(&aside, Missing::Lost).unwrap(), first);
        for file in [&path, &aside] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(remove(&path, KeyId::of(&second)).is_err(), "the last one stays");
        for _ in 1..MAX_KEYS {
            add(&path, new_key().unwrap()).unwrap();
        }
        let error = add(&path, new_key().unwrap()).unwrap_err();
        assert!(error.to_string().contains("16 keys"), "{error}");
    }

    #[test]
    fn refuses_what_is_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k");
        let good = format!("{PREFIX}{}", STANDARD.encode([1; KEY_LEN]));
        for (text, mode, expected) in [
            ("hello", 0o600, "no key file"),
            ("", 0o600, "no key file"),
            (&format!("{good}\nhello"), 0o600, "no key file"),
            (&format!("{PREFIX}!!"), 0o600, "damaged"),
            (&format!("{PREFIX}AAAA"), 0o600, "wrong length"),
            (&good, 0o644, "chmod 600"),
            (&"x".repeat(5000), 0o600, "too large"),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_or_create(&path, Missing::Create).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
