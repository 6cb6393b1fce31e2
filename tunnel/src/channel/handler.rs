//! The acceptor's side of service channels: who asks, and the interface of who decides.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use landbridge_runtime::shutdown::Shutdown;
use tokio::sync::watch;

use super::{ChannelName, ChannelRequest, Offered};
use crate::identity::PeerIdentity;
use crate::mux::h2::Incoming;
use crate::open::DenyReason;
use crate::stream::TunnelStream;

/// The connection of a connector. Identity and location were proved before.
#[derive(Clone, Debug)]
pub struct ChannelPeer {
    /// Tells connections of this process apart.
    pub session: u64,
    /// Verified identity.
    pub identity: PeerIdentity,
    /// Location id it serves; empty is the default location.
    pub location: String,
    /// Where it comes from.
    pub peer: SocketAddr,
}

/// Decides about channels and carries them.
pub trait ChannelHandler: fmt::Debug + Send + Sync + 'static {
    /// Changes whenever what [`Self::offered`] answers may have.
    fn revision(&self) -> watch::Receiver<u64>;
    /// What this connector may open. Sorted, so that equal tables are equal lists.
    fn offered(&self, peer: &ChannelPeer) -> Vec<Offered>;
    /// The connector holds exactly these open for its clients; nothing when its connection has ended.
    fn held(&self, peer: &ChannelPeer, channels: Vec<ChannelName>);
    /// Serves one stream to its end. Dropped when the process is forced to stop.
    fn serve(self: Arc<Self>, peer: Arc<ChannelPeer>, stream: IncomingChannel) -> BoxFuture<'static, ()>;
}

/// What an acceptor needs to serve service channels.
#[derive(Clone, Debug)]
pub struct ChannelService {
    /// Decides and carries.
    pub handler: Arc<dyn ChannelHandler>,
    /// When it begins to drain, connectors are asked to connect elsewhere, and open streams finish. Usually begins
    /// before the acceptor's own, which still carries calls toward the company then.
    pub shutdown: Shutdown,
}

/// A stream that a connector wants to open. Dropping it without an answer resets it.
#[derive(Debug)]
pub struct IncomingChannel {
    pub(crate) request: ChannelRequest,
    pub(crate) incoming: Incoming,
}

impl IncomingChannel {
    /// What it is for. Comes from the peer and is valid in form only.
    pub const fn request(&self) -> &ChannelRequest {
        &self.request
    }

    /// Tells the connector that the stream leads somewhere now.
    ///
    /// # Errors
    /// The connector has given up meanwhile.
    pub fn accept(self) -> io::Result<TunnelStream> {
        self.incoming.accept()
    }

    /// Refuses it.
    pub fn deny(self, reason: DenyReason, message: &str) {
        self.incoming.deny(reason, message);
    }

    /// Completes when the connector has given up waiting.
    pub async fn abandoned(&mut self) {
        self.incoming.abandoned().await;
    }
}
