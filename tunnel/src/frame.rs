//! One bounded message with a length in front: u16 in network byte order, then that many bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Reads a message of at most `max` bytes. Nothing is allocated before the length is known to be allowed.
pub(crate) async fn read<T: AsyncRead + Unpin>(io: &mut T, max: usize) -> io::Result<Vec<u8>> {
    let length = usize::from(io.read_u16().await?);
    if length > max {
        let text = format!("a message of {length} bytes, more than the {max} allowed");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut message = vec![0; length];
    io.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message.
pub(crate) async fn write<T: AsyncWrite + Unpin>(io: &mut T, message: &[u8]) -> io::Result<()> {
    let length =
        u16::try_from(message.len()).map_err(|_| io::Error::other("the message is longer than 64 KiB"))?;
    // One write, so that it is one TLS record and one packet.
    let mut framed = Vec::with_capacity(2 + message.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    io.write_all(&framed).await?;
    io.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bounds_what_it_reads() {
        let mut wire = Vec::new();
        write(&mut wire, b"hello").await.unwrap();
        assert_eq!(wire, b"\0\x05hello");
        assert_eq!(read(&mut wire.as_slice(), 5).await.unwrap(), b"hello");
        assert_eq!(
            read(&mut wire.as_slice(), 4).await.unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert_eq!(
            read(&mut &wire[..4], 5).await.unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert!(write(&mut Vec::new(), &vec![0; 65_536]).await.is_err());
    }
}
