//! Counts the bytes of a connection, and limits them until the peer is known.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ConnectionStats;

/// Bytes read from the socket at once: rustls asks for 4 KiB, a quarter of a record. Room for four records.
const READ_BUFFER: usize = 64 * 1024;

/// A socket that counts into a [`ConnectionStats`].
#[derive(Debug)]
pub struct Metered<T> {
    inner: T,
    stats: Arc<ConnectionStats>,
    /// Has memory only while bytes come faster than they are asked for, so that idle connections stay small and short
    /// messages need none.
    buffer: Vec<u8>,
    /// What is in it and not yet asked for.
    ahead: std::ops::Range<usize>,
    /// The last read was filled to the brim, so there probably is more.
    brimful: bool,
}

impl<T> Metered<T> {
    /// Counts what goes through `inner`.
    pub fn new(inner: T, stats: Arc<ConnectionStats>) -> Self {
        Self {
            inner,
            stats,
            buffer: Vec::new(),
            ahead: 0..0,
            brimful: false,
        }
    }
}

impl<T: AsyncRead + Unpin> Metered<T> {
    /// Fills the empty buffer, or `buf` itself when that is large enough or the peer is not known yet: strangers get no
    /// memory.
    fn poll_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<u64>> {
        let limited = self.stats.read_limit.load(Ordering::Relaxed) != u64::MAX;
        if limited || !self.brimful || buf.remaining() >= READ_BUFFER {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
            self.brimful = buf.remaining() == 0;
            return Poll::Ready(Ok((buf.filled().len() - before) as u64));
        }
        self.buffer.resize(READ_BUFFER, 0);
        let mut space = ReadBuf::new(&mut self.buffer);
        let polled = Pin::new(&mut self.inner).poll_read(cx, &mut space);
        let count = space.filled().len();
        self.ahead = 0..count;
        if count == 0 {
            // Nothing there, the end, or an error: the memory is not needed for now.
            self.buffer = Vec::new();
            self.brimful = false;
        }
        ready!(polled)?;
        Poll::Ready(Ok(count as u64))
    }

    /// Moves what `buf` has room for.
    fn take(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.ahead.len().min(buf.remaining());
        let start = self.ahead.start;
        buf.put_slice(&self.buffer[start..start + count]);
        self.ahead.start += count;
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            self.take(buf);
            return Poll::Ready(Ok(()));
        }
        let count = ready!(self.poll_socket(cx, buf))?;
        self.take(buf);
        let total = self.stats.bytes_in.fetch_add(count, Ordering::Relaxed) + count;
        if total > self.stats.read_limit.load(Ordering::Relaxed) {
            let text = "too many bytes before the peer was verified";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.stats.bytes_out.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.stats.bytes_out.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn reads_ahead_and_keeps_no_memory_when_idle() {
        let stats = Arc::new(ConnectionStats::default());
        let (mut writer, reader) = tokio::io::duplex(2 * READ_BUFFER);
        let mut reader = Metered::new(reader, Arc::clone(&stats));
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        tokio::io::AsyncWriteExt::write_all(&mut writer, &sent)
            .await
            .unwrap();
        let mut got = vec![0; 10];
        reader.read_exact(&mut got).await.unwrap();
        assert_eq!((stats.bytes_in(), reader.buffer.capacity()), (10, 0));
        got.resize(20, 0);
        reader.read_exact(&mut got[10..]).await.unwrap();
        assert_eq!(stats.bytes_in(), 10 + READ_BUFFER as u64);
        let mut rest = vec![0; sent.len() - 20];
        reader.read_exact(&mut rest).await.unwrap();
        got.extend(rest);
        assert!(got == sent);
        let mut piece = [0; 4096];
        let waiting = std::future::poll_fn(|cx| {
            let mut piece = ReadBuf::new(&mut piece);
            Poll::Ready(Pin::new(&mut reader).poll_read(cx, &mut piece).is_pending())
        });
        assert!(waiting.await);
        assert_eq!(reader.buffer.capacity(), 0);
        drop(writer);
        assert_eq!(reader.read(&mut piece).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn counts_and_stops_at_the_limit() {
        let stats = Arc::new(ConnectionStats::default());
        let mut reader = Metered::new(&b"0123456789"[..], Arc::clone(&stats));
        stats.limit_reading(4);
        let mut buffer = [0; 4];
        reader.read_exact(&mut buffer).await.unwrap();
        assert_eq!(
            reader.read(&mut buffer).await.unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        stats.limit_reading(u64::MAX);
        assert_eq!(reader.read(&mut buffer).await.unwrap(), 2);
        assert_eq!(reader.read(&mut buffer).await.unwrap(), 0);
        assert_eq!(stats.bytes_in(), 10);
    }
}
