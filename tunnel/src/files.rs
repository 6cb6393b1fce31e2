//! Files that nobody else may read, written so that a crash leaves the old content or the new one, never a part.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Files here are keys, certificates and tokens; anything larger is a mistake.
const MAX_FILE: u64 = 64 * 1024;

/// Makes a folder (and its parents) that only the owner may enter.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces `path`, mode 0600.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = write_temporary(path, content)?;
    let result = fs::rename(&temporary, path);
    clean_up(result, &temporary, path)
}

/// Writes `path` only when it does not exist yet; `AlreadyExists` otherwise, also against other processes.
pub(crate) fn write_private_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = write_temporary(path, content)?;
    let linked = fs::hard_link(&temporary, path).map_err(link_error);
    let result = linked.and_then(|()| fs::remove_file(&temporary));
    clean_up(result, &temporary, path)
}

/// The folder could be written a moment ago, so what is refused now is the link itself.
fn link_error(error: io::Error) -> io::Error {
    match error.kind() {
        kind @ (io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => {
            let advice =
                "the file system has no hard links; put the folder on one that has (a local disk or NFS)";
            io::Error::new(kind, format!("{error}: {advice}"))
        }
        _ => error,
    }
}

/// Reads a file of bounded size.
pub(crate) fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is larger than 64 KiB",
        ));
    }
    Ok(text)
}

/// Makes a rename in `dir` survive a power failure.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn write_temporary(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let temporary = path.with_file_name(format!(
        ".{name}.{}.{:08x}",
        std::process::id(),
        fastrand::u32(..)
    ));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    Ok(temporary)
}

fn clean_up(result: io::Result<()>, temporary: &Path, path: &Path) -> io::Result<()> {
    if result.is_err() {
        let _ = fs::remove_file(temporary);
    }
    result?;
    path.parent().map_or(Ok(()), sync_dir)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_system_without_links_is_named() {
        for (kind, named) in [
            (io::ErrorKind::PermissionDenied, true),
            (io::ErrorKind::Unsupported, true),
            (io::ErrorKind::AlreadyExists, false),
        ] {
            let error = link_error(kind.into());
            assert_eq!(error.kind(), kind);
            assert_eq!(error.to_string().contains("hard links"), named, "{error}");
        }
    }

    #[test]
    fn writes_private_files_and_never_overwrites_by_accident() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        create_private_dir(&folder).unwrap();
        let path = folder.join("key.pem");
        write_private_new(&path, b"one").unwrap();
        assert_eq!(
            write_private_new(&path, b"two").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(read_bounded(&path).unwrap(), "one");
        write_private(&path, b"three").unwrap();
        assert_eq!(read_bounded(&path).unwrap(), "three");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&folder)), (0o600, 0o700));
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            1,
            "temporary files are gone"
        );
    }
}
