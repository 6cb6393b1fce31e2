//! The file of a backup: JSON lines, compressed with gzip (RFC 1952).
//!
//! | line | content |
//! |---|---|
//! | first | `{"format": "landbridge-store-backup", "version": 1, "made": <RFC 3339>}` |
//! | others | `{<table>: <row>}`, bytes in base64, tables in an order in which they can be written |
//! | last | `{"end": {"counts": {<table>: <rows>}, "sha256": <hexadecimal, of all lines before>}}` |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::BackupError;
use crate::db::archive::Entry;

const FORMAT: &str = "landbridge-store-backup";
const VERSION: u64 = 1;

/// Longest line: the largest item, in base64, and then some. What is longer is no backup of ours.
const MAX_LINE: u64 = 64 << 20;

/// Length of the head of a gzip file without a name (RFC 1952 section 2.3).
const GZIP_HEAD: usize = 10;

/// What the writer is sent. Without an end, the backup is not complete.
pub(super) enum Step {
    Rows(Vec<Entry>),
    End,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u64,
    #[serde(default)]
    made: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    counts: BTreeMap<String, u64>,
    sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
struct LastLine {
    end: End,
}

/// Writes a new file: aside, then in place in one step, so that there never is half a backup of that name. Blocks.
pub(super) fn write(path: &Path, steps: mpsc::Receiver<Step>) -> Result<(), BackupError> {
    if path.exists() {
        return Err(BackupError::Exists);
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".new-{}", uuid::Uuid::now_v7()));
    let aside = Path::new(&aside);
    let result = write_all(aside, steps).and_then(|()| {
        fs::hard_link(aside, path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => BackupError::Exists,
            _ => error.into(),
        })
    });
    let _ = fs::remove_file(aside);
    result?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn write_all(path: &Path, mut steps: mpsc::Receiver<Step>) -> Result<(), BackupError> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut lines = Lines {
        out: GzEncoder::new(BufWriter::new(file), Compression::default()),
        digest: Context::new(&SHA256),
    };
    lines.put(&Head {
        format: FORMAT.to_owned(),
        version: VERSION,
        made: jiff::Timestamp::now().to_string(),
    })?;
    let mut counts = BTreeMap::new();
    loop {
        match steps.blocking_recv() {
            Some(Step::Rows(rows)) => {
                for row in &rows {
                    lines.put(row)?;
                    *counts.entry(row.table().to_owned()).or_default() += 1;
                }
            }
            Some(Step::End) => break,
            None => return Err(std::io::Error::other("the backup was given up").into()),
        }
    }
    let sha256 = hex(lines.digest.clone().finish().as_ref());
    lines.put(&LastLine {
        end: End { counts, sha256 },
    })?;
    let buffered = lines.out.finish()?;
    let file = buffered.into_inner().map_err(|error| error.into_error())?;
    file.sync_all()?;
    Ok(())
}

struct Lines<W: Write> {
    out: GzEncoder<W>,
    digest: Context,
}

impl<W: Write> Lines<W> {
    fn put(&mut self, value: &impl Serialize) -> Result<(), BackupError> {
        let mut line = serde_json::to_vec(value).map_err(std::io::Error::from)?;
        line.push(b'\n');
        self.digest.update(&line);
        self.out.write_all(&line)?;
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a file and sends its rows; how many it were, once all of it turned out to be as it was written. Whoever receives
/// must not trust them before. Ends early when nobody receives. Blocks.
pub(super) fn read(path: &Path, rows: &mpsc::Sender<Entry>) -> Result<BTreeMap<String, u64>, BackupError> {
    let mut file = BufReader::new(File::open(path)?);
    check_head(&mut file)?;
    let mut lines = BufReader::new(GzDecoder::new(file));
    let mut digest = Context::new(&SHA256);
    let mut counts = BTreeMap::<String, u64>::new();
    let mut line = next_line(&mut lines)?.ok_or(BackupError::NoBackup)?;
    let head: Head = serde_json::from_slice(&line).map_err(|_| BackupError::NoBackup)?;
    if head.format != FORMAT {
        return Err(BackupError::NoBackup);
    }
    if head.version != VERSION {
        return Err(BackupError::Newer(head.version));
    }
    let end = loop {
        digest.update(&line);
        line = next_line(&mut lines)?.ok_or_else(|| damaged("it ends too early"))?;
        if line.starts_with(br#"{"end":"#) {
            let last: LastLine =
                serde_json::from_slice(&line).map_err(|_| damaged("its end cannot be read"))?;
            break last.end;
        }
        let row: Entry = serde_json::from_slice(&line).map_err(|_| damaged("a row cannot be read"))?;
        *counts.entry(row.table().to_owned()).or_default() += 1;
        if rows.blocking_send(row).is_err() {
            return Ok(counts);
        }
    };
    if hex(digest.finish().as_ref()) != end.sha256 {
        return Err(damaged("its digest is another one"));
    }
    if counts != end.counts {
        return Err(damaged("it has not as many rows as it says"));
    }
    if next_line(&mut lines)?.is_some() || !lines.into_inner().into_inner().fill_buf()?.is_empty() {
        return Err(damaged("something follows its end"));
    }
    Ok(counts)
}

/// The checksum of gzip does not cover its head, which is always the same.
fn check_head(file: &mut BufReader<File>) -> Result<(), BackupError> {
    let expected = GzEncoder::new(Vec::new(), Compression::default()).finish()?;
    let head = file.fill_buf()?;
    if !head.starts_with(&[0x1f, 0x8b]) {
        return Err(BackupError::NoBackup);
    }
    if head.get(..GZIP_HEAD) != expected.get(..GZIP_HEAD) {
        return Err(damaged("its head is another one"));
    }
    Ok(())
}

fn next_line(lines: &mut impl BufRead) -> Result<Option<Vec<u8>>, BackupError> {
    let mut line = Vec::new();
    let read = lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
    match read {
        Ok(0) => Ok(None),
        Ok(_) if line.last() == Some(&b'\n') => Ok(Some(line)),
        Ok(_) => Err(damaged("a line is cut off or too long")),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof
            ) =>
        {
            Err(damaged("it cannot be decompressed"))
        }
        Err(error) => Err(error.into()),
    }
}

fn damaged(what: &str) -> BackupError {
    BackupError::Damaged(what.to_owned())
}
