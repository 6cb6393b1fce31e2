//! What follows from a round of decisions.

use futures_util::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use landbridge_crds::Destination;
use landbridge_destination::RouteKey;
use tokio::time::Instant;

use super::{Controller, DEBOUNCE, STAND, SWEEP};
use crate::cluster::apply::Writer;
use crate::cluster::model::{Decided, Orphan, ProxyView as _};

/// Orphans that are deleted at the same time.
const DELETIONS: usize = 8;

impl Controller {
    /// Decides about what is new, tells the proxies, and notes what is to be written.
    pub(super) fn round(&mut self) {
        let clock = Instant::now();
        // The first report and the last one change what is said of every destination.
        let reporting = self.parts.proxies.reporting() > 0;
        let reporting_changed = std::mem::replace(&mut self.reporting, reporting) != reporting;
        if self.parts.proxies.settle(clock) || reporting_changed {
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
        if let Some(policies) = &mut self.parts.policies
            && self.leads
            && self.served
        {
            policies.tend(self.model.scopes(), &self.parts.writer, now);
        }
        if self.leads && now >= self.sweep_at {
            self.sweep_at = now + SWEEP;
            self.sweep();
        }
    }

    /// Deletes what belongs to no destination; only when nothing waits to be written or has failed.
    fn sweep(&mut self) {
        if !self.queue.is_empty() || !self.sweeps.is_empty() {
            return;
        }
        let before = std::mem::take(&mut self.strays);
        let (delete, seen): (Vec<_>, Vec<_>) = self
            .model
            .orphans()
            .into_iter()
            .partition(|orphan| before.contains(&orphan.uid));
        self.strays = seen.into_iter().map(|orphan| orphan.uid).collect();
        if !delete.is_empty() {
            // The watch tells when they are gone.
            self.sweeps.spawn(delete_all(self.parts.writer.clone(), delete));
        }
    }
}

async fn delete_all(writer: Writer, orphans: Vec<Orphan>) {
    let deletions = futures_util::stream::iter(orphans);
    deletions
        .for_each_concurrent(DELETIONS, |orphan| delete(&writer, orphan))
        .await;
}

async fn delete(writer: &Writer, orphan: Orphan) {
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
}
