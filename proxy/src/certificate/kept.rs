//! The trusted authorities on disk. A process that starts again has only what it was given once, which may have ended
//! since: in a pod's environment nothing is ever replaced.

use std::path::{Path, PathBuf};

use landbridge_runtime::tls;
use rustls_pki_types::CertificateDer;

use crate::control::{read_file, write_file};

/// Beside the kept snapshot.
pub(super) fn beside(state_file: &Path) -> PathBuf {
    state_file.with_extension("authorities.pem")
}

/// What was kept; nothing when there is none, or it cannot be used.
pub(super) async fn read(path: &Path) -> Option<Vec<CertificateDer<'static>>> {
    let text = read_file("the kept authorities", path).await.ok()?;
    match tls::certificates(&text) {
        Ok(authorities) => Some(authorities),
        Err(error) => {
            tracing::warn!(%error, file = %path.display(), "the kept authorities cannot be read");
            None
        }
    }
}

/// Keeps them. That it fails takes nothing from who runs already.
pub(super) async fn write(path: PathBuf, pem: String) {
    let file = path.clone();
    let written = tokio::task::spawn_blocking(move || write_file(&file, pem.as_bytes())).await;
    if let Ok(Err(error)) = written {
        tracing::warn!(%error, file = %path.display(), "the trusted authorities cannot be kept for the next start");
    }
}
