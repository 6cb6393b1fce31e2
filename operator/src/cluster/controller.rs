//! The loop: everything that happens comes in here, is decided upon in the model, and goes out to the proxies and, when
//! this replica leads, to the API server.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use landbridge_crds::Destination;
use landbridge_destination::RouteKey;
use landbridge_runtime::shutdown::Shutdown;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;

use super::apply::Writer;
use super::events::Recorder;
use super::metrics::{OperatorMetrics, Outcome};
use super::model::{DestinationRow, Done, Model, Role, SeenNamespace};
use super::policies::Policies;
use super::proxies::Proxies;
use super::queue::WorkQueue;
use super::stores::{StoreNews, Stores};
use super::watch::Seen;
use crate::channels::controller::HeldInbox;
use crate::lookup::{LookedUp, Running};
use crate::serve::Leadership;
use crate::serve::hub::Hub;
use crate::serve::reports::Board;

mod round;

/// What watches saw and the loop has not looked at yet.
pub const INBOX: usize = 1_024;

/// Messages that are looked at before the next decision.
const BATCH: usize = 512;

/// Edits of one destination that come within this time are written as one.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// Destinations that are written at the same time.
const WRITES: usize = 32;

/// Pause between two searches for orphans. What is found twice is deleted, so Kubernetes' own clean-up comes first.
const SWEEP: Duration = Duration::from_secs(30);

/// Pause between two updates of the figures; counting goes over all destinations.
const STAND: Duration = Duration::from_secs(1);

/// Time for the writes that run when the operator stops.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// Something a watch saw.
pub enum Message {
    /// A destination.
    Destination(Seen<Destination>),
    /// A Service.
    Service(Seen<Service>),
    /// An EndpointSlice of ours.
    Slice(Seen<EndpointSlice>),
    /// A NetworkPolicy of ours.
    Policy(Seen<NetworkPolicy>),
    /// A namespace.
    Namespace(SeenNamespace),
}

/// Asks for all destinations as they stand.
pub type Question = oneshot::Sender<Vec<DestinationRow>>;

/// Everything the loop talks to.
pub struct Parts {
    /// What watches see.
    pub inbox: mpsc::Receiver<Message>,
    /// What stores say.
    pub news: mpsc::Receiver<StoreNews>,
    /// Questions of the health view.
    pub questions: mpsc::Receiver<Question>,
    /// Whether this replica leads.
    pub leadership: watch::Receiver<Leadership>,
    /// Moves when pods of proxies change.
    pub pods: watch::Receiver<u64>,
    /// What proxies report.
    pub board: Arc<Board>,
    /// Where the holders of service channels go.
    pub held: HeldInbox,
    /// Their pods.
    pub proxies: Proxies,
    /// Where routes go.
    pub hub: Arc<Hub>,
    /// Who is asked about destinations.
    pub stores: Arc<Stores>,
    /// Writes.
    pub writer: Writer,
    /// Writes Events.
    pub recorder: Recorder,
    /// NetworkPolicies; none where they are not wanted.
    pub policies: Option<Policies>,
    /// Figures.
    pub metrics: OperatorMetrics,
}

type Written = (RouteKey, Done, Duration);

/// The loop's state.
pub struct Controller {
    model: Model,
    parts: Parts,
    queue: WorkQueue<RouteKey>,
    lookups: Running,
    writes: JoinSet<Written>,
    writing: HashMap<task::Id, RouteKey>,
    reports: watch::Receiver<u64>,
    pods_listed: watch::Receiver<bool>,
    leads: bool,
    sweep_at: Instant,
    stand_at: Instant,
    strays: HashSet<String>,
    /// Deletes orphans; one at a time.
    sweeps: JoinSet<()>,
    served: bool,
    /// Whether any proxy reports.
    reporting: bool,
}

impl Controller {
    /// Nothing has happened yet.
    pub fn new(model: Model, parts: Parts) -> Self {
        Self {
            model,
            queue: WorkQueue::new(WRITES),
            lookups: Running::default(),
            writes: JoinSet::new(),
            writing: HashMap::new(),
            reports: parts.board.ticks(),
            pods_listed: parts.proxies.all_listed(),
            leads: false,
            sweep_at: Instant::now() + SWEEP,
            stand_at: Instant::now(),
            strays: HashSet::new(),
            sweeps: JoinSet::new(),
            served: false,
            reporting: false,
            parts,
        }
    }

    /// Runs until `shutdown`, and lets the writes that run then end.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            self.start_lookups();
            self.start_writes();
            let next = self.next_due();
            tokio::select! {
                () = shutdown.started() => break,
                count = self.parts.inbox.recv_many(&mut batch, BATCH) => {
                    if count == 0 { break }
                    for message in batch.drain(..) {
                        self.see(message);
                    }
                }
                Some(news) = self.parts.news.recv() => self.hear(news),
                // What has ended in the meantime is decided upon together.
                Some(done) = self.lookups.next() => {
                    self.looked_up(done);
                    while let Some(done) = self.lookups.try_next() {
                        self.looked_up(done);
                    }
                }
                Some(done) = self.writes.join_next_with_id() => {
                    self.written(done);
                    while let Some(done) = self.writes.try_join_next_with_id() {
                        self.written(done);
                    }
                }
                Some(_) = self.sweeps.join_next() => {}
                Some(question) = self.parts.questions.recv() => {
                    // Who asked may have gone.
                    let _ = question.send(self.model.rows());
                }
                Ok(()) = self.reports.changed() => self.reported(),
                Ok(()) = self.parts.pods.changed() => {
                    self.parts.proxies.refresh();
                    self.model.mark_all();
                }
                // The round after it tells the proxies.
                Ok(()) = self.pods_listed.changed() => {}
                Ok(()) = self.parts.leadership.changed() => self.led(),
                () = sleep_until(next) => self.tend(),
            }
            self.round();
        }
        let last = async { while self.writes.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WRITES, last).await;
    }

    fn see(&mut self, message: Message) {
        let now = Instant::now();
        match message {
            Message::Destination(seen) => {
                if let Seen::Unreadable(invalid) = &seen {
                    self.parts.metrics.undecodable();
                    let metadata = &invalid.metadata;
                    tracing::warn!(
                        namespace = metadata.namespace,
                        name = metadata.name,
                        "a Destination cannot be read: {}",
                        invalid.error
                    );
                }
                self.model.see_destination(seen, now);
            }
            Message::Service(seen) => self.model.see_service(seen),
            Message::Slice(seen) => self.model.see_slice(seen),
            Message::Namespace(seen) => self.model.see_namespace(seen, now),
            Message::Policy(seen) => {
                if let Some(policies) = &mut self.parts.policies {
                    policies.see(seen);
                }
            }
        }
    }

    fn hear(&mut self, news: StoreNews) {
        let default = self.parts.stores.default_name().to_owned();
        let (StoreNews::Changed(change) | StoreNews::Rebound(change)) = news;
        self.model.store_changed(&change, Some(&default), Instant::now());
        self.parts.hub.store_changed(change);
    }

    fn reported(&mut self) {
        let changed = self.parts.board.changed();
        self.model.proxies_changed(&changed.routes);
        if changed.locations {
            self.model.connectors_changed();
        }
        for key in changed.channels {
            let locations = super::start::held(&self.parts.board, &key);
            self.parts.held.set(key, locations);
        }
    }

    fn led(&mut self) {
        let leadership = *self.parts.leadership.borrow_and_update();
        let leads = leadership == Leadership::Leading;
        if leads != self.leads {
            self.leads = leads;
            let now = Instant::now();
            self.parts.board.clear();
            self.parts.proxies.refresh();
            self.parts.proxies.lead(leads, now);
            self.parts.proxies.settle(now);
            let role = if leads { Role::Leader } else { Role::Follower };
            self.model.set_role(role);
            self.queue.clear();
            if !leads {
                // Another replica may write from now on.
                self.writes.abort_all();
                self.sweeps.abort_all();
            }
            if let Some(policies) = &mut self.parts.policies {
                policies.lead(now);
            }
            self.sweep_at = now + SWEEP;
            self.strays.clear();
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let writes = self.queue.next_due().filter(|_| self.leads);
        let sweep = self.leads.then_some(self.sweep_at);
        let policies = self.parts.policies.as_ref().and_then(Policies::due);
        let policies = policies.filter(|_| self.leads && self.served);
        let settle = self.parts.proxies.settle_at();
        let stand = Some(self.stand_at);
        [
            self.model.next_lookup_at(),
            writes,
            sweep,
            settle,
            policies,
            stand,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn start_lookups(&mut self) {
        while let Some((selector, known)) = self.model.next_lookup(Instant::now()) {
            let stores = Arc::clone(&self.parts.stores);
            self.lookups.start(stores, selector, known);
        }
    }

    fn looked_up(&mut self, (selector, result): LookedUp) {
        let outcome = if result.is_ok() {
            Outcome::Ok
        } else {
            Outcome::Failed
        };
        self.parts.metrics.looked_up(outcome);
        if let Some(change) = self.model.looked_up(&selector, result, Instant::now()) {
            self.parts.hub.store_changed(change);
        }
    }

    fn start_writes(&mut self) {
        if !self.leads {
            return;
        }
        while let Some(key) = self.queue.take(Instant::now()) {
            let work = self.model.work(&key, &self.parts.proxies, Instant::now());
            if work.is_empty() {
                self.queue.succeeded(&key);
                // It was to be written earlier, and in the meantime began to settle anew.
                if let Some(at) = work.again {
                    self.queue.add(&key, at);
                }
                continue;
            }
            let writer = self.parts.writer.clone();
            let written = key.clone();
            let task = self.writes.spawn(async move {
                let start = Instant::now();
                let done = writer.write(&key, work).await;
                (key, done, start.elapsed())
            });
            self.writing.insert(task.id(), written);
        }
    }

    fn written(&mut self, done: Result<(task::Id, Written), JoinError>) {
        let (key, done, took) = match done {
            Ok((id, done)) => {
                self.writing.remove(&id);
                done
            }
            Err(error) => match self.writing.remove(&error.id()) {
                Some(key) => (key, Done::broken_off(), Duration::ZERO),
                None => return,
            },
        };
        let outcome = if done.failed { Outcome::Failed } else { Outcome::Ok };
        self.parts.metrics.reconciled(outcome, took.as_secs_f64());
        if done.failed {
            self.queue.failed(&key, Instant::now());
        } else {
            self.queue.succeeded(&key);
        }
        self.model.done(&key, done);
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
