//! One stream: decide, dial, answer, carry.

use std::sync::Arc;
use std::time::Duration;

use landbridge_destination::channel::Channel;
use landbridge_runtime::copy::{Copied, CopyLimits, End, copy_bidirectional, is_benign};
use landbridge_runtime::dial::DialError;
use landbridge_runtime::shares::Share;
use landbridge_tunnel::{ChannelName, ChannelPeer, DenyReason, IncomingChannel};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::metrics::StreamResult;
use super::table::Refusal;
use super::{Inner, asker};

/// Longest time to connect to a service, name look-up included.
const CONNECT: Duration = Duration::from_secs(10);

/// How a stream ended, for its one line in the log.
struct Outcome {
    result: StreamResult,
    copied: Option<Copied>,
    error: Option<String>,
}

impl Outcome {
    fn failed(result: StreamResult, error: impl ToString) -> Self {
        Self {
            result,
            copied: None,
            error: Some(error.to_string()),
        }
    }
}

impl Inner {
    pub(super) async fn serve(&self, peer: &ChannelPeer, stream: IncomingChannel) {
        let start = Instant::now();
        let name = stream.request().name().clone();
        let id = stream.request().request_id().map(str::to_owned);
        let admitted = self.admit(peer, &name);
        let key = admitted.as_ref().ok().map(|channel| channel.key.clone());
        let outcome = match admitted {
            Ok(channel) => self.carry(peer, &name, &channel, stream).await,
            Err(refusal) => {
                let text = refusal.to_string();
                stream.deny(refusal.reason(), &text);
                Outcome::failed(StreamResult::Denied, text)
            }
        };
        self.metrics.stream(outcome.result);
        tracing::info!(
            target: "access",
            channel = key.as_ref().map(tracing::field::display),
            service = %name,
            identity = %peer.identity,
            location = peer.location,
            result = ?outcome.result,
            sent = outcome.copied.as_ref().map(|copied| copied.sent),
            received = outcome.copied.as_ref().map(|copied| copied.received),
            ms = start.elapsed().as_secs_f64() * 1e3,
            request_id = id,
            error = outcome.error,
            "service channel closed",
        );
    }

    fn admit(&self, peer: &ChannelPeer, name: &ChannelName) -> Result<Arc<Channel>, Refusal> {
        let dedicated = self.dedicated();
        let table = self.table.load();
        table
            .admit(asker(peer, dedicated.as_deref()), name)
            .map(Arc::clone)
    }

    async fn carry(
        &self,
        peer: &ChannelPeer,
        name: &ChannelName,
        channel: &Arc<Channel>,
        mut stream: IncomingChannel,
    ) -> Outcome {
        let Some(_place) = self.place(channel) else {
            let text = "the proxy has as many streams of this service channel, or of all, as it may; try again later, \
                        or add replicas of the proxy";
            stream.deny(DenyReason::Busy, text);
            return Outcome::failed(StreamResult::Overload, text);
        };
        let dialled = tokio::select! {
            dialled = self.dial(channel, stream.request().deadline()) => dialled,
            () = stream.abandoned() => {
                return Outcome::failed(StreamResult::Abandoned, "the connector gave up while the service was dialled");
            }
        };
        let mut service = match dialled {
            Ok(service) => service,
            Err(error) => {
                let (reason, result) = if error.is_timeout() {
                    (DenyReason::Timeout, StreamResult::Timeout)
                } else {
                    (DenyReason::Unreachable, StreamResult::Unreachable)
                };
                stream.deny(reason, &error.to_string());
                return Outcome::failed(result, error);
            }
        };
        let mut stream = match stream.accept() {
            Ok(stream) => stream,
            Err(error) => return Outcome::failed(StreamResult::Abandoned, error),
        };
        self.metrics.active.inc();
        let _active = Active(self);
        let copying = copy_bidirectional(&mut stream, &mut service, CopyLimits::default());
        let copied = tokio::select! {
            biased;
            () = self.revoked(peer, name, channel) => None,
            copied = copying => Some(copied),
        };
        let Some(copied) = copied else {
            stream.reset();
            return Outcome::failed(
                StreamResult::Revoked,
                "the service channel was removed, switched off or changed in the cluster",
            );
        };
        self.metrics.sent.inc_by(copied.sent);
        self.metrics.received.inc_by(copied.received);
        let error = match &copied.end {
            End::Closed => None,
            End::Idle => Some("idle for too long".to_owned()),
            End::Failed(error) => {
                // The other side must not take what it got for the whole.
                stream.reset();
                (!is_benign(error)).then(|| error.to_string())
            }
        };
        Outcome {
            result: StreamResult::Served,
            copied: Some(copied),
            error,
        }
    }

    fn place(&self, channel: &Channel) -> Option<Share<landbridge_destination::channel::ChannelKey>> {
        self.places.take(&channel.key)
    }

    /// A little less than the connector waits, so that it hears why instead of giving up.
    async fn dial(&self, channel: &Channel, asked: Option<Duration>) -> Result<TcpStream, DialError> {
        let deadline = asked.map_or(CONNECT, |asked| asked.mul_f64(0.9)).min(CONNECT);
        let unusable = || DialError::Resolve {
            host: channel.address.clone(),
            reason: "it is not host:port".to_owned(),
        };
        let (host, port) = channel.address.rsplit_once(':').ok_or_else(unusable)?;
        let port = port.parse().map_err(|_| unusable())?;
        self.dialer.connect(host, port, deadline).await
    }

    /// Completes when the connector may not have this stream any more: the channel is gone, closed to it, or leads
    /// elsewhere.
    async fn revoked(&self, peer: &ChannelPeer, name: &ChannelName, channel: &Channel) {
        let mut revision = self.revision.subscribe();
        loop {
            revision.mark_unchanged();
            let same = self
                .admit(peer, name)
                .is_ok_and(|now| now.key == channel.key && now.address == channel.address);
            // The sender is part of this, so it cannot be gone.
            if !same || revision.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Counts down also when the task is dropped.
struct Active<'a>(&'a Inner);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.metrics.active.dec();
    }
}
