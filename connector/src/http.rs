//! HTTP streams: one connection on the cloud side, one to the internal host, each request checked on its own.
//!
//! There is no pool (seed L31352): what belongs together on the cloud side stays together here, so that back ends that
//! authenticate connections are not mixed up.

mod body;
mod headers;
mod location;

use std::error::Error as _;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::UPGRADE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1 as client};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use landbridge_runtime::copy::{CopyLimits, End, copy_bidirectional, is_benign};
use landbridge_tunnel::{OpenRequest, TunnelStream};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::access::{Change, Mapping, Verdict};
use crate::answers;
use crate::backend::Connection;
use crate::handler::Handler;
use crate::http::body::{Counted, Moved};
use crate::metrics::RequestResult;

type Answer = Response<Either<Counted, Full<Bytes>>>;

/// How long the connection to the internal host may take to end after its stream.
const LINGER: Duration = Duration::from_secs(10);

/// A connection to the internal host.
struct Sender {
    to: client::SendRequest<Counted>,
    /// It has answered before, so that its end most likely is the end of its keep-alive time.
    used: bool,
}

/// Everything the requests of one stream share.
struct Exchange {
    handler: Handler,
    open: OpenRequest,
    mapping: Arc<Mapping>,
    /// Taken while a request is on its way.
    sender: Mutex<Option<Sender>>,
    /// The internal host has closed its connection.
    backend_closed: Arc<Notify>,
    moved: Arc<Moved>,
    /// The stream has ended, and the connection to the internal host must too.
    over: CancellationToken,
}

/// Serves the requests of one stream until either side closes it.
pub(crate) async fn serve(
    handler: Handler,
    stream: TunnelStream,
    backend: Connection,
    mapping: Arc<Mapping>,
    open: OpenRequest,
) {
    let (sender, backend_closed) = (Mutex::new(None), Arc::new(Notify::new()));
    let exchange = Arc::new(Exchange {
        handler,
        open,
        mapping,
        sender,
        backend_closed,
        moved: Arc::default(),
        over: CancellationToken::new(),
    });
    match exchange.start(backend).await {
        Ok(sender) => *exchange.sender.lock() = Some(sender),
        Err(error) => return tracing::warn!(%error, "HTTP to the internal host did not start"),
    }
    let service = {
        let exchange = Arc::clone(&exchange);
        service_fn(move |request| {
            let exchange = Arc::clone(&exchange);
            async move { exchange.serve(request).await }
        })
    };
    let connection = server::Builder::new()
        .max_buf_size(exchange.handler.limits.request_head)
        .timer(TokioTimer::new())
        .header_read_timeout(exchange.handler.limits.idle)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut closing = false;
    let _over = exchange.over.clone().drop_guard();
    let mut silence = pin!(exchange.silence());
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "HTTP stream ended early");
                }
                return;
            }
            () = silence.as_mut() => return tracing::info!("HTTP stream given up: nothing moved on it for too long"),
            () = exchange.backend_closed.notified(), if !closing => {}
            () = exchange.handler.shutdown.started(), if !closing => {}
        }
        // The request in progress is finished, then the stream is closed instead of kept alive.
        closing = true;
        connection.as_mut().graceful_shutdown();
    }
}

impl Exchange {
    /// Starts HTTP/1.1 on a connection to the internal host.
    async fn start(self: &Arc<Self>, backend: Connection) -> hyper::Result<Sender> {
        let (sender, connection) = client::Builder::new()
            .max_buf_size(self.handler.limits.request_head)
            .handshake(TokioIo::new(backend))
            .await?;
        // Not the exchange itself: it holds the sender, and without its end this task would never end.
        let closed = Arc::clone(&self.backend_closed);
        let over = self.over.clone();
        self.handler.shutdown.spawn_until_forced(async move {
            // An internal host that does not read what is sent to it would hold the connection for ever.
            let given_up = async {
                over.cancelled().await;
                sleep(LINGER).await;
            };
            tokio::select! {
                result = connection.with_upgrades() => if let Err(error) = result {
                    tracing::debug!(%error, "connection to the internal host ended early");
                },
                () = given_up => tracing::debug!("connection to the internal host given up"),
            }
            closed.notify_one();
        });
        Ok(Sender {
            to: sender,
            used: false,
        })
    }

    async fn serve(self: Arc<Self>, mut request: Request<Incoming>) -> Result<Answer, Stale> {
        // hyper gives the stream away at the end of each connection whose last request could have changed it.
        self.moved.step();
        let changeable = request.headers().contains_key(UPGRADE) || request.method() == Method::CONNECT;
        let cloud = changeable.then(|| hyper::upgrade::on(&mut request));
        let mut answer = self.answer(request).await?;
        if let Some(cloud) = cloud {
            let switching = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
            let internal = switching.then(|| hyper::upgrade::on(&mut answer));
            let limits = CopyLimits {
                idle: self.handler.limits.idle,
                ..CopyLimits::default()
            };
            self.handler
                .shutdown
                .spawn_until_forced(after_change(cloud, internal, limits));
        }
        Ok(answer)
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Result<Answer, Stale> {
        if headers::size(&request) > self.handler.limits.request_head {
            self.handler.metrics.request(RequestResult::Denied);
            let text = "The head of the request is too large; send fewer or shorter headers.";
            let answer = answers::answer(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text);
            return Ok(answer.map(Either::Right));
        }
        let change = headers::wanted_change(request.headers());
        if let Some(answer) = self.refusal(&request, change) {
            return Ok(answer.map(Either::Right));
        }
        let repeatable = request.method().is_idempotent();
        Ok(match self.forward(request, change).await {
            Ok(mut response) => {
                let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                self.handler.metrics.request(if upgraded {
                    RequestResult::Upgraded
                } else {
                    RequestResult::Answered
                });
                location::rewrite(response.headers_mut(), &self.handler.systems);
                response.map(|body| Either::Left(Counted::new(body, &self.moved)))
            }
            Err(Failure::Stale(error)) if repeatable => {
                self.handler.metrics.request(RequestResult::Failed);
                return Err(Stale(error));
            }
            Err(failure) => self.failed(&failure).map(Either::Right),
        })
    }

    /// Default deny, for every request anew.
    fn refusal(&self, request: &Request<Incoming>, change: Change) -> Option<Response<Full<Bytes>>> {
        let (method, path) = (request.method(), request.uri().path());
        let (status, text) = match self.mapping.check(path, change) {
            // A CONNECT would make a tunnel inside of the tunnel, past every check.
            Verdict::Allowed if method == Method::CONNECT => (
                StatusCode::METHOD_NOT_ALLOWED,
                "CONNECT is not possible here.".to_owned(),
            ),
            Verdict::Allowed => {
                self.handler
                    .audit
                    .resource_allowed(&self.handler.tunnel, &self.open, method.as_str(), path);
                return None;
            }
            Verdict::Denied => (
                StatusCode::FORBIDDEN,
                answers::resource_denied(path, &self.mapping),
            ),
            Verdict::UpgradeDenied => (
                StatusCode::FORBIDDEN,
                answers::upgrade_denied(path, &self.mapping, change),
            ),
            Verdict::Ambiguous(why) => (StatusCode::BAD_REQUEST, answers::ambiguous(why)),
        };
        self.handler
            .audit
            .resource_denied(&self.handler.tunnel, &self.open, method.as_str(), path);
        self.handler.metrics.request(RequestResult::Denied);
        Some(answers::answer(status, &text))
    }

    /// Sends the request on and waits for the head of the answer.
    async fn forward(
        self: &Arc<Self>,
        request: Request<Incoming>,
        change: Change,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = request.map(|body| Counted::new(body, &self.moved));
        headers::prepare_request(&mut request, &self.mapping);
        let mut sender = match self.kept().await {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let mut answered = self.in_time(sender.to.try_send_request(request)).await?;
        // Closed by the internal host before any of it was sent: a new connection takes it, once.
        if let Some(unsent) = answered.as_mut().err().and_then(TrySendError::take_message) {
            sender = self.connect().await?;
            answered = self.in_time(sender.to.try_send_request(unsent)).await?;
        }
        let mut response = answered.map_err(|error| Failure::of(error.into_error(), sender.used))?;
        headers::prepare_response(&mut response, change).map_err(|_| Failure::UnaskedChange)?;
        sender.used = true;
        self.moved.step();
        *self.sender.lock() = Some(sender);
        Ok(response)
    }

    /// Completes when nothing has moved for the idle limit: an internal host that stops reading, or a caller that does,
    /// is noticed by nobody else. Waiting for the head of an answer has a limit of its own.
    async fn silence(&self) {
        let limits = &self.handler.limits;
        let mut seen = self.moved.count();
        loop {
            sleep(limits.idle.max(limits.response)).await;
            let moved = self.moved.count();
            if moved == seen {
                return;
            }
            seen = moved;
        }
    }

    /// Waits for `answer` as long as the internal host is given: from the last moment the request's body moved, so that a
    /// long upload is not cut off.
    async fn in_time<F: Future>(&self, answer: F) -> Result<F::Output, Failure> {
        let mut answer = pin!(answer);
        let mut seen = self.moved.count();
        loop {
            tokio::select! {
                biased;
                output = &mut answer => return Ok(output),
                () = sleep(self.handler.limits.response) => {
                    let moved = self.moved.count();
                    if moved == seen {
                        return Err(Failure::Slow);
                    }
                    seen = moved;
                }
            }
        }
    }

    /// The connection to the internal host, unless it has closed it since the request before.
    async fn kept(&self) -> Option<Sender> {
        let mut sender = self.sender.lock().take()?;
        sender.to.ready().await.is_ok().then_some(sender)
    }

    /// A new connection to the internal host.
    async fn connect(self: &Arc<Self>) -> Result<Sender, Failure> {
        let backend = self
            .handler
            .backends
            .connect(&self.mapping, self.handler.limits.connect)
            .await
            .map_err(|error| {
                let timeout = error.is_timeout();
                Failure::Unreachable {
                    text: error.to_string(),
                    timeout,
                }
            })?;
        self.start(backend).await.map_err(Failure::Broken)
    }

    fn failed(&self, failure: &Failure) -> Response<Full<Bytes>> {
        let system = format!("{}:{}", self.mapping.virtual_host, self.mapping.virtual_port);
        tracing::warn!(tunnel = self.handler.tunnel, system, error = %failure, "request failed at the internal host");
        let (status, result) = match failure {
            Failure::Unreachable { timeout: false, .. } => {
                (StatusCode::BAD_GATEWAY, RequestResult::Unreachable)
            }
            Failure::Unreachable { .. } | Failure::Slow => {
                (StatusCode::GATEWAY_TIMEOUT, RequestResult::Timeout)
            }
            Failure::Broken(_) | Failure::Stale(_) | Failure::UnaskedChange => {
                (StatusCode::BAD_GATEWAY, RequestResult::Failed)
            }
        };
        self.handler.metrics.request(result);
        answers::answer(status, &format!("System {system} cannot be used: {failure}."))
    }
}

/// Joins both sides when the internal host has agreed to the change of protocol. Otherwise the stream, once hyper is done
/// with it, is ended in order: dropping it would reset it, and the answer could be lost.
async fn after_change(cloud: OnUpgrade, internal: Option<OnUpgrade>, limits: CopyLimits) {
    let Some(internal) = internal else {
        if let Ok(cloud) = cloud.await {
            let _ = TokioIo::new(cloud).shutdown().await;
        }
        return;
    };
    match tokio::try_join!(cloud, internal) {
        Ok((cloud, internal)) => {
            splice(&mut TokioIo::new(cloud), &mut TokioIo::new(internal), limits).await;
        }
        Err(error) => tracing::debug!(%error, "the change of protocol was not completed"),
    }
}

async fn splice<A, B>(cloud: &mut A, internal: &mut B, limits: CopyLimits)
where
    A: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    B: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let copied = copy_bidirectional(cloud, internal, limits).await;
    match copied.end {
        End::Failed(error) if !is_benign(&error) => tracing::warn!(%error, "upgraded stream failed"),
        _ => tracing::debug!(
            sent = copied.sent,
            received = copied.received,
            "upgraded stream ended"
        ),
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{text}")]
    Unreachable { text: String, timeout: bool },
    #[error("the internal host did not begin to answer in time")]
    Slow,
    #[error("the connection to the internal host broke ({0})")]
    Broken(hyper::Error),
    /// It was kept from the request before, and ended without a byte of an answer.
    #[error("the internal host closed the connection as the request came ({0})")]
    Stale(hyper::Error),
    #[error("the internal host changed to a protocol that the request did not ask for")]
    UnaskedChange,
}

/// A request that most likely met the internal host closing its kept connection (RFC 9112 section 9.3.1). It ends the
/// stream without an answer: the proxy, which kept the stream, may then repeat it.
#[derive(Debug, thiserror::Error)]
#[error("the internal host closed its kept connection ({0})")]
struct Stale(hyper::Error);

impl Failure {
    fn of(error: hyper::Error, used: bool) -> Self {
        if used && (error.is_incomplete_message() || error.is_canceled() || is_reset(&error)) {
            Self::Stale(error)
        } else {
            Self::Broken(error)
        }
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    let io = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(is_benign)
}
