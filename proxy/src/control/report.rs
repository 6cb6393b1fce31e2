//! Telling the leading operator what is served: everything first, then what changes, and that it is still so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use landbridge_destination::serve::{HEARTBEAT, REPORT_PATH, Report, ReportAnswer, RouteReport};
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tunnel::Registry;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::backoff::delay;
use super::error::ControlError;
use super::link::{Link, Place, refused};
use super::metrics::ControlMetrics;
use crate::gateway::RouteStates;

/// How long the last report, that this proxy is about to end, may take.
const LAST: Duration = Duration::from_secs(1);

/// Most location ids that are told; the operator takes no more.
const MAX_LOCATIONS: usize = 256;

/// Replicas asked in a row for the leader.
const HOPS: usize = 4;

/// Pause when no replica leads.
const NO_LEADER: Duration = Duration::from_secs(1);

/// Works out reports. Pure.
#[derive(Debug)]
struct Reports {
    process: u64,
    sequence: u64,
    /// What the leader has taken; `None`: it has to hear everything.
    taken: Option<RouteStates>,
}

impl Reports {
    fn new(process: u64) -> Self {
        Self {
            process,
            sequence: 0,
            taken: None,
        }
    }

    /// The next report: what differs from what was taken, or everything.
    fn next(&mut self, states: &RouteStates, locations: Option<Vec<String>>, draining: bool) -> Report {
        self.sequence += 1;
        let known = self.taken.as_deref();
        let changed = states
            .iter()
            .filter(|(key, state)| known.is_none_or(|known| known.get(*key) != Some(*state)));
        let routes = changed
            .map(|(key, state)| RouteReport {
                key: key.clone(),
                state: state.clone(),
            })
            .collect();
        let gone = known.into_iter().flat_map(|known| known.keys());
        let removed_routes = gone.filter(|key| !states.contains_key(*key)).cloned().collect();
        Report {
            process: self.process,
            sequence: self.sequence,
            whole: known.is_none(),
            routes,
            removed_routes,
            channels: Vec::new(),
            removed_channels: Vec::new(),
            locations,
            draining,
        }
    }

    /// The leader has taken it.
    fn taken(&mut self, states: &RouteStates) {
        self.taken = Some(Arc::clone(states));
    }

    /// What the leader knows is not known: it may be another one, or an answer was lost.
    fn unknown(&mut self) {
        self.taken = None;
    }
}

/// The connectors that are connected here.
struct Connectors {
    tunnels: Option<Registry>,
    changed: Option<watch::Receiver<u64>>,
}

impl Connectors {
    fn new(tunnels: Option<Registry>) -> Self {
        Self {
            changed: tunnels.as_ref().map(Registry::changed),
            tunnels,
        }
    }

    /// Their location ids; none where no connectors are taken.
    fn locations(&mut self) -> Option<Vec<String>> {
        if let Some(changed) = &mut self.changed {
            changed.mark_unchanged();
        }
        let tunnels = self.tunnels.as_ref()?;
        let mut locations = tunnels.locations();
        locations.truncate(MAX_LOCATIONS);
        Some(locations)
    }

    /// Ends when one has come or gone.
    async fn changed(&mut self) {
        if let Some(changed) = &mut self.changed
            && changed.changed().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

/// What became of one report.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Taken,
    SendWhole,
    NotLeader(Option<SocketAddr>),
}

/// Sends reports.
pub(super) struct Reporting {
    place: Place,
    states: watch::Receiver<RouteStates>,
    connectors: Connectors,
    /// The leader, as the stream says.
    leader: watch::Receiver<Option<SocketAddr>>,
    /// The leader, as a replica said that is none.
    redirected: Option<SocketAddr>,
    /// A leader that could not be reached: any replica is asked for the leader next, it may be another one by now.
    avoided: Option<SocketAddr>,
    link: Option<Link>,
    reports: Reports,
    metrics: ControlMetrics,
}

impl Reporting {
    pub(super) fn new(
        place: Place,
        states: watch::Receiver<RouteStates>,
        tunnels: Option<Registry>,
        leader: watch::Receiver<Option<SocketAddr>>,
        metrics: ControlMetrics,
    ) -> Self {
        Self {
            place,
            states,
            connectors: Connectors::new(tunnels),
            leader,
            redirected: None,
            avoided: None,
            link: None,
            reports: Reports::new(fastrand::u64(..)),
            metrics,
        }
    }

    /// Reports until `shutdown` begins, then that this proxy ends.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        tokio::select! {
            () = self.keep_reporting() => {}
            () = shutdown.started() => {}
        }
        // A report may have been cut off in the middle: whether it was taken is not known.
        self.reports.unknown();
        match timeout(LAST, self.report(true)).await {
            Ok(Ok(_)) => tracing::info!("the operator knows that this proxy ends"),
            Ok(Err(error)) => tracing::warn!(%error, "the operator does not know that this proxy ends"),
            Err(_) => tracing::warn!("the operator did not hear in time that this proxy ends"),
        }
    }

    async fn keep_reporting(&mut self) {
        let mut failures = 0;
        loop {
            let pause = match self.report(false).await {
                Ok(true) => {
                    failures = 0;
                    HEARTBEAT
                }
                Ok(false) => NO_LEADER,
                Err(error) => {
                    failures += 1;
                    self.metrics.reports_failed.inc();
                    // If it was avoided already, it gets another chance.
                    self.avoided = match self.avoided {
                        None => self.redirected.or(*self.leader.borrow()),
                        Some(_) => None,
                    };
                    self.forget();
                    if failures % 10 == 1 {
                        tracing::warn!(%error, failures, "the operator does not hear what is served here");
                    }
                    delay(failures, fastrand::f64())
                }
            };
            let urgent = failures == 0;
            tokio::select! {
                () = sleep(pause) => {}
                // Whoever sets them lives as long as the proxy; a closed channel must not become a busy loop.
                changed = self.states.changed(), if urgent => if changed.is_err() {
                    sleep(pause).await;
                },
                () = self.connectors.changed(), if urgent => {}
                changed = self.leader.changed() => match changed {
                    Ok(()) => self.forget(),
                    Err(_) => sleep(pause).await,
                },
            }
        }
    }

    /// The next report goes to whoever leads then, and says everything.
    fn forget(&mut self) {
        self.redirected = None;
        self.link = None;
        self.reports.unknown();
    }

    /// One report, sent on until the leader has it. Whether there is a leader that has it.
    async fn report(&mut self, draining: bool) -> Result<bool, ControlError> {
        for _ in 0..HOPS {
            let states = Arc::clone(&self.states.borrow_and_update());
            let report = self.reports.next(&states, self.connectors.locations(), draining);
            match self.send(&report).await? {
                Told::Taken => {
                    self.avoided = None;
                    self.reports.taken(&states);
                    return Ok(true);
                }
                Told::SendWhole => self.reports.unknown(),
                Told::NotLeader(leader) => {
                    self.forget();
                    self.avoided = None;
                    self.redirected = leader;
                    if leader.is_none() {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(false)
    }

    async fn send(&mut self, report: &Report) -> Result<Told, ControlError> {
        let json = serde_json::to_vec(report).map_err(|error| ControlError::Exchange(error.to_string()))?;
        if self.link.is_none() {
            let leader = self.redirected.or(*self.leader.borrow_and_update());
            let leader = leader.filter(|leader| self.avoided != Some(*leader));
            self.link = Some(self.place.connect(leader).await?);
        }
        let Some(link) = &mut self.link else {
            return Err(ControlError::Ended);
        };
        let (status, text) = link.post(REPORT_PATH, json.into()).await?;
        understand(status, &text)
    }
}

fn understand(status: StatusCode, text: &[u8]) -> Result<Told, ControlError> {
    match status {
        StatusCode::OK => Ok(Told::Taken),
        StatusCode::CONFLICT => Ok(Told::SendWhole),
        StatusCode::MISDIRECTED_REQUEST => match serde_json::from_slice(text) {
            Ok(ReportAnswer::NotLeader { leader }) => Ok(Told::NotLeader(leader)),
            _ => Ok(Told::NotLeader(None)),
        },
        status => Err(refused(status, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use landbridge_destination::route::{RouteKey, RouteState};

    fn states(routes: &[(&str, u16)]) -> RouteStates {
        let listening = |port: u16| RouteState::Listening(SocketAddr::from(([0, 0, 0, 0], port)));
        let entries = routes
            .iter()
            .map(|(name, port)| (RouteKey::new("shop", *name), listening(*port)));
        Arc::new(entries.collect::<HashMap<_, _>>())
    }

    fn said(report: &Report) -> (u64, bool, Vec<&str>, Vec<&str>) {
        let mut routes: Vec<&str> = report
            .routes
            .iter()
            .map(|route| route.key.name.as_str())
            .collect();
        routes.sort_unstable();
        let removed = report.removed_routes.iter().map(|key| key.name.as_str());
        (report.sequence, report.whole, routes, removed.collect())
    }

    #[test]
    fn everything_first_then_what_differs_from_what_was_taken() {
        let mut reports = Reports::new(7);
        let (one, two) = (states(&[("a", 1), ("b", 2)]), states(&[("a", 9), ("c", 3)]));
        let first = reports.next(&one, None, false);
        assert_eq!(
            (said(&first), first.process),
            ((1, true, vec!["a", "b"], vec![]), 7)
        );
        // Not taken, so everything again, under the next number.
        assert_eq!(
            said(&reports.next(&one, None, false)),
            (2, true, vec!["a", "b"], vec![])
        );
        reports.taken(&one);
        assert_eq!(
            said(&reports.next(&one, None, false)),
            (3, false, vec![], vec![]),
            "still so"
        );
        reports.taken(&one);
        let changed = reports.next(&two, None, true);
        assert_eq!(said(&changed), (4, false, vec!["a", "c"], vec!["b"]));
        assert!(changed.draining);
        reports.unknown();
        assert_eq!(
            said(&reports.next(&two, None, false)),
            (5, true, vec!["a", "c"], vec![])
        );
    }

    #[test]
    fn every_report_names_the_connectors() {
        let mut reports = Reports::new(7);
        let one = states(&[("a", 1)]);
        let hq = Some(vec!["hq".to_owned()]);
        assert_eq!(reports.next(&one, hq.clone(), false).locations, hq);
        reports.taken(&one);
        let delta = reports.next(&one, hq.clone(), false);
        assert_eq!((delta.whole, delta.locations), (false, hq));
    }

    #[tokio::test]
    async fn who_takes_no_connectors_waits_for_none() {
        let mut none = Connectors::new(None);
        assert_eq!(none.locations(), None);
        assert!(timeout(Duration::from_millis(1), none.changed()).await.is_err());
        let mut some = Connectors::new(Some(Registry::default()));
        assert_eq!(some.locations(), Some(Vec::new()));
        assert!(timeout(Duration::from_millis(1), some.changed()).await.is_err());
    }

    #[test]
    fn answers_are_understood() {
        let leader: SocketAddr = "10.0.0.1:9443".parse().unwrap();
        let json = |answer: ReportAnswer| serde_json::to_vec(&answer).unwrap();
        for (status, text, told) in [
            (200, json(ReportAnswer::Taken), Some(Told::Taken)),
            (409, json(ReportAnswer::SendWhole), Some(Told::SendWhole)),
            (
                421,
                json(ReportAnswer::NotLeader { leader: Some(leader) }),
                Some(Told::NotLeader(Some(leader))),
            ),
            (
                421,
                json(ReportAnswer::NotLeader { leader: None }),
                Some(Told::NotLeader(None)),
            ),
            (
                421,
                b"another server's page".to_vec(),
                Some(Told::NotLeader(None)),
            ),
            (401, b"no token".to_vec(), None),
            (503, Vec::new(), None),
        ] {
            let found = understand(StatusCode::from_u16(status).unwrap(), &text);
            assert_eq!(found.ok(), told, "{status}");
        }
    }
}
