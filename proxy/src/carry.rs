//! One request to its upstream and back: on a kept connection if there is one, on a new one otherwise.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout_at};

use crate::body::{Lease, RequestBody, Upload};
use crate::connect::Connector;
use crate::failure::{Failure, Kind};
use crate::pool::{Idle, Upstream};
use crate::record::Record;
use crate::resolved::Resolved;

/// How long one request may wait for kept connections to become ready. They are at once, or their driver is just
/// finishing the exchange before.
const SETTLE: Duration = Duration::from_millis(50);

/// Kept connections tried before a new one is made; each of them may just have been closed by the other side.
const KEPT_TRIES: usize = 3;

/// A request without an answer.
#[derive(Debug)]
pub struct Lost {
    /// Why.
    pub failure: Failure,
    /// It was sent on a kept connection that the other side closed without a byte of an answer, most likely before
    /// it saw the request. If repeating it can do no harm, it should be repeated (RFC 9112, section 9.3.1).
    pub on_stale_connection: bool,
}

impl From<Failure> for Lost {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            on_stale_connection: false,
        }
    }
}

/// Sends `request` and waits for the head of the answer. `fresh` leaves kept connections alone.
///
/// # Errors
/// Which hop failed and how. The request may have been processed unless the connection could not be made.
pub async fn send(
    connector: &Connector,
    resolved: &Resolved,
    mut request: Request<RequestBody>,
    upload: Option<&Arc<Upload>>,
    record: &Record,
    fresh: bool,
) -> Result<(Response<Incoming>, Lease), Lost> {
    let exchange = Exchange {
        upstream: &resolved.upstream,
        read_timeout: resolved.read_timeout,
        upload,
    };
    let settled = Instant::now() + SETTLE;
    for _ in 0..if fresh { 0 } else { KEPT_TRIES } {
        let Some(connection) = kept(&resolved.upstream, settled).await else {
            break;
        };
        record.metrics().reused.inc();
        match exchange.run(connection, request).await {
            Ok(answer) => return Ok(answer),
            // Closed by the other side before it saw anything: nothing is lost, the next connection takes it.
            Err(Broken {
                unsent: Some(unsent), ..
            }) => request = *unsent,
            Err(Broken {
                unsent: None,
                failure,
                without_answer,
            }) => {
                return Err(Lost {
                    failure,
                    on_stale_connection: without_answer,
                });
            }
        }
    }
    let id = record.request_id().to_str().unwrap_or_default();
    let connection = connector
        .http(&resolved.upstream, resolved.connect_timeout, id)
        .await?;
    record.metrics().opened.inc();
    exchange
        .run(connection, request)
        .await
        .map_err(|broken| broken.failure.into())
}

/// A kept connection that takes requests. Those that do not until `settled` are closed.
async fn kept(upstream: &Upstream, settled: Instant) -> Option<Idle> {
    while let Some(mut connection) = upstream.take() {
        let ready = poll_fn(|cx| Poll::Ready(connection.sender.poll_ready(cx))).await;
        let ready = match ready {
            Poll::Ready(result) => result.is_ok(),
            Poll::Pending => matches!(timeout_at(settled, connection.sender.ready()).await, Ok(Ok(()))),
        };
        if ready {
            return Some(connection);
        }
    }
    None
}

/// A failed exchange.
struct Broken {
    failure: Failure,
    /// The request, if the other side has certainly not seen any of it.
    unsent: Option<Box<Request<RequestBody>>>,
    /// The connection ended, and no byte of an answer had come.
    without_answer: bool,
}

/// One request on one connection.
struct Exchange<'a> {
    upstream: &'a Arc<Upstream>,
    read_timeout: Duration,
    upload: Option<&'a Arc<Upload>>,
}

impl Exchange<'_> {
    async fn run(
        &self,
        mut connection: Idle,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), Broken> {
        match self.in_time(connection.sender.try_send_request(request)).await {
            Ok(Ok(response)) => {
                let lease = Lease {
                    connection,
                    upstream: Arc::clone(self.upstream),
                    upload: self.upload.map(Arc::clone),
                    personal: false,
                };
                Ok((response, lease))
            }
            Ok(Err(mut error)) => {
                let unsent = error.take_message().map(Box::new);
                let error = error.error();
                let without_answer = error.is_incomplete_message() || error.is_canceled() || is_reset(error);
                Err(Broken {
                    failure: broken(error, self.upstream),
                    unsent,
                    without_answer,
                })
            }
            Err(failure) => Err(Broken {
                failure,
                unsent: None,
                without_answer: false,
            }),
        }
    }

    /// Waits for `answer` as long as the other side is given: from the last moment the request's body moved.
    async fn in_time<F: Future>(&self, answer: F) -> Result<F::Output, Failure> {
        let mut answer = pin!(answer);
        let mut seen = 0;
        loop {
            tokio::select! {
                biased;
                output = &mut answer => return Ok(output),
                () = sleep(self.read_timeout) => {
                    let moved = self.upload.map_or(0, |upload| upload.moved());
                    if moved == seen {
                        return Err(self.too_late());
                    }
                    seen = moved;
                }
            }
        }
    }

    /// Says which side has been waited for.
    fn too_late(&self) -> Failure {
        let seconds = self.read_timeout.as_secs();
        let key = &self.upstream.key;
        if self
            .upload
            .is_some_and(|upload| upload.is_starved() && !upload.is_finished())
        {
            let message = format!("the application has sent nothing more of its request for {seconds} s");
            return Failure::new(Kind::RequestTimeout, message);
        }
        let advice = "if it may take longer, set URL.socketReadTimeoutInSeconds";
        Failure::new(
            Kind::TargetTimeout,
            format!("{key} has not answered for {seconds} s; {advice}"),
        )
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    last_cause(error)
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
            )
        })
}

fn last_cause(error: &hyper::Error) -> &(dyn std::error::Error + 'static) {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause
}

fn broken(error: &hyper::Error, upstream: &Upstream) -> Failure {
    if error.is_parse() || error.is_parse_too_large() {
        return Failure::new(
            Kind::TargetFailed,
            format!("the answer of {} is not valid HTTP: {error}", upstream.key),
        );
    }
    let cause = last_cause(error);
    Failure::new(
        Kind::TargetFailed,
        format!(
            "{} closed the connection without an answer: {cause}",
            upstream.key
        ),
    )
}
