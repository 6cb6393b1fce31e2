//! Who holds which channel, on its way from the reports of the proxies to the table.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use landbridge_destination::channel::ChannelKey;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Channels that wait to be looked at; only the latest of each is kept.
const MAX_WAITING: usize = 50_000;

/// Hands over the latest of each channel. Clones share what waits.
#[derive(Debug, Clone, Default)]
pub struct HeldInbox {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<HashMap<ChannelKey, Option<BTreeSet<String>>>>,
    changed: Notify,
}

impl HeldInbox {
    /// Locations whose connectors hold a channel, over all proxies; none when no proxy reports it at all.
    pub fn set(&self, key: ChannelKey, locations: Option<BTreeSet<String>>) {
        let mut waiting = self.inner.waiting.lock();
        // Proxies report what they were told of; this many are told of by nobody.
        if waiting.len() < MAX_WAITING || waiting.contains_key(&key) {
            waiting.insert(key, locations);
        }
        drop(waiting);
        self.inner.changed.notify_one();
    }

    pub(super) async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    pub(super) fn take(&self) -> HashMap<ChannelKey, Option<BTreeSet<String>>> {
        std::mem::take(&mut *self.inner.waiting.lock())
    }
}
