//! The file with the key-encryption key.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{KEY_LEN, VaultError};

/// Name of the file in the data directory.
pub const KEY_FILE: &str = "store.key";

/// What the file's line starts with, so that another file given by mistake is noticed.
const PREFIX: &str = "landbridge-key-1:";

/// Largest file read.
const MAX_BYTES: u64 = 4096;

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

/// Reads the key. When the file does not exist, `missing` says what to do; one that is made has a fresh key and is
/// readable by its owner alone. Blocks; call it off the event loop.
///
/// # Errors
/// [`VaultError::KeyFile`] with what to do.
pub fn read_or_create(path: &Path, missing: Missing) -> Result<Zeroizing<[u8; KEY_LEN]>, VaultError> {
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

fn read(path: &Path) -> std::io::Result<Zeroizing<[u8; KEY_LEN]>> {
    let data = fs::metadata(path)?;
    let wrong = |message: &str| std::io::Error::new(ErrorKind::InvalidData, message.to_owned());
    if data.len() > MAX_BYTES {
        return Err(wrong("is no key file; it is too large"));
    }
    if data.permissions().mode() & 0o007 != 0 {
        return Err(wrong("can be read by everyone; run chmod 600 on it"));
    }
    let text = Zeroizing::new(fs::read_to_string(path)?);
    let encoded = text
        .trim()
        .strip_prefix(PREFIX)
        .ok_or_else(|| wrong("is no key file of a store"))?;
    let bytes = STANDARD
        .decode(encoded)
        .map(Zeroizing::new)
        .map_err(|_| wrong("holds a damaged key"))?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    if bytes.len() != KEY_LEN {
        return Err(wrong("holds a key of the wrong length"));
    }
    key.copy_from_slice(&bytes);
    Ok(key)
}

/// Writes a complete file aside and links it into place: two processes that start together get the same key, and no
/// crash leaves half a key.
fn create(path: &Path) -> std::io::Result<()> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    rand::fill(&mut *key).map_err(|_| std::io::Error::other("the system gives no random numbers"))?;
    let line = Zeroizing::new(format!("{PREFIX}{}\n", STANDARD.encode(key.as_slice())));
    let aside = path.with_extension(format!("new-{}", uuid::Uuid::now_v7()));
    let result = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&aside, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
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
    fn refuses_what_is_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k");
        let good = format!("{PREFIX}{}", STANDARD.encode([1; KEY_LEN]));
        for (text, mode, expected) in [
            ("hello", 0o600, "no key file"),
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
