//! Connections that are not for a destination go on to where they were going.

use std::net::SocketAddr;
use std::time::Duration;

use landbridge_runtime::copy::{CopyLimits, copy_bidirectional};
use landbridge_runtime::listener;
use landbridge_runtime::shutdown::Shutdown;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::place::Place;

/// How long the other end may take to answer; the application's own limit is mostly shorter.
const CONNECT: Duration = Duration::from_secs(30);

/// How long a proof may take. Its other end is this machine.
pub(super) const PROOF_DEADLINE: Duration = Duration::from_secs(5);

/// Carries the connection there, byte by byte, until it ends or `shutdown` cannot wait any longer.
pub(crate) async fn on(stream: TcpStream, original: SocketAddr, place: Place, shutdown: &Shutdown) {
    tokio::select! {
        () = carry(stream, original, place) => {}
        () = shutdown.forced() => {}
    }
}

async fn carry(mut stream: TcpStream, original: SocketAddr, _place: Place) {
    match timeout(CONNECT, TcpStream::connect(original)).await {
        Ok(Ok(mut target)) => {
            listener::tune(&target);
            copy_bidirectional(&mut stream, &mut target, CopyLimits::default()).await;
        }
        // Who called has to see what it would have seen without a proxy: no connection.
        Ok(Err(error)) => {
            tracing::debug!(%original, %error, "a connection that is not ours cannot be passed on");
            super::listen::reset(stream);
        }
        Err(_) => super::listen::reset(stream),
    }
}
