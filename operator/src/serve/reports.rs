//! What proxies say of themselves: which routes each serves, who holds which service channel.
//!
//! Held by the leading replica only. A proxy whose report is older than [`SILENCE`] counts as gone, and so does one
//! whose pod is gone.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use landbridge_destination::channel::ChannelKey;
use landbridge_destination::serve::{Report, ReportAnswer, SILENCE};
use landbridge_destination::{RouteKey, RouteState};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

mod keys;
mod pod;

use crate::reach::Locations;
use keys::Keys;
use pod::{Held, PodReport};

/// Pods that may report. Beyond the default of 50 proxies by far; keeps a fault from filling the memory.
pub const MAX_PODS: usize = 1024;

/// Most routes of one proxy: it has no more ports.
pub const MAX_ROUTES: usize = 65_535;

/// Most service channels of one proxy.
pub const MAX_CHANNELS: usize = 20_000;

/// Most connectors that hold one channel at one proxy.
pub const MAX_LOCATIONS: usize = 256;

/// A pod, told apart from an earlier one of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodId {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

impl fmt::Display for PodId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// A proxy that serves a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening<'a> {
    /// Its pod.
    pub pod: &'a PodId,
    /// Where.
    pub port: u16,
    /// Whether it is about to end.
    pub draining: bool,
    /// Connectors it has.
    pub locations: &'a Locations,
}

/// What became of a report.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// What to answer.
    pub answer: ReportAnswer,
    /// What is different because of it.
    pub changed: Changed,
}

/// Keys whose state at some proxy is another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Routes.
    pub routes: HashSet<RouteKey>,
    /// Service channels.
    pub channels: HashSet<ChannelKey>,
    /// Which connectors are where.
    pub locations: bool,
}

impl Changed {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.channels.is_empty() && !self.locations
    }

    fn add(&mut self, other: Self) {
        self.routes.extend(other.routes);
        self.channels.extend(other.channels);
        self.locations |= other.locations;
    }
}

/// A report that is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// More of something than there can be.
    #[error(
        "the report names {count} {what}, at most {max} are taken; split the destinations over more proxies"
    )]
    TooMany {
        /// Routes, channels, ...
        what: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// Too many proxies.
    #[error("{MAX_PODS} proxies report already; run fewer replicas")]
    TooManyPods,
    /// Nothing can connect to port 0.
    #[error("route {0} is reported as listening on port 0; report the port that was opened")]
    PortZero(RouteKey),
}

/// All reports. Pure: the caller says what time it is.
///
/// 10 000 routes at 4 proxies take about 2 MB: each route's name once, and two bytes for its port at each proxy.
#[derive(Debug, Default)]
pub struct Reports {
    keys: Keys,
    pods: BTreeMap<PodId, PodReport>,
}

impl Reports {
    /// Takes a report. A whole one replaces what is known of the pod; a delta counts only right after the report with
    /// the number before, of the same process.
    ///
    /// # Errors
    /// The report is refused, and what is known stays.
    pub fn take(&mut self, pod: &PodId, report: Report, now: Instant) -> Result<Taken, ReportError> {
        check(&report)?;
        let known = self.pods.get(pod);
        let continues = known.is_some_and(|known| known.continues(&report));
        let fits = if report.whole {
            // A late copy of an old report must not undo a newer one. The same number again is a repetition.
            known.is_none_or(|known| known.may_replace(&report))
        } else {
            continues
        };
        if !fits {
            return Ok(Taken {
                answer: ReportAnswer::SendWhole,
                changed: Changed::default(),
            });
        }
        if known.is_none() && self.pods.len() >= MAX_PODS {
            return Err(ReportError::TooManyPods);
        }
        let mut changed = self.drop_namesakes(pod);
        let entry = self
            .pods
            .entry(pod.clone())
            .or_insert_with(|| PodReport::new(now));
        changed.add(entry.apply(report, now, &mut self.keys));
        Ok(Taken {
            answer: ReportAnswer::Taken,
            changed,
        })
    }

    /// Forgets pods that have been silent too long.
    pub fn expire(&mut self, now: Instant) -> Changed {
        self.remove(|_, report| report.silent_since(now) > SILENCE)
    }

    /// Forgets a pod that is no more.
    pub fn pod_gone(&mut self, gone: &PodId) -> Changed {
        self.remove(|pod, _| pod == gone)
    }

    /// Forgets everything: another replica leads.
    pub fn clear(&mut self) -> Changed {
        self.remove(|_, _| true)
    }

    /// Where a route is served, in the order of the pods' names.
    pub fn listening(&self, key: &RouteKey) -> impl Iterator<Item = Listening<'_>> + use<'_> {
        let id = self.keys.id(key);
        self.pods
            .iter()
            .filter_map(move |(pod, report)| match report.route(id?) {
                Held::Port(port) => Some(Listening {
                    pod,
                    port,
                    draining: report.is_draining(),
                    locations: report.locations(),
                }),
                _ => None,
            })
    }

    /// Where a route cannot be served, and why.
    pub fn failures(&self, key: &RouteKey) -> impl Iterator<Item = (&PodId, &str)> + use<'_> {
        let id = self.keys.id(key);
        self.pods
            .iter()
            .filter_map(move |(pod, report)| match report.route(id?) {
                Held::Failed(why) => Some((pod, why)),
                _ => None,
            })
    }

    /// Where a channel is offered, and the connectors of which location ids hold it there.
    pub fn holders(&self, key: &ChannelKey) -> impl Iterator<Item = (&PodId, &[String])> {
        self.pods
            .iter()
            .filter_map(move |(pod, report)| Some((pod, report.channel(key)?)))
    }

    /// The pods that report.
    pub fn pods(&self) -> impl Iterator<Item = &PodId> {
        self.pods.keys()
    }

    /// A pod of the same name and another uid is a former one.
    fn drop_namesakes(&mut self, pod: &PodId) -> Changed {
        self.remove(|other, _| {
            other.uid != pod.uid && other.name == pod.name && other.namespace == pod.namespace
        })
    }

    fn remove(&mut self, which: impl Fn(&PodId, &PodReport) -> bool) -> Changed {
        let mut changed = Changed::default();
        let keys = &mut self.keys;
        self.pods.retain(|pod, report| {
            let goes = which(pod, report);
            if goes {
                changed.add(report.leave(keys));
            }
            !goes
        });
        changed
    }
}

fn check(report: &Report) -> Result<(), ReportError> {
    let locations = report.channels.iter().map(|channel| channel.locations.len());
    for (what, count, max) in [
        ("routes", report.routes.len(), MAX_ROUTES),
        ("removed routes", report.removed_routes.len(), MAX_ROUTES),
        ("service channels", report.channels.len(), MAX_CHANNELS),
        (
            "removed service channels",
            report.removed_channels.len(),
            MAX_CHANNELS,
        ),
        (
            "locations of a channel",
            locations.max().unwrap_or_default(),
            MAX_LOCATIONS,
        ),
        (
            "locations",
            report.locations.as_ref().map_or(0, Vec::len),
            MAX_LOCATIONS,
        ),
    ] {
        if count > max {
            return Err(ReportError::TooMany { what, count, max });
        }
    }
    let zero = |state: &RouteState| matches!(state, RouteState::Listening(address) if address.port() == 0);
    match report.routes.iter().find(|route| zero(&route.state)) {
        Some(route) => Err(ReportError::PortZero(route.key.clone())),
        None => Ok(()),
    }
}

/// The reports as everybody shares them, and which keys somebody has to look at again.
#[derive(Debug, Default)]
pub struct Board {
    reports: Mutex<Reports>,
    /// One entry per key however often it changes, so it is never larger than the table.
    pending: Mutex<Changed>,
    tick: watch::Sender<u64>,
}

impl Board {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// See [`Reports::take`].
    ///
    /// # Errors
    /// See [`Reports::take`].
    pub fn take(&self, pod: &PodId, report: Report, now: Instant) -> Result<ReportAnswer, ReportError> {
        let taken = self.reports.lock().take(pod, report, now)?;
        self.note(taken.changed);
        Ok(taken.answer)
    }

    /// See [`Reports::expire`]. Call it about once a second.
    pub fn expire(&self, now: Instant) {
        let changed = self.reports.lock().expire(now);
        self.note(changed);
    }

    /// See [`Reports::pod_gone`].
    pub fn pod_gone(&self, pod: &PodId) {
        let changed = self.reports.lock().pod_gone(pod);
        self.note(changed);
    }

    /// See [`Reports::clear`].
    pub fn clear(&self) {
        let changed = self.reports.lock().clear();
        self.note(changed);
    }

    /// Looks at the reports. Nothing can be reported meanwhile, so be short.
    pub fn read<T>(&self, look: impl FnOnce(&Reports) -> T) -> T {
        look(&self.reports.lock())
    }

    /// Moves whenever [`Board::changed`] has something.
    pub fn ticks(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }

    /// What changed since the call before.
    pub fn changed(&self) -> Changed {
        std::mem::take(&mut self.pending.lock())
    }

    fn note(&self, changed: Changed) {
        if changed.is_empty() {
            return;
        }
        self.pending.lock().add(changed);
        self.tick.send_modify(|tick| *tick = tick.wrapping_add(1));
    }
}

/// For [`PodReport::channel`]: which channels a pod holds.
type Channels = HashMap<ChannelKey, Vec<String>>;

#[cfg(test)]
mod tests;
