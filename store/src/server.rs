//! Connections: accepted up to a limit, TLS where there is a certificate, HTTP/1.1 with deadlines, drained in an orderly
//! way.

mod tls;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use landbridge_runtime::listener::accept;
use landbridge_runtime::shutdown::Shutdown;
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

pub(crate) use tls::Tls;

use crate::api::Peer;
use crate::config::Limits;
use landbridge_runtime::shares::Shares;

/// Buffer of one connection: bounds a request's head. Longer ones are answered 431.
const HEAD_BYTES: usize = 64 * 1024;

/// One peer may hold this part of all connections, a quarter: none can lock the others out alone, and a proxy before
/// the store still has a thousand.
const PEER_PART: usize = 4;

/// Deadline of the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The certificate a client has shown on its connection, together with the proof that it has the key; among the
/// request's extensions. It names nobody by itself.
#[derive(Debug, Clone)]
pub(crate) struct ShownCertificate(pub(crate) CertificateDer<'static>);

/// Serves `router` until `shutdown` begins, then finishes the requests in flight within `limits.drain`.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    limits: Limits,
    shutdown: Shutdown,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let connections = shutdown.child();
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let each = (limits.max_connections / PEER_PART).max(1);
    let per_peer = Shares::new(each, limits.max_connections);
    loop {
        // A place first: when there is none, callers wait in the kernel's queue, which is bounded too.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = shutdown.started() => break,
        };
        let Ok(place) = place else { break };
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = shutdown.started() => break,
        };
        let share = match stranger(peer.ip()) {
            Some(network) => match per_peer.take(&network) {
                Some(share) => Some(share),
                None => {
                    tracing::debug!(%peer, "connection refused: too many from this address");
                    continue;
                }
            },
            None => None,
        };
        let (router, ending, receive) = (router.clone(), connections.clone(), limits.receive);
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            match acceptor {
                Some(acceptor) => encrypted(acceptor, stream, peer, router, receive, ending).await,
                None => connection(stream, None, peer, router, receive, ending).await,
            }
            drop((place, share));
        });
    }
    drop(listener);
    tokio::select! {
        drained = connections.drain(limits.drain) => tracing::debug!(?drained, "connections ended"),
        () = shutdown.forced() => {}
    }
}

/// What a peer is counted as: its address, in IPv6 the network of 64 bits that one host has to itself. `None` for this
/// machine, where a TLS terminator may stand for everybody.
fn stranger(peer: IpAddr) -> Option<IpAddr> {
    match peer.to_canonical() {
        peer if peer.is_loopback() => None,
        IpAddr::V6(peer) => Some(Ipv6Addr::from_bits(peer.to_bits() >> 64 << 64).into()),
        peer => Some(peer),
    }
}

async fn encrypted(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    receive: Duration,
    ending: Shutdown,
) {
    let handshake = tokio::select! {
        handshake = timeout(HANDSHAKE, acceptor.accept(stream)) => handshake,
        () = ending.started() => return,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
    };
    let shown = stream.get_ref().1.peer_certificates();
    let shown = shown.and_then(|chain| Some(ShownCertificate(chain.first()?.clone().into_owned())));
    connection(stream, shown, peer, router, receive, ending).await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shown: Option<ShownCertificate>,
    peer: SocketAddr,
    router: Router,
    receive: Duration,
    ending: Shutdown,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        if let Some(shown) = &shown {
            request.extensions_mut().insert(shown.clone());
        }
        router.clone().oneshot(request.map(Body::new))
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(receive)
        .max_buf_size(HEAD_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = ending.started() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection.as_mut() => result,
                () = ending.forced() => Ok(()),
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, %peer, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_told_apart_by_what_one_host_has() {
        for (peer, counted) in [
            ("127.0.0.1", None),
            ("::1", None),
            ("::ffff:127.0.0.1", None),
            ("10.0.0.1", Some("10.0.0.1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::")),
        ] {
            let expected = counted.map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(stranger(peer.parse().unwrap()), expected, "{peer}");
        }
    }
}
