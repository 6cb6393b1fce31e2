//! [`Mux`] over HTTP/2, with the `h2` crate used directly.
//!
//! The side that opens streams (the acceptor) is the HTTP/2 client, the connector is the server, whoever dialled.
//! Each connection has one task that owns it and one [`Keeper`]; both end together.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::h2::client::{self, SendRequest};
use ::h2::server::{self, SendResponse};
use ::h2::{Reason, RecvStream};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, Uri};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::keeper::{Command, Keeper, PingRequest};
use super::settings::{
    ANNOUNCED_STREAMS, CONNECTION_WINDOW, FRAME_SIZE, HANDSHAKE_DEADLINE, HEADER_LIST, OPEN_DEADLINE,
    RESET_STREAMS, SEND_BUFFER, STREAM_WINDOW,
};
use super::{ConnectionStats, Mux, StreamSlot};
use crate::open::{BadOpen, DenyReason, OpenError, OpenRequest, decode_answer, encode_denial};
use crate::stream::TunnelStream;

/// Path of the control request by which the opener asks for a replacement of the connection.
const DRAIN_PATH: &str = "/landbridge/drain";
/// Deadline of a control request.
const CONTROL_DEADLINE: Duration = Duration::from_secs(10);
/// Commands and ping requests that may wait.
const QUEUE: usize = 8;

/// A socket-like thing a connection can run on.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {}

/// What ends a connection, shared by its tasks and handles.
#[derive(Debug, Default)]
struct Ending {
    /// Asked to end.
    close: CancellationToken,
    /// Has ended.
    closed: CancellationToken,
    /// The first cause wins.
    cause: Mutex<Option<String>>,
}

impl Ending {
    fn ask(&self, cause: &str) {
        self.cause.lock().get_or_insert_with(|| cause.to_owned());
        self.close.cancel();
    }

    fn finish(&self, cause: &str) -> String {
        let cause = self.cause.lock().get_or_insert_with(|| cause.to_owned()).clone();
        self.closed.cancel();
        cause
    }

    fn cause(&self) -> String {
        self.cause.lock().clone().unwrap_or_default()
    }
}

/// The opening side of a connection.
#[derive(Debug)]
pub struct OpenerMux {
    send: SendRequest<Bytes>,
    stats: Arc<ConnectionStats>,
    pings: mpsc::Sender<PingRequest>,
    ending: Arc<Ending>,
}

/// Starts the opening side on a transport that has finished its hello. The returned future drives the connection
/// and must be spawned; it ends with the cause when the connection does.
pub async fn opener<T: Transport>(
    io: T,
    stats: Arc<ConnectionStats>,
) -> io::Result<(OpenerMux, impl Future<Output = String> + Send + 'static)> {
    let mut builder = client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE)
        .max_header_list_size(HEADER_LIST)
        .max_concurrent_streams(0)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(None)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_push(false);
    let (send, mut connection) = timeout(HANDSHAKE_DEADLINE, builder.handshake(io))
        .await
        .map_err(|_| timed_out())?
        .map_err(into_io)?;
    let ping = connection.ping_pong().ok_or_else(no_ping)?;
    let (commands, mut command_queue) = mpsc::channel(QUEUE);
    let (pings, requests) = mpsc::channel(QUEUE);
    let ending = Arc::new(Ending::default());
    let mux = OpenerMux {
        send,
        stats: Arc::clone(&stats),
        pings,
        ending: Arc::clone(&ending),
    };
    let mut probe = mux.send.clone();
    let keeper = Keeper {
        ping,
        stats: Arc::clone(&stats),
        commands,
        requests,
    };
    let driver = async move {
        let run = poll_fn(|cx| {
            while let Poll::Ready(Some(command)) = command_queue.poll_recv(cx) {
                if let Command::Window(window) = command {
                    // Refused while the previous SETTINGS are not acknowledged; the next tick tries again.
                    let _ = connection.set_initial_window_size(window);
                }
            }
            let done = Pin::new(&mut connection).poll(cx);
            note_goaway(&mut probe, &stats, cx);
            done
        });
        let cause = tokio::select! {
            () = ending.close.cancelled() => String::new(),
            dead = keeper.run() => dead,
            result = run => describe_end(result),
        };
        stats.set_leaving();
        // The connection is dropped with this future; its streams then fail.
        ending.finish(&cause)
    };
    Ok((mux, driver))
}

/// After GOAWAY the handle for new requests fails, which is how the opener learns that the peer is leaving.
fn note_goaway(probe: &mut SendRequest<Bytes>, stats: &ConnectionStats, cx: &mut Context<'_>) {
    if !stats.is_leaving() && matches!(probe.poll_ready(cx), Poll::Ready(Err(_))) {
        stats.set_leaving();
    }
}

impl OpenerMux {
    async fn open_stream(&self, request: &OpenRequest) -> Result<TunnelStream, OpenError> {
        let slot = StreamSlot::take(&self.stats).ok_or(OpenError::Busy {
            limit: self.stats.limit(),
        })?;
        let head = request.encode()?;
        let mut send = self
            .send
            .clone()
            .ready()
            .await
            .map_err(|error| lost(&error, true))?;
        let (response, sender) = send
            .send_request(head, false)
            .map_err(|error| lost(&error, true))?;
        let response = response
            .await
            .map_err(|error| lost(&error, is_unprocessed(&error)))?;
        decode_answer(&response)?;
        Ok(TunnelStream::new(sender, response.into_body(), slot))
    }

    async fn ask_drain(&self) -> Result<(), ::h2::Error> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(concat!("https://landbridge", "/landbridge/drain"));
        let mut send = self.send.clone().ready().await?;
        let (response, _) = send.send_request(request, true)?;
        response.await.map(drop)
    }
}

impl Mux for OpenerMux {
    fn open<'a>(&'a self, request: &'a OpenRequest) -> BoxFuture<'a, Result<TunnelStream, OpenError>> {
        let deadline = request.deadline().unwrap_or(OPEN_DEADLINE);
        async move {
            match timeout(deadline, self.open_stream(request)).await {
                Ok(result) => result,
                Err(_) => Err(OpenError::Timeout { after: deadline }),
            }
        }
        .boxed()
    }

    fn ping(&self) -> BoxFuture<'_, Option<Duration>> {
        async move {
            let (sender, receiver) = oneshot::channel();
            self.pings.send(sender).await.ok()?;
            receiver.await.ok()
        }
        .boxed()
    }

    fn drain(&self) -> BoxFuture<'_, ()> {
        async move {
            match timeout(CONTROL_DEADLINE, self.ask_drain()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "the connection ended before it could be drained"),
                Err(_) => tracing::warn!("the connector did not acknowledge the drain request"),
            }
        }
        .boxed()
    }

    fn close(&self, why: &str) {
        self.ending.ask(why);
    }

    fn closed(&self) -> BoxFuture<'_, String> {
        async move {
            self.ending.closed.cancelled().await;
            self.ending.cause()
        }
        .boxed()
    }

    fn stats(&self) -> &ConnectionStats {
        &self.stats
    }
}

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
        Ok(TunnelStream::new(send, self.request.into_body(), self.slot))
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

    #[allow(clippy::type_complexity)]
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Request<RecvStream>, SendResponse<Bytes>), ::h2::Error>>> {
        while let Poll::Ready(Some(command)) = self.commands.poll_recv(cx) {
            match command {
                // Refused while the previous SETTINGS are not acknowledged; the next tick tries again.
                Command::Window(window) => drop(self.connection.set_initial_window_size(window)),
                Command::Drain => self.connection.graceful_shutdown(),
            }
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

fn describe_end(result: Result<(), ::h2::Error>) -> String {
    match result {
        Ok(()) => "closed by the peer".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// True when the peer certainly has not acted on a request (RFC 9113 sections 6.8 and 8.7).
fn is_unprocessed(error: &::h2::Error) -> bool {
    error.reason() == Some(Reason::REFUSED_STREAM) || (error.is_go_away() && error.is_remote())
}

fn lost(error: &::h2::Error, unprocessed: bool) -> OpenError {
    OpenError::Lost {
        detail: error.to_string(),
        unprocessed,
    }
}

fn into_io(error: ::h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer did not start HTTP/2 in time")
}

fn no_ping() -> io::Error {
    io::Error::other("the HTTP/2 library offers no ping")
}
