//! The channels of a cluster: watches, the table, and the writes of the replica that leads.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::{Client, ResourceExt as _};
use landbridge_destination::channel::{Channel, ChannelKey};
use landbridge_destination::serve::SILENCE;
use landbridge_runtime::readiness::Readiness;
use landbridge_runtime::shutdown::Shutdown;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

mod directory;
mod inbox;
mod metrics;
mod relist;
mod watches;
mod write;

pub use directory::Directory;
pub use inbox::HeldInbox;
pub use metrics::ChannelMetrics;

use relist::Relist;
use watches::{Change, Message, change};
use write::{Done, Writer};

use super::{Channels, Declared, ServiceFacts, ServiceKey};
use crate::cluster::events::Recorder;
use crate::cluster::metrics::OperatorMetrics;
use crate::cluster::model::SeenNamespace;
use crate::cluster::queue::WorkQueue;
use crate::cluster::watch::Seen;

/// Changes that come within this time are planned together: a list comes object by object.
const GATHER: Duration = Duration::from_millis(50);

/// Channels planned without a pause, so that readers of the table wait a few milliseconds at most.
const BATCH: usize = 256;

/// What watches saw and nobody has looked at yet. Full means that they wait.
const QUEUE: usize = 1024;

/// A new leader waits this long before it takes a proxy's silence for an answer: by then a live one has reported.
const SETTLE: Duration = SILENCE.saturating_add(Duration::from_secs(5));

/// Settings.
#[derive(Clone)]
pub struct Config {
    /// Client of the API server.
    pub client: Client,
    /// The one namespace to look at; all of them when absent. Which of these are looked after, the [`Directory`] knows.
    pub namespace: Option<String>,
    /// Whether `ServiceMapping`s are looked after, which takes rights in the whole cluster. They belong to no namespace,
    /// so no label says whose they are: of several installations in a cluster, one at most should have this.
    pub mappings: bool,
    /// Most writes at the same time.
    pub writers: usize,
}

/// What it is connected to.
pub struct Links {
    /// What the proxies are to offer; complete whenever it changes, and unchanged until everything was listed.
    pub channels: watch::Sender<Arc<Vec<Channel>>>,
    /// Whether this replica leads.
    pub leading: watch::Receiver<bool>,
    /// Who holds which channel.
    pub held: HeldInbox,
    /// Takes what is worth telling.
    pub recorder: Recorder,
    /// Failures of watches.
    pub operator: OperatorMetrics,
    /// Figures of the channels.
    pub metrics: ChannelMetrics,
    /// Is waited for until everything was listed once.
    pub readiness: Readiness,
}

/// Runs until `shutdown` begins.
pub async fn run(config: Config, links: Links, directory: Directory, shutdown: Shutdown) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let by_label = directory.0.lock().chooses_namespaces();
    watches::start(&config, by_label, &links, &sender, &shutdown);
    let worker = Worker {
        writer: Arc::new(Writer::new(config.client, links.metrics.clone())),
        table: directory.0,
        queue,
        channels: links.channels,
        leading: links.leading,
        held: links.held,
        recorder: links.recorder,
        metrics: links.metrics,
        listed_channels: Relist::new(true),
        listed_mappings: Relist::new(config.mappings),
        listed_services: Relist::new(true),
        listed_namespaces: !by_label,
        work: WorkQueue::new(config.writers.max(1)),
        running: JoinSet::new(),
        changed: false,
        plan_at: None,
        settle_at: None,
    };
    worker.run(shutdown).await;
}

struct Worker {
    writer: Arc<Writer>,
    table: Arc<Mutex<Channels>>,
    queue: mpsc::Receiver<Message>,
    channels: watch::Sender<Arc<Vec<Channel>>>,
    leading: watch::Receiver<bool>,
    held: HeldInbox,
    recorder: Recorder,
    metrics: ChannelMetrics,
    listed_channels: Relist<ChannelKey>,
    listed_mappings: Relist<ChannelKey>,
    listed_services: Relist<ServiceKey>,
    listed_namespaces: bool,
    work: WorkQueue<ChannelKey>,
    running: JoinSet<Done>,
    /// Whether something has to be published.
    changed: bool,
    plan_at: Option<Instant>,
    settle_at: Option<Instant>,
}

/// What the worker waited for.
enum Woken {
    Stop,
    Seen(Message),
    Held,
    Leading,
    Written(Option<Done>),
    Due,
}

impl Worker {
    async fn run(mut self, shutdown: Shutdown) {
        self.lead();
        loop {
            self.start_writes();
            match self.woken(&shutdown).await {
                Woken::Stop => return,
                Woken::Seen(message) => {
                    self.seen(message);
                    self.plan_soon();
                }
                Woken::Held => {
                    let now = Timestamp::now();
                    let mut table = self.table.lock();
                    for (key, locations) in self.held.take() {
                        table.set_held(&key, locations, now);
                    }
                    drop(table);
                    self.plan_soon();
                }
                Woken::Leading => self.lead(),
                Woken::Written(done) => self.written(done),
                Woken::Due => self.due(),
            }
        }
    }

    async fn woken(&mut self, shutdown: &Shutdown) -> Woken {
        let table_due = self.table.lock().next_due().filter(|_| self.is_complete());
        let next = [
            self.plan_at,
            self.settle_at,
            table_due.map(instant),
            self.work.next_due(),
        ]
        .into_iter()
        .flatten()
        .min();
        tokio::select! {
            () = shutdown.started() => Woken::Stop,
            message = self.queue.recv() => message.map_or(Woken::Stop, Woken::Seen),
            () = self.held.changed() => Woken::Held,
            Ok(()) = self.leading.changed() => Woken::Leading,
            Some(done) = self.running.join_next() => Woken::Written(done.ok()),
            () = sleep_until(next) => Woken::Due,
        }
    }

    fn lead(&mut self) {
        let leading = *self.leading.borrow_and_update();
        self.table.lock().set_leading(leading, Timestamp::now());
        self.settle_at = leading.then(|| Instant::now() + SETTLE);
        self.plan_soon();
    }

    fn plan_soon(&mut self) {
        self.plan_at = self.plan_at.or_else(|| Some(Instant::now() + GATHER));
    }

    fn seen(&mut self, message: Message) {
        match message {
            Message::Channel(seen) => {
                let change = change(seen, true, &mut self.listed_channels, Declared::channel);
                self.apply(change);
            }
            Message::Mapping(seen) => {
                let change = change(seen, false, &mut self.listed_mappings, Declared::mapping);
                self.apply(change);
            }
            Message::Service(seen) => self.service(seen),
            Message::Namespace(seen) => self.namespace(seen),
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Nothing => {}
            Change::Present(resource) => {
                let key = resource.key.clone();
                if self.table.lock().set(*resource, Timestamp::now()) {
                    self.work.forgive(&key);
                    self.changed = true;
                }
            }
            Change::Gone(keys) => {
                for key in keys {
                    self.work.remove(&key);
                    self.table.lock().remove(&key);
                    self.changed = true;
                }
            }
        }
    }

    fn service(&mut self, seen: Seen<Service>) {
        let list = &mut self.listed_services;
        let mut table = self.table.lock();
        match seen {
            Seen::Restarted => list.restarted(),
            Seen::Present(service) => {
                let key = ServiceKey {
                    namespace: service.namespace().unwrap_or_default(),
                    name: service.name_any(),
                };
                list.present(&key);
                table.set_service(&key, Some(ServiceFacts::of(&service)));
            }
            // What is known of it from before still counts.
            Seen::Unreadable(object) => {
                let (metadata, error) = (object.metadata, object.error);
                tracing::warn!(name = metadata.name, "a Service cannot be read: {error}");
                let (namespace, name) = (
                    metadata.namespace.unwrap_or_default(),
                    metadata.name.unwrap_or_default(),
                );
                list.present(&ServiceKey { namespace, name });
            }
            Seen::Gone { namespace, name } => {
                let key = ServiceKey { namespace, name };
                list.gone(&key);
                table.set_service(&key, None);
            }
            Seen::Listed => {
                for key in list.listed() {
                    table.set_service(&key, None);
                }
                table.services_listed();
            }
        }
    }

    fn namespace(&mut self, seen: SeenNamespace) {
        self.listed_namespaces |= matches!(seen, Seen::Listed);
        for key in self.table.lock().see_namespace(seen, Timestamp::now()) {
            self.work.forgive(&key);
            self.changed = true;
        }
    }

    /// Whether everything was listed once. Before that, a younger resource could win, and a Service could seem to be
    /// missing.
    fn is_complete(&self) -> bool {
        self.listed_channels.is_complete()
            && self.listed_mappings.is_complete()
            && self.listed_services.is_complete()
            && self.listed_namespaces
    }

    fn due(&mut self) {
        let now = Instant::now();
        if self.settle_at.is_some_and(|at| at <= now) {
            self.settle_at = None;
            self.table.lock().settle();
        }
        if self.is_complete() {
            self.plan();
        } else {
            self.plan_at = None;
        }
    }

    fn plan(&mut self) {
        self.plan_at = None;
        let mut table = self.table.lock();
        let planned = table.plan(Timestamp::now(), BATCH);
        let more = planned.len() == BATCH;
        for one in planned {
            self.changed |= one.route_changed;
            if table.pending(&one.key).is_some() {
                self.work.add(&one.key, Instant::now());
            }
            for event in one.events {
                self.recorder.tell(write::reference(&one.key, &one.uid), event);
            }
        }
        if more {
            self.plan_at = Some(Instant::now());
        } else if std::mem::take(&mut self.changed) {
            let routes = table.routes();
            self.metrics.offered(routes.len(), table.len());
            drop(table);
            self.channels.send_if_modified(|published| {
                let changed = **published != routes;
                if changed {
                    *published = Arc::new(routes);
                }
                changed
            });
        }
    }

    fn start_writes(&mut self) {
        while let Some(key) = self.work.take(Instant::now()) {
            // Another replica leads: should this one ever again, everything is planned anew.
            let leading = *self.leading.borrow();
            let pending = if leading {
                self.table.lock().pending(&key)
            } else {
                None
            };
            let Some(write) = pending else {
                self.work.succeeded(&key);
                continue;
            };
            let writer = Arc::clone(&self.writer);
            self.running.spawn(async move { writer.write(write).await });
        }
    }

    fn written(&mut self, done: Option<Done>) {
        // A task ends early only when the runtime goes down.
        let Some(done) = done else { return };
        let key = done.written.key.clone();
        self.table.lock().written(&done.written);
        match done.failure {
            None => self.work.succeeded(&key),
            Some(error) => {
                tracing::warn!(channel = %key, "cannot write to the resource, trying again: {error}");
                self.work.failed(&key, Instant::now());
            }
        }
        self.plan_soon();
    }
}

/// Times of the API server are of the calendar, those to wait for are not.
fn instant(time: Timestamp) -> Instant {
    let left = time.duration_since(Timestamp::now());
    Instant::now() + Duration::try_from(left).unwrap_or_default()
}

async fn sleep_until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}
