//! The images of the suites, written once and again when what is in them has changed.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use landbridge_oci_image::images::{self, Product};
use landbridge_oci_image::{Compression, Written};
use landbridge_tests::process::binary;

/// The registry that README names; nobody can pull from it, so what is imported is used.
pub const REGISTRY: &str = "registry.example.com";

/// The image of the product, by the name that the charts give it.
pub fn landbridge() -> PathBuf {
    let version = env!("CARGO_PKG_VERSION");
    let output = folder().join("landbridge.tar");
    if newer(&output, &binary()) {
        return output;
    }
    let stripped = images::strip(&binary(), &folder()).expect("the binary without symbols");
    let product = Product {
        binary: &stripped,
        version,
        sbom: None,
        compression: Compression::None,
    };
    let image = product.image().expect("the parts of the image");
    let name = format!("{REGISTRY}/landbridge:{version}");
    write(&output, |path| image.write(&name, path))
}

/// A static client and server.
pub fn probe() -> PathBuf {
    let output = folder().join("probe.tar");
    write(&output, images::probe)
}

/// A shell, curl, psql: what an application's image may have.
pub fn clients() -> PathBuf {
    let output = folder().join("clients.tar");
    write(&output, images::clients)
}

/// The same by the name that README has for an image with curl.
pub fn curl() -> PathBuf {
    let output = folder().join("curl.tar");
    let image = images::clients_image().expect("the clients");
    write(&output, |path| image.write(&format!("{REGISTRY}/curl:8"), path))
}

/// The program of the image [`probe`], for the hosts of the company.
pub fn probe_program() -> PathBuf {
    probe();
    let mut programs: Vec<_> = std::fs::read_dir(folder())
        .expect("the folder of the images")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("probe-"))
        })
        .collect();
    programs.sort_by_key(|path| modified(path));
    programs.pop().expect("the program of the image")
}

fn write(output: &Path, write: impl FnOnce(&Path) -> anyhow::Result<Written>) -> PathBuf {
    write(output).unwrap_or_else(|error| panic!("{}: {error:#}", output.display()));
    output.to_owned()
}

/// Beside the binary, so that another checkout has its own.
fn folder() -> PathBuf {
    let folder = binary()
        .parent()
        .expect("the folder of the binary")
        .join("suite-images");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn newer(one: &Path, other: &Path) -> bool {
    modified(one).is_some_and(|one| modified(other).is_some_and(|other| one > other))
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|data| data.modified()).ok()
}
