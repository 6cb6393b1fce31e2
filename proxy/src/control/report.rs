//! Telling the leading operator what is served: everything first, then what changes, and that it is still so.

mod compose;
mod connections;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use landbridge_destination::serve::{HEARTBEAT, REPORT_PATH, Report, ReportAnswer};
use landbridge_runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::backoff::delay;
use super::error::ControlError;
use super::link::{Link, Place, refused};
use super::metrics::ControlMetrics;
use crate::gateway::RouteStates;
use compose::{Reports, Served};
pub(super) use connections::Connections;

/// How long the last report, that this proxy is about to end, may take.
const LAST: Duration = Duration::from_secs(1);

/// Replicas asked in a row for the leader.
const HOPS: usize = 4;

/// Pause when no replica leads.
const NO_LEADER: Duration = Duration::from_secs(1);

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
    connections: Connections,
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
        connections: Connections,
        leader: watch::Receiver<Option<SocketAddr>>,
        metrics: ControlMetrics,
    ) -> Self {
        Self {
            place,
            states,
            connections,
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
                () = self.connections.changed(), if urgent => {}
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
            let served = Served {
                routes: Arc::clone(&self.states.borrow_and_update()),
                channels: self.connections.channels(),
                locations: self.connections.locations(),
            };
            let report = self.reports.next(&served, draining);
            match self.send(&report).await? {
                Told::Taken => {
                    self.avoided = None;
                    self.reports.taken(served);
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
