//! One request to its upstream and back: on a kept connection if there is one, on a new one otherwise.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use crate::body::{Lease, Progress, RequestBody};
use crate::connect::Connector;
use crate::failure::{Failure, Kind};
use crate::pool::{Idle, Upstream};
use crate::record::Record;
use crate::resolved::Resolved;

/// How long a kept connection may take to become ready. It is ready at once, or its driver is just finishing the
/// exchange before, or it is stuck with an unfinished upload and of no use.
const SETTLE: Duration = Duration::from_millis(50);

/// Kept connections tried before a new one is made; each of them may just have been closed by the other side.
const KEPT_TRIES: usize = 3;

/// Sends `request` and waits for the head of the answer.
///
/// # Errors
/// Which hop failed and how. The request may have been processed unless the connection could not be made.
pub async fn send(
    connector: &Connector,
    resolved: &Resolved,
    mut request: Request<RequestBody>,
    progress: Option<&Progress>,
    record: &Record,
) -> Result<(Response<Incoming>, Lease), Failure> {
    let upstream = &resolved.upstream;
    for _ in 0..KEPT_TRIES {
        let Some(connection) = kept(upstream).await else {
            break;
        };
        record.metrics().reused.inc();
        match exchange(connection, upstream, request, resolved.read_timeout, progress).await {
            Ok(answer) => return Ok(answer),
            // Closed by the other side before it saw anything: nothing is lost, the next connection takes it.
            Err(Lost {
                unsent: Some(unsent), ..
            }) => request = *unsent,
            Err(Lost {
                unsent: None,
                failure,
            }) => return Err(failure),
        }
    }
    let id = record.request_id().to_str().unwrap_or_default();
    let sender = connector.http(upstream, resolved.connect_timeout, id).await?;
    record.metrics().opened.inc();
    exchange(
        Idle::new(sender),
        upstream,
        request,
        resolved.read_timeout,
        progress,
    )
    .await
    .map_err(|lost| lost.failure)
}

/// A kept connection that takes requests.
async fn kept(upstream: &Upstream) -> Option<Idle> {
    while let Some(mut connection) = upstream.take() {
        let ready = poll_fn(|cx| Poll::Ready(connection.sender.poll_ready(cx))).await;
        let ready = match ready {
            Poll::Ready(result) => result.is_ok(),
            Poll::Pending => matches!(timeout(SETTLE, connection.sender.ready()).await, Ok(Ok(()))),
        };
        if ready {
            return Some(connection);
        }
    }
    None
}

/// A failed exchange; `unsent` is the request if the other side has certainly not seen any of it.
struct Lost {
    unsent: Option<Box<Request<RequestBody>>>,
    failure: Failure,
}

async fn exchange(
    mut connection: Idle,
    upstream: &Arc<Upstream>,
    request: Request<RequestBody>,
    read_timeout: Duration,
    progress: Option<&Progress>,
) -> Result<(Response<Incoming>, Lease), Lost> {
    let answer = answer_in_time(
        connection.sender.try_send_request(request),
        read_timeout,
        progress,
    )
    .await;
    match answer {
        Some(Ok(response)) => Ok((
            response,
            Lease {
                connection,
                upstream: Arc::clone(upstream),
            },
        )),
        Some(Err(mut error)) => {
            let unsent = error.take_message().map(Box::new);
            let failure = broken(error.error(), upstream);
            Err(Lost { unsent, failure })
        }
        None => {
            let seconds = read_timeout.as_secs();
            let message = format!(
                "{} has not answered for {seconds} s; if it may take longer, set URL.socketReadTimeoutInSeconds",
                upstream.key
            );
            Err(Lost {
                unsent: None,
                failure: Failure::new(Kind::TargetTimeout, message),
            })
        }
    }
}

/// Waits for `answer` as long as the other side is given: `limit` from the last moment the request's body moved.
async fn answer_in_time<F: Future>(
    answer: F,
    limit: Duration,
    progress: Option<&Progress>,
) -> Option<F::Output> {
    let mut answer = pin!(answer);
    let mut seen = 0;
    loop {
        tokio::select! {
            biased;
            output = &mut answer => return Some(output),
            () = sleep(limit) => {
                let now = progress.map_or(0, |progress| progress.load(Ordering::Relaxed));
                if now == seen {
                    return None;
                }
                seen = now;
            }
        }
    }
}

fn broken(error: &hyper::Error, upstream: &Upstream) -> Failure {
    if error.is_parse() || error.is_parse_too_large() {
        return Failure::new(
            Kind::TargetFailed,
            format!("the answer of {} is not valid HTTP: {error}", upstream.key),
        );
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Failure::new(
        Kind::TargetFailed,
        format!(
            "{} closed the connection without an answer: {cause}",
            upstream.key
        ),
    )
}
