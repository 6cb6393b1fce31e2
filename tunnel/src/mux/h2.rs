//! [`Mux`] over HTTP/2, with the `h2` crate used directly.
//!
//! The side that opens streams is the HTTP/2 client, the other is the server, whoever dialled: on inbound connections
//! the acceptor opens, on outbound ones the connector.
//! Each connection has one task that owns it and one keeper (see its module); both end together.

mod accepting;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::h2::Reason;
use ::h2::client::{self, SendRequest};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, Request, Uri};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::keeper::{Command, Keeper, PingRequest};
use super::settings::{
    CONNECTION_WINDOW, FRAME_SIZE, HANDSHAKE_DEADLINE, HEADER_LIST, OPEN_DEADLINE, RESET_STREAMS,
    SEND_BUFFER, STREAM_WINDOW,
};
use super::{ConnectionStats, Mux, Opening, StreamSlot};
use crate::open::{OpenError, decode_answer};
use crate::stream::TunnelStream;

pub use accepting::{AcceptingMux, Control, Incoming, accepting};

/// Path of the control request by which the opener asks for a replacement of the connection.
const DRAIN_PATH: &str = "/landbridge/drain";
/// Path of the control request by which a connector asks for the exchange about service channels.
const CHANNELS_PATH: &str = "/landbridge/channels";
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

/// How a connection has ended.
#[derive(Debug)]
pub struct Ended {
    /// For people.
    pub cause: String,
    /// Neither side was leaving: it broke, or the peer fell silent or came back on another connection.
    pub lost: bool,
}

/// Starts the opening side on a transport that has finished its hello. The returned future drives the connection
/// and must be spawned; it ends when the connection does.
pub async fn opener<T: Transport>(
    io: T,
    stats: Arc<ConnectionStats>,
) -> io::Result<(OpenerMux, impl Future<Output = Ended> + Send + 'static)> {
    let handshake = timeout(HANDSHAKE_DEADLINE, builder().handshake(io)).await;
    let (send, mut connection) = handshake.map_err(|_| timed_out())?.map_err(into_io)?;
    let ping = connection.ping_pong().ok_or_else(no_ping)?;
    let (commands, queue) = mpsc::channel(QUEUE);
    let (pings, requests) = mpsc::channel(QUEUE);
    let ending = Arc::new(Ending::default());
    let probe = send.clone();
    let mux = OpenerMux {
        send,
        stats: Arc::clone(&stats),
        pings,
        ending: Arc::clone(&ending),
    };
    let keeper = Keeper {
        ping,
        stats: Arc::clone(&stats),
        commands,
        requests,
    };
    let driver = async move {
        let (in_order, cause) = tokio::select! {
            // What has arrived is read before the keeper judges that nothing has.
            biased;
            () = ending.close.cancelled() => (false, String::new()),
            result = drive(connection, queue, probe, &stats) => (result.is_ok(), describe_end(result)),
            dead = keeper.run() => (false, dead),
        };
        let lost = !in_order && !stats.is_leaving();
        stats.set_leaving();
        // The connection was dropped with its future; its streams fail from now on.
        let cause = ending.finish(&cause);
        Ended { cause, lost }
    };
    Ok((mux, driver))
}

fn builder() -> client::Builder {
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
    builder
}

/// Moves the bytes of a connection and does what the keeper asks for.
async fn drive<T: Transport>(
    mut connection: client::Connection<T, Bytes>,
    mut queue: mpsc::Receiver<Command>,
    mut probe: SendRequest<Bytes>,
    stats: &ConnectionStats,
) -> Result<(), ::h2::Error> {
    let mut wanted = None;
    poll_fn(|cx| {
        while let Poll::Ready(Some(command)) = queue.poll_recv(cx) {
            match command {
                Command::Window(window) => wanted = Some(window),
                Command::Look => note_goaway(&mut probe, stats, cx),
                Command::Drain => {}
            }
        }
        // Refused while the previous SETTINGS are not acknowledged; then the next wake-up tries again.
        if wanted.is_some_and(|window| connection.set_initial_window_size(window).is_ok()) {
            wanted = None;
        }
        Pin::new(&mut connection).poll(cx)
    })
    .await
}

/// After GOAWAY the handle for new requests fails, which is how the opener learns that the peer is leaving. Looked at
/// once a second, because it takes the connection's lock; an open in between finds it out by itself.
fn note_goaway(probe: &mut SendRequest<Bytes>, stats: &ConnectionStats, cx: &mut Context<'_>) {
    if !stats.is_leaving() && matches!(probe.poll_ready(cx), Poll::Ready(Err(_))) {
        stats.set_leaving();
    }
}

impl OpenerMux {
    async fn open_stream(&self, request: &dyn Opening) -> Result<TunnelStream, OpenError> {
        let slot = StreamSlot::take(&self.stats).ok_or(OpenError::Busy {
            limit: self.stats.limit(),
        })?;
        let head = request.head()?;
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
        Ok(TunnelStream::new(sender, response.into_body(), Some(slot)))
    }

    /// Opens the exchange about service channels (see [`crate::channel::exchange`]). It takes no place among the
    /// streams: as long as it is the only one, the connection is idle.
    pub(crate) async fn open_exchange(&self) -> Result<TunnelStream, OpenError> {
        let asked = async {
            let mut request = Request::new(());
            *request.method_mut() = Method::POST;
            *request.uri_mut() = Uri::from_static(concat!("https://landbridge", "/landbridge/channels"));
            let mut send = self
                .send
                .clone()
                .ready()
                .await
                .map_err(|error| lost(&error, true))?;
            let (response, sender) = send
                .send_request(request, false)
                .map_err(|error| lost(&error, true))?;
            let response = response.await.map_err(|error| lost(&error, false))?;
            decode_answer(&response)?;
            Ok(TunnelStream::new(sender, response.into_body(), None))
        };
        timeout(CONTROL_DEADLINE, asked)
            .await
            .unwrap_or(Err(OpenError::Timeout {
                after: CONTROL_DEADLINE,
            }))
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
    fn open<'a>(&'a self, request: &'a dyn Opening) -> BoxFuture<'a, Result<TunnelStream, OpenError>> {
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
