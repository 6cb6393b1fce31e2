//! Reading an archive back: for checks of what was written, and for a root file system to try it in.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use serde::de::DeserializeOwned;

use crate::archive::{blob_path, digest};
use crate::config::{self, Config, Descriptor, DockerEntry, ImageConfig, Index, Manifest};

/// No document of an image is larger; a layer has no limit, since it is never held in memory.
const LARGEST_DOCUMENT: u64 = 4 << 20;

/// An archive on disk, whose documents have been read and whose digests were compared.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    name: String,
    digest: String,
    image: ImageConfig,
    layers: Vec<Descriptor>,
}

/// One entry of the unpacked file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Mode bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Bytes.
    pub size: u64,
    /// Where a link points to.
    pub link: Option<PathBuf>,
    /// Whether it is a folder.
    pub folder: bool,
}

impl Archive {
    /// Reads the documents of an archive.
    ///
    /// # Errors
    /// When it is no archive of one image, when a digest does not match, or when the two formats in it disagree.
    pub fn open(path: &Path) -> Result<Self> {
        let mut documents = documents(path).with_context(|| format!("read {}", path.display()))?;
        let index: Index = json(&mut documents, "index.json")?;
        let [descriptor] = index.manifests.as_slice() else {
            bail!(
                "{} has {} images, one is expected",
                path.display(),
                index.manifests.len()
            );
        };
        let manifest: Manifest = blob(&mut documents, descriptor)?;
        let image: ImageConfig = blob(&mut documents, &manifest.config)?;
        let name = descriptor
            .annotations
            .get(config::CONTAINERD_NAME)
            .cloned()
            .unwrap_or_default();
        let docker: Vec<DockerEntry> = json(&mut documents, "manifest.json")?;
        let layers: Vec<_> = manifest
            .layers
            .iter()
            .map(|layer| blob_path(&layer.digest))
            .collect();
        let same = docker.first().is_some_and(|entry| {
            entry.repo_tags == [name.as_str()]
                && entry.config == blob_path(&manifest.config.digest)
                && entry.layers == layers
        });
        if !same {
            bail!(
                "{}: manifest.json and index.json describe different images",
                path.display()
            );
        }
        Ok(Self {
            path: path.to_path_buf(),
            name,
            digest: descriptor.digest.clone(),
            image,
            layers: manifest.layers,
        })
    }

    /// `repository:tag`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `sha256:...` of the manifest.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// `amd64` or `arm64`.
    pub fn architecture(&self) -> &str {
        &self.image.architecture
    }

    /// How a container starts.
    pub fn config(&self) -> &Config {
        &self.image.config
    }

    /// Every entry of every layer by its absolute path; a higher layer wins.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn entries(&self) -> Result<BTreeMap<String, Entry>> {
        let mut found = BTreeMap::new();
        self.each_layer(|layer| {
            for entry in layer.entries()? {
                let entry = entry?;
                let header = entry.header();
                let path = format!("/{}", entry.path()?.to_string_lossy().trim_end_matches('/'));
                let of_this = Entry {
                    mode: header.mode()?,
                    uid: header.uid()?,
                    gid: header.gid()?,
                    mtime: header.mtime()?,
                    size: header.size()?,
                    link: entry.link_name()?.map(std::borrow::Cow::into_owned),
                    folder: header.entry_type().is_dir(),
                };
                found.insert(path, of_this);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Unpacks all layers into `folder`, with modes, and with owners when this process is root.
    ///
    /// # Errors
    /// When a layer cannot be read or `folder` cannot be written.
    pub fn unpack(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        self.each_layer(|layer| {
            layer.set_preserve_permissions(true);
            layer.set_preserve_ownerships(std::fs::metadata("/proc/self").is_ok_and(|own| is_root(&own)));
            layer.set_preserve_mtime(true);
            layer
                .unpack(folder)
                .with_context(|| format!("unpack into {}", folder.display()))
        })
    }

    fn each_layer(&self, mut with: impl FnMut(&mut tar::Archive<&mut dyn Read>) -> Result<()>) -> Result<()> {
        for layer in &self.layers {
            let mut archive = tar::Archive::new(reader(&self.path)?);
            let wanted = blob_path(&layer.digest);
            let mut found = None;
            for entry in archive.entries()? {
                let entry = entry?;
                if entry.path()?.as_os_str() == wanted.as_str() {
                    found = Some(entry);
                    break;
                }
            }
            let entry = found.with_context(|| format!("{} has no {wanted}", self.path.display()))?;
            let mut plain: Box<dyn Read> = match layer.media_type.as_str() {
                config::LAYER => Box::new(entry),
                config::LAYER_GZIP => Box::new(GzDecoder::new(entry)),
                other => bail!("a layer is of type {other}, which is not known here"),
            };
            with(&mut tar::Archive::new(plain.as_mut()))?;
        }
        Ok(())
    }
}

fn is_root(own: &std::fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::uid(own) == 0
}

fn reader(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

fn documents(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(reader(path)?).entries()? {
        let mut entry = entry?;
        if entry.size() <= LARGEST_DOCUMENT {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            found.insert(entry.path()?.to_string_lossy().into_owned(), bytes);
        }
    }
    Ok(found)
}

fn json<T: DeserializeOwned>(documents: &mut BTreeMap<String, Vec<u8>>, name: &str) -> Result<T> {
    let bytes = documents
        .remove(name)
        .with_context(|| format!("the archive has no {name}"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("read {name}"))
}

fn blob<T: DeserializeOwned>(documents: &mut BTreeMap<String, Vec<u8>>, of: &Descriptor) -> Result<T> {
    let path = blob_path(&of.digest);
    let bytes = documents
        .get(&path)
        .with_context(|| format!("the archive has no {path}"))?;
    if digest(bytes) != of.digest || bytes.len() as u64 != of.size {
        bail!("{path} is damaged: its digest or size is another one");
    }
    serde_json::from_slice(bytes).with_context(|| format!("read {path}"))
}
