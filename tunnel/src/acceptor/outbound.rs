//! Connections on which the connector opens: service channels.

use std::net::SocketAddr;
use std::sync::Arc;

use landbridge_runtime::shares::{Share, Shares};
use landbridge_runtime::shutdown::Shutdown;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{DRAIN_STEP, Tls};
use crate::channel::exchange;
use crate::channel::handler::{ChannelPeer, ChannelService, IncomingChannel};
use crate::hello::{ConnectorHello, HelloRefusal, OUTBOUND};
use crate::identity::PeerIdentity;
use crate::metrics::TunnelMetrics;
use crate::mux::h2::{AcceptingMux, Incoming};
use crate::registry::RegistryLimits;

/// Streams at once on one connection. Each may cause a look-up and a dial, so it is a quarter of what the protocol
/// side could carry.
pub(super) const CHANNEL_STREAMS: usize = 1024;

/// Tenant and connector.
type Holder = (String, String);

/// Counts the connections, within the same bounds as the inbound ones.
#[derive(Debug)]
pub(super) struct Places {
    limits: RegistryLimits,
    shares: Arc<Shares<Holder>>,
}

impl Places {
    pub(super) fn new(limits: RegistryLimits) -> Self {
        Self {
            limits,
            shares: Shares::new(limits.per_identity, limits.total),
        }
    }

    /// A place for one more connection of this connector.
    pub(super) fn take(&self, identity: &PeerIdentity) -> Result<Share<Holder>, HelloRefusal> {
        let holder = (identity.tenant.clone(), identity.connector.clone());
        self.shares.take(&holder).ok_or_else(|| {
            HelloRefusal::TooMany(format!(
                "this connector already has {} connections for service channels, or all connectors together {}; lower \
                 its number of connections, or add replicas",
                self.limits.per_identity, self.limits.total
            ))
        })
    }
}

impl super::Shared {
    /// What serves a connection on which the connector opens; `None` for the others.
    pub(super) fn outbound(
        &self,
        hello: &ConnectorHello,
        identity: &PeerIdentity,
        peer: SocketAddr,
        shutdown: &Shutdown,
    ) -> Result<Option<Outbound>, HelloRefusal> {
        if hello.kind != OUTBOUND {
            return Ok(None);
        }
        let service = self.config.channels.clone();
        let service = service.ok_or_else(|| HelloRefusal::Kind(hello.kind.clone()))?;
        if service.shutdown.is_draining() {
            return Err(HelloRefusal::Draining);
        }
        let place = self.outbound.take(identity)?;
        let peer = ChannelPeer {
            session: self.registry.next_id(),
            identity: identity.clone(),
            location: hello.location.clone(),
            peer,
        };
        Ok(Some(Outbound {
            service,
            peer: Arc::new(peer),
            shutdown: shutdown.clone(),
            metrics: self.config.metrics.clone(),
            _place: place,
        }))
    }
}

/// One connection, until it ends.
pub(super) struct Outbound {
    service: ChannelService,
    peer: Arc<ChannelPeer>,
    /// The acceptor's own.
    shutdown: Shutdown,
    metrics: TunnelMetrics,
    _place: Share<Holder>,
}

impl Outbound {
    /// Serves streams until the connection ends, or is idle after draining was asked.
    pub(super) async fn run(self, mut link: AcceptingMux<Tls>) {
        let identity = self.peer.identity.clone();
        let location = self.peer.location.clone();
        self.metrics.outbound_sessions.inc();
        tracing::info!(peer = %self.peer.peer, %identity, location, "connector connected for service channels");
        let cause = self.serve(&mut link).await;
        drop(link);
        self.metrics.outbound_sessions.dec();
        tracing::info!(peer = %self.peer.peer, %identity, location, cause, "connector disconnected from service channels");
    }

    async fn serve(&self, link: &mut AcceptingMux<Tls>) -> String {
        let (leaving, ended) = (CancellationToken::new(), CancellationToken::new());
        let _ended = ended.clone().drop_guard();
        let mut exchanging = false;
        let mut ticks = interval(DRAIN_STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle = 0;
        loop {
            tokio::select! {
                next = link.next() => match next {
                    Ok(incoming) if incoming.is_exchange() && !exchanging => {
                        exchanging = true;
                        self.exchange(incoming, leaving.clone(), ended.clone());
                    }
                    Ok(incoming) => self.start(incoming),
                    Err(cause) => return cause,
                },
                () = self.draining(), if !leaving.is_cancelled() => leaving.cancel(),
                _ = ticks.tick(), if leaving.is_cancelled() => {
                    idle = if link.control().stats().active() == 0 { idle + 1 } else { 0 };
                    if idle > 2 {
                        return "drained".to_owned();
                    }
                }
                () = self.forced() => return "forced to stop".to_owned(),
            }
        }
    }

    async fn draining(&self) {
        tokio::select! {
            () = self.service.shutdown.started() => {}
            () = self.shutdown.started() => {}
        }
    }

    async fn forced(&self) {
        tokio::select! {
            () = self.service.shutdown.forced() => {}
            () = self.shutdown.forced() => {}
        }
    }

    /// Talks about channels in a task of its own: the loop that reads the connection must not depend on any stream.
    fn exchange(&self, incoming: Incoming, leaving: CancellationToken, ended: CancellationToken) {
        let (handler, peer) = (Arc::clone(&self.service.handler), Arc::clone(&self.peer));
        self.service.shutdown.spawn_until_forced(async move {
            let talk = async {
                let stream = incoming.accept_exchange()?;
                exchange::serve(stream, &handler, &peer, leaving).await
            };
            tokio::select! {
                result = talk => {
                    if let Err(error) = result {
                        tracing::debug!(peer = %peer.peer, %error, "the exchange about service channels ended");
                    }
                }
                () = ended.cancelled() => {}
            }
            // Here and nowhere else, so that it is the last word about this connection.
            handler.held(&peer, Vec::new());
        });
    }

    fn start(&self, incoming: Incoming) {
        let request = match incoming.decode_channel() {
            Ok(request) => request,
            Err(bad) => {
                tracing::warn!(peer = %self.peer.peer, identity = %self.peer.identity, error = %bad, "service channel refused: bad open header");
                return incoming.deny(bad.reason(), &bad.to_string());
            }
        };
        let (handler, peer) = (Arc::clone(&self.service.handler), Arc::clone(&self.peer));
        self.service
            .shutdown
            .spawn_until_forced(handler.serve(peer, IncomingChannel { request, incoming }));
    }
}
