//! Listening sockets: errors that name the setting to change, and an accept that survives running out of descriptors.
//! And what is set on every connection, accepted or dialled.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::sleep;

/// Idle time before the first keep-alive probe. With three probes 10 s apart an idle connection to a dead peer ends
/// after a minute instead of the kernel's two hours. On links it is also the time sent data may wait for its
/// acknowledgement, see [`tune_link`].
pub const KEEPALIVE: Duration = Duration::from_secs(30);

/// How long to wait when the process has no descriptor left: long enough not to spin, short enough not to be noticed.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Connections that the kernel keeps until they are accepted; what tokio uses for other listeners.
const BACKLOG: u32 = 1024;

/// A listener that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (set by {setting}): {}", advice(.source))]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// The flag or configuration path that chose the address.
    pub setting: String,
    /// The system's answer.
    pub source: io::Error,
}

fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the port is in use by another process; choose another port".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        _ => error.to_string(),
    }
}

/// Opens a listener. `setting` names what chose the address and is part of the error.
///
/// # Errors
/// See [`BindError`].
pub async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError {
        address,
        setting: setting.to_owned(),
        source,
    })
}

/// As [`bind`], on a port that another process of the same user may have open, too (`SO_REUSEPORT`): the next version of a
/// process that has the machine's own network listens before this one stops. Connections go to either.
///
/// # Errors
/// See [`BindError`].
pub fn bind_shared(address: SocketAddr, setting: &str) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = if address.is_ipv6() {
            TcpSocket::new_v6()
        } else {
            TcpSocket::new_v4()
        }?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|source| BindError {
        address,
        setting: setting.to_owned(),
        source,
    })
}

/// The next connection, ready for use (no delay, keep-alive). Never fails: a connection that died in the backlog is
/// skipped, and when descriptors run out it waits for some to be freed.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tune(&stream);
                return (stream, peer);
            }
            Err(error) if is_connection_error(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; raise the limit of open files (ulimit -n)");
                sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

/// Sets what every connection of ours has: no delay (small writes at once) and keep-alive probes. A socket that
/// refuses an option still works, so failures are not errors.
///
/// `TCP_USER_TIMEOUT` is not among it: the kernel counts the time a peer keeps its window shut, too, so that it would
/// cut off a healthy reader that pauses (tcp(7)). A peer that dies while data is on the way to it is noticed by the
/// deadlines of who sends, at the latest when the kernel stops retransmitting (about 15 minutes).
pub fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3)
        .with_retries(3);
    let result = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keepalive));
    if let Err(error) = result {
        tracing::debug!(%error, "socket option refused");
    }
}

/// As [`tune`], and the kernel gives the connection up when sent data stays unacknowledged for 30 s. Only for
/// connections whose other side reads all the time whatever becomes of the data, such as multiplexed links: there a
/// shut window, too, means that the peer is dead.
pub fn tune_link(stream: &TcpStream) {
    tune(stream);
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(KEEPALIVE)) {
        tracing::debug!(%error, "socket option refused");
    }
}

fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_names_the_setting() {
        let first = bind("127.0.0.1:0".parse().unwrap(), "--listen").await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(address, "--listen").await.unwrap_err().to_string();
        assert!(
            error.contains("--listen") && error.contains("in use") && error.contains(&address.to_string()),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_shared_port_is_taken_twice() {
        let first = bind_shared("127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
        let address = first.local_addr().unwrap();
        let _second = bind_shared(address, "--listen").unwrap();
        let error = bind(address, "--listen").await.unwrap_err().to_string();
        assert!(error.contains("in use"), "only by those who share it: {error}");
    }

    #[tokio::test]
    async fn slow_readers_are_not_cut_off_but_links_are() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), "--listen").await.unwrap();
        let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = accept(&listener).await;
        tune(&dialled);
        for stream in [&accepted, &dialled] {
            let socket = SockRef::from(stream);
            assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
            assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        }
        tune_link(&accepted);
        let link = SockRef::from(&accepted);
        assert!(link.keepalive().unwrap());
        assert_eq!(link.tcp_user_timeout().unwrap(), Some(KEEPALIVE));
    }
}
