//! Keeps the state file in step with what is known, without writing at every change.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use landbridge_destination::route::RouteSnapshot;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::channel_table::ChannelList;
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
    channels: ChannelList,
    /// Grows when channels change.
    channel_version: u64,
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

    /// There are other service channels.
    pub(super) fn channels(&self, channels: &ChannelList) {
        self.0.send_modify(|known| {
            known.channels = Arc::clone(channels);
            known.channel_version += 1;
        });
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
    channels: u64,
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
            let soon = {
                let known = self.known.borrow_and_update();
                known.routes.version != self.saved.routes || known.channel_version != self.saved.channels
            };
            let until = start + if soon { ROUTES } else { WORKLOADS };
            tokio::select! {
                () = sleep_until(until) => return,
                changed = self.known.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    async fn save(&mut self, file: &Path) {
        let (routes, list, channels, pods) = {
            let known = self.known.borrow_and_update();
            let (routes, list) = (Arc::clone(&known.routes), Arc::clone(&known.channels));
            (routes, list, known.channel_version, known.pods)
        };
        if (routes.version, channels, pods) == (self.saved.routes, self.saved.channels, self.saved.pods) {
            return;
        }
        let (path, workloads, before) = (file.to_path_buf(), Arc::clone(&self.workloads), self.saved.digest);
        let version = routes.version;
        let writing = tokio::task::spawn_blocking(move || {
            let content = state_file::encode(&routes.routes, &workloads.all(), &list)?;
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
                    channels,
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
