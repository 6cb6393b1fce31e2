//! Images with one static program and nothing else: the client and server of the suites, and the holder of pods.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{NOBODY, PAUSE, PROBE};
use crate::archive::digest;
use crate::{Compression, Config, Image, Layer, Written};

/// There is no Go to build the program with.
#[derive(Debug)]
pub struct MissingGo;

impl std::fmt::Display for MissingGo {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("needs Go 1.26 or newer on the PATH (https://go.dev/doc/install)")
    }
}

impl std::error::Error for MissingGo {}

/// Writes the image [`PROBE`]: `get`, `load`, `serve`, `tcp`, `echo` and `dns` as arguments of its entrypoint. The
/// program is built beside `output` once, and again when its sources or the compiler change.
///
/// # Errors
/// [`MissingGo`] (to be found with `downcast_ref`); anything else when the build fails or `output` cannot be written.
pub fn probe(output: &Path) -> Result<Written> {
    write(output, PROBE, &["/probe"])
}

/// Writes the image [`PAUSE`], which is the same program with another duty.
///
/// # Errors
/// As [`probe`].
pub fn pause(output: &Path) -> Result<Written> {
    write(output, PAUSE, &["/probe", "pause"])
}

fn write(output: &Path, name: &str, entrypoint: &[&str]) -> Result<Written> {
    let program = program(output.parent().unwrap_or(Path::new(".")))?;
    let mut layer = Layer::new();
    layer.executable("/probe", &program)?;
    let image = Image {
        layers: vec![layer],
        config: Config {
            user: NOBODY.to_owned(),
            entrypoint: entrypoint.iter().map(|&part| part.to_owned()).collect(),
            ..Config::default()
        },
        compression: Compression::None,
    };
    image.write(name, output)
}

/// The program in `folder`, built where it is missing. Its name carries what decides its bytes.
pub(super) fn program(folder: &Path) -> Result<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/probe");
    let program = folder.join(format!("probe-{}", key(&sources)?));
    if program.is_file() {
        return Ok(program);
    }
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let partial = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("create a file in {}", folder.display()))?
        .into_temp_path();
    let output = Command::new("go")
        .current_dir(&sources)
        .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false"])
        .args(["-ldflags", "-s -w -buildid=", "-o"])
        .args([partial.as_os_str(), ".".as_ref()])
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env_remove("GOFLAGS")
        .stdin(Stdio::null())
        .output()
        .context("start `go build`")?;
    if !output.status.success() {
        bail!(
            "building tests/tools/probe failed:\n{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    // Whoever looks sees a whole program or none.
    partial
        .persist(&program)
        .with_context(|| format!("write {}", program.display()))?;
    Ok(program)
}

fn key(sources: &Path) -> Result<String> {
    let mut all = match Command::new("go").arg("version").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => output.stdout,
        Ok(output) => bail!(
            "`go version` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(MissingGo),
        Err(error) => return Err(error).context("start `go version`"),
    };
    for name in ["go.mod", "main.go", "client.go", "server.go"] {
        let path = sources.join(name);
        all.extend(std::fs::read(&path).with_context(|| format!("read {}", path.display()))?);
    }
    Ok(digest(&all).chars().skip("sha256:".len()).take(12).collect())
}
