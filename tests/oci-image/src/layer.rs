//! One layer: what is at which path, written as a tar whose bytes depend on nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use tar::{Builder, EntryType, Header};

use crate::libraries;

/// Who owns a file of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u64,
    /// The group.
    pub gid: u64,
}

impl Owner {
    /// What nobody but root may change: the right owner of everything a container only reads.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Folder,
    Bytes(Vec<u8>),
    /// Read when the layer is written, so that large programs are never held in memory.
    Source(PathBuf),
    Link(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    content: Content,
    mode: u32,
    owner: Owner,
}

/// The files of one layer. Folders above them are made as 0755 of root; a path can be given only once, unless it is
/// given the same thing again.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    // Sorted, and a folder's name is a prefix of what is in it: parents come first.
    items: BTreeMap<String, Item>,
}

impl Layer {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A folder, with a mode such as `0o1777` for `/tmp`.
    ///
    /// # Errors
    /// A path that is not absolute or has `..` in it, or that is taken by something else; so for all methods here.
    pub fn folder(&mut self, path: &str, mode: u32, owner: Owner) -> Result<()> {
        self.put(path, Content::Folder, mode, owner)
    }

    /// A file with these bytes.
    ///
    /// # Errors
    /// As [`Layer::folder`].
    pub fn bytes(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Result<()> {
        self.put(path, Content::Bytes(bytes.into()), mode, Owner::ROOT)
    }

    /// A copy of a file of this machine; links are followed.
    ///
    /// # Errors
    /// As [`Layer::folder`], and when `source` cannot be found.
    pub fn file(&mut self, path: &str, mode: u32, source: &Path) -> Result<()> {
        let real = source
            .canonicalize()
            .with_context(|| format!("find {} for {path}", source.display()))?;
        self.put(path, Content::Source(real), mode, Owner::ROOT)
    }

    /// A symbolic link at `path` that points to `target`.
    ///
    /// # Errors
    /// As [`Layer::folder`].
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        self.put(path, Content::Link(target.to_owned()), 0o777, Owner::ROOT)
    }

    /// An ELF executable with the shared libraries and the loader it needs, which it finds in a file system that has
    /// nothing else. One that is linked statically comes alone.
    ///
    /// # Errors
    /// As [`Layer::file`]; when `source` is no ELF file (scripts are not), or a library is missing on this machine.
    pub fn executable(&mut self, path: &str, source: &Path) -> Result<()> {
        self.file(path, 0o755, source)?;
        self.libraries(source)
    }

    /// The shared libraries and the loader of an ELF executable, without itself.
    ///
    /// # Errors
    /// As [`Layer::executable`].
    pub fn libraries(&mut self, program: &Path) -> Result<()> {
        for library in libraries::of(program)? {
            self.file(&library.path, 0o755, &library.source)?;
        }
        Ok(())
    }

    /// The files of this machine that are in the layer: their place in the image and where they come from.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.items.iter().filter_map(|(path, item)| match &item.content {
            Content::Source(source) => Some((path.as_str(), source.as_path())),
            _ => None,
        })
    }

    fn put(&mut self, path: &str, content: Content, mode: u32, owner: Owner) -> Result<()> {
        let path = normal(path)?;
        for parent in parents(&path) {
            let folder = self.items.entry(parent.to_owned()).or_insert(Item {
                content: Content::Folder,
                mode: 0o755,
                owner: Owner::ROOT,
            });
            if folder.content != Content::Folder {
                bail!("/{path} cannot be put into /{parent}, which is no folder");
            }
        }
        let item = Item { content, mode, owner };
        match self.items.get(&path) {
            // A folder that was made on the way to something may still be given its mode.
            Some(there) if there.content == Content::Folder && item.content == Content::Folder => {}
            Some(there) if *there != item => {
                bail!("/{path} is in the layer already, with other content or mode")
            }
            _ => {}
        }
        self.items.insert(path, item);
        Ok(())
    }

    /// The tar of the layer, as it is hashed for the list of `diff_ids`.
    pub(crate) fn write_to<W: Write>(&self, output: W) -> Result<W> {
        let mut builder = Builder::new(output);
        for (path, item) in &self.items {
            item.append(&mut builder, path)
                .with_context(|| format!("write /{path}"))?;
        }
        builder.into_inner().context("end the layer")
    }
}

impl Item {
    fn append<W: Write>(&self, builder: &mut Builder<W>, path: &str) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_mtime(0);
        header.set_mode(self.mode);
        header.set_uid(self.owner.uid);
        header.set_gid(self.owner.gid);
        header.set_size(0);
        match &self.content {
            Content::Folder => {
                header.set_entry_type(EntryType::Directory);
                builder.append_data(&mut header, format!("{path}/"), std::io::empty())?;
            }
            Content::Bytes(bytes) => {
                header.set_size(bytes.len() as u64);
                builder.append_data(&mut header, path, bytes.as_slice())?;
            }
            Content::Source(source) => {
                let file = File::open(source).with_context(|| format!("open {}", source.display()))?;
                let size = file.metadata()?.len();
                header.set_size(size);
                builder.append_data(&mut header, path, ExactSize { file, left: size })?;
            }
            Content::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                builder.append_link(&mut header, path, target)?;
            }
        }
        Ok(())
    }
}

/// A file that is replaced or grows while it is read would shift everything after it in the tar: that is an error.
struct ExactSize {
    file: File,
    left: u64,
}

impl std::io::Read for ExactSize {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        let changed = || std::io::Error::other("the file changed while it was read: try again");
        self.left = self.left.checked_sub(read as u64).ok_or_else(changed)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(changed());
        }
        Ok(read)
    }
}

/// `/usr//bin/x` as `usr/bin/x`, the way tars name files.
fn normal(path: &str) -> Result<String> {
    if !path.starts_with('/') {
        bail!("{path} is no absolute path: paths of an image begin with /");
    }
    let mut names = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::ParentDir | Component::Prefix(_) => {
                bail!("{path} has .. in it: name the place itself")
            }
        }
    }
    if names.is_empty() {
        bail!("{path} names the root folder, which every image has");
    }
    Ok(names.join("/"))
}

fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(end, _)| path.get(..end))
}

#[cfg(test)]
mod tests;
