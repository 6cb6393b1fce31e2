//! The archive: an OCI image layout and the manifest of `docker save` in one tar, over the same blobs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::GzBuilder;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tar::{Builder, Header};

use crate::config::{
    self, Config, Descriptor, DockerEntry, ImageConfig, Index, Layout, Manifest, Platform, RootFs,
};
use crate::layer::Layer;
use crate::libraries;

/// How layers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are: for images that never leave the machine (half a second instead of ten for 80 MB).
    None,
    /// gzip, which every registry and every runtime knows. The level is 1 (fast) to 9 (small).
    Gzip(u32),
}

/// What is in an image.
#[derive(Debug, Clone)]
pub struct Image {
    /// From the lowest to the highest.
    pub layers: Vec<Layer>,
    /// How a container starts.
    pub config: Config,
    /// How layers are stored.
    pub compression: Compression,
}

/// An archive that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Where it is.
    pub path: PathBuf,
    /// What the image is called in it, tag included.
    pub name: String,
    /// `sha256:...` of the manifest: what a registry, and a pod that pins its image, call the digest.
    pub digest: String,
    /// `sha256:...` of the configuration: what runtimes call the image id.
    pub id: String,
    /// The layers, from the lowest to the highest.
    pub layers: Vec<Blob>,
    /// Bytes of the archive.
    pub size: u64,
}

/// One stored layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:...` of the stored bytes.
    pub digest: String,
    /// Bytes as stored, which is what a node downloads.
    pub size: u64,
    /// Bytes of the tar inside.
    pub unpacked: u64,
}

/// The number in `created` and in every time stamp: an image is the same whenever it is built.
const CREATED: &str = "1970-01-01T00:00:00Z";

impl Image {
    /// Writes the image as `name` (`repository:tag`) to `output`, which appears at once or not at all. The
    /// architecture is that of the programs in it, or this machine's when there are none.
    ///
    /// # Errors
    /// A name without a tag, programs of different architectures, files that cannot be read or written.
    pub fn write(&self, name: &str, output: &Path) -> Result<Written> {
        let tag = tag(name)?;
        let folder = match output.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let mut blobs = Vec::new();
        for layer in &self.layers {
            blobs.push(Stored::of(layer, self.compression, folder)?);
        }
        let documents = Documents::of(self, name, tag, self.architecture()?, &blobs)?;
        let partial = tempfile::NamedTempFile::new_in(folder)
            .with_context(|| format!("create a file in {}", folder.display()))?;
        documents.write(BufWriter::new(partial.as_file()), &mut blobs)?;
        let size = partial.as_file().metadata()?.len();
        readable(partial.as_file())?;
        partial
            .persist(output)
            .with_context(|| format!("write {}", output.display()))?;
        Ok(Written {
            path: output.to_path_buf(),
            name: name.to_owned(),
            digest: documents.manifest.digest.clone(),
            id: documents.config.digest.clone(),
            layers: blobs.into_iter().map(|stored| stored.blob).collect(),
            size,
        })
    }

    fn architecture(&self) -> Result<&'static str> {
        let mut found: Option<(&'static str, String)> = None;
        for (path, source) in self.layers.iter().flat_map(Layer::sources) {
            let Ok(header) = libraries::Header::read(source) else {
                continue;
            };
            let this = header
                .architecture()
                .with_context(|| format!("package /{path}"))?;
            match &found {
                Some((other, first)) if *other != this => {
                    bail!("/{first} is for {other}, /{path} for {this}: an image is for one architecture")
                }
                Some(_) => {}
                None => found = Some((this, path.to_owned())),
            }
        }
        Ok(match found {
            Some((architecture, _)) => architecture,
            None if cfg!(target_arch = "aarch64") => "arm64",
            None => "amd64",
        })
    }
}

/// The tag of `repository:tag`; a colon before a slash belongs to a port.
fn tag(name: &str) -> Result<&str> {
    let last = name.rsplit('/').next().unwrap_or(name);
    let allowed = |text: &str, more: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|one| one.is_ascii_alphanumeric() || more.contains(one))
    };
    match last.split_once(':') {
        Some((repository, tag))
            if allowed(repository, "._-") && allowed(tag, "._-") && allowed(name, "._-/:") =>
        {
            Ok(tag)
        }
        _ => bail!("{name:?} is no name of an image: write repository:tag, such as landbridge:0.1.0"),
    }
}

/// A temporary file is private; an archive is for whoever loads it.
fn readable(file: &File) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
        .context("make the archive readable")
}

/// A layer in a temporary file that has no name, so that nothing is left behind.
struct Stored {
    blob: Blob,
    /// Digest of the tar inside.
    diff_id: String,
    media_type: &'static str,
    file: File,
}

impl Stored {
    fn of(layer: &Layer, compression: Compression, folder: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(folder)
            .with_context(|| format!("create a file in {}", folder.display()))?;
        let outer = Hashing::new(BufWriter::with_capacity(1 << 20, file));
        let (outer, inner, media_type) = match compression {
            Compression::None => (layer.write_to(outer)?, None, config::LAYER),
            Compression::Gzip(level) => {
                let level = flate2::Compression::new(level.clamp(1, 9));
                // No name and no time in the header: they would change the digest.
                let gzip = GzBuilder::new().write(outer, level);
                let inner = layer.write_to(Hashing::new(gzip))?;
                let (gzip, sum) = inner.end();
                (
                    gzip.finish().context("end the compression")?,
                    Some(sum),
                    config::LAYER_GZIP,
                )
            }
        };
        let (writer, stored) = outer.end();
        // Hashed once when the stored bytes are the tar: hashing is what takes the time then.
        let inner = inner.unwrap_or_else(|| stored.clone());
        let mut file = writer.into_inner().context("write the layer")?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self {
            blob: Blob {
                digest: stored.digest,
                size: stored.size,
                unpacked: inner.size,
            },
            diff_id: inner.digest,
            media_type,
            file,
        })
    }
}

/// Digest and length of what went through.
#[derive(Debug, Clone)]
struct Sum {
    digest: String,
    size: u64,
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            size: 0,
        }
    }

    fn end(self) -> (W, Sum) {
        let sum = Sum {
            digest: text(&self.hash.finalize()),
            size: self.size,
        };
        (self.inner, sum)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        let part = bytes.get(..written).unwrap_or(bytes);
        self.hash.update(part);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    text(&Sha256::digest(bytes))
}

fn text(hash: &[u8]) -> String {
    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

/// A JSON document that is a blob.
struct Document {
    digest: String,
    bytes: Vec<u8>,
}

impl Document {
    fn of(value: &impl Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(value).context("write a document of the image")?;
        Ok(Self {
            digest: digest(&bytes),
            bytes,
        })
    }

    fn descriptor(&self, media_type: &str) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: self.digest.clone(),
            size: self.bytes.len() as u64,
            annotations: BTreeMap::new(),
            platform: None,
        }
    }
}

/// Everything in the archive but the layers.
struct Documents {
    config: Document,
    manifest: Document,
    index: Vec<u8>,
    docker: Vec<u8>,
    layout: Vec<u8>,
}

impl Documents {
    fn of(image: &Image, name: &str, tag: &str, architecture: &str, blobs: &[Stored]) -> Result<Self> {
        let config = Document::of(&ImageConfig {
            created: CREATED.to_owned(),
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            config: image.config.clone(),
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: blobs.iter().map(|stored| stored.diff_id.clone()).collect(),
            },
        })?;
        let layers = blobs.iter().map(|stored| Descriptor {
            media_type: stored.media_type.to_owned(),
            digest: stored.blob.digest.clone(),
            size: stored.blob.size,
            annotations: BTreeMap::new(),
            platform: None,
        });
        let manifest = Document::of(&Manifest {
            schema_version: 2,
            media_type: config::MANIFEST.to_owned(),
            config: config.descriptor(config::CONFIG),
            layers: layers.collect(),
        })?;
        let index = Index {
            schema_version: 2,
            media_type: config::INDEX.to_owned(),
            manifests: vec![Descriptor {
                annotations: BTreeMap::from([
                    (config::CONTAINERD_NAME.to_owned(), name.to_owned()),
                    (config::REFERENCE.to_owned(), tag.to_owned()),
                ]),
                platform: Some(Platform {
                    architecture: architecture.to_owned(),
                    os: "linux".to_owned(),
                }),
                ..manifest.descriptor(config::MANIFEST)
            }],
        };
        let docker = [DockerEntry {
            config: blob_path(&config.digest),
            repo_tags: vec![name.to_owned()],
            layers: blobs
                .iter()
                .map(|stored| blob_path(&stored.blob.digest))
                .collect(),
        }];
        let layout = Layout {
            image_layout_version: "1.0.0".to_owned(),
        };
        Ok(Self {
            config,
            manifest,
            index: serde_json::to_vec(&index)?,
            docker: serde_json::to_vec(&docker)?,
            layout: serde_json::to_vec(&layout)?,
        })
    }

    fn write(&self, output: impl Write, blobs: &mut [Stored]) -> Result<()> {
        let mut builder = Builder::new(output);
        for (name, bytes) in [
            ("oci-layout", &self.layout),
            ("index.json", &self.index),
            ("manifest.json", &self.docker),
            (&blob_path(&self.manifest.digest), &self.manifest.bytes),
            (&blob_path(&self.config.digest), &self.config.bytes),
        ] {
            append(&mut builder, name, bytes.len() as u64, bytes.as_slice())?;
        }
        let mut written: Vec<&str> = Vec::new();
        for stored in blobs.iter_mut() {
            // Two equal layers are one blob.
            if !written.contains(&stored.blob.digest.as_str()) {
                let reader = BufReader::with_capacity(1 << 20, &mut stored.file);
                append(
                    &mut builder,
                    &blob_path(&stored.blob.digest),
                    stored.blob.size,
                    reader,
                )?;
                written.push(&stored.blob.digest);
            }
        }
        builder
            .into_inner()
            .context("end the archive")?
            .flush()
            .context("write the archive")
    }
}

pub(crate) fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

fn append<W: Write>(builder: &mut Builder<W>, name: &str, size: u64, data: impl Read) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mtime(0);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    builder
        .append_data(&mut header, name, data)
        .with_context(|| format!("write {name} into the archive"))
}

#[cfg(test)]
mod tests;
