//! Service channels: ports of this machine that lead to services of the cluster.
//!
//! [`plan`](mod@plan) decides which ports are open, from the configuration and from what the cluster offers; this module
//! keeps them so and tells the cluster which are; `client` serves one client.

mod client;
pub mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::listener;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tunnel::channel::Offered;
use landbridge_tunnel::{ChannelName, Channels};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::audit::Audit;
use crate::config::{Limits, ServiceChannel};
use crate::metrics::ConnectorMetrics;
use client::{Client, Quiet};
use plan::{Note, Wanted, plan};

/// How long until a port that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(30);

/// The service channels of one tunnel.
pub(crate) struct ServiceChannels {
    pub(crate) tunnel: String,
    pub(crate) own: Vec<ServiceChannel>,
    /// Whether ports that the cluster wants open are opened without being configured here.
    pub(crate) accept_offered: bool,
    pub(crate) channels: Channels,
    pub(crate) limits: Limits,
    pub(crate) audit: Audit,
    pub(crate) metrics: ConnectorMetrics,
}

/// An open port; closed when dropped.
struct Open {
    _stop: DropGuard,
}

impl ServiceChannels {
    /// Keeps the ports as they should be until draining is asked. Clients that are connected then go on.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut offered = self.channels.offered();
        let mut open: HashMap<Wanted, Open> = HashMap::new();
        let mut told: Vec<Note> = Vec::new();
        let mut failed = 0;
        loop {
            let table = offered.borrow_and_update().clone();
            let (wanted, notes) = plan(
                &self.own,
                self.accept_offered,
                table.as_deref().map(Vec::as_slice),
            );
            for note in notes.iter().filter(|note| !told.contains(note)) {
                note.log(&self.tunnel);
            }
            told = notes;
            let failures = self.apply(&mut open, &wanted, &shutdown).await;
            // Other tunnels count here, too.
            self.metrics.channels_failed.inc_by(failures - failed);
            failed = failures;
            self.hold(&open);
            tokio::select! {
                () = shutdown.started() => break,
                // The sender lives as long as this does.
                Ok(()) = offered.changed() => {}
                () = sleep(RETRY), if failed > 0 => {}
            }
        }
        self.metrics.channels_open.dec_by(count(open.len()));
    }

    /// Closes and opens ports; how many could not be opened.
    async fn apply(&self, open: &mut HashMap<Wanted, Open>, wanted: &[Wanted], shutdown: &Shutdown) -> i64 {
        // First closed, then opened: a port may go from one channel to another.
        let before = open.len();
        open.retain(|one, _| {
            let stays = wanted.contains(one);
            if !stays {
                tracing::info!(tunnel = self.tunnel, service = %one.name, listen = %one.listen, "service channel closed");
            }
            stays
        });
        self.metrics.channels_open.dec_by(count(before - open.len()));
        let mut failed = 0;
        for one in wanted {
            if open.contains_key(one) {
                continue;
            }
            match listener::bind(one.listen, "local_port and listen of the service channel").await {
                Ok(listener) => {
                    tracing::info!(tunnel = self.tunnel, service = %one.name, listen = %one.listen, "service channel open");
                    open.insert(one.clone(), self.open(listener, one, shutdown));
                    self.metrics.channels_open.inc();
                }
                Err(error) => {
                    failed += 1;
                    tracing::error!(tunnel = self.tunnel, service = %one.name, %error, retry_in = ?RETRY, "service channel cannot be opened");
                }
            }
        }
        failed
    }

    fn open(&self, listener: TcpListener, wanted: &Wanted, shutdown: &Shutdown) -> Open {
        let stop = CancellationToken::new();
        let client = Arc::new(Client {
            tunnel: self.tunnel.clone(),
            name: wanted.name.clone(),
            listen: wanted.listen,
            channels: self.channels.clone(),
            limits: self.limits,
            audit: self.audit,
            metrics: self.metrics.clone(),
            quiet: Quiet::default(),
        });
        let places = Arc::new(Semaphore::new(wanted.max_clients));
        let (inner, ending, draining) = (shutdown.clone(), stop.clone(), shutdown.clone());
        shutdown.spawn(async move {
            tokio::select! {
                () = accept(listener, places, client, inner) => {}
                () = ending.cancelled() => {}
                () = draining.started() => {}
            }
        });
        Open {
            _stop: stop.drop_guard(),
        }
    }

    fn hold(&self, open: &HashMap<Wanted, Open>) {
        let mut names: Vec<ChannelName> = open.keys().map(|one| one.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        self.channels.hold(names);
    }
}

async fn accept(listener: TcpListener, places: Arc<Semaphore>, client: Arc<Client>, shutdown: Shutdown) {
    loop {
        let (socket, peer) = listener::accept(&listener).await;
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                let client = Arc::clone(&client);
                shutdown.spawn_until_forced(async move {
                    client.serve(socket, peer).await;
                    drop(place);
                });
            }
            Err(_) => client.overload(socket, peer),
        }
    }
}

/// How many tunnel connections a tunnel needs for its channels: what the neediest asks for, as many as it has
/// otherwise so that they end at different replicas, and one to hear what is offered when there are none.
pub(crate) fn connections(tunnel: &crate::config::Tunnel) -> u16 {
    let enabled = tunnel.channels.iter().filter(|channel| channel.enabled);
    let wanted = enabled.map(|channel| channel.connections).max();
    match wanted {
        None if !tunnel.accept_offered_channels => 1,
        wanted => wanted
            .unwrap_or(1)
            .max(tunnel.connections)
            .min(landbridge_tunnel::dialer::MAX_CONNECTIONS),
    }
}

/// Whether an offer is what a name of the configuration means: K8S stands for any kind, as in [`Offered`] the cluster
/// decides about it.
fn means(name: &ChannelName, offered: &Offered) -> bool {
    name.id() == offered.name.id() && (name.kind() == "K8S" || name.kind() == offered.name.kind())
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
