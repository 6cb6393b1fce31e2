//! One look at the folder: which files changed, and what they say now. Blocking; called off the async threads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::SourceError;
use crate::manifest::{self, ManifestProblem, ManifestSet, Parsed};

/// Largest file that is read, in bytes; as much as the API server takes in one request, roughly.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Most files of a folder.
pub const MAX_FILES: usize = 10_000;

const EXTENSIONS: [&str; 3] = [".yaml", ".yml", ".json"];

/// A file written twice within this time can have the same time stamp (FAT: 2 s) and the same length, and is
/// therefore read again although it looks unchanged.
const TIME_STAMP_STEP: Duration = Duration::from_secs(3);

/// The folder and what its files said at the last look.
#[derive(Debug, Default)]
pub(super) struct Folder {
    path: PathBuf,
    files: BTreeMap<String, Seen>,
    /// What the last look found to differ, and what counts once the next look finds the same.
    awaited: BTreeMap<String, Sight>,
    /// There are more files than are read.
    overfull: bool,
    /// The last look failed, hence the next one counts as a change.
    lost: bool,
    started: bool,
}

#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    hash: Option<u64>,
    parsed: Parsed,
}

/// What one look shows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    Gone,
    /// The hash as well, because time stamps may be coarse.
    Content(Stamp, u64),
}

/// Device and inode are part of it because a swapped symbolic link may lead to a file of equal age and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    device: u64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            ..Self::default()
        }
    }

    /// Reads what has changed; says whether anything did.
    pub(super) fn scan(&mut self) -> Result<bool, SourceError> {
        let (names, overfull) = match self.names() {
            Ok(names) => names,
            Err(error) => {
                self.lost = true;
                return Err(error);
            }
        };
        let first = !self.started;
        let mut changed = overfull != self.overfull || self.lost || first;
        (self.overfull, self.lost, self.started) = (overfull, false, true);
        let awaited = std::mem::take(&mut self.awaited);
        let gone: Vec<_> = self
            .files
            .keys()
            .filter(|name| !names.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            changed |= self.gone(name, &awaited);
        }
        for name in names {
            changed |= self.read(name, &awaited, first);
        }
        Ok(changed)
    }

    /// All files together. `previous` is the set of the look before.
    pub(super) fn merge(&self, previous: &ManifestSet) -> ManifestSet {
        let mut set = ManifestSet::merge(previous, self.files.values().map(|seen| &seen.parsed));
        if self.overfull {
            let message =
                format!("more than {MAX_FILES} manifests: only the first {MAX_FILES} by name are read");
            set.problems.push(self.problem(message));
        }
        set
    }

    /// What the set says while the folder cannot be read.
    pub(super) fn lost(&self, error: &SourceError) -> ManifestProblem {
        self.problem(format!("{error}. Until then the last state is kept"))
    }

    fn problem(&self, message: String) -> ManifestProblem {
        ManifestProblem {
            file: self.path.display().to_string(),
            line: None,
            field: String::new(),
            message,
        }
    }

    fn names(&self) -> Result<(BTreeSet<String>, bool), SourceError> {
        let unreadable = |source: std::io::Error| match source.kind() {
            ErrorKind::NotFound => SourceError::Missing(self.path.clone()),
            ErrorKind::NotADirectory => SourceError::NotAFolder(self.path.clone()),
            _ => SourceError::Unreadable {
                path: self.path.clone(),
                source,
            },
        };
        let (mut names, mut overfull) = (BTreeSet::new(), false);
        for entry in std::fs::read_dir(&self.path).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with('.') || !EXTENSIONS.iter().any(|extension| name.ends_with(extension)) {
                continue;
            }
            names.insert(name.to_owned());
            if names.len() > MAX_FILES {
                names.pop_last();
                overfull = true;
            }
        }
        Ok((names, overfull))
    }

    /// Whether to act on what a look shows: a file is seen while it is still being written, and an editor may take it
    /// away for a moment. A part of a manifest is often a right manifest, hence only time tells: two looks must agree.
    fn agreed(&mut self, name: &str, sight: Sight, awaited: &BTreeMap<String, Sight>) -> bool {
        let agreed = awaited.get(name) == Some(&sight);
        if !agreed {
            self.awaited.insert(name.to_owned(), sight);
        }
        agreed
    }

    /// Forgets a file that is not there.
    fn gone(&mut self, name: String, awaited: &BTreeMap<String, Sight>) -> bool {
        self.files.contains_key(&name)
            && self.agreed(&name, Sight::Gone, awaited)
            && self.files.remove(&name).is_some()
    }

    /// Reads one file if it seems to have changed; says whether what it declares did. At the `first` look there is
    /// nothing that could be taken down, and the start need not wait.
    fn read(&mut self, name: String, awaited: &BTreeMap<String, Sight>, first: bool) -> bool {
        let path = self.path.join(&name);
        // Follows links.
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return self.gone(name, awaited),
            // Deleted since the listing, or a link to nowhere.
            Err(error) if error.kind() == ErrorKind::NotFound => return self.gone(name, awaited),
            Err(error) => return self.failed(name, format!("cannot be read: {error}")),
        };
        let stamp = Stamp::of(&metadata);
        let settled = stamp
            .modified
            .and_then(|modified| SystemTime::now().duration_since(modified).ok())
            .is_some_and(|age| age > TIME_STAMP_STEP);
        let seen = self.files.get(&name);
        if settled && seen.is_some_and(|seen| seen.stamp == stamp && seen.hash.is_some()) {
            return false;
        }
        let mut bytes = Vec::new();
        let read =
            std::fs::File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            return self.failed(name, format!("cannot be read: {error}"));
        }
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return self.failed(name, format!("is larger than {MAX_FILE_BYTES} bytes: split it"));
        }
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(seen) = self.files.get_mut(&name).filter(|seen| seen.hash == Some(hash)) {
            seen.stamp = stamp;
            return false;
        }
        if !first && !self.agreed(&name, Sight::Content(stamp, hash), awaited) {
            return false;
        }
        let parsed = carry_over(
            self.files.get(&name).map(|seen| &seen.parsed),
            manifest::parse(&name, &bytes),
        );
        let hash = Some(hash);
        self.files.insert(name, Seen { stamp, hash, parsed });
        true
    }

    /// Keeps what the file said before it could no longer be read.
    fn failed(&mut self, name: String, message: String) -> bool {
        let problem = ManifestProblem {
            file: name.clone(),
            line: None,
            field: String::new(),
            message,
        };
        let before = self.files.remove(&name);
        let changed = before
            .as_ref()
            .is_none_or(|seen| seen.parsed.problems != [problem.clone()]);
        let mut parsed = before.map(|seen| seen.parsed).unwrap_or_default();
        parsed.problems = vec![problem];
        let stamp = Stamp {
            modified: None,
            length: 0,
            device: 0,
            inode: 0,
        };
        self.files.insert(
            name,
            Seen {
                stamp,
                hash: None,
                parsed,
            },
        );
        changed
    }
}

/// A slip while editing must not take a working destination down, just as a refused `kubectl apply` does not: as long
/// as a file has mistakes, what it declared before and no longer declares stays.
fn carry_over(before: Option<&Parsed>, mut now: Parsed) -> Parsed {
    if let Some(before) = before.filter(|_| !now.problems.is_empty()) {
        let kept: Vec<_> = before
            .destinations
            .iter()
            .filter(|old| !now.destinations.iter().any(|new| new.key == old.key))
            .cloned()
            .collect();
        now.destinations.extend(kept);
    }
    now
}

#[cfg(test)]
mod tests;
