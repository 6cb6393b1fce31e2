//! The images there are: the product's, and those that the suites need beside it.

mod clients;
mod probe;
mod product;

use std::path::Path;

use anyhow::{Context, Result};

use crate::{Layer, Written};

pub use clients::{clients, clients_image};
pub use probe::{MissingGo, pause, probe};
pub use product::{PRODUCT_USER, Product, strip};

/// Name of the product's image in the suites; nobody can pull it, so it is used with `imagePullPolicy: Never`.
pub const LANDBRIDGE: &str = "test.local/landbridge:test";

/// Name of the image with one static HTTP and TCP client and server: `probe --help`.
pub const PROBE: &str = "test.local/probe:test";

/// Name of the image that holds the namespaces of a pod (`sandbox_image` of containerd).
pub const PAUSE: &str = "test.local/pause:test";

/// Name of the image with a shell, curl, psql and openssl.
pub const CLIENTS: &str = "test.local/clients:test";

/// Nobody in particular: without name, without rights.
const NOBODY: &str = "65532:65532";

/// The product's image for the suites, from a binary that was built already, without debugging symbols and not
/// compressed: 80 MB in five seconds.
///
/// # Errors
/// When the binary or something beside it cannot be read, or `output` cannot be written.
pub fn landbridge(binary: &Path, output: &Path) -> Result<Written> {
    let folder = output.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let stripped = strip(binary, folder)?;
    let product = Product {
        binary: &stripped,
        version: "test",
        sbom: None,
        compression: crate::Compression::None,
    };
    product.image()?.write(LANDBRIDGE, output)
}

/// Users for programs that look up their own name, and a folder for temporary files.
fn base(layer: &mut Layer) -> Result<()> {
    layer.bytes(
        "/etc/passwd",
        0o644,
        "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n",
    )?;
    layer.bytes("/etc/group", 0o644, "root:x:0:\nnonroot:x:65532:\n")?;
    layer.folder("/tmp", 0o1777, crate::Owner::ROOT)
}

#[cfg(test)]
mod tests;
