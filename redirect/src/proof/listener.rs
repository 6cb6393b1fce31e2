//! A listener that does nothing but answer proofs, for a command that looks whether redirection works where no proxy runs.

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, timeout};

use super::{Token, is_proof};
use crate::settings::{Family, Mode};

/// Connections waiting to be taken. One is enough for a proof; others come when destinations are redirected already.
const BACKLOG: i32 = 16;

/// Limit to write 32 bytes.
const WRITE: Duration = Duration::from_secs(2);

/// Why the port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenerError {
    /// A proxy is there, most likely.
    #[error("somebody listens on {0} already")]
    InUse(SocketAddr),
    /// Transparent sockets take a capability.
    #[error("listening on {0} transparently takes the capability NET_ADMIN")]
    NotPermitted(SocketAddr),
    /// Anything else.
    #[error("listening on {0}: {1}")]
    Listen(SocketAddr, io::Error),
}

/// Listeners on 127.0.0.1 and `[::1]`.
#[derive(Debug)]
pub struct ProofListener {
    listeners: Vec<TcpListener>,
    transparent: bool,
}

impl ProofListener {
    /// Listens where the rules of `mode` lead. A machine without IPv6 has one listener.
    ///
    /// # Errors
    /// The port is taken, or the capability is missing.
    pub fn bind(mode: &Mode, port: u16) -> Result<Self, ListenerError> {
        let transparent = *mode == Mode::Node;
        let mut listeners = Vec::new();
        for family in Family::ALL {
            let address = SocketAddr::new(family.loopback(), port);
            match listen(address, transparent) {
                Ok(listener) => listeners.push(listener),
                Err(error) if family == Family::V6 && absent(&error) => {}
                Err(error) => return Err(explain(address, error)),
            }
        }
        Ok(Self {
            listeners,
            transparent,
        })
    }

    /// Answers proofs with the token, and closes everything else; until dropped.
    pub async fn serve(&self, token: &Token) {
        let mut listeners = self.listeners.iter();
        match (listeners.next(), listeners.next()) {
            (Some(first), Some(second)) => {
                tokio::join!(self.serve_one(first, token), self.serve_one(second, token));
            }
            (Some(first), None) => self.serve_one(first, token).await,
            _ => {}
        }
    }

    async fn serve_one(&self, listener: &TcpListener, token: &Token) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.answer(stream, token).await,
                // A connection that went away again, or no descriptor left: the prover has a deadline.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    async fn answer(&self, mut stream: TcpStream, token: &Token) {
        let meant = if self.transparent {
            stream.local_addr().ok()
        } else {
            original(&stream)
        };
        if meant.is_some_and(is_proof) {
            let _ = timeout(WRITE, stream.write_all(token.bytes())).await;
        }
    }
}

/// The destination before translation.
fn original(stream: &TcpStream) -> Option<SocketAddr> {
    let socket = socket2::SockRef::from(stream);
    let local = stream.local_addr().ok()?;
    let found = if local.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    found.ok()?.as_socket()
}

fn listen(address: SocketAddr, transparent: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if transparent && address.is_ipv4() {
        socket.set_ip_transparent_v4(true)?;
    } else if transparent {
        socket.set_ip_transparent_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// No IPv6 in the kernel, or none on the loopback device.
fn absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

fn explain(address: SocketAddr, error: io::Error) -> ListenerError {
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenerError::InUse(address),
        io::ErrorKind::PermissionDenied => ListenerError::NotPermitted(address),
        _ => ListenerError::Listen(address, error),
    }
}
