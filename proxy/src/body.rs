//! Bodies on their way: the application's to the target, and the target's answer back, which ends the exchange: it
//! gives the connection back to the pool and closes the request's record exactly once, however it ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::pool::{Idle, Upstream};
use crate::record::{Outcome, Record};

/// Bytes of a request body that have passed; the reader of the answer waits as long as they move.
pub type Progress = Arc<AtomicU64>;

/// What is sent to the target.
#[derive(Debug)]
pub enum RequestBody {
    /// Nothing.
    Empty,
    /// The application's body, as it comes.
    Streaming {
        /// Its source.
        body: Incoming,
        /// Counts what passes.
        progress: Progress,
    },
}

impl RequestBody {
    /// The body of `incoming`, and what to watch if it is not empty.
    pub fn new(incoming: Incoming) -> (Self, Option<Progress>) {
        if incoming.is_end_stream() {
            return (Self::Empty, None);
        }
        let progress = Progress::default();
        (
            Self::Streaming {
                body: incoming,
                progress: Arc::clone(&progress),
            },
            Some(progress),
        )
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streaming { body, progress } => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                if let Some(Ok(frame)) = &frame {
                    let length = frame.data_ref().map_or(1, |data| data.len() as u64);
                    progress.fetch_add(length, Ordering::Relaxed);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { body, .. } => body.size_hint(),
        }
    }
}

/// Why an answer's body broke off. The connection to the application is then cut, so that it notices.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The target broke off.
    #[error("the target broke off its answer: {0}")]
    Broken(#[from] hyper::Error),
    /// The target sent nothing for too long.
    #[error("the target sent nothing more of its answer for {} s", .0.as_secs())]
    Stalled(Duration),
}

/// What is sent to the application.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "boxing the usual variant would cost one allocation per request"
)]
pub enum ResponseBody {
    /// A message of ours.
    Text(Full<Bytes>),
    /// The target's answer.
    Streaming(AnswerBody),
}

/// The target's answer, as it comes.
#[derive(Debug)]
pub struct AnswerBody {
    body: Incoming,
    /// The connection it comes on, to be kept when it is complete.
    lease: Option<Lease>,
    record: Record,
    read_timeout: Duration,
    /// Made only when the target lets us wait.
    timer: Option<Pin<Box<Sleep>>>,
}

/// A connection in use and where it belongs.
#[derive(Debug)]
pub struct Lease {
    /// The connection.
    pub connection: Idle,
    /// Where it may be kept.
    pub upstream: Arc<Upstream>,
}

impl AnswerBody {
    /// Carries `body`, which comes on the connection of `lease`.
    pub fn new(body: Incoming, lease: Option<Lease>, record: Record, read_timeout: Duration) -> Self {
        Self {
            body,
            lease,
            record,
            read_timeout,
            timer: None,
        }
    }

    fn finish(&mut self, outcome: &Outcome<'_>) {
        self.record.finish(outcome);
        if let (Outcome::Complete, Some(Lease { connection, upstream })) = (outcome, self.lease.take()) {
            upstream.put(connection);
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.read_timeout;
        self.timer
            .get_or_insert_with(|| Box::pin(sleep(limit)))
            .as_mut()
            .poll(cx)
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.timer = None;
                this.record
                    .received(frame.data_ref().map_or(0, |data| data.len() as u64));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.finish(&Outcome::Broken("the target broke off its answer"));
                Poll::Ready(Some(Err(BodyError::Broken(error))))
            }
            Poll::Ready(None) => {
                this.finish(&Outcome::Complete);
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(this.poll_stalled(cx));
                this.finish(&Outcome::Broken("the target stalled in its answer"));
                Poll::Ready(Some(Err(BodyError::Stalled(this.read_timeout))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // The server does not poll once more after the last byte of a body of known length.
        let complete = self.body.is_end_stream();
        self.finish(if complete {
            &Outcome::Complete
        } else {
            &Outcome::Aborted
        });
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Text(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Streaming(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(body) => body.is_end_stream(),
            Self::Streaming(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(body) => body.size_hint(),
            Self::Streaming(body) => body.size_hint(),
        }
    }
}
