//! Without a cluster: a folder of manifests and a store in, routes for the proxy and a status view out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use landbridge_destination::{RouteKey, RouteSnapshot, RouteState};
use landbridge_runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::lookup::{LookedUp, Lookups, Running, Table, Timing};
use crate::manifest::ManifestSet;
use crate::plan::{self, PlanOptions};
use crate::ports::file::{self, FileError};
use crate::ports::{self, PortPolicy};
use crate::source::{self, SourceError};

mod round;
mod view;

pub use view::{DestinationView, StatusView};

use round::{Round, Rounds};

/// Changes that come within this time are planned together: at a start the answers of the store come one by one, and
/// every round looks at all destinations.
const GATHER: Duration = Duration::from_millis(20);

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the manifests.
    pub manifests: PathBuf,
    /// Where ports come from for resources that name none.
    pub ports: PortPolicy,
    /// File that remembers ports of a range; without one they are given anew at each start.
    pub port_file: Option<PathBuf>,
    /// Time after which the store is asked again for a destination; 30 s unless told.
    pub refresh: Duration,
    /// Most look-ups at the same time; 16 unless told.
    pub lookup_concurrency: usize,
    /// What holds for all destinations.
    pub options: PlanOptions,
}

impl Config {
    /// The usual settings for a folder.
    pub fn new(manifests: impl Into<PathBuf>) -> Self {
        Self {
            manifests: manifests.into(),
            ports: PortPolicy::Any,
            port_file: None,
            refresh: Duration::from_secs(30),
            lookup_concurrency: 16,
            options: PlanOptions::default(),
        }
    }
}

/// The connections to the proxy and to whoever shows the status.
#[derive(Debug)]
pub struct Channels {
    /// What the proxy is to serve.
    pub routes: watch::Sender<Arc<RouteSnapshot>>,
    /// What the proxy reports.
    pub states: watch::Receiver<Arc<HashMap<RouteKey, RouteState>>>,
    /// What became of everything, for `/destinations`.
    pub status: watch::Sender<Arc<StatusView>>,
}

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The file of ports.
    #[error(transparent)]
    Ports(#[from] FileError),
    /// The runtime is going down.
    #[error("stopped before the start was complete")]
    Stopping,
}

/// Runs until `shutdown` begins.
///
/// # Errors
/// Only at the start: when the folder or the file of ports cannot be read. Whatever goes wrong later is in the status
/// view and in the log, and does not take working routes down.
pub async fn run<L: Lookups>(
    config: Config,
    lookups: L,
    channels: Channels,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let memory = match config.port_file.clone() {
        Some(path) => tokio::task::spawn_blocking(move || file::load(&path))
            .await
            .map_err(|_| Error::Stopping)??,
        None => ports::Memory::default(),
    };
    let manifests = source::watch(&config.manifests, &shutdown).await?;
    let timing = Timing {
        refresh: config.refresh,
        concurrency: config.lookup_concurrency.max(1),
    };
    let worker = Worker {
        table: Table::new(timing),
        rounds: Rounds::new(config.ports, config.options, memory),
        port_file: config.port_file,
        lookups: Arc::new(lookups),
        running: Running::default(),
        manifests,
        channels,
    };
    worker.run(shutdown).await;
    Ok(())
}

struct Worker<L> {
    manifests: watch::Receiver<Arc<ManifestSet>>,
    channels: Channels,
    lookups: Arc<L>,
    running: Running,
    table: Table,
    rounds: Rounds,
    port_file: Option<PathBuf>,
}

/// What the worker waited for.
enum Woken {
    Stop,
    Manifests,
    Changed,
    LookedUp(Box<LookedUp>),
    Due,
}

impl<L: Lookups> Worker<L> {
    async fn run(mut self, shutdown: Shutdown) {
        self.refer();
        let mut plan_at = Some(Instant::now());
        loop {
            self.start_lookups();
            match self.woken(&shutdown, plan_at).await {
                Woken::Stop => return,
                Woken::Manifests => {
                    self.refer();
                    plan_at = plan_at.or_else(|| Some(Instant::now() + GATHER));
                }
                Woken::Changed => plan_at = plan_at.or_else(|| Some(Instant::now() + GATHER)),
                Woken::LookedUp(done) => {
                    let changed = self.table.finish(&done.0, done.1, Instant::now());
                    if changed {
                        plan_at = plan_at.or_else(|| Some(Instant::now() + GATHER));
                    }
                }
                Woken::Due => {
                    if plan_at.is_some_and(|at| at <= Instant::now()) {
                        plan_at = None;
                        self.round().await;
                    }
                }
            }
        }
    }

    async fn woken(&mut self, shutdown: &Shutdown, plan_at: Option<Instant>) -> Woken {
        let next = [plan_at, self.table.next_due()].into_iter().flatten().min();
        tokio::select! {
            () = shutdown.started() => Woken::Stop,
            changed = self.manifests.changed() => if changed.is_ok() { Woken::Manifests } else { Woken::Stop },
            // A proxy that is gone reports nothing more; the status is still worth showing until the stop.
            Ok(()) = self.channels.states.changed() => Woken::Changed,
            Some(done) = self.running.next() => Woken::LookedUp(Box::new(done)),
            () = sleep_until(next) => Woken::Due,
        }
    }

    /// Tells the table which destinations are referred to.
    fn refer(&mut self) {
        let set = self.manifests.borrow_and_update().clone();
        let selectors: HashSet<_> = set
            .destinations
            .iter()
            .filter_map(|(key, declared)| plan::to_look_up(key, &declared.resource))
            .collect();
        self.table.set(&selectors, Instant::now());
    }

    fn start_lookups(&mut self) {
        while let Some((selector, known)) = self.table.take(Instant::now()) {
            self.running.start(self.lookups.clone(), selector, known);
        }
    }

    /// Plans everything and publishes what changed.
    async fn round(&mut self) {
        let set = self.manifests.borrow().clone();
        let states = self.channels.states.borrow_and_update().clone();
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let Round {
            routes,
            status,
            memory,
        } = self.rounds.next(&set, &self.table, &states, &now);
        // Saved before the ports are used: what a port stands for must not change with a crash.
        let problem = match memory {
            Some(memory) => self.remember(memory).await,
            None => None,
        };
        let status = self.rounds.with_port_file_problem(status, problem);
        if let Some(routes) = routes {
            self.channels.routes.send_replace(routes);
        }
        self.channels.status.send_if_modified(|shown| {
            let changed = **shown != status;
            if changed {
                *shown = Arc::new(status);
            }
            changed
        });
    }

    /// Saves the ports; `Some` says whether that was possible.
    async fn remember(&self, memory: ports::Memory) -> Option<Result<(), String>> {
        let path = self.port_file.clone()?;
        let saved = tokio::task::spawn_blocking(move || file::save(&path, &memory))
            .await
            .ok()?;
        if let Err(error) = &saved {
            tracing::warn!("{error}; until then, destinations may get other ports after a restart");
        }
        Some(saved.map_err(|error| error.to_string()))
    }
}

async fn sleep_until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}

/// Ports that the manifests ask for.
fn wanted_ports(set: &ManifestSet) -> BTreeMap<RouteKey, Option<u16>> {
    set.destinations
        .iter()
        .map(|(key, declared)| (key.clone(), declared.resource.spec.port()))
        .collect()
}

#[cfg(test)]
mod tests;
