//! One connection and its successors: dial, serve, and when it is lost or leaves, again.

use std::sync::Arc;

use landbridge_runtime::listener::tune_link;
use landbridge_runtime::shutdown::Shutdown;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::backoff::{HEALTHY, delay};
use super::{ConnectError, ConnectionState, IncomingStream, ServerAddress, Shared, StreamHandler};
use crate::hello::{self, AVOIDED, ConnectorHello, HelloError};
use crate::metrics::ConnectionResult;
use crate::mux::ConnectionStats;
use crate::mux::h2::{AcceptingMux, Control, Incoming, accepting};
use crate::mux::metered::Metered;
use crate::tls::HANDSHAKE_DEADLINE;

/// Attempts to reach a replica that no other connection ends at, before the same one is good enough.
const SPREAD_ATTEMPTS: u32 = 4;

pub(super) type Tls = TlsStream<Metered<TcpStream>>;
type Link = AcceptingMux<Tls>;

/// Which of the connections: both directions are numbered on their own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    /// The acceptor opens streams.
    Inbound(u16),
    /// The connector opens streams.
    Outbound(u16),
}

impl Slot {
    const fn kind(self) -> &'static str {
        match self {
            Self::Inbound(_) => hello::INBOUND,
            Self::Outbound(_) => hello::OUTBOUND,
        }
    }

    const fn number(self) -> u16 {
        match self {
            Self::Inbound(number) | Self::Outbound(number) => number,
        }
    }
}

/// A connection that is being served.
struct Served {
    control: Control,
    task: JoinHandle<String>,
    since: Instant,
}

/// Keeps slot number `slot` connected until draining is asked.
pub(super) async fn keep<H: StreamHandler>(
    shared: Arc<Shared>,
    slot: u16,
    handler: Arc<H>,
    shutdown: Shutdown,
) {
    let mut failures = 0;
    // The connection that the acceptor asked to replace; it goes on until its successor is there.
    let mut leaving: Option<Control> = None;
    loop {
        shared.set(Slot::Inbound(slot), ConnectionState::Connecting { failures });
        let connected = tokio::select! {
            () = shutdown.started() => break,
            connected = shared.connect_inbound(slot, failures) => connected,
        };
        let reason = match connected {
            Ok((link, replica)) => {
                let served = serve(link, &handler, &shutdown);
                shared.established(Slot::Inbound(slot), replica);
                if let Some(old) = leaving.take() {
                    old.drain();
                }
                match watch(served, &shutdown).await {
                    Watched::Replace(old) => {
                        tracing::info!(slot, "the acceptor is leaving; connecting to another one");
                        (failures, leaving) = (0, Some(old));
                        // Several acceptors may be leaving, or one may lie: a little time between two connections.
                        tokio::select! {
                            () = shutdown.started() => break,
                            () = sleep(delay(0, fastrand::f64())) => {}
                        }
                        continue;
                    }
                    Watched::Stopped => break,
                    Watched::Lost { cause, healthy } => {
                        if healthy {
                            failures = 0;
                        }
                        shared.config.metrics.sessions_lost.inc();
                        format!("the connection was lost: {cause}")
                    }
                }
            }
            Err(error) => shared.failed(&error),
        };
        failures += 1;
        if !shared
            .pause(Slot::Inbound(slot), failures, reason, &shutdown)
            .await
        {
            break;
        }
    }
    shared.set(Slot::Inbound(slot), ConnectionState::Stopped);
}

enum Watched {
    Replace(Control),
    Lost { cause: String, healthy: bool },
    Stopped,
}

/// Waits until a connection ends or is to be replaced. The accept loop drains itself when draining is asked.
async fn watch(served: Served, shutdown: &Shutdown) -> Watched {
    let Served {
        control,
        mut task,
        since,
    } = served;
    tokio::select! {
        () = shutdown.started() => {
            let _ = task.await;
            Watched::Stopped
        }
        cause = &mut task => {
            let cause = cause.unwrap_or_else(|_| "its task failed".to_owned());
            Watched::Lost { cause, healthy: since.elapsed() >= HEALTHY }
        }
        () = control.drain_requested() => Watched::Replace(control),
    }
}

/// Starts the accept loop of a connection.
fn serve<H: StreamHandler>(link: Link, handler: &Arc<H>, shutdown: &Shutdown) -> Served {
    let control = link.control();
    let task = shutdown.spawn(accept_streams(link, Arc::clone(handler), shutdown.clone()));
    Served {
        control,
        task,
        since: Instant::now(),
    }
}

async fn accept_streams<H: StreamHandler>(mut link: Link, handler: Arc<H>, shutdown: Shutdown) -> String {
    let mut draining = false;
    loop {
        tokio::select! {
            next = link.next() => match next {
                Ok(incoming) => start(incoming, &handler, &shutdown),
                Err(cause) => return cause,
            },
            () = shutdown.started(), if !draining => {
                draining = true;
                link.control().drain();
            }
            () = shutdown.forced() => return "forced to stop".to_owned(),
        }
    }
}

/// Never waits: the loop that reads the connection must not depend on any stream.
fn start<H: StreamHandler>(incoming: Incoming, handler: &Arc<H>, shutdown: &Shutdown) {
    let request = match incoming.decode() {
        Ok(request) => request,
        Err(bad) => {
            tracing::warn!(error = %bad, "stream refused: bad open header");
            return incoming.deny(bad.reason(), &bad.to_string());
        }
    };
    let handler = Arc::clone(handler);
    shutdown.spawn_until_forced(async move { handler.handle(IncomingStream { request, incoming }).await });
}

impl Shared {
    /// Waits before the next attempt; false when draining was asked meanwhile.
    pub(super) async fn pause(&self, slot: Slot, failures: u32, reason: String, shutdown: &Shutdown) -> bool {
        let retry_in = delay(failures, fastrand::f64());
        let (kind, number) = (slot.kind(), slot.number());
        tracing::warn!(kind, slot = number, failures, ?retry_in, reason, "not connected");
        self.set(
            slot,
            ConnectionState::Waiting {
                reason,
                retry_in,
                failures,
            },
        );
        tokio::select! {
            () = shutdown.started() => false,
            () = sleep(retry_in) => true,
        }
    }

    async fn connect_inbound(&self, slot: u16, failures: u32) -> Result<(Link, String), ConnectError> {
        let (tls, stats, replica) = self.connect(Slot::Inbound(slot), failures).await?;
        let link = accepting(tls, stats).await.map_err(ConnectError::Mux)?;
        Ok((link, replica))
    }

    /// Up to the hello; what runs on the connection depends on its direction.
    pub(super) async fn connect(
        &self,
        slot: Slot,
        failures: u32,
    ) -> Result<(Tls, Arc<ConnectionStats>, String), ConnectError> {
        let servers = &self.config.servers;
        let mut spread = 0;
        loop {
            // Slots start at different addresses, and each failure moves on to the next.
            let turn = usize::from(slot.number()) + failures as usize + spread as usize;
            // After a failure any replica is better than none.
            let avoid = if failures == 0 && spread < SPREAD_ATTEMPTS {
                self.replicas_of_others(slot)
            } else {
                Vec::new()
            };
            match self.connect_to(&servers[turn % servers.len()], slot, avoid).await {
                Err(ConnectError::Hello(HelloError::Refused { reason, .. }))
                    if reason == AVOIDED && spread < SPREAD_ATTEMPTS =>
                {
                    spread += 1;
                }
                result => return result,
            }
        }
    }

    async fn connect_to(
        &self,
        server: &ServerAddress,
        slot: Slot,
        avoid: Vec<String>,
    ) -> Result<(Tls, Arc<ConnectionStats>, String), ConnectError> {
        let name = self.config.server_name.as_ref().unwrap_or(&server.host).clone();
        let name =
            ServerName::try_from(name.clone()).map_err(|source| ConnectError::ServerName { name, source })?;
        self.report_expiry();
        let socket = self
            .network
            .connect(&server.host, server.port, self.config.dial_deadline)
            .await?;
        tune_link(&socket);
        let stats = Arc::new(ConnectionStats::default());
        stats.set_limit(self.config.max_streams);
        let metered = Metered::new(socket, Arc::clone(&stats));
        let handshake = TlsConnector::from(Arc::clone(&self.tls)).connect(name, metered);
        let handshake = timeout(HANDSHAKE_DEADLINE, handshake).await;
        let mut tls = handshake
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(ConnectError::Tls)?;
        let hello = ConnectorHello {
            version: hello::VERSION,
            kind: slot.kind().to_owned(),
            location: self.config.location.clone(),
            agent: self.config.agent.clone(),
            max_streams: stats.limit(),
            instance: self.instance.clone(),
            slot: slot.number(),
            avoid,
        };
        let answer = hello::exchange(&mut tls, &hello).await?;
        Ok((tls, stats, answer.replica.chars().take(128).collect()))
    }

    /// Replicas at which the other connections of the same direction end.
    fn replicas_of_others(&self, slot: Slot) -> Vec<String> {
        let (own, inbound) = (self.index(slot), usize::from(self.config.connections));
        let replicas = self.replicas.lock();
        let others = replicas
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != own && (*other < inbound) == (own < inbound));
        others.filter_map(|(_, replica)| replica.clone()).collect()
    }

    /// Place in the list of replicas: inbound ones come first.
    fn index(&self, slot: Slot) -> usize {
        match slot {
            Slot::Inbound(number) => usize::from(number),
            Slot::Outbound(number) => usize::from(self.config.connections) + usize::from(number),
        }
    }

    pub(super) fn established(&self, slot: Slot, replica: String) {
        self.config.metrics.connection(ConnectionResult::Established);
        tracing::info!(
            kind = slot.kind(),
            slot = slot.number(),
            replica,
            location = self.config.location,
            "connected"
        );
        self.set(
            slot,
            ConnectionState::Connected {
                replica,
                since: Instant::now(),
            },
        );
    }

    pub(super) fn failed(&self, error: &ConnectError) -> String {
        self.config.metrics.connection(match error {
            ConnectError::Dial(_) => ConnectionResult::Unreachable,
            ConnectError::Tls(_) | ConnectError::ServerName { .. } => ConnectionResult::Handshake,
            ConnectError::Hello(_) | ConnectError::Mux(_) => ConnectionResult::Hello,
        });
        error.to_string()
    }

    pub(super) fn set(&self, slot: Slot, state: ConnectionState) {
        let number = usize::from(slot.number());
        let replica = match &state {
            ConnectionState::Connected { replica, .. } => Some(replica.clone()),
            _ => None,
        };
        if let Some(entry) = self.replicas.lock().get_mut(self.index(slot)) {
            *entry = replica;
        }
        self.status.send_modify(|status| {
            let (list, gauge) = match slot {
                Slot::Inbound(_) => (&mut status.connections, &self.config.metrics.sessions),
                Slot::Outbound(_) => (&mut status.outbound, &self.config.metrics.outbound_sessions),
            };
            if let Some(entry) = list.get_mut(number) {
                let connected =
                    |state: &ConnectionState| i64::from(matches!(state, ConnectionState::Connected { .. }));
                gauge.inc_by(connected(&state) - connected(entry));
                *entry = state;
            }
        });
    }
}
