//! Bodies on their way: the application's to the target, and the target's answer back, which ends the exchange: it
//! gives the connection back to the pool and closes the request's record exactly once, however it ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::pool::{Idle, Upstream};
use crate::record::{Outcome, Record};

/// What has become of a request's body, seen by those who wait for the answer.
#[derive(Debug, Default)]
pub struct Upload {
    moved: AtomicU64,
    /// Whether the target could take more and the application has not sent it.
    starved: AtomicBool,
    finished: AtomicBool,
}

impl Upload {
    /// Bytes that have passed so far.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Whether the application is the one that is waited for.
    pub fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed)
    }

    /// Whether the whole body has passed.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}

/// What is sent to the target.
#[derive(Debug)]
pub enum RequestBody {
    /// Nothing.
    Empty,
    /// The application's body, as it comes.
    Streaming {
        /// Its source.
        body: Incoming,
        /// What has become of it.
        upload: Arc<Upload>,
    },
}

impl RequestBody {
    /// The body of `incoming`, and what to watch if it is not empty.
    pub fn new(incoming: Incoming) -> (Self, Option<Arc<Upload>>) {
        if incoming.is_end_stream() {
            return (Self::Empty, None);
        }
        let upload = Arc::<Upload>::default();
        (
            Self::Streaming {
                body: incoming,
                upload: Arc::clone(&upload),
            },
            Some(upload),
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
        let Self::Streaming { body, upload } = self.get_mut() else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        upload.starved.store(polled.is_pending(), Ordering::Relaxed);
        let frame = ready!(polled);
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(1, |data| data.len() as u64);
            upload.moved.fetch_add(length, Ordering::Relaxed);
        }
        // A body of known length is not polled again after its last byte.
        if frame.is_none() || body.is_end_stream() {
            upload.finished.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
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
    stall: Stall,
}

/// Notices that nothing has come for `limit`. The timer is made when there is something to wait for, and set anew only
/// when it fires, not at every piece: most answers need none, long ones one a period.
#[derive(Debug)]
struct Stall {
    limit: Duration,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            waiting_since: None,
            timer: None,
        }
    }

    fn moved(&mut self) {
        self.waiting_since = None;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = *self.waiting_since.get_or_insert_with(Instant::now) + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }
}

/// A connection in use and where it belongs. Dropped without being kept, the connection is closed.
#[derive(Debug)]
pub struct Lease {
    /// The connection.
    pub connection: Idle,
    /// Where it may be kept.
    pub upstream: Arc<Upstream>,
    /// The request's body, which may still be on its way when the answer is complete.
    pub upload: Option<Arc<Upload>>,
    /// Somebody has logged on by this connection, not by a request: nobody else may use it.
    pub personal: bool,
}

impl Lease {
    /// Gives the connection back, unless it is somebody's own or still busy with the request.
    fn keep(self) {
        if !self.personal && self.upload.is_none_or(|upload| upload.is_finished()) {
            self.upstream.put(self.connection);
        }
    }
}

impl AnswerBody {
    /// Carries `body`, which comes on the connection of `lease`.
    pub fn new(body: Incoming, lease: Option<Lease>, record: Record, read_timeout: Duration) -> Self {
        Self {
            body,
            lease,
            record,
            stall: Stall::new(read_timeout),
        }
    }

    fn finish(&mut self, outcome: &Outcome<'_>) {
        self.record.finish(outcome);
        if let (Outcome::Complete, Some(lease)) = (outcome, self.lease.take()) {
            lease.keep();
        }
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
                this.stall.moved();
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
                ready!(this.stall.poll(cx));
                this.finish(&Outcome::Broken("the target stalled in its answer"));
                Poll::Ready(Some(Err(BodyError::Stalled(this.stall.limit))))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_counted_from_the_last_piece() {
        let start = Instant::now();
        let mut stall = Stall::new(Duration::from_secs(30));
        for _ in 0..5 {
            let wait = std::future::poll_fn(|cx| stall.poll(cx));
            assert!(
                tokio::time::timeout(Duration::from_secs(20), wait).await.is_err(),
                "something comes in time"
            );
            stall.moved();
        }
        std::future::poll_fn(|cx| stall.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 130);
    }
}
