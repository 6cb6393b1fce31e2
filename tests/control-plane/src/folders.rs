//! Where things are kept: programs built once, and one folder per running control plane, which its owner holds locked.
//!
//! A lock and not a process id says whether a folder is in use: ids are given again, a lock ends with its process,
//! however that ends.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

const LOCK: &str = "lock";

/// `${XDG_CACHE_HOME:-~/.cache}/landbridge`; a relative XDG_CACHE_HOME is ignored, as its standard says.
///
/// # Errors
/// When neither HOME nor XDG_CACHE_HOME is set.
pub fn cache() -> Result<PathBuf> {
    cache_of(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"))
}

fn cache_of(xdg: Option<OsString>, home: Option<OsString>) -> Result<PathBuf> {
    let cache = xdg
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| {
            home.filter(|home| !home.is_empty())
                .map(|home| Path::new(&home).join(".cache"))
        })
        .context("neither HOME nor XDG_CACHE_HOME is set: set one, the control plane is kept below it")?;
    Ok(cache.join("landbridge"))
}

/// The root folder of the checkout.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // tests/control-plane, two levels below.
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// A folder that one control plane uses; removed when dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    // Held for its lock.
    _lock: File,
}

impl RunFolder {
    /// A new one below `parent`; folders there that runs without an end have left are removed first.
    ///
    /// # Errors
    /// When a folder cannot be made or removed.
    pub fn create(parent: &Path) -> Result<Self> {
        Self::create_after(parent, |_| Ok(()))
    }

    /// The same for runs that leave more than a folder: `clean` is called with each before it is removed.
    ///
    /// # Errors
    /// When a folder cannot be made or removed, or `clean` fails.
    pub fn create_after(parent: &Path, clean: impl FnMut(&Path) -> Result<()>) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        private_folder(parent)?;
        // Between the making of a folder and its lock nobody may look for leftovers.
        let _all = lock(&parent.join(LOCK))?;
        sweep(parent, clean)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{}-{number}", std::process::id()));
        private_folder(&path)?;
        let lock = lock(&path.join(LOCK))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // What stays is swept by the next run.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes folders whose owner is gone.
fn sweep(parent: &Path, mut clean: impl FnMut(&Path) -> Result<()>) -> Result<()> {
    let entries = std::fs::read_dir(parent).with_context(|| format!("list {}", parent.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("list {}", parent.display()))?
            .path();
        if path.is_dir() && !in_use(&path)? {
            clean(&path)?;
            match std::fs::remove_dir_all(&path) {
                // Somebody else was faster: `clean` itself, or what the run has left behind for that.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("remove {}", path.display()))?,
            }
        }
    }
    Ok(())
}

fn in_use(folder: &Path) -> Result<bool> {
    let Ok(file) = File::open(folder.join(LOCK)) else {
        return Ok(false);
    };
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("look at the lock of {}", folder.display()))
        }
    }
}

/// A folder that only this user can look into: private keys are below.
///
/// # Errors
/// When it cannot be made.
pub fn private_folder(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("create {}", path.display()))
}

/// Waits for the lock of `path`, which is held until the file is dropped.
///
/// # Errors
/// When the file cannot be made.
pub fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

/// The lock of `path`, or none when somebody has it.
///
/// # Errors
/// When the file cannot be made.
pub fn try_lock(path: &Path) -> Result<Option<File>> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_follows_the_standard() {
        let os = |text: &str| Some(OsString::from(text));
        let cases = [
            (os("/x/cache"), os("/home/u"), Some("/x/cache/landbridge")),
            (None, os("/home/u"), Some("/home/u/.cache/landbridge")),
            (os("relative"), os("/home/u"), Some("/home/u/.cache/landbridge")),
            (None, os(""), None),
            (None, None, None),
        ];
        for (xdg, home, expected) in cases {
            let found = cache_of(xdg.clone(), home.clone()).ok();
            assert_eq!(found.as_deref(), expected.map(Path::new), "{xdg:?} {home:?}");
        }
    }

    #[test]
    fn only_folders_without_an_owner_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let mine = RunFolder::create(parent.path()).unwrap();
        let orphan = parent.path().join("1-0");
        std::fs::create_dir(&orphan).unwrap();
        std::fs::write(orphan.join(LOCK), "").unwrap();
        std::fs::write(orphan.join("data"), "x").unwrap();
        let mut cleaned = Vec::new();
        let second = RunFolder::create_after(parent.path(), |path| {
            cleaned.push(path.to_owned());
            std::fs::remove_dir_all(path).context("it was there")
        })
        .unwrap();
        assert_eq!(cleaned, std::slice::from_ref(&orphan));
        assert!(!orphan.exists());
        assert!(mine.path().exists() && second.path() != mine.path());
        let path = mine.path().to_path_buf();
        drop(mine);
        assert!(!path.exists());
    }

    #[test]
    fn keys_are_readable_by_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let run = RunFolder::create(&parent.path().join("run")).unwrap();
        let mode = std::fs::metadata(run.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }

    #[test]
    fn a_held_lock_is_seen() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("x.lock");
        let held = lock(&path).unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
    }
}
