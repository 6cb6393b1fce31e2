//! The proxies as the controller sees them: what they report, and what the API server says of their pods.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use landbridge_destination::RouteKey;
use landbridge_destination::serve::SILENCE;
use tokio::sync::watch;
use tokio::time::Instant;

use super::children::ProxyEndpoint;
use super::model::ProxyView;
use crate::reach::Reach;
use crate::serve::reports::{Board, Listening, PodId};
use crate::workloads::{Index, ProxyPod};

/// Time that proxies have to report to a new leader: what they need to notice that the old one is gone, and some.
const SETTLE: Duration = SILENCE.saturating_mul(2);

/// Pods of proxies, with what they report.
pub struct Proxies {
    board: Arc<Board>,
    index: Arc<Index>,
    pods: HashMap<PodId, ProxyPod>,
    leading_since: Option<Instant>,
    settled: bool,
}

impl Proxies {
    /// Knows no pod yet.
    pub fn new(board: Arc<Board>, index: Arc<Index>) -> Self {
        Self {
            board,
            index,
            pods: HashMap::new(),
            leading_since: None,
            settled: false,
        }
    }

    /// Takes the pods over as they are now.
    pub fn refresh(&mut self) {
        let pods = self.index.proxies();
        self.pods = pods.into_iter().map(|pod| (pod.id.clone(), pod)).collect();
    }

    /// This replica leads since `now`, or no longer.
    pub fn lead(&mut self, leads: bool, now: Instant) {
        self.leading_since = leads.then_some(now);
        self.settled = false;
    }

    /// Tells when all pods are known.
    pub fn all_listed(&self) -> watch::Receiver<bool> {
        self.index.listed()
    }

    /// Whether all pods are known.
    pub fn listed(&self) -> bool {
        *self.index.listed().borrow()
    }

    /// Looks whether all proxies had the time to report. True once, when that begins to hold.
    pub fn settle(&mut self, now: Instant) -> bool {
        let Some(since) = self.leading_since.filter(|_| !self.settled) else {
            return false;
        };
        let listed = self.listed();
        if listed {
            // Those that were taken over before the list was complete may lack some, and of none all have reported.
            self.refresh();
        }
        let silent = |pod: &ProxyPod| pod.ready && !pod.terminating;
        let all_reported = listed
            && self.board.read(|reports| {
                let reporting: Vec<&PodId> = reports.pods().collect();
                let mut ready = self.pods.values().filter(|pod| silent(pod));
                ready.all(|pod| reporting.contains(&&pod.id))
            });
        self.settled = all_reported || now.duration_since(since) >= SETTLE;
        self.settled
    }

    /// When [`settle`](Self::settle) has to be asked again at the latest.
    pub fn settle_at(&self) -> Option<Instant> {
        self.leading_since
            .filter(|_| !self.settled)
            .map(|since| since + SETTLE)
    }
}

fn ending(pod: &ProxyPod, serving: &Listening<'_>) -> bool {
    serving.draining || pod.terminating
}

fn endpoints_of(pod: &ProxyPod, ending: bool) -> impl Iterator<Item = ProxyEndpoint> {
    pod.addresses.iter().map(move |address| ProxyEndpoint {
        address: *address,
        ready: pod.ready && !ending,
        terminating: ending,
        node: pod.node.clone(),
        namespace: pod.id.namespace.to_string(),
        pod: pod.id.name.to_string(),
        uid: pod.id.uid.to_string(),
    })
}

impl ProxyView for Proxies {
    fn endpoints(&self, key: &RouteKey, port: u16, reach: &Reach) -> Vec<ProxyEndpoint> {
        self.board.read(|reports| {
            let serving = || {
                let serving = reports.listening(key).filter(|serving| serving.port == port);
                serving.filter_map(|serving| Some((self.pods.get(serving.pod)?, serving)))
            };
            // One that cannot be called is no reason to leave out those that can.
            let usable = serving().filter(|(pod, serving)| pod.ready && !ending(pod, serving));
            let best = usable.map(|(_, serving)| reach.suits(serving.locations)).max();
            serving()
                .filter(|(_, serving)| best.is_none_or(|best| reach.suits(serving.locations) >= best))
                .flat_map(|(pod, serving)| endpoints_of(pod, ending(pod, &serving)))
                .collect()
        })
    }

    fn failure(&self, key: &RouteKey) -> Option<String> {
        self.board.read(|reports| {
            let (pod, why) = reports.failures(key).next()?;
            Some(format!("the proxy {} says: {why}", pod.name))
        })
    }

    fn reporting(&self) -> usize {
        self.board.read(|reports| reports.pods().count())
    }

    fn settled(&self) -> bool {
        self.settled
    }
}

#[cfg(test)]
mod tests;
