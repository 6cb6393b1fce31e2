//! A folder of manifests, watched.
//!
//! By polling, because that is the one way that works for every folder: bind mounts, network drives, and mounted
//! ConfigMaps, which are swapped as a whole behind a symbolic link.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::manifest::ManifestSet;

mod folder;

pub use folder::{MAX_FILE_BYTES, MAX_FILES};

use folder::Folder;

/// Time between two looks at the folder. Short enough for a person who saves a file and tries it, although a change
/// counts only once two looks have seen the same, because a file may be seen while it is being written.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A look may take at most one part in so many of the time, so that a folder of 10 000 files on a slow drive does
/// not keep a core busy.
const PAUSE_PER_SCAN: u32 = 20;

/// New mistakes that are logged one by one after a change; the status view has them all.
const LOGGED: usize = 20;

/// Why a folder cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is not there.
    #[error("the manifest folder {} does not exist: create it, or name another one", .0.display())]
    Missing(PathBuf),
    /// It is something else.
    #[error("{} is not a folder: name the folder that the manifests are in", .0.display())]
    NotAFolder(PathBuf),
    /// It cannot be listed.
    #[error("the manifest folder {} cannot be read: {source}; check its permissions", path.display())]
    Unreadable {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The runtime is going down.
    #[error("the manifest folder was not read, because the process is stopping")]
    Stopping,
}

/// Reads `folder` once and then watches it until `shutdown` begins. The receiver holds the first state already, and
/// changes only when something that matters has changed.
///
/// # Errors
/// When the folder cannot be read now. If that happens later, the last state is kept, with a problem in it.
pub async fn watch(
    folder: &Path,
    shutdown: &Shutdown,
) -> Result<watch::Receiver<Arc<ManifestSet>>, SourceError> {
    let mut folder = Folder::new(folder.to_path_buf());
    let mut set = Arc::new(ManifestSet::default());
    let mut pause = look(&mut folder, &mut set).await??;
    log_changes(&ManifestSet::default(), &set);
    let (sender, receiver) = watch::channel(set.clone());
    let stop = shutdown.clone();
    shutdown.spawn(async move {
        loop {
            tokio::select! {
                () = stop.started() => return,
                () = sender.closed() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let before = set.clone();
            pause = match look(&mut folder, &mut set).await {
                Ok(Ok(pause)) => pause,
                Ok(Err(error)) => {
                    let problem = folder.lost(&error);
                    if set.problems.last() != Some(&problem) {
                        Arc::make_mut(&mut set).problems.push(problem);
                    }
                    POLL_INTERVAL
                }
                Err(_) => return,
            };
            if !Arc::ptr_eq(&before, &set) && before != set {
                log_changes(&before, &set);
                sender.send_replace(set.clone());
            }
        }
    });
    Ok(receiver)
}

/// One look, off the async threads. The outer error means that it could not even be started.
async fn look(
    folder: &mut Folder,
    set: &mut Arc<ManifestSet>,
) -> Result<Result<Duration, SourceError>, SourceError> {
    let start = Instant::now();
    let mut taken = std::mem::take(folder);
    let previous = set.clone();
    let (taken, result) = tokio::task::spawn_blocking(move || {
        let result = taken
            .scan()
            .map(|changed| changed.then(|| Arc::new(taken.merge(&previous))));
        (taken, result)
    })
    .await
    .map_err(|_| SourceError::Stopping)?;
    *folder = taken;
    Ok(result.map(|changed| {
        if let Some(changed) = changed {
            *set = changed;
        }
        POLL_INTERVAL.max(start.elapsed() * PAUSE_PER_SCAN)
    }))
}

fn log_changes(before: &ManifestSet, now: &ManifestSet) {
    let fresh: Vec<_> = now
        .problems
        .iter()
        .filter(|problem| !before.problems.contains(problem))
        .collect();
    for problem in fresh.iter().take(LOGGED) {
        tracing::warn!(
            file = problem.file,
            line = problem.line,
            field = problem.field,
            "manifest: {}",
            problem.message
        );
    }
    if fresh.len() > LOGGED {
        tracing::warn!(
            more = fresh.len() - LOGGED,
            "manifest: more mistakes, the status view lists them"
        );
    }
    for skipped in now
        .skipped
        .iter()
        .filter(|skipped| !before.skipped.contains(skipped))
        .take(LOGGED)
    {
        tracing::info!(
            file = skipped.file,
            line = skipped.line,
            "manifest: passing over a {}",
            skipped.kind
        );
    }
    tracing::info!(
        destinations = now.destinations.len(),
        problems = now.problems.len(),
        skipped = now.skipped.len(),
        "manifests read"
    );
}

#[cfg(test)]
mod tests;
