//! The memory of ports on disk: a small JSON file, replaced as a whole.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use landbridge_destination::RouteKey;
use serde::{Deserialize, Serialize};

use super::Memory;

/// Form of the file.
const VERSION: u32 = 1;

/// Largest file that is read: 65535 ports with names of 63 characters fit well.
const MAX_BYTES: u64 = 32 << 20;

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read or written.
    #[error("the file of ports {} cannot be {what}: {source}; make the folder writable or name another file", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Read or written.
        what: &'static str,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// It is none of ours.
    #[error(
        "the file of ports {} cannot be understood ({reason}): restore it, or remove it, which gives destinations new \
         ports", path.display()
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// Port by `namespace/name`.
    ports: BTreeMap<String, u16>,
}

/// Reads the file; one that does not exist is an empty memory. Blocking.
///
/// # Errors
/// When it exists and cannot be read or understood: starting with other ports than before would break those who
/// remembered them, silently.
pub fn load(path: &Path) -> Result<Memory, FileError> {
    let io = |source| FileError::Io {
        path: path.to_path_buf(),
        what: "read",
        source,
    };
    let content = |reason: String| FileError::Content {
        path: path.to_path_buf(),
        reason,
    };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_BYTES => return Err(content("it is too large".to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Memory::default()),
        _ => {}
    }
    let bytes = std::fs::read(path).map_err(io)?;
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|error| content(error.to_string()))?;
    if stored.version != VERSION {
        return Err(content(format!(
            "it has the version {}, this program knows {VERSION}",
            stored.version
        )));
    }
    let ports = stored
        .ports
        .into_iter()
        .map(|(key, port)| match key.split_once('/') {
            Some((namespace, name)) => Ok((RouteKey::new(namespace, name), port)),
            None => Err(content(format!("\"{key}\" is not namespace/name"))),
        });
    Ok(Memory::new(ports.collect::<Result<Vec<_>, _>>()?))
}

/// Replaces the file. It has either the old or the new content at any time, also after a power cut. Blocking.
///
/// # Errors
/// When it cannot be written; the old content stays.
pub fn save(path: &Path, memory: &Memory) -> Result<(), FileError> {
    let io = |source| FileError::Io {
        path: path.to_path_buf(),
        what: "written",
        source,
    };
    let ports = memory
        .ports()
        .iter()
        .map(|(key, port)| (key.to_string(), *port))
        .collect();
    let text = serde_json::to_vec_pretty(&Stored {
        version: VERSION,
        ports,
    })
    .map_err(|error| io(std::io::Error::other(error)))?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let draft = folder.join(name);
    let written = (|| {
        let mut file = std::fs::File::create(&draft)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        std::fs::File::open(folder)?.sync_all()
    })();
    written.map_err(|error| {
        let _ = std::fs::remove_file(&draft);
        io(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ports.json");
        assert_eq!(load(&path).unwrap(), Memory::default());
        let memory = Memory::new([(RouteKey::new("a", "x"), 1), (RouteKey::new("b", "x"), 2)]);
        save(&path, &Memory::default()).unwrap();
        save(&path, &memory).unwrap();
        assert_eq!(load(&path).unwrap(), memory);
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no draft is left"
        );
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ports.json");
        for text in [
            "",
            "{",
            "[]",
            r#"{"version":2,"ports":{}}"#,
            r#"{"version":1,"ports":{"x":1}}"#,
        ] {
            std::fs::write(&path, text).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(
                error.contains("ports.json") && error.contains("remove it"),
                "{error}"
            );
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_folder_that_does_not_exist_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = save(&folder.path().join("no/ports.json"), &Memory::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("cannot be written") && error.contains("name another file"),
            "{error}"
        );
    }
}
