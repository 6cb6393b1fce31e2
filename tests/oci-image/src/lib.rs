//! Container images from a list of files: no builder, no registry, no base image.
//!
//! [`Image`] says what is in it, [`Image::write`] makes one archive that `ctr images import`, `docker load` and every
//! tool for OCI image layouts read. The same input gives the same bytes: all times are 0, all entries are sorted.
//! Everything here blocks. Linux only. Knows no other room, so that it builds in seconds.

mod archive;
mod config;
pub mod images;
mod layer;
mod libraries;
pub mod packages;
mod unpack;

pub use archive::{Blob, Compression, Image, Written};
pub use config::Config;
pub use layer::{Layer, Owner};
pub use unpack::{Archive, Entry};

/// Why a test said nothing: what it needs is not on this machine.
#[cfg(test)]
#[allow(clippy::print_stderr, reason = "a test tells the person who runs it")]
fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
}
