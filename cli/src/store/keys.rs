//! Service keys that were made elsewhere: an installer makes one, and gives it to the store and to its clients.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_store::{Access, Admin, Adopted};
use tokio::time::sleep;

use crate::proxy::bindings;

/// How often the files are looked at. The kubelet brings a changed Secret within a minute or so; this adds little.
const LOOK: Duration = Duration::from_secs(5);

/// The files, with what tells each from a changed one.
pub(super) struct ServiceKeys {
    admin: Admin,
    files: Vec<(PathBuf, u64)>,
}

impl ServiceKeys {
    /// Makes the keys of `files` valid.
    ///
    /// # Errors
    /// A file cannot be read, or its key cannot be taken over.
    pub(super) async fn adopt(admin: Admin, files: &[PathBuf]) -> Result<Self> {
        let mut keys = Self {
            admin,
            files: Vec::with_capacity(files.len()),
        };
        for file in files {
            let digest = keys.take(file, None).await?;
            keys.files.push((file.clone(), digest));
        }
        Ok(keys)
    }

    /// Takes over what changes, until `shutdown` begins. What cannot be taken over is told once, and what was valid
    /// before stays so.
    pub(super) async fn follow(mut self, shutdown: Shutdown) {
        if self.files.is_empty() {
            return;
        }
        loop {
            tokio::select! {
                () = sleep(LOOK) => {}
                () = shutdown.started() => return,
            }
            let mut files = std::mem::take(&mut self.files);
            for (file, digest) in &mut files {
                match self.take(file, Some(*digest)).await {
                    Ok(seen) => *digest = seen,
                    // 0: nothing like it, so the file is tried again when it changes, and this is told once.
                    Err(_) if *digest == 0 => {}
                    Err(error) => {
                        *digest = 0;
                        tracing::error!("{error:#}; the key before stays valid");
                    }
                }
            }
            self.files = files;
        }
    }

    /// Makes the key of a file valid unless that is as it was; what tells the file from a changed one.
    async fn take(&self, file: &Path, known: Option<u64>) -> Result<u64> {
        let path = file.to_owned();
        let read = tokio::task::spawn_blocking(move || bindings::read(&path)).await?;
        let (binding, digest) = read.map_err(|reason| anyhow!("--service-key: {reason}"))?;
        if known == Some(digest) {
            return Ok(digest);
        }
        let adopted = self
            .admin
            .adopt_service_key(&binding, Access::Full)
            .await
            .with_context(|| format!("--service-key {}", file.display()))?;
        let (client, file) = (&binding.client_id, file.display());
        match adopted {
            Adopted::New => tracing::info!(client, %file, "the service key is valid"),
            Adopted::Known => tracing::debug!(client, %file, "the service key is known"),
            Adopted::Replaced => tracing::info!(client, %file, "the service key has another secret now"),
        }
        Ok(digest)
    }
}
