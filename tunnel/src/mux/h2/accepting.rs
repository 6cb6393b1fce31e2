//! The accepting side of a connection: hands out the streams that the peer opens.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::h2::RecvStream;
use ::h2::server::{self, SendResponse};
use bytes::Bytes;
use http::{Method, Request, Response};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{CHANNELS_PATH, DRAIN_PATH, Ending, QUEUE, Transport, describe_end, into_io, no_ping, timed_out};
use crate::channel::ChannelRequest;
use crate::mux::keeper::{Command, Keeper, PingRequest};
use crate::mux::settings::{
    ANNOUNCED_STREAMS, CONNECTION_WINDOW, FRAME_SIZE, HANDSHAKE_DEADLINE, HEADER_LIST, RESET_STREAMS,
    SEND_BUFFER, STREAM_WINDOW,
};
use crate::mux::{ConnectionStats, StreamSlot};
use crate::open::{BadOpen, DenyReason, OpenRequest, encode_denial};
use crate::stream::TunnelStream;

/// A stream that the peer wants to open: not yet checked, not yet answered.
#[derive(Debug)]
pub struct Incoming {
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    slot: StreamSlot,
}

impl Incoming {
    /// Reads the open header.
    pub fn decode(&self) -> Result<OpenRequest, BadOpen> {
        OpenRequest::decode(&self.request)
    }

    /// Says that the stream is open.
    pub fn accept(mut self) -> io::Result<TunnelStream> {
        let send = self
            .respond
            .send_response(Response::new(()), false)
            .map_err(into_io)?;
        Ok(TunnelStream::new(send, self.request.into_body(), Some(self.slot)))
    }

    /// Whether it is the exchange about service channels rather than a stream to somewhere.
    pub(crate) fn is_exchange(&self) -> bool {
        self.request.method() == Method::POST && self.request.uri().path() == CHANNELS_PATH
    }

    /// What is asked for, where the connector opens.
    pub(crate) fn decode_channel(&self) -> Result<ChannelRequest, BadOpen> {
        ChannelRequest::decode(&self.request)
    }

    /// As [`Self::accept`], without a place among the streams: the exchange does not keep a connection busy.
    pub(crate) fn accept_exchange(mut self) -> io::Result<TunnelStream> {
        let send = self
            .respond
            .send_response(Response::new(()), false)
            .map_err(into_io)?;
        Ok(TunnelStream::new(send, self.request.into_body(), None))
    }

    /// Says that it is not.
    pub fn deny(mut self, reason: DenyReason, message: &str) {
        if let Err(error) = self.respond.send_response(encode_denial(reason, message), true) {
            tracing::debug!(%error, "the opener gave up before it was refused");
        }
    }

    /// Completes when the opener gives the stream up before it is answered.
    pub async fn abandoned(&mut self) {
        let _ = poll_fn(|cx| self.respond.poll_reset(cx)).await;
    }
}

/// The accepting side of a connection. Dropping it closes the connection; streams then fail.
#[derive(Debug)]
pub struct AcceptingMux<T: Transport> {
    connection: server::Connection<T, Bytes>,
    commands: mpsc::Receiver<Command>,
    /// Window that is not announced yet.
    wanted: Option<u32>,
    control: Control,
}

/// Handle to a connection that is owned by its accept loop.
#[derive(Clone, Debug)]
pub struct Control {
    commands: mpsc::Sender<Command>,
    pings: mpsc::Sender<PingRequest>,
    stats: Arc<ConnectionStats>,
    ending: Arc<Ending>,
    drain_requested: CancellationToken,
}

impl Control {
    /// Completes when the peer is leaving and wants this connection replaced.
    pub async fn drain_requested(&self) {
        self.drain_requested.cancelled().await;
    }

    /// Sends GOAWAY: the peer opens no further stream here, open ones finish, then the connection closes.
    pub fn drain(&self) {
        self.stats.set_leaving();
        // Full only when many window changes wait; then closing is the safe choice.
        if self.commands.try_send(Command::Drain).is_err() {
            self.ending.ask("draining");
        }
    }

    /// Closes at once.
    pub fn close(&self, why: &str) {
        self.ending.ask(why);
    }

    /// Measures a round trip.
    pub async fn ping(&self) -> Option<Duration> {
        let (sender, receiver) = oneshot::channel();
        self.pings.send(sender).await.ok()?;
        receiver.await.ok()
    }

    /// Counters and state.
    pub fn stats(&self) -> &Arc<ConnectionStats> {
        &self.stats
    }
}

/// Starts the accepting side on a transport that has finished its hello.
pub async fn accepting<T: Transport>(io: T, stats: Arc<ConnectionStats>) -> io::Result<AcceptingMux<T>> {
    let mut builder = server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE)
        .max_header_list_size(HEADER_LIST)
        .max_concurrent_streams(ANNOUNCED_STREAMS)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(None)
        .max_send_buffer_size(SEND_BUFFER);
    let handshake = timeout(HANDSHAKE_DEADLINE, builder.handshake(io)).await;
    let mut connection = handshake.map_err(|_| timed_out())?.map_err(into_io)?;
    let ping = connection.ping_pong().ok_or_else(no_ping)?;
    let (commands, queue) = mpsc::channel(QUEUE);
    let (pings, requests) = mpsc::channel(QUEUE);
    let ending = Arc::new(Ending::default());
    let keeper = Keeper {
        ping,
        stats: Arc::clone(&stats),
        commands: commands.clone(),
        requests,
    };
    tokio::spawn(watch(keeper, Arc::clone(&ending)));
    let control = Control {
        commands,
        pings,
        stats,
        ending,
        drain_requested: CancellationToken::new(),
    };
    Ok(AcceptingMux {
        connection,
        commands: queue,
        wanted: None,
        control,
    })
}

/// Runs a keeper until it finds the link dead or the connection has ended.
async fn watch(keeper: Keeper, ending: Arc<Ending>) {
    tokio::select! {
        dead = keeper.run() => ending.ask(&dead),
        () = ending.closed.cancelled() => {}
        () = ending.close.cancelled() => {}
    }
}

impl<T: Transport> AcceptingMux<T> {
    /// A handle to drain, close or ping it.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The next stream; `Err` with the cause when the connection has ended. Must be called all the time: it also
    /// moves the bytes of all streams.
    pub async fn next(&mut self) -> Result<Incoming, String> {
        loop {
            let ending = Arc::clone(&self.control.ending);
            let accepted = tokio::select! {
                () = ending.close.cancelled() => return Err(ending.finish("")),
                accepted = poll_fn(|cx| self.poll_next(cx)) => accepted,
            };
            match accepted {
                Some(Ok((request, respond))) => {
                    if let Some(incoming) = self.classify(request, respond) {
                        return Ok(incoming);
                    }
                }
                Some(Err(error)) => return Err(ending.finish(&describe_end(Err(error)))),
                None => return Err(ending.finish("closed by the peer")),
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "h2's own type for what it accepts")]
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Request<RecvStream>, SendResponse<Bytes>), ::h2::Error>>> {
        while let Poll::Ready(Some(command)) = self.commands.poll_recv(cx) {
            match command {
                Command::Window(window) => self.wanted = Some(window),
                Command::Drain => self.connection.graceful_shutdown(),
                Command::Look => {}
            }
        }
        // Refused while the previous SETTINGS are not acknowledged; then the next wake-up tries again.
        if self
            .wanted
            .is_some_and(|window| self.connection.set_initial_window_size(window).is_ok())
        {
            self.wanted = None;
        }
        self.connection.poll_accept(cx)
    }

    /// Answers control requests and takes a place for a stream; `None` when there is nothing to hand out.
    fn classify(&self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Option<Incoming> {
        if request.method() == Method::POST && request.uri().path() == DRAIN_PATH {
            self.control.drain_requested.cancel();
            let _ = respond.send_response(Response::new(()), true);
            return None;
        }
        let Some(slot) = StreamSlot::take(&self.control.stats) else {
            let text = format!(
                "this connection already carries {} streams",
                self.control.stats.limit()
            );
            let _ = respond.send_response(encode_denial(DenyReason::Busy, &text), true);
            return None;
        };
        Some(Incoming {
            request,
            respond,
            slot,
        })
    }
}

impl<T: Transport> Drop for AcceptingMux<T> {
    fn drop(&mut self) {
        self.control.stats.set_leaving();
        self.control.ending.finish("closed by this side");
    }
}
