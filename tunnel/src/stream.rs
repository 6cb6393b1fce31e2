//! The bytes of one stream: `AsyncRead` and `AsyncWrite` over a pair of HTTP/2 data flows.
//!
//! Flow-control credit goes back to the peer only when the bytes are consumed, never when they arrive, so a reader
//! that stops costs one window of memory and nothing else.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::mux::StreamSlot;
use crate::mux::settings::PIECE;

/// One open stream. Dropping it before both directions are finished resets it; [`AsyncWrite::poll_shutdown`] ends
/// only the writing direction.
#[derive(Debug)]
pub struct TunnelStream {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// Arrived and not yet consumed: the rest of one DATA frame.
    pending: Bytes,
    read_done: bool,
    /// Came after bytes of the same call; for the next one.
    read_failed: Option<io::Error>,
    write_done: bool,
    /// Counts this stream among the active ones of its connection until it is dropped; none for control streams.
    _slot: Option<StreamSlot>,
}

impl TunnelStream {
    pub(crate) fn new(send: SendStream<Bytes>, recv: RecvStream, slot: Option<StreamSlot>) -> Self {
        Self {
            send,
            recv,
            pending: Bytes::new(),
            read_done: false,
            read_failed: None,
            write_done: false,
            _slot: slot,
        }
    }

    /// Reads the next piece without copying it. `None` is the end of the peer's direction.
    pub fn poll_read_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        match ready!(self.poll_fill(cx)) {
            Ok(true) => {
                let bytes = std::mem::take(&mut self.pending);
                self.release(bytes.len());
                Poll::Ready(Ok(Some(bytes)))
            }
            Ok(false) => Poll::Ready(Ok(None)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Writes from `data` without copying, as much as the peer's window allows, and removes what was written.
    pub fn poll_write_bytes(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let capacity = ready!(self.poll_capacity(cx, data.len()))?;
        let count = capacity.min(data.len());
        let mut written = data.split_to(count);
        while !written.is_empty() {
            let piece = written.split_to(written.len().min(PIECE));
            self.send.send_data(piece, false).map_err(write_error)?;
        }
        Poll::Ready(Ok(count))
    }

    /// Gives up the stream at once, telling the peer that the data is incomplete.
    pub fn reset(mut self) {
        self.send.send_reset(Reason::CANCEL);
    }

    /// Makes `pending` non-empty; false at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if !self.pending.is_empty() {
                return Poll::Ready(Ok(true));
            }
            if let Some(error) = self.read_failed.take() {
                return Poll::Ready(Err(error));
            }
            if self.read_done {
                return Poll::Ready(Ok(false));
            }
            match ready!(self.recv.poll_data(cx)) {
                Some(Ok(bytes)) => self.pending = bytes,
                None => self.read_done = true,
                // The peer finished its direction and does not want ours (RFC 9113 section 8.1).
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) && error.is_reset() => {
                    self.read_done = true;
                }
                Some(Err(error)) => return Poll::Ready(Err(read_error(error))),
            }
        }
    }

    fn release(&mut self, count: usize) {
        // Fails only when the stream is already gone, and then there is nothing to give back.
        let _ = self.recv.flow_control().release_capacity(count);
    }

    /// Waits until at least one byte may be written.
    fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        if self.write_done {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.send.reserve_capacity(wanted);
        loop {
            let capacity = self.send.capacity();
            if capacity > 0 {
                return Poll::Ready(Ok(capacity));
            }
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(write_error(error))),
                None => return Poll::Ready(Err(self.closed_error(cx))),
            }
        }
    }

    /// Why the writing direction is closed.
    fn closed_error(&mut self, cx: &mut Context<'_>) -> io::Error {
        match self.send.poll_reset(cx) {
            Poll::Ready(Err(error)) => write_error(error),
            Poll::Ready(Ok(_)) | Poll::Pending => io::ErrorKind::BrokenPipe.into(),
        }
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        // Everything that has arrived, not one frame: each call costs the reader a turn and each release a lock.
        while buf.remaining() > 0 {
            match self.poll_fill(cx) {
                Poll::Ready(Ok(true)) => {
                    let count = self.pending.len().min(buf.remaining());
                    buf.put_slice(&self.pending[..count]);
                    self.pending.advance(count);
                }
                Poll::Ready(Ok(false)) => break,
                Poll::Ready(Err(error)) if buf.filled().len() > before => {
                    self.read_failed = Some(error);
                    break;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if buf.filled().len() > before => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        self.release(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let capacity = ready!(self.poll_capacity(cx, buf.len()))?;
        let count = capacity.min(buf.len());
        for piece in buf[..count].chunks(PIECE) {
            self.send
                .send_data(Bytes::copy_from_slice(piece), false)
                .map_err(write_error)?;
        }
        Poll::Ready(Ok(count))
    }

    /// Nothing to do: the connection task writes as soon as the socket takes it.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.write_done {
            self.write_done = true;
            self.send.send_data(Bytes::new(), true).map_err(write_error)?;
        }
        Poll::Ready(Ok(()))
    }
}

fn read_error(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

fn write_error(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    }
    let kind = if error.is_reset() {
        io::ErrorKind::ConnectionReset
    } else {
        io::ErrorKind::BrokenPipe
    };
    io::Error::new(kind, error)
}
