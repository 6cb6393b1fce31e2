//! The loop around the files: publishes the authority, then shows the certificate.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use kube::Client;
use landbridge_runtime::readiness::ReadyToken;
use landbridge_runtime::shutdown::Shutdown;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Mounted, MountedConfig, Unusable, moment, read_folder};
use crate::certificates::bundle::{BundleMap, Published, with_former};
use crate::certificates::keeper::KeeperError;
use crate::certificates::renewal::Life;
use crate::certificates::{Certificates, Outlets};
use crate::serve::Leadership;

/// Pause between two looks at the files: mounted Secrets change without any notice that works on every file system.
const LOOK: Duration = Duration::from_secs(5);

/// Seconds between two looks at the ConfigMap while nothing changes.
const LOOK_AT_MAP: i64 = 300;

/// Seconds that a new authority is published before a certificate of it is shown. Kubelets bring a changed ConfigMap to
/// pods within two minutes.
pub(super) const SWITCH: i64 = 150;

/// Why a look did not end well. What is shown stays shown.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The files.
    #[error("the server certificate in {folder} cannot be used: {source}")]
    Unusable {
        /// Where they are.
        folder: String,
        /// What is wrong.
        source: Unusable,
    },
    /// The ConfigMap.
    #[error(transparent)]
    Map(#[from] KeeperError),
}

/// What is shown now.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) leaf: Arc<CertifiedKey>,
    pub(super) life: Life,
    /// The authorities that proxies had to know for it.
    pub(super) bundle: String,
}

/// Since when the authorities of a certificate that is not shown yet are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) authorities: Vec<String>,
    pub(super) since: i64,
}

/// Whether `next` is shown now, and if not, what it waits for.
pub(super) fn switches(
    shown: Option<&Shown>,
    waiting: Option<Waiting>,
    next: &Mounted,
    names: &[String],
    published: &str,
    now: i64,
) -> Result<(), Option<Waiting>> {
    let Some(shown) = shown else { return Ok(()) };
    if shown.life.is_over(now) || next.is_taken_with(&shown.bundle, names, now) {
        return Ok(());
    }
    if !next.is_taken_with(published, names, now) {
        return Err(None);
    }
    let since = waiting
        .filter(|waiting| waiting.authorities == next.authorities)
        .map_or(now, |waiting| waiting.since);
    if now.saturating_sub(since) >= SWITCH {
        return Ok(());
    }
    Err(Some(Waiting {
        authorities: next.authorities.clone(),
        since,
    }))
}

/// Looks after the files until the process ends.
#[derive(Debug)]
pub struct Follower {
    config: MountedConfig,
    map: BundleMap,
    leadership: watch::Receiver<Leadership>,
    outlets: Outlets,
    ready: Option<ReadyToken>,
    shown: Option<Shown>,
    waiting: Option<Waiting>,
    looked_at_map: i64,
}

/// A follower, and what the rest of the operator uses of it. `ready` is reached with the first certificate.
pub fn follower(
    client: Client,
    config: MountedConfig,
    leadership: watch::Receiver<Leadership>,
    ready: ReadyToken,
) -> (Follower, Certificates) {
    let outlets = Outlets::default();
    let certificates = outlets.certificates();
    let follower = Follower {
        map: BundleMap::new(client, &config.namespace),
        config,
        leadership,
        outlets,
        ready: Some(ready),
        shown: None,
        waiting: None,
        looked_at_map: i64::MIN,
    };
    (follower, certificates)
}

impl Follower {
    /// Looks every five seconds, and at once when this replica begins to lead. Ends when `shutdown` begins.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let result = tokio::select! {
                result = self.look(Timestamp::now().as_second()) => result,
                () = shutdown.started() => return,
            };
            self.outlets
                .tell(result.unwrap_or_else(|error| Some(error.to_string())));
            tokio::select! {
                () = sleep(LOOK) => {}
                changed = self.leadership.changed() => {
                    if changed.is_err() { return }
                    self.looked_at_map = i64::MIN;
                }
                () = shutdown.started() => return,
            }
        }
    }

    /// One look, at the time `now` in seconds since 1970. Returns what will go wrong unless somebody does something.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn look(&mut self, now: i64) -> Result<Option<String>, FollowError> {
        let next = self.read(now).await?;
        let shown = self.shown.as_ref();
        let is_new = shown.is_none_or(|shown| shown.leaf.cert != next.certified.cert);
        if is_new || now.saturating_sub(self.looked_at_map) >= LOOK_AT_MAP {
            let published = self.publish(&next, now).await?;
            self.looked_at_map = now;
            if is_new {
                self.show(next.clone(), &published.bundle, now);
            }
        }
        Ok(next.ends_soon(now).then(|| {
            format!(
                "the certificate in {} ends at {} and was not renewed: see `kubectl describe certificate -n {}`",
                self.config.folder.display(),
                moment(next.life.until),
                self.config.namespace
            )
        }))
    }

    async fn read(&self, now: i64) -> Result<Mounted, FollowError> {
        let folder = self.config.folder.clone();
        let unusable = |source| FollowError::Unusable {
            folder: self.config.folder.display().to_string(),
            source,
        };
        let files = tokio::task::spawn_blocking(move || read_folder(&folder)).await;
        // The runtime ends.
        let files = files.unwrap_or_else(|error| Err(Unusable::Untrusted(error.to_string())));
        Mounted::read(&files.map_err(unusable)?, &self.config.names, now).map_err(unusable)
    }

    /// Lets proxies and the API server know whom to trust. Only the leader writes. Returns what they can know.
    async fn publish(&self, next: &Mounted, now: i64) -> Result<Published, KeeperError> {
        let known = self.map.read().await?;
        let wanted = with_former(&next.authorities, &known, now);
        let bundle = Bytes::from(wanted.bundle.clone());
        self.outlets
            .bundle
            .send_if_modified(|before| std::mem::replace(before, bundle.clone()) != bundle);
        if *self.leadership.borrow() != Leadership::Leading || wanted == known {
            return Ok(known);
        }
        self.map.write(&wanted).await?;
        tracing::info!(
            authorities = next.authorities.len(),
            former_until = wanted.former_until,
            "published whom to trust"
        );
        Ok(wanted)
    }

    fn show(&mut self, next: Mounted, published: &str, now: i64) {
        let names = &self.config.names;
        let waiting = self.waiting.take();
        if let Err(still) = switches(self.shown.as_ref(), waiting, &next, names, published, now) {
            self.waiting = still;
            return;
        }
        tracing::info!(until = %moment(next.life.until), "server certificate taken from files");
        self.outlets.current.replace(Arc::clone(&next.certified));
        self.outlets.health.send_modify(|health| {
            health.leaf_until = Some(next.life.until);
            health.authority_until = Some(next.authority_until);
        });
        self.shown = Some(Shown {
            leaf: next.certified,
            life: next.life,
            bundle: next.authorities.concat(),
        });
        if let Some(ready) = self.ready.take() {
            ready.ready();
        }
    }
}
