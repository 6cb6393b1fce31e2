//! Proof that redirection works: a connection to an address at which nobody can be must end at the own listener, which
//! answers with a random token that nobody else knows.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::PROOF_ADDRESSES;
use crate::settings::Family;

mod listener;

pub use listener::{ListenerError, ProofListener};

/// Bytes of a token.
pub const TOKEN_LEN: usize = 32;

/// A process's random token. Its listener answers connections to proof addresses with these bytes and closes.
#[derive(Clone)]
pub struct Token([u8; TOKEN_LEN]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl From<[u8; TOKEN_LEN]> for Token {
    fn from(bytes: [u8; TOKEN_LEN]) -> Self {
        Self(bytes)
    }
}

impl Token {
    /// A new one: 244 random bits of the system's generator, in two UUIDs.
    pub fn random() -> Self {
        let mut bytes = [0; TOKEN_LEN];
        let (first, second) = bytes.split_at_mut(TOKEN_LEN / 2);
        first.copy_from_slice(Uuid::new_v4().as_bytes());
        second.copy_from_slice(Uuid::new_v4().as_bytes());
        Self(bytes)
    }

    /// What the listener answers.
    pub fn bytes(&self) -> &[u8; TOKEN_LEN] {
        &self.0
    }
}

/// Whether a connection to this address is a proof, to be answered with the token.
pub fn is_proof(destination: SocketAddr) -> bool {
    let ip = destination.ip().to_canonical();
    PROOF_ADDRESSES.contains(&SocketAddr::new(ip, destination.port()))
}

/// What was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Families that are redirected; those that have no route here are not among them.
    pub families: Vec<Family>,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// No way out of this network namespace.
    #[error(
        "neither {} nor {} has a route here, so that nothing can be redirected; give this pod a network", PROOF_ADDRESSES[0].ip(), PROOF_ADDRESSES[1].ip()
    )]
    NoRoute,
    /// The connection came to nobody.
    #[error(
        "connections are not redirected: {address} did not answer ({reason}). Were the rules written in this network namespace (landbridge redirect show; the init container landbridge-redirect, or NET_ADMIN of the node's proxy)? Does a CNI or another mesh change them?"
    )]
    NotRedirected {
        /// Where it was tried.
        address: SocketAddr,
        /// What happened.
        reason: String,
    },
    /// Somebody answered who is not us.
    #[error(
        "connections are redirected to another process: what answered at {address} did not know the token. Does another proxy listen on this port, or another mesh redirect everything?"
    )]
    OtherProcess {
        /// Where it was tried.
        address: SocketAddr,
    },
}

impl ProofError {
    /// With what a process ends that has no proof, so that a controller can tell it from others.
    pub const EXIT_CODE: u8 = 95;
}

/// Connects to the proof address of each family that has a route, and compares what is answered with the token.
///
/// # Errors
/// The first family without proof, or none has a route. `deadline` is for all together.
pub async fn prove(token: &Token, deadline: Duration) -> Result<Proven, ProofError> {
    prove_at(token, &PROOF_ADDRESSES, deadline).await
}

/// [`prove`] at these addresses.
///
/// # Errors
/// As [`prove`].
pub async fn prove_at(
    token: &Token,
    addresses: &[SocketAddr],
    deadline: Duration,
) -> Result<Proven, ProofError> {
    let until = Instant::now() + deadline;
    let mut families = Vec::new();
    for address in addresses {
        let answer = match ask(*address, until).await {
            Ok(answer) => answer,
            Err(error) if no_route(&error, address.ip()) => continue,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let reason = format!("no answer within {:.1} s", deadline.as_secs_f32());
                return Err(not_redirected(*address, reason));
            }
            Err(error) => return Err(not_redirected(*address, error.to_string())),
        };
        if !bool::from(answer.ct_eq(token.bytes())) {
            return Err(ProofError::OtherProcess { address: *address });
        }
        families.push(Family::of(address.ip()));
    }
    if families.is_empty() {
        return Err(ProofError::NoRoute);
    }
    Ok(Proven { families })
}

fn not_redirected(address: SocketAddr, reason: String) -> ProofError {
    ProofError::NotRedirected { address, reason }
}

/// What the other side says. Less than a token, and a side that stays open, is padded: it is compared, and unequal.
async fn ask(address: SocketAddr, until: Instant) -> io::Result<[u8; TOKEN_LEN]> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let mut stream = timeout_at(until, TcpStream::connect(address))
        .await
        .map_err(late)??;
    let mut answer = [0; TOKEN_LEN];
    let mut read = 0;
    while let Some(rest) = answer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match timeout_at(until, stream.read(rest)).await {
            Ok(more) => match more? {
                0 => break,
                more => read += more,
            },
            Err(_) if read > 0 => break,
            Err(error) => return Err(late(error)),
        }
    }
    if read == 0 {
        let silent = "it closed without an answer";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, silent));
    }
    Ok(answer)
}

/// Whether the family has no way out at all. Where a firewall refuses, that is no proof of anything: it counts as an error.
fn no_route(error: &io::Error, ip: IpAddr) -> bool {
    let missing = matches!(
        error.kind(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    );
    // EACCES is what `ip -6 route` says of a device on which IPv6 is switched off.
    let off = ip.is_ipv6() && error.kind() == io::ErrorKind::PermissionDenied;
    // EAFNOSUPPORT: a kernel without IPv6.
    missing || off || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

#[cfg(test)]
mod tests;
