//! Which channels are looked after, where namespaces are chosen by label: several installations may share a cluster, and
//! each leaves alone what is another's.

use jiff::Timestamp;
use landbridge_destination::channel::ChannelKey;

use super::{Care, Channels};
use crate::cluster::model::SeenNamespace;

impl Channels {
    /// A namespace was seen. Returns the channels that are looked after now and were not, or the reverse.
    ///
    /// Channels of a namespace that loses the label are not offered any more and lose our finalizer; their statuses stay
    /// as they are, for whoever looks after them next.
    pub fn see_namespace(&mut self, seen: SeenNamespace, now: Timestamp) -> Vec<ChannelKey> {
        let changed = self.managed.see(seen);
        if changed.is_empty() {
            return Vec::new();
        }
        let concerned = |key: &&ChannelKey| {
            let namespace = key.namespace.as_ref();
            namespace.is_some_and(|namespace| changed.contains(namespace))
        };
        let concerned: Vec<_> = self.entries.keys().filter(concerned).cloned().collect();
        for key in &concerned {
            self.hand_over(key, now);
        }
        concerned
    }

    /// Whether it depends on labels which channels are looked after.
    pub fn chooses_namespaces(&self) -> bool {
        !self.managed.is_all()
    }

    /// A `ServiceMapping` belongs to no namespace: where it is looked at, it is looked after.
    pub(super) fn is_managed(&self, key: &ChannelKey) -> bool {
        let namespace = key.namespace.as_deref();
        namespace.is_none_or(|namespace| self.managed.contains(namespace))
    }

    fn hand_over(&mut self, key: &ChannelKey, now: Timestamp) {
        let managed = self.is_managed(key);
        let Some(entry) = self.entries.get(key) else {
            return;
        };
        let (old, new) = (entry.ties.clone(), self.ties_of(&entry.resource));
        self.tie(key, &old, &new);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.care = match (managed, entry.resource.has_finalizer()) {
                (true, _) => Care::Ours,
                (false, true) => Care::Released,
                (false, false) => Care::Others,
            };
            entry.ties = new;
            // Another installation may have decided since, or will: what the resource says counts.
            entry.decided = None;
            entry.unheld_since = now;
            self.dirty.insert(key.clone());
        }
    }
}
