//! Counts the bytes of a connection, and limits them until the peer is known.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ConnectionStats;

/// A socket that counts into a [`ConnectionStats`].
#[derive(Debug)]
pub struct Metered<T> {
    inner: T,
    stats: Arc<ConnectionStats>,
}

impl<T> Metered<T> {
    /// Counts what goes through `inner`.
    pub fn new(inner: T, stats: Arc<ConnectionStats>) -> Self {
        Self { inner, stats }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let count = (buf.filled().len() - before) as u64;
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
        assert_eq!(stats.bytes_in(), 10);
    }
}
