//! Keeps the NetworkPolicies what the scopes say.

use std::time::Duration;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::apply::Writer;
use super::observed::Known;
use super::policy::{Proxies, Scopes, policy_shape};
use super::watch::Seen;

/// Changes within this time are written together: a policy covers all destinations of a namespace.
const GATHER: Duration = Duration::from_millis(200);

/// Pause after a failure.
const AGAIN: Duration = Duration::from_secs(5);

/// What is wanted, what is there, and what is being done about it.
pub struct Policies {
    proxies: Proxies,
    wanted: Scopes,
    known: Known<String, u64>,
    due: Option<Instant>,
    /// A running write tells here whether it worked; one at a time.
    results: (mpsc::Sender<bool>, mpsc::Receiver<bool>),
    running: bool,
}

impl Policies {
    /// For these proxies.
    pub fn new(proxies: Proxies) -> Self {
        Self {
            proxies,
            wanted: Scopes::default(),
            known: Known::default(),
            due: None,
            results: mpsc::channel(1),
            running: false,
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
        if self.wanted != *scopes {
            self.wanted.clone_from(scopes);
            self.schedule(now);
        }
    }

    /// When [`tend`](Self::tend) is due.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    fn schedule(&mut self, now: Instant) {
        self.due.get_or_insert(now + GATHER);
    }

    /// Writes what differs, if it is time; not before the policies that are there are known.
    pub fn tend(&mut self, leads: bool, writer: &Writer, now: Instant) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        if let Ok(worked) = self.results.1.try_recv() {
            self.running = false;
            if !worked {
                self.due = Some(now + AGAIN);
            }
        }
        if self.running {
            self.due = Some(now + GATHER);
            return;
        }
        if !leads || !self.known.is_listed() {
            return;
        }
        let wanted = self.wanted.policies(&self.proxies);
        let write: Vec<NetworkPolicy> = wanted
            .values()
            .filter(|policy| self.known.get(&policy.name_any()) != Some(&policy_shape(policy)))
            .cloned()
            .collect();
        let delete: Vec<String> = self
            .known
            .iter()
            .filter(|(name, _)| !wanted.contains_key(*name))
            .map(|(name, _)| name.clone())
            .collect();
        if write.is_empty() && delete.is_empty() {
            return;
        }
        self.running = true;
        // Asked for again until the result is in.
        self.due = Some(now + GATHER);
        let (writer, namespace) = (writer.clone(), self.proxies.namespace.clone());
        let result = self.results.0.clone();
        tokio::spawn(async move {
            let worked = write_all(&writer, &namespace, write, delete).await;
            let _ = result.send(worked).await;
        });
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
