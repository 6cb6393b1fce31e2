//! Bodies on their way, counted: silence ends an exchange, length does not.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// What has moved on one stream, both ways.
#[derive(Debug, Default)]
pub(super) struct Moved(AtomicU64);

impl Moved {
    /// A number that changes whenever something moves.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Something other than a body has moved.
    pub(super) fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A body that counts into a [`Moved`].
#[derive(Debug)]
pub(super) struct Counted {
    body: Incoming,
    moved: Arc<Moved>,
}

impl Counted {
    pub(super) fn new(body: Incoming, moved: &Arc<Moved>) -> Self {
        Self {
            body,
            moved: Arc::clone(moved),
        }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.moved.step();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
