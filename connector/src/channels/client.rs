//! One client of a service channel: open a stream, carry, or hang up and say why in the log.

use std::net::SocketAddr;
use std::time::Duration;

use landbridge_runtime::copy::{Copied, CopyLimits, End, copy_bidirectional, is_benign};
use landbridge_tunnel::{ChannelError, ChannelName, ChannelRequest, Channels, DenyReason, TunnelStream};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::audit::Audit;
use crate::config::Limits;
use crate::metrics::{ClientResult, ConnectorMetrics};

/// Between two warnings of one channel; those in between are counted.
const WARNING_PAUSE: Duration = Duration::from_secs(5);

/// What all clients of one channel use.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) tunnel: String,
    pub(super) name: ChannelName,
    pub(super) listen: SocketAddr,
    pub(super) channels: Channels,
    pub(super) limits: Limits,
    pub(super) audit: Audit,
    pub(super) metrics: ConnectorMetrics,
    pub(super) quiet: Quiet,
}

/// A client that tries again and again must not fill the log.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    state: Mutex<(Option<Instant>, u64)>,
}

impl Quiet {
    /// How many warnings were left out, when it is time for one.
    fn turn(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        if state
            .0
            .is_some_and(|last| now.duration_since(last) < WARNING_PAUSE)
        {
            state.1 += 1;
            return None;
        }
        let left_out = state.1;
        *state = (Some(now), 0);
        Some(left_out)
    }
}

impl Client {
    /// Serves one client to its end.
    pub(super) async fn serve(&self, socket: TcpStream, peer: SocketAddr) {
        let id = format!("{:032x}", fastrand::u128(..));
        match self.open(&id).await {
            Ok(stream) => {
                self.audit.channel_opened(&self.tunnel, &self.name, peer, &id);
                self.metrics.client(ClientResult::Served);
                self.metrics.active_clients.inc();
                let _active = Active(&self.metrics);
                self.carry(socket, stream, &id).await;
            }
            Err(error) => {
                let result = result_of(&error);
                self.metrics.client(result);
                if result == ClientResult::Refused {
                    self.audit.channel_refused(&self.tunnel, &self.name, peer, &id);
                }
                self.warn(peer, &error.to_string(), &id);
                hang_up(&socket);
            }
        }
    }

    /// There are as many clients as there may be.
    pub(super) fn overload(&self, socket: TcpStream, peer: SocketAddr) {
        self.metrics.client(ClientResult::Overload);
        self.warn(peer, "as many clients as max_clients allows are connected; raise it, or look for clients that do not close", "");
        hang_up(&socket);
    }

    async fn open(&self, id: &str) -> Result<TunnelStream, ChannelError> {
        let request = ChannelRequest::new(self.name.clone())
            .with_deadline(self.limits.connect)
            .with_request_id(id)?;
        self.channels.open(&request).await
    }

    async fn carry(&self, mut socket: TcpStream, mut stream: TunnelStream, id: &str) {
        let limits = CopyLimits {
            idle: self.limits.idle,
            ..CopyLimits::default()
        };
        let Copied { sent, received, end } = copy_bidirectional(&mut socket, &mut stream, limits).await;
        match end {
            End::Closed => tracing::debug!(service = %self.name, sent, received, id, "client ended"),
            End::Idle => {
                tracing::info!(service = %self.name, sent, received, id, "client closed: nothing moved for the idle limit")
            }
            End::Failed(error) => {
                // Neither side must take what it got for the whole.
                stream.reset();
                hang_up(&socket);
                let benign = is_benign(&error);
                tracing::debug!(service = %self.name, sent, received, id, benign, %error, "client was cut off");
            }
        }
    }

    fn warn(&self, peer: SocketAddr, error: &str, id: &str) {
        if let Some(left_out) = self.quiet.turn(Instant::now()) {
            let (service, listen) = (&self.name, self.listen);
            tracing::warn!(tunnel = self.tunnel, %service, %listen, client = %peer, id, left_out, "client of a service channel refused: {error}");
        }
    }
}

fn result_of(error: &ChannelError) -> ClientResult {
    match error {
        ChannelError::Refused { reason, .. } => match reason {
            DenyReason::Unreachable => ClientResult::Unreachable,
            DenyReason::Timeout => ClientResult::Timeout,
            DenyReason::Busy => ClientResult::Overload,
            _ => ClientResult::Refused,
        },
        ChannelError::NotConnected | ChannelError::Lost(_) => ClientResult::NotConnected,
        ChannelError::Timeout { .. } => ClientResult::Timeout,
        ChannelError::Busy { .. } => ClientResult::Overload,
        ChannelError::Invalid(_) => ClientResult::Refused,
    }
}

/// The client hears a reset when the socket is dropped: TCP has no other way to say that this is no proper end.
fn hang_up(socket: &TcpStream) {
    if let Err(error) = socket.set_zero_linger() {
        tracing::debug!(%error, "the client hears an end instead of a reset");
    }
}

/// Counts down also when the task is dropped.
struct Active<'a>(&'a ConnectorMetrics);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active_clients.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_few_and_say_how_many_were_left_out() {
        let (quiet, start) = (Quiet::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let turns: Vec<_> = [0, 1, 4, 5, 6, 20].map(|second| quiet.turn(after(second))).into();
        assert_eq!(turns, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
