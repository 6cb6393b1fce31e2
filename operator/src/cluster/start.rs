//! Wires the parts of the operator.

use std::sync::Arc;

use axum::Router;
use kube::runtime::watcher;
use kube::{Api, Resource};
use landbridge_destination::channel::ChannelKey;
use landbridge_runtime::shutdown::Shutdown;
use rustls::ServerConfig;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::apply::Writer;
use super::children::{MANAGED_BY, MANAGER};
use super::controller::{Controller, INBOX, Message, Parts, Question};
use super::events::Recorder;
use super::metrics::OperatorMetrics;
use super::model::{ForeignServices, Managed, Model, Settings};
use super::policies::Policies;
use super::policy;
use super::proxies::Proxies;
use super::stores::{self, SourceContext, Stores};
use super::watch::{Seen, Sink, follow};
use super::webhook::ClusterView;
use super::{Config, Environment, Error, Listeners, NAMESPACE_LABEL, Namespaces, lease};
use crate::certificates::keeper::keeper;
use crate::certificates::mounted::{MountedConfig, follower};
use crate::certificates::{CertificateConfig, Certificates};
use crate::channels::controller::{self as channels, ChannelMetrics, Directory, HeldInbox, Links};
use crate::injection::metrics::InjectionMetrics;
use crate::injection::sighting::{Sighting, Sightings};
use crate::lookup::Timing;
use crate::serve::api::{self, Api as ServeApi};
use crate::serve::hub::Hub;
use crate::serve::identity::{Gate, GateTiming, KubeReviewer, Policy};
use crate::serve::reports::Board;
use crate::serve::{Leadership, ServeMetrics, server};
use crate::workloads::{self, Index};

mod webhooks;

/// News of stores that wait to be heard.
const NEWS: usize = 256;

/// Questions of the health view that wait.
const QUESTIONS: usize = 16;

/// Channels that are written at the same time.
const CHANNEL_WRITES: usize = 8;

/// A running operator.
pub struct Operator {
    /// For asking how destinations stand.
    pub questions: mpsc::Sender<Question>,
    /// Whether this replica leads.
    pub leadership: watch::Receiver<Leadership>,
    /// The destination service instances.
    pub stores: Arc<Stores>,
    /// The table of service channels.
    pub channels: Directory,
    /// Certificates of the serve API and the webhook.
    pub certificates: Certificates,
    /// The proxies' pods.
    pub index: Arc<Index>,
    /// What they report.
    pub board: Arc<Board>,
}

/// What all parts share while they are started.
struct Starting<'a> {
    config: &'a Config,
    environment: &'a Environment,
    shutdown: &'a Shutdown,
    metrics: OperatorMetrics,
    leadership: watch::Receiver<Leadership>,
    hub: Arc<Hub>,
    board: Arc<Board>,
    index: Arc<Index>,
    stores: Arc<Stores>,
    held: HeldInbox,
    recorder: Recorder,
    injections: InjectionMetrics,
}

/// Starts everything as tasks of `shutdown`.
///
/// # Errors
/// See [`Error`].
pub fn start(
    config: &Config,
    environment: &Environment,
    listeners: Listeners,
    shutdown: &Shutdown,
) -> Result<Operator, Error> {
    let (state, leadership) = watch::channel(Leadership::Following(None));
    let (starting, sightings) = Starting::new(config, environment, shutdown, leadership.clone());
    starting.election(state);
    let certificates = starting.certificates();
    let channels = starting.channels();
    let (questions, services) = starting.controller();
    shutdown.spawn(workloads::follow(
        environment.client.clone(),
        pods_scope(config),
        Arc::clone(&starting.index),
        starting.metrics.clone(),
        shutdown.clone(),
    ));
    let tls = server::tls_for_proxies(certificates.current.clone())?;
    starting.serve(listeners.serve, tls, starting.serve_router(&certificates));
    if let Some((listener, target)) = listeners.webhook {
        let view = ClusterView {
            services,
            stores: Arc::clone(&starting.stores),
            channels: channels.clone(),
        };
        starting.webhooks(listener, target, view, &certificates)?;
    }
    starting.reports(sightings);
    Ok(Operator {
        questions,
        leadership,
        channels,
        certificates,
        stores: starting.stores,
        index: starting.index,
        board: starting.board,
    })
}

fn pods_scope(config: &Config) -> workloads::Scope {
    match &config.namespaces {
        Namespaces::Only(namespace) => {
            let mut names = vec![namespace.clone(), config.namespace.clone()];
            names.dedup();
            workloads::Scope::Namespaces(names)
        }
        _ => workloads::Scope::Cluster,
    }
}

impl<'a> Starting<'a> {
    fn new(
        config: &'a Config,
        environment: &'a Environment,
        shutdown: &'a Shutdown,
        leadership: watch::Receiver<Leadership>,
    ) -> (Self, mpsc::Receiver<Sighting>) {
        let (hub, board) = (Arc::new(Hub::new()), Board::new());
        let accounts = config.proxies.clone();
        let watches = pods_scope(config).watches();
        let injections = InjectionMetrics::default();
        injections.register(&environment.metrics);
        let (sightings, seen) = Sightings::new(&config.namespace, injections.clone());
        let index = Index::new(watches, accounts, Arc::clone(&hub), Arc::clone(&board)).telling(sightings);
        let default = config.default_instance.clone();
        let stores = Stores::new(default, &config.instances, environment.http.clone());
        let metrics = OperatorMetrics::new(&environment.metrics);
        let client = environment.client.clone();
        let this = Self {
            config,
            environment,
            shutdown,
            recorder: Recorder::start(
                client,
                &config.namespace,
                &config.identity,
                metrics.clone(),
                shutdown,
            ),
            metrics,
            leadership,
            hub,
            board,
            index: Arc::new(index),
            stores: Arc::new(stores),
            held: HeldInbox::default(),
            injections,
        };
        (this, seen)
    }

    fn serve(&self, listener: TcpListener, tls: ServerConfig, router: Router) {
        let serving = server::serve(
            listener,
            tls,
            router,
            server::Limits::default(),
            self.shutdown.clone(),
        );
        self.shutdown.spawn(serving);
    }

    fn election(&self, state: watch::Sender<Leadership>) {
        let config = lease::Config {
            namespace: self.config.namespace.clone(),
            name: "landbridge-operator".to_owned(),
            identity: self.config.identity.clone(),
            address: self.config.advertise,
        };
        let client = self.environment.client.clone();
        self.shutdown
            .spawn(lease::run(client, config, state, self.shutdown.clone()));
        // Proxies report to whoever leads.
        let (hub, mut leadership, advertise) = (
            Arc::clone(&self.hub),
            self.leadership.clone(),
            self.config.advertise,
        );
        self.until_stopped(async move {
            loop {
                let leader = match *leadership.borrow_and_update() {
                    Leadership::Leading => advertise,
                    Leadership::Following(leader) => leader,
                };
                hub.leader(leader);
                if leadership.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    fn until_stopped(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.shutdown.clone();
        self.shutdown.spawn(async move {
            tokio::select! {
                () = stop.started() => {}
                () = task => {}
            }
        });
    }

    fn certificates(&self) -> Certificates {
        let config = CertificateConfig {
            service: self.config.service.clone(),
            extra_names: self.config.extra_names.clone(),
            ..CertificateConfig::new(&self.config.namespace)
        };
        let (client, leadership) = (self.environment.client.clone(), self.leadership.clone());
        let Some(folder) = &self.config.serve_certificate else {
            let (keeper, certificates) = keeper(client, config, leadership);
            self.shutdown.spawn(keeper.run(self.shutdown.clone()));
            return certificates;
        };
        let ready = format!("usable certificate in {}", folder.display());
        let ready = self.environment.readiness.token(ready);
        let config = MountedConfig::of(folder, &config);
        let (follower, certificates) = follower(client, config, leadership, ready);
        self.shutdown.spawn(follower.run(self.shutdown.clone()));
        certificates
    }

    /// The controller of service channels, and what it tells the proxies.
    fn channels(&self) -> Directory {
        let (sender, mut offered) = watch::channel(Arc::default());
        let (leads, leading) = watch::channel(false);
        let mut leadership = self.leadership.clone();
        self.until_stopped(async move {
            loop {
                leads.send_replace(*leadership.borrow_and_update() == Leadership::Leading);
                if leadership.changed().await.is_err() {
                    return;
                }
            }
        });
        let hub = Arc::clone(&self.hub);
        self.until_stopped(async move {
            while offered.changed().await.is_ok() {
                let channels: Arc<Vec<_>> = Arc::clone(&offered.borrow_and_update());
                hub.set_channels(channels.as_ref().clone());
            }
        });
        let only = only(&self.config.namespaces);
        let config = channels::Config {
            client: self.environment.client.clone(),
            namespace: only.clone(),
            mappings: only.is_none(),
            writers: CHANNEL_WRITES,
        };
        let metrics = ChannelMetrics::new(&self.environment.metrics);
        let links = Links {
            channels: sender,
            leading,
            held: self.held.clone(),
            recorder: self.recorder.clone(),
            operator: self.metrics.clone(),
            metrics,
            readiness: self.environment.readiness.clone(),
        };
        let directory = Directory::new(self.config.channels.clone(), self.managed());
        self.shutdown.spawn(channels::run(
            config,
            links,
            directory.clone(),
            self.shutdown.clone(),
        ));
        directory
    }

    fn controller(&self) -> (mpsc::Sender<Question>, ForeignServices) {
        let (inbox, news) = (self.watches(), self.instances());
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let client = self.environment.client.clone();
        let model = Model::new(Settings {
            installation: self.config.namespace.clone(),
            options: self.config.options,
            ports: self.config.ports.clone(),
            lookups: Timing {
                refresh: self.config.interval,
                concurrency: self.config.lookup_concurrency,
            },
            managed: self.managed(),
        });
        let parts = Parts {
            inbox,
            news,
            questions: asked,
            leadership: self.leadership.clone(),
            pods: self.index.proxy_ticks(),
            board: Arc::clone(&self.board),
            held: self.held.clone(),
            proxies: Proxies::new(Arc::clone(&self.board), Arc::clone(&self.index)),
            hub: Arc::clone(&self.hub),
            stores: Arc::clone(&self.stores),
            writer: Writer::new(client, self.metrics.clone()),
            recorder: self.recorder.clone(),
            policies: self.proxy_pods().map(Policies::new),
            metrics: self.metrics.clone(),
        };
        let services = model.foreign_services();
        self.shutdown
            .spawn(Controller::new(model, parts).run(self.shutdown.clone()));
        (questions, services)
    }

    fn managed(&self) -> Managed {
        match self.config.namespaces {
            Namespaces::Labelled => Managed::labelled(NAMESPACE_LABEL, &self.config.namespace),
            _ => Managed::All,
        }
    }

    fn proxy_pods(&self) -> Option<policy::Proxies> {
        Some(policy::Proxies {
            namespace: self.config.namespace.clone(),
            labels: self.config.proxy_labels.clone()?,
        })
    }

    fn watches(&self) -> mpsc::Receiver<Message> {
        let (queue, inbox) = mpsc::channel(INBOX);
        let ours = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
        let all = watcher::Config::default();
        self.watch(self.api(), all.clone(), Message::Destination, &queue);
        self.watch(self.api(), all.clone(), Message::Service, &queue);
        self.watch(self.api(), ours.clone(), Message::Slice, &queue);
        if self.config.namespaces == Namespaces::Labelled {
            self.watch(
                Api::all(self.environment.client.clone()),
                all,
                Message::Namespace,
                &queue,
            );
        }
        if self.config.proxy_labels.is_some() {
            let api = Api::namespaced(self.environment.client.clone(), &self.config.namespace);
            self.watch(api, ours, Message::Policy, &queue);
        }
        inbox
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        let client = self.environment.client.clone();
        match only(&self.config.namespaces) {
            Some(namespace) => Api::namespaced(client, &namespace),
            None => Api::all(client),
        }
    }

    fn watch<K>(
        &self,
        api: Api<kube::core::DeserializeGuard<K>>,
        selection: watcher::Config,
        message: fn(Seen<K>) -> Message,
        queue: &mpsc::Sender<Message>,
    ) where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
    {
        let sink = Sink {
            queue: queue.clone(),
            metrics: self.metrics.clone(),
            recorder: self.recorder.clone(),
            ready: self
                .environment
                .readiness
                .token(format!("list of {}", K::kind(&()))),
        };
        self.shutdown
            .spawn(follow(api, selection, message, sink, self.shutdown.clone()));
    }

    fn instances(&self) -> mpsc::Receiver<stores::StoreNews> {
        let (sender, news) = mpsc::channel(NEWS);
        for instance in &self.config.instances {
            let context = SourceContext {
                client: self.environment.client.clone(),
            };
            self.shutdown.spawn(stores::follow(
                Arc::clone(&self.stores),
                instance.clone(),
                context,
                sender.clone(),
                self.shutdown.clone(),
            ));
        }
        news
    }

    fn serve_router(&self, certificates: &Certificates) -> Router {
        let metrics = ServeMetrics::default();
        metrics.register(&self.environment.metrics);
        let reviewer = KubeReviewer::new(self.environment.client.clone());
        let board = Arc::clone(&self.board);
        let expiring = Arc::clone(&board);
        self.until_stopped(async move {
            let mut tick = tokio::time::interval(std::time::Duration::from_secs(1));
            loop {
                expiring.expire(tick.tick().await);
            }
        });
        api::router(ServeApi {
            hub: Arc::clone(&self.hub),
            board,
            gate: Gate::new(reviewer, GateTiming::default(), metrics.clone()),
            policy: Policy {
                proxies: self.config.proxies.clone(),
                nodes: self.config.nodes.clone(),
            },
            leadership: self.leadership.clone(),
            signer: certificates.signer.clone(),
            metrics,
        })
    }
}

fn only(namespaces: &Namespaces) -> Option<String> {
    match namespaces {
        Namespaces::Only(namespace) => Some(namespace.clone()),
        _ => None,
    }
}

/// Locations that hold a channel, over all proxies.
pub(super) fn held(board: &Board, key: &ChannelKey) -> Option<std::collections::BTreeSet<String>> {
    board.read(|reports| {
        let mut holders = reports.holders(key).peekable();
        holders.peek()?;
        Some(
            holders
                .flat_map(|(_, locations)| locations.iter().cloned())
                .collect(),
        )
    })
}
