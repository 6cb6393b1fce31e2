//! Following the operator: one stream after the other, each message applied as it comes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use landbridge_destination::channel::Channel;
use landbridge_destination::route::{Route, RouteSnapshot};
use landbridge_destination::serve::{Delta, Message, SILENCE, STREAM_PATH, StoreChange, Whole, Workload};
use landbridge_runtime::readiness::ReadyToken;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::backoff::{HEALTHY, delay};
use super::channel_table::{ChannelList, ChannelTable};
use super::error::ControlError;
use super::lines::Lines;
use super::link::{Link, Place};
use super::metrics::ControlMetrics;
use super::save::Dirty;
use super::state_file;
use super::table::Table;
use crate::channels::ServiceChannels;
use crate::resolve::change::Change;
use crate::stores::Stores;
use crate::workloads::Workloads;

/// Messages longer than this are read on a thread for long work: a snapshot of 10 000 routes takes some 30 ms.
const LONG: usize = 256 << 10;

/// Hears the operator and passes on what it says.
pub(super) struct Follower {
    pub(super) place: Place,
    pub(super) table: Table,
    pub(super) channel_table: ChannelTable,
    pub(super) service_channels: Option<ServiceChannels>,
    pub(super) routes: watch::Sender<Arc<RouteSnapshot>>,
    pub(super) workloads: Arc<Workloads>,
    /// Whether it matters who calls from which address; otherwise it is not kept.
    pub(super) learns_callers: bool,
    pub(super) changes: mpsc::Sender<Change>,
    pub(super) stores: Option<Stores>,
    pub(super) leader: watch::Sender<Option<SocketAddr>>,
    pub(super) dirty: Dirty,
    pub(super) metrics: ControlMetrics,
    pub(super) ready: Option<ReadyToken>,
    /// Whether an operator was heard before: then changes of stores may have been missed.
    pub(super) served_before: bool,
}

impl Follower {
    /// Serves what was heard before the last stop.
    pub(super) async fn restore(&mut self, file: PathBuf) {
        let path = file.clone();
        match tokio::task::spawn_blocking(move || state_file::read(&path)).await {
            Ok(Ok(Some(state))) => {
                tracing::info!(routes = state.routes.len(), workloads = state.workloads.len(),
                    channels = state.channels.len(), file = %file.display(),
                    "serving what was heard before the restart until the operator is heard");
                self.replace_channels(state.channels);
                self.replace(0, state.routes, state.workloads);
                self.table.disconnected();
            }
            Ok(Ok(None)) => {
                tracing::info!("nothing is served until the operator is heard for the first time")
            }
            Ok(Err(reason)) => tracing::error!(
                file = %file.display(), reason,
                "the kept routes cannot be read; nothing is served until the operator is heard"
            ),
            Err(error) => tracing::error!(%error, "reading the kept routes failed"),
        }
    }

    /// Never ends: an operator that is away comes back.
    pub(super) async fn run(&mut self) {
        let mut failures = 0;
        loop {
            let start = Instant::now();
            let error = match self.connection().await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            self.metrics.connected.set(0);
            self.table.disconnected();
            failures = if start.elapsed() >= HEALTHY {
                1
            } else {
                failures + 1
            };
            let wait = delay(failures, fastrand::f64());
            // Operators end streams now and then. Otherwise the first failure in a row is news, and each tenth after it;
            // the ones between are noise.
            if failures % 10 == 1 && !matches!(error, ControlError::Ended) {
                tracing::warn!(%error, ?wait, failures, "the operator is not heard; what was heard last is served on");
            } else {
                tracing::debug!(%error, ?wait, failures, "the operator is not heard");
            }
            sleep(wait).await;
            self.metrics.reconnects.inc();
        }
    }

    async fn connection(&mut self) -> Result<std::convert::Infallible, ControlError> {
        let mut link: Link = self.place.connect(None).await?;
        let mut body = link.stream(STREAM_PATH).await?;
        let mut lines = Lines::default();
        loop {
            while let Some(line) = lines.next()? {
                self.take(line).await?;
            }
            let piece = next(&mut body).await?;
            lines.push(&piece);
        }
    }

    async fn take(&mut self, line: Bytes) -> Result<(), ControlError> {
        let message = parse(line).await?;
        self.metrics.confirmed();
        match message {
            Message::Snapshot(whole) => self.snapshot(whole).await,
            Message::Delta(delta) => self.change(delta)?,
            Message::StoreChanged(StoreChange { instance, names }) => {
                let change = match &self.stores {
                    Some(stores) => Change::of(stores.name(instance.as_deref()), names),
                    None => Change::heard(instance, names),
                };
                self.tell(change).await;
            }
            Message::Leader { address } => self.heard_leader(address),
            Message::Alive => {}
        }
        Ok(())
    }

    async fn snapshot(&mut self, whole: Whole) {
        let news = self.metrics.connected.get() == 0;
        self.replace_channels(whole.channels);
        self.replace(whole.version, whole.routes, whole.workloads);
        self.metrics.version.set(whole.version);
        self.metrics.connected.set(1);
        self.heard_leader(whole.leader);
        if news {
            tracing::info!(version = whole.version, "the operator is heard");
            if std::mem::replace(&mut self.served_before, true) {
                self.tell(Change::unknown()).await;
            }
        }
    }

    fn replace(&mut self, version: u64, routes: Vec<Route>, workloads: Vec<Workload>) {
        // Callers first: a new route must not refuse those it is for.
        if self.learns_callers {
            self.workloads.replace(workloads);
            self.dirty.workloads();
            self.metrics.workloads.set(count(self.workloads.len()));
        }
        let snapshot = self.table.replace(version, routes);
        self.publish(snapshot);
        if let Some(ready) = self.ready.take() {
            ready.ready();
        }
    }

    fn replace_channels(&mut self, channels: Vec<Channel>) {
        let list = self.channel_table.replace(channels);
        self.publish_channels(list);
    }

    fn publish_channels(&mut self, list: Option<ChannelList>) {
        if let (Some(service_channels), Some(list)) = (&self.service_channels, list) {
            self.dirty.channels(&list);
            service_channels.set(&list);
        }
    }

    fn change(&mut self, delta: Delta) -> Result<(), ControlError> {
        let snapshot = self
            .table
            .change(delta.version, delta.routes, &delta.removed_routes)?;
        if self.learns_callers && !(delta.workloads.is_empty() && delta.removed_workloads.is_empty()) {
            self.workloads.change(delta.workloads, &delta.removed_workloads);
            self.dirty.workloads();
            self.metrics.workloads.set(count(self.workloads.len()));
        }
        let channels = self.channel_table.change(delta.channels, &delta.removed_channels);
        self.publish_channels(channels);
        self.metrics.version.set(delta.version);
        self.publish(snapshot);
        Ok(())
    }

    fn publish(&mut self, snapshot: Option<Arc<RouteSnapshot>>) {
        let Some(snapshot) = snapshot else { return };
        self.metrics.routes.set(count(snapshot.routes.len()));
        self.dirty.routes(&snapshot);
        self.routes.send_replace(snapshot);
    }

    fn heard_leader(&mut self, address: Option<SocketAddr>) {
        self.leader.send_if_modified(|known| {
            let news = *known != address;
            *known = address;
            news
        });
    }

    async fn tell(&self, change: Change) {
        // The resolver ends when the proxy does.
        let _ = self.changes.send(change).await;
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The next piece of the stream.
pub(super) async fn next(body: &mut Incoming) -> Result<Bytes, ControlError> {
    let frame = timeout(SILENCE, body.frame())
        .await
        .map_err(|_| ControlError::Silent)?;
    match frame {
        Some(Ok(frame)) => Ok(frame.into_data().unwrap_or_default()),
        Some(Err(error)) => Err(ControlError::Exchange(error.to_string())),
        None => Err(ControlError::Ended),
    }
}

pub(super) async fn parse(line: Bytes) -> Result<Message, ControlError> {
    let read = |line: &[u8]| {
        // Position and kind only: the text of the error could quote a value.
        serde_json::from_slice::<Message>(line).map_err(|error| {
            ControlError::Unreadable(format!(
                "{:?} error at column {}",
                error.classify(),
                error.column()
            ))
        })
    };
    if line.len() < LONG {
        return read(&line);
    }
    let reading = tokio::task::spawn_blocking(move || read(&line));
    reading
        .await
        .map_err(|error| ControlError::Exchange(error.to_string()))?
}
