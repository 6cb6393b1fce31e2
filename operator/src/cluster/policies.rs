//! Keeps the NetworkPolicies what the scopes say.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::apply::Writer;
use super::observed::Known;
use super::policy::{Proxies, Scopes, policy_shape};
use super::watch::Seen;

/// Changes within this time are written together: a policy covers all destinations of a namespace.
const GATHER: Duration = Duration::from_millis(200);

/// Pause after a failure.
const AGAIN: Duration = Duration::from_secs(5);

/// What is there, and what is being done about it.
pub struct Policies {
    proxies: Proxies,
    /// The scopes that were looked at last.
    version: u64,
    known: Known<String, u64>,
    due: Option<Instant>,
    /// Not before, after a failure.
    not_before: Option<Instant>,
    /// Says whether it worked; one at a time.
    writes: JoinSet<bool>,
    /// What was written last, and when.
    last: BTreeMap<String, (Option<u64>, Instant)>,
}

impl Policies {
    /// For these proxies.
    pub fn new(proxies: Proxies) -> Self {
        Self {
            proxies,
            version: 0,
            known: Known::default(),
            due: None,
            not_before: None,
            writes: JoinSet::new(),
            last: BTreeMap::new(),
        }
    }

    /// A policy of ours was seen.
    pub fn see(&mut self, seen: Seen<NetworkPolicy>) {
        let changed = match seen {
            Seen::Restarted => {
                self.known.restart();
                false
            }
            Seen::Present(policy) => self.known.put(policy.name_any(), policy_shape(&policy)),
            Seen::Unreadable(_) => false,
            Seen::Gone { name, .. } => self.known.remove(&name).is_some(),
            Seen::Listed => {
                self.known.complete();
                true
            }
        };
        if changed {
            self.schedule(Instant::now());
        }
    }

    /// These are the scopes now.
    pub fn want(&mut self, scopes: &Scopes, now: Instant) {
        if std::mem::replace(&mut self.version, scopes.version()) != scopes.version() {
            self.schedule(now);
        }
    }

    /// This replica leads now, or no longer: then it writes nothing any more.
    pub fn lead(&mut self, now: Instant) {
        self.writes = JoinSet::new();
        self.last.clear();
        self.not_before = None;
        self.schedule(now);
    }

    /// When [`tend`](Self::tend) is due, if this replica leads; not before the policies that are there are known.
    pub fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.known.is_listed())
    }

    fn schedule(&mut self, now: Instant) {
        self.due_at(now + GATHER);
    }

    /// The earlier time counts.
    fn due_at(&mut self, at: Instant) {
        let at = self.not_before.map_or(at, |not_before| at.max(not_before));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Writes what differs, if it is time. Only for the replica that leads.
    pub fn tend(&mut self, scopes: &Scopes, writer: &Writer, now: Instant) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        match self.writes.try_join_next() {
            Some(Ok(true)) => {}
            Some(_) => {
                self.last.clear();
                self.not_before = Some(now + AGAIN);
                self.schedule(now);
                return;
            }
            None if !self.writes.is_empty() => {
                self.due = Some(now + GATHER);
                return;
            }
            None => {}
        }
        let (write, delete) = self.differences(scopes, now);
        if write.is_empty() && delete.is_empty() {
            return;
        }
        // Asked for again until the result is in.
        self.due = Some(now + GATHER);
        let (writer, namespace) = (writer.clone(), self.proxies.namespace.clone());
        self.writes
            .spawn(async move { write_all(&writer, &namespace, write, delete).await });
    }

    /// Policies to write, and names of those to delete. What was written a moment ago and is different all the same is
    /// changed by somebody else, or the watch has not told it yet; either way it is not written again at once.
    fn differences(&mut self, scopes: &Scopes, now: Instant) -> (Vec<NetworkPolicy>, Vec<String>) {
        let wanted = scopes.policies(&self.proxies);
        let written = wanted
            .iter()
            .map(|(name, policy)| (name, Some(policy_shape(policy))));
        let extra = self.known.iter().map(|(name, _)| name);
        let extra = extra
            .filter(|name| !wanted.contains_key(*name))
            .map(|name| (name, None));
        let (mut write, mut delete, mut again) = (Vec::new(), Vec::new(), None);
        self.last.retain(|_, (_, at)| now < *at + AGAIN);
        for (name, shape) in written.chain(extra) {
            if self.known.get(name).copied() == shape {
                continue;
            }
            if let Some((_, at)) = self.last.get(name).filter(|(last, _)| *last == shape) {
                let at = *at + AGAIN;
                again = Some(again.map_or(at, |again: Instant| again.min(at)));
                continue;
            }
            self.last.insert(name.clone(), (shape, now));
            match wanted.get(name) {
                Some(policy) => write.push(policy.clone()),
                None => delete.push(name.clone()),
            }
        }
        if let Some(again) = again {
            self.due_at(again);
        }
        (write, delete)
    }
}

/// First what lets callers in, then what keeps them out.
async fn write_all(writer: &Writer, namespace: &str, write: Vec<NetworkPolicy>, delete: Vec<String>) -> bool {
    for policy in write {
        if let Err(error) = writer.policy(namespace, &policy).await {
            tracing::warn!(
                policy = policy.name_any(),
                "cannot write the NetworkPolicy, trying again: {error}"
            );
            return false;
        }
    }
    for name in delete {
        if let Err(error) = writer.delete_policy(namespace, &name).await {
            tracing::warn!(
                policy = name,
                "cannot delete the NetworkPolicy, trying again: {error}"
            );
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
