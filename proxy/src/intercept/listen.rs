//! The sockets that intercepted connections arrive at.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use landbridge_runtime::listener::BindError;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::Way;

/// Connections that the kernel keeps until they are accepted; what the runtime uses for the other listeners.
const BACKLOG: i32 = 1024;

/// How often another free port is tried when IPv4 has it and IPv6 does not.
const TRIES: usize = 16;

/// Opens the port on both loopback addresses, or on the one that this machine has; with port 0 one that is free on both.
/// Nobody but this machine can connect there by the address itself.
pub(super) fn open(way: Way, port: u16, setting: &str) -> Result<Vec<TcpListener>, BindError> {
    for _ in 1..TRIES {
        match open_at(way, port, setting) {
            Err(error) if port == 0 && error.source.kind() == io::ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
    open_at(way, port, setting)
}

fn open_at(way: Way, mut port: u16, setting: &str) -> Result<Vec<TcpListener>, BindError> {
    let mut sockets = Vec::new();
    let mut missing = None;
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let address = SocketAddr::new(ip, port);
        match socket(way, address) {
            Ok(socket) => {
                // The rules name one port for both.
                port = socket.local_addr().map_or(port, |address| address.port());
                sockets.push(socket);
            }
            // One of the two is enough.
            Err(error) if is_absent(&error) => missing = Some(refused(address, setting, error)),
            Err(error) => return Err(refused(address, setting, error)),
        }
    }
    match missing {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

fn refused(address: SocketAddr, setting: &str, source: io::Error) -> BindError {
    BindError {
        address,
        setting: setting.to_owned(),
        source,
    }
}

/// Whether the machine lacks this IP version.
fn is_absent(error: &io::Error) -> bool {
    // EAFNOSUPPORT
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}

fn socket(way: Way, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Way::Transparent { mark } = way {
        let transparent = if address.is_ipv6() {
            socket.set_ip_transparent_v6(true)
        } else {
            socket.set_ip_transparent_v4(true)
        };
        transparent.and_then(|()| socket.set_mark(mark)).map_err(|error| {
            let what = "a transparent socket needs the capability NET_ADMIN: add it to the container, or use gateway mode";
            io::Error::new(error.kind(), format!("{what} ({error})"))
        })?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Closes a connection so that the other side notices at once that it was not served.
pub(super) fn reset(stream: TcpStream) {
    if let Err(error) = SockRef::from(&stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "socket option refused");
    }
}
