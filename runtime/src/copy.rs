//! Copying bytes both ways between two streams.
//!
//! Buffers grow with what a connection really carries: a quiet one costs 2 KiB, a bulk one gets 256 KiB per
//! direction, which on loopback moved 2.2 times the bytes of tokio's fixed 8 KiB for 0.56 of the CPU time, and gives
//! them back within a minute when the bulk is over. A connection that once moved more than 128 KiB keeps 16 KiB per
//! direction.
//! Both directions are polled by one future without a lock, end independently (half-close), and are given up when
//! nothing moves for long: leaked half-closed connections are the classic complaint about proxies.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Buffer sizes and the number of bytes moved at which the next is taken.
const STEPS: [(u64, usize); 3] = [(0, 1 << 10), (128 << 10, 16 << 10), (10 << 20, 256 << 10)];

/// How often a connection with a large buffer is asked whether it still needs it.
const SHRINK_CHECK: Duration = Duration::from_secs(30);

/// When to give a connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyLimits {
    /// Nothing moved in either direction for this long.
    pub idle: Duration,
    /// One side has finished sending and the other moves nothing for this long. Below the 60 s after which conntrack
    /// forgets a connection in CLOSE_WAIT and its FIN is lost.
    pub half_close: Duration,
}

impl Default for CopyLimits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(3600),
            half_close: Duration::from_secs(50),
        }
    }
}

/// What was moved and how it ended.
#[derive(Debug)]
pub struct Copied {
    /// Bytes from the first stream to the second.
    pub sent: u64,
    /// Bytes from the second stream to the first.
    pub received: u64,
    /// Why it ended.
    pub end: End,
}

/// Why a copy ended.
#[derive(Debug)]
pub enum End {
    /// Both sides finished.
    Closed,
    /// A limit of [`CopyLimits`] passed.
    Idle,
    /// A stream failed; the first error. [`is_benign`] tells resets from trouble.
    Failed(io::Error),
}

/// Whether an error is just how many peers hang up.
pub fn is_benign(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::UnexpectedEof
    )
}

/// Copies both ways until both sides have finished, one fails, or a limit passes. The streams are shut down for
/// writing as their source ends; drop them to close.
///
/// When one side takes no more bytes, what it still sends is carried on to its end or until
/// [`half_close`](CopyLimits::half_close) passes: a server may answer and close before it has read the whole request,
/// and its answer must arrive.
pub async fn copy_bidirectional<A, B>(a: &mut A, b: &mut B, limits: CopyLimits) -> Copied
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut pair = Pair::new(limits);
    let end = poll_fn(|cx| pair.poll(cx, a, b)).await;
    Copied {
        sent: pair.sending.total,
        received: pair.receiving.total,
        end,
    }
}

/// Both directions and the clock over them.
struct Pair {
    sending: Transfer,
    receiving: Transfer,
    watch: IdleWatch,
}

impl Pair {
    fn new(limits: CopyLimits) -> Self {
        Self {
            sending: Transfer::new(),
            receiving: Transfer::new(),
            watch: IdleWatch::new(limits),
        }
    }

    fn poll<A, B>(&mut self, cx: &mut Context<'_>, a: &mut A, b: &mut B) -> Poll<End>
    where
        A: AsyncRead + AsyncWrite + Unpin,
        B: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let before = self.sending.total + self.receiving.total;
            let one = self.sending.poll(cx, Pin::new(&mut *a), Pin::new(&mut *b));
            let other = self.receiving.poll(cx, Pin::new(&mut *b), Pin::new(&mut *a));
            let broken = self.sending.state == State::Broken || self.receiving.state == State::Broken;
            if broken || (one.is_ready() && other.is_ready()) {
                return Poll::Ready(self.end(End::Closed));
            }
            let moved = self.sending.total + self.receiving.total != before;
            let half_closed = one.is_ready() || other.is_ready();
            let large = self.sending.is_large() || self.receiving.is_large();
            match ready!(self.watch.poll(cx, moved, half_closed, large)) {
                Tick::GiveUp => return Poll::Ready(self.end(End::Idle)),
                Tick::Shrink => {
                    self.sending.shrink();
                    self.receiving.shrink();
                }
            }
        }
    }

    /// The first error, or else `end`.
    fn end(&mut self, end: End) -> End {
        let error = self.sending.error.take().or_else(|| self.receiving.error.take());
        error.map_or(end, End::Failed)
    }
}

/// One direction.
struct Transfer {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    total: u64,
    /// `total` when the buffer was last given back; what has been moved since decides its size.
    base: u64,
    /// `total` at the last [`shrink`](Self::shrink).
    checked: u64,
    state: State,
    unflushed: bool,
    error: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Copying,
    ShuttingDown,
    /// Nothing more to do: everything arrived, or the sink takes no more (then with an error).
    Done,
    /// The source failed: what it sent is incomplete, and the sink must not be told otherwise.
    Broken,
}

impl Transfer {
    fn new() -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            total: 0,
            base: 0,
            checked: 0,
            state: State::Copying,
            unflushed: false,
            error: None,
        }
    }

    /// The buffer's size for what has been moved; only ever grown while it is empty.
    fn grow(&mut self) {
        let moved = self.total - self.base;
        let size = STEPS
            .iter()
            .rev()
            .find(|(from, _)| moved >= *from)
            .map_or(STEPS[0].1, |(_, size)| *size);
        if self.buffer.len() < size {
            self.buffer = vec![0; size];
        }
    }

    /// Whether the buffer is worth giving back.
    const fn is_large(&self) -> bool {
        self.buffer.len() > STEPS[1].1
    }

    /// Gives a large buffer back when so little was moved since the last call that a small one would have done.
    fn shrink(&mut self) {
        let moved = self.total - self.checked;
        self.checked = self.total;
        if self.is_large() && self.start == self.end && moved < STEPS[1].0 {
            self.buffer = Vec::new();
            self.base = self.total;
        }
    }

    /// Ready when this direction is over.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: Pin<&mut R>, mut to: Pin<&mut W>) -> Poll<()>
    where
        R: AsyncRead + ?Sized,
        W: AsyncWrite + ?Sized,
    {
        if self.state == State::Copying {
            let copied = ready!(self.copy(cx, from, to.as_mut()));
            self.advance(copied, State::ShuttingDown);
        }
        if self.state == State::ShuttingDown {
            let shut = ready!(to.poll_shutdown(cx));
            self.advance(shut, State::Done);
        }
        Poll::Ready(())
    }

    /// To the next state, or to the end when the sink has failed.
    fn advance(&mut self, result: io::Result<()>, next: State) {
        if self.state != State::Broken {
            self.state = if result.is_ok() { next } else { State::Done };
        }
        self.error = result.err();
        // At the source's end it is empty; what a failed sink did not take has no other way to go.
        self.buffer = Vec::new();
        (self.start, self.end) = (0, 0);
    }

    /// Until the source's end. An error is the sink's, unless the state is [`State::Broken`] then.
    fn copy<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        mut from: Pin<&mut R>,
        mut to: Pin<&mut W>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + ?Sized,
        W: AsyncWrite + ?Sized,
    {
        loop {
            ready!(self.drain(cx, to.as_mut()))?;
            self.grow();
            let mut space = ReadBuf::new(&mut self.buffer);
            match from.as_mut().poll_read(cx, &mut space) {
                Poll::Ready(Ok(())) if space.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {
                    self.end = space.filled().len();
                    self.start = 0;
                }
                Poll::Ready(Err(error)) => {
                    // What came before the error still counts; whether it gets out decides the sink now.
                    let _ = to.as_mut().poll_flush(cx);
                    self.state = State::Broken;
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    // Nothing to read now: what was written must not wait in a buffer for more.
                    if self.unflushed {
                        ready!(to.as_mut().poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn drain<W: AsyncWrite + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        mut to: Pin<&mut W>,
    ) -> Poll<io::Result<()>> {
        while self.start < self.end {
            let written = ready!(to.as_mut().poll_write(cx, &self.buffer[self.start..self.end]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += written;
            self.total += written as u64;
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// What [`IdleWatch`] asks for.
enum Tick {
    /// Nothing moved for a whole period.
    GiveUp,
    /// Time to see whether large buffers are still needed.
    Shrink,
}

/// Fires when nothing moved for a whole period. Only remembers *that* something moved, so that the timer is set once
/// a period instead of once a packet; the limit is therefore met between one and two periods of silence. While there
/// are large buffers it looks every [`SHRINK_CHECK`], otherwise it leaves the CPU alone.
struct IdleWatch {
    limits: CopyLimits,
    timer: Pin<Box<Sleep>>,
    /// What the timer was last set to.
    step: Duration,
    /// Silence up to the last time the timer fired.
    silent: Duration,
    moved: bool,
    half_closed: bool,
    large: bool,
}

impl IdleWatch {
    fn new(limits: CopyLimits) -> Self {
        Self {
            limits,
            timer: Box::pin(sleep(limits.idle)),
            step: limits.idle,
            silent: Duration::ZERO,
            moved: false,
            half_closed: false,
            large: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, moved: bool, half_closed: bool, large: bool) -> Poll<Tick> {
        self.moved |= moved;
        if (half_closed && !self.half_closed) || (large && !self.large) {
            // The period or the step is another one from now on.
            self.silent = Duration::ZERO;
            self.half_closed = half_closed;
            self.large = large;
            self.arm();
        }
        self.large = large;
        ready!(self.timer.as_mut().poll(cx));
        self.silent += self.step;
        if std::mem::take(&mut self.moved) {
            self.silent = Duration::ZERO;
        }
        if self.silent >= self.period() {
            return Poll::Ready(Tick::GiveUp);
        }
        self.arm();
        Poll::Ready(Tick::Shrink)
    }

    fn period(&self) -> Duration {
        if self.half_closed {
            self.limits.half_close.min(self.limits.idle)
        } else {
            self.limits.idle
        }
    }

    fn arm(&mut self) {
        let left = self.period().saturating_sub(self.silent);
        self.step = if self.large { left.min(SHRINK_CHECK) } else { left };
        self.timer.as_mut().reset(Instant::now() + self.step);
    }
}

#[cfg(test)]
mod tests;
