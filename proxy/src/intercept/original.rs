//! Where a connection was going before it was taken.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// Finds out where a connection was going.
pub trait OriginalDestination: Send + Sync {
    /// The address that the application connected to.
    ///
    /// # Errors
    /// The system's.
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddr>;
}

/// By the entry that the packet filter keeps of a redirected connection (`SO_ORIGINAL_DST`).
#[derive(Debug, Clone, Copy)]
pub struct Redirected;

/// By the local address: a transparent socket has that of the destination.
#[derive(Debug, Clone, Copy)]
pub struct Transparent;

impl OriginalDestination for Redirected {
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        let local = stream.local_addr()?;
        let socket = SockRef::from(stream);
        let entry = if local.is_ipv6() {
            socket.original_dst_v6()
        } else {
            socket.original_dst_v4()
        };
        match entry {
            Ok(address) => address
                .as_socket()
                .map(canonical)
                .ok_or_else(|| io::Error::other("the original destination is no IP address")),
            // There is none: nobody has redirected it, it was meant for this very address (ENOENT; ENOPROTOOPT without any
            // connection tracking).
            Err(error) if matches!(error.raw_os_error(), Some(2 | 92)) => Ok(canonical(local)),
            Err(error) => Err(error),
        }
    }
}

impl OriginalDestination for Transparent {
    fn of(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        stream.local_addr().map(canonical)
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_connection_that_nobody_redirected_was_going_here() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert_eq!(Redirected.of(&stream).unwrap(), address);
        assert_eq!(Transparent.of(&stream).unwrap(), address);
    }

    #[test]
    fn one_address_is_written_one_way() {
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:80".parse().unwrap();
        assert_eq!(canonical(mapped), "10.0.0.1:80".parse().unwrap());
    }
}
