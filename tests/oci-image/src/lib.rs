//! Container images from a list of files: no builder, no registry, no base image.
//!
//! [`Image`] says what is in it, [`Image::write`] makes one archive that `ctr images import`, `docker load` and every
//! tool for OCI image layouts read. The same input gives the same bytes: all times are 0, all entries are sorted.
//! Everything here blocks. Linux only. Knows no other room, so that it builds in seconds.

mod archive;
mod config;
mod layer;
mod libraries;
mod unpack;

pub use archive::{Blob, Compression, Image, Written};
pub use config::Config;
pub use layer::{Layer, Owner};
pub use unpack::{Archive, Entry};
