//! Keeps the state file in step with what is known, without writing at every change.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use landbridge_destination::route::RouteSnapshot;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::state_file;
use crate::workloads::Workloads;

/// Routes are saved so soon after they changed; more changes in that time cost nothing.
const ROUTES: Duration = Duration::from_secs(1);

/// In a large cluster pods come and go every second, and the file has megabytes. The operator tells the newest at a
/// restart anyway, unless it is away just then.
const WORKLOADS: Duration = Duration::from_secs(10);

/// What has changed since the start.
#[derive(Debug, Default)]
pub(super) struct Known {
    routes: Arc<RouteSnapshot>,
    /// Grows when pods change.
    pods: u64,
}

/// Tells the saver what has changed.
#[derive(Debug)]
pub(super) struct Dirty(watch::Sender<Known>);

impl Dirty {
    /// There are other routes.
    pub(super) fn routes(&self, routes: &Arc<RouteSnapshot>) {
        self.0.send_modify(|known| known.routes = Arc::clone(routes));
    }

    /// There are other pods.
    pub(super) fn workloads(&self) {
        self.0.send_modify(|known| known.pods += 1);
    }
}

/// Writes the file.
pub(super) struct Saver {
    file: Option<PathBuf>,
    workloads: Arc<Workloads>,
    known: watch::Receiver<Known>,
    saved: Saved,
}

/// What is on disk.
#[derive(Debug, Default, PartialEq, Eq)]
struct Saved {
    routes: u64,
    pods: u64,
    digest: u64,
}

impl Saver {
    /// Without a file nothing is ever written.
    pub(super) fn new(file: Option<PathBuf>, workloads: Arc<Workloads>) -> (Dirty, Self) {
        let (dirty, known) = watch::channel(Known::default());
        let saver = Self {
            file,
            workloads,
            known,
            saved: Saved::default(),
        };
        (Dirty(dirty), saver)
    }

    /// Saves until nobody can change anything any more, and then once more.
    pub(super) async fn run(mut self) {
        let Some(file) = self.file.take() else {
            return;
        };
        while self.known.changed().await.is_ok() {
            self.settle().await;
            self.save(&file).await;
        }
        self.save(&file).await;
    }

    /// Waits as long as what has changed can wait.
    async fn settle(&mut self) {
        let start = Instant::now();
        loop {
            let routes = self.known.borrow_and_update().routes.version != self.saved.routes;
            let until = start + if routes { ROUTES } else { WORKLOADS };
            tokio::select! {
                () = sleep_until(until) => return,
                changed = self.known.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    async fn save(&mut self, file: &Path) {
        let (routes, pods) = {
            let known = self.known.borrow_and_update();
            (Arc::clone(&known.routes), known.pods)
        };
        if (routes.version, pods) == (self.saved.routes, self.saved.pods) {
            return;
        }
        let (path, workloads, before) = (file.to_path_buf(), Arc::clone(&self.workloads), self.saved.digest);
        let version = routes.version;
        let writing = tokio::task::spawn_blocking(move || {
            let content = state_file::encode(&routes.routes, &workloads.all())?;
            let mut digest = DefaultHasher::new();
            content.hash(&mut digest);
            let digest = digest.finish();
            if digest != before {
                state_file::write(&path, &content)?;
            }
            Ok::<_, std::io::Error>(digest)
        });
        match writing.await {
            Ok(Ok(digest)) => {
                self.saved = Saved {
                    routes: version,
                    pods,
                    digest,
                };
            }
            Ok(Err(error)) => tracing::error!(
                file = %file.display(), %error,
                "cannot keep the routes on disk; a restart while the operator is away would serve nothing, or what was \
                 there before"
            ),
            Err(error) => tracing::error!(%error, "keeping the routes on disk failed"),
        }
    }
}
