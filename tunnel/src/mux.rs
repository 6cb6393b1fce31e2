//! Streams on one connection.
//!
//! [`Mux`] is the seam behind which the multiplexing protocol can be exchanged; [`h2`] is the one in use. Both are
//! fed by a [`ConnectionStats`] that outlives the connection and is read by the registry and by the metrics.

pub mod h2;
mod keeper;
pub mod metered;
pub mod settings;
mod window;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Request;

use crate::open::{BadOpen, OpenError};
use crate::stream::TunnelStream;

/// What a stream can be opened for: it knows its head on the wire, and how long an answer may take.
pub trait Opening: fmt::Debug + Send + Sync {
    /// The CONNECT request (RFC 9113 section 8.5).
    ///
    /// # Errors
    /// It cannot be written.
    fn head(&self) -> Result<Request<()>, BadOpen>;
    /// How long the answer may take; the connection's own limit when it does not say.
    fn deadline(&self) -> Option<Duration>;
}

/// One connection as its opener sees it.
pub trait Mux: fmt::Debug + Send + Sync + 'static {
    /// Opens a stream and waits for the peer's answer, at most for the request's deadline.
    fn open<'a>(&'a self, request: &'a dyn Opening) -> BoxFuture<'a, Result<TunnelStream, OpenError>>;
    /// Measures a round trip; `None` when the connection is closed.
    fn ping(&self) -> BoxFuture<'_, Option<Duration>>;
    /// Asks the peer to replace this connection by another. Streams go on, and new ones may still be opened until
    /// the peer has its replacement.
    fn drain(&self) -> BoxFuture<'_, ()>;
    /// Closes at once; streams fail.
    fn close(&self, why: &str);
    /// Completes, with the cause, when the connection is closed.
    fn closed(&self) -> BoxFuture<'_, String>;
    /// Counters and state.
    fn stats(&self) -> &ConnectionStats;
}

/// Counters and state of one connection. Everything is relaxed atomics: they steer and inform, they guard nothing.
#[derive(Debug)]
pub struct ConnectionStats {
    active: AtomicUsize,
    limit: AtomicUsize,
    opened: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    read_limit: AtomicU64,
    rtt_micros: AtomicU64,
    window: AtomicU64,
    leaving: AtomicBool,
}

/// What [`ConnectionStats::snapshot`] returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MuxStats {
    /// Streams open now.
    pub active: usize,
    /// Streams opened since the connection exists.
    pub opened: u64,
    /// Encrypted bytes received.
    pub bytes_in: u64,
    /// Encrypted bytes sent.
    pub bytes_out: u64,
    /// Last measured round trip; `None` before the first.
    pub rtt: Option<Duration>,
    /// Receive window of each stream in bytes.
    pub window: u32,
    /// The peer, or this side, wants no new streams on it.
    pub leaving: bool,
}

impl Default for ConnectionStats {
    fn default() -> Self {
        Self {
            active: AtomicUsize::new(0),
            limit: AtomicUsize::new(settings::MAX_STREAMS),
            opened: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            read_limit: AtomicU64::new(u64::MAX),
            rtt_micros: AtomicU64::new(u64::MAX),
            window: AtomicU64::new(u64::from(settings::STREAM_WINDOW)),
            leaving: AtomicBool::new(false),
        }
    }
}

impl ConnectionStats {
    /// The counters now.
    pub fn snapshot(&self) -> MuxStats {
        let rtt = self.rtt_micros.load(Ordering::Relaxed);
        MuxStats {
            active: self.active(),
            opened: self.opened.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            rtt: (rtt != u64::MAX).then(|| Duration::from_micros(rtt)),
            window: u32::try_from(self.window.load(Ordering::Relaxed)).unwrap_or(u32::MAX),
            leaving: self.is_leaving(),
        }
    }

    /// Streams open now.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Streams that may be open at once.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Whether new streams should go elsewhere.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit
            .store(limit.clamp(1, settings::MAX_STREAMS), Ordering::Relaxed);
    }

    pub(crate) fn set_leaving(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_rtt(&self, rtt: Duration) {
        let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX - 1);
        self.rtt_micros.store(micros, Ordering::Relaxed);
    }

    pub(crate) fn set_window(&self, window: u32) {
        self.window.store(u64::from(window), Ordering::Relaxed);
    }

    pub(crate) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes that may be received in total; used until the peer is known.
    pub(crate) fn limit_reading(&self, bytes: u64) {
        self.read_limit.store(bytes, Ordering::Relaxed);
    }
}

/// One stream's place among the active streams of its connection, given back when dropped.
#[derive(Debug)]
pub(crate) struct StreamSlot {
    stats: Arc<ConnectionStats>,
}

impl StreamSlot {
    /// Takes a place; `None` at the limit. Own limit first, so that h2 never queues an open invisibly.
    pub(crate) fn take(stats: &Arc<ConnectionStats>) -> Option<Self> {
        let limit = stats.limit();
        let taken = stats
            .active
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |active| {
                (active < limit).then_some(active + 1)
            });
        taken.ok()?;
        stats.opened.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            stats: Arc::clone(stats),
        })
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.stats.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_places_come_back() {
        let stats = Arc::new(ConnectionStats::default());
        stats.set_limit(2);
        let first = StreamSlot::take(&stats).unwrap();
        let _second = StreamSlot::take(&stats).unwrap();
        assert!(StreamSlot::take(&stats).is_none());
        drop(first);
        assert!(StreamSlot::take(&stats).is_some());
        assert_eq!(stats.active(), 1);
        assert_eq!(stats.snapshot().opened, 3);
    }
}
