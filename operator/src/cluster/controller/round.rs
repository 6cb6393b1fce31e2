//! What follows from a round of decisions.

use std::collections::HashSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use landbridge_crds::Destination;
use landbridge_destination::RouteKey;
use tokio::time::Instant;

use super::{Controller, DEBOUNCE, STAND, SWEEP};
use crate::cluster::model::{Decided, ProxyView as _};

impl Controller {
    /// Decides about what is new, tells the proxies, and notes what is to be written.
    pub(super) fn round(&mut self) {
        let clock = Instant::now();
        if self.parts.proxies.settle(clock) {
            self.model.mark_all();
        }
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let decided = self.model.decide(&self.parts.proxies, clock, &now);
        self.publish(&decided);
        for key in &decided.gone {
            self.queue.remove(key);
        }
        for key in &decided.renewed {
            self.queue.forgive(key);
        }
        for (key, at) in decided.write {
            self.queue.add(&key, at.max(clock + DEBOUNCE));
        }
        for (key, events) in decided.events {
            for event in events {
                self.parts.recorder.tell(self.reference(&key), event);
            }
        }
        if let Some(policies) = &mut self.parts.policies {
            policies.want(self.model.scopes(), clock);
        }
    }

    fn publish(&mut self, decided: &Decided) {
        if !decided.routes.is_empty() || !decided.removed.is_empty() {
            let hub = &self.parts.hub;
            hub.set_routes(decided.routes.clone(), decided.removed.clone());
        }
        // Only now may proxies be told: a list with holes would make them close what they serve, or refuse callers they
        // do not know yet.
        if !self.served && self.model.is_complete() && self.parts.proxies.listed() {
            self.served = true;
            self.parts.hub.complete();
        }
    }

    fn reference(&self, key: &RouteKey) -> ObjectReference {
        ObjectReference {
            api_version: Some(Destination::api_version(&()).into_owned()),
            kind: Some(Destination::kind(&()).into_owned()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: self.model.uid(key).map(ToOwned::to_owned),
            ..ObjectReference::default()
        }
    }

    /// What comes with time: figures, NetworkPolicies, orphans.
    pub(super) fn tend(&mut self) {
        let now = Instant::now();
        if now >= self.stand_at {
            self.stand_at = now + STAND;
            let (queue, counts) = (self.queue.len(), self.model.counts());
            let reporting = self.parts.proxies.reporting();
            self.parts.metrics.stand(queue, self.leads, reporting, counts);
        }
        if let Some(policies) = &mut self.parts.policies {
            policies.tend(self.leads && self.served, &self.parts.writer, now);
        }
        if self.leads && now >= self.sweep_at {
            self.sweep_at = now + SWEEP;
            self.sweep();
        }
    }

    /// Deletes what belongs to no destination; only when nothing waits to be written or has failed.
    fn sweep(&mut self) {
        if !self.queue.is_empty() {
            return;
        }
        let orphans = self.model.orphans();
        let before = std::mem::take(&mut self.strays);
        let mut seen = HashSet::new();
        for orphan in orphans {
            if !before.contains(&orphan.uid) {
                seen.insert(orphan.uid);
                continue;
            }
            let writer = self.parts.writer.clone();
            // Bounded by the deadline of the call; the watch tells when it is gone.
            tokio::spawn(async move {
                let (namespace, name) = (&orphan.namespace, &orphan.name);
                match writer.delete(&orphan).await {
                    Ok(()) => tracing::info!(namespace, name, "deleted what belongs to no destination"),
                    Err(error) => {
                        tracing::warn!(
                            namespace,
                            name,
                            "what belongs to no destination cannot be deleted: {error}"
                        );
                    }
                }
            });
        }
        self.strays = seen;
    }
}
