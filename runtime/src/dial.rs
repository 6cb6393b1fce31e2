//! Outgoing TCP: name look-up without blocking threads, an address policy checked after the look-up, and a race
//! between a name's addresses (RFC 8305).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use crate::listener::tune;

mod policy;
mod resolve;

pub use policy::AddressPolicy;

use resolve::{LookupError, Names};

/// Head start of one address before the next is tried too (RFC 8305, section 5: 250 ms recommended).
const STAGGER: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried; a name with more would only make failing slower.
const MAX_ADDRESSES: usize = 8;

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("cannot resolve {host}: {reason}; check the name and the cluster's DNS")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's answer.
        reason: String,
    },
    /// The name servers did not answer in time.
    #[error(
        "name resolution of {host} did not answer within {seconds} s; check the cluster's DNS and the way to it"
    )]
    ResolveTimeout {
        /// The name.
        host: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// All addresses are of a kind this process must not dial.
    #[error(
        "{host} is at {address}, an address this proxy is not allowed to call (loopback, link-local, cloud metadata \
         or private)"
    )]
    Forbidden {
        /// The name or address asked for.
        host: String,
        /// What it resolved to.
        address: IpAddr,
    },
    /// Nobody answered in time. Often a firewall that drops packets.
    #[error("no connection to {host}:{port} within {seconds} s; a firewall may drop the packets")]
    Timeout {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
        /// The deadline that passed.
        seconds: u64,
    },
    /// The system's error of the last address tried.
    #[error("cannot connect to {host}:{port}: {source}")]
    Connect {
        /// The name or address.
        host: String,
        /// The port.
        port: u16,
        /// The error.
        source: io::Error,
    },
}

impl DialError {
    /// Whether this was a deadline rather than an answer (504 rather than 502).
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::ResolveTimeout { .. })
    }
}

/// Makes outgoing connections. Cheap to clone; clones share the DNS cache.
#[derive(Clone)]
pub struct Dialer {
    names: Arc<Names>,
    policy: AddressPolicy,
}

impl Dialer {
    /// A dialer that uses the system's name servers, search path and hosts file.
    ///
    /// # Errors
    /// The resolver cannot be built.
    pub fn new(policy: AddressPolicy) -> io::Result<Self> {
        Ok(Self {
            names: Arc::new(Names::of_system()?),
            policy,
        })
    }

    /// The same dialer (and DNS cache) with another address policy.
    pub fn with_policy(&self, policy: AddressPolicy) -> Self {
        Self {
            names: Arc::clone(&self.names),
            policy,
        }
    }

    /// Connects to `host:port` within `deadline`, name look-up included. `host` is a name or a literal address,
    /// IPv6 with or without brackets.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn connect(&self, host: &str, port: u16, deadline: Duration) -> Result<TcpStream, DialError> {
        let until = Instant::now() + deadline;
        let addresses = match timeout_at(until, self.addresses(host)).await {
            Ok(addresses) => addresses?,
            Err(_) => {
                return Err(DialError::ResolveTimeout {
                    host: host.to_owned(),
                    seconds: deadline.as_secs(),
                });
            }
        };
        match timeout_at(until, race(&addresses, port)).await {
            Ok(result) => result.inspect(tune).map_err(|source| DialError::Connect {
                host: host.to_owned(),
                port,
                source,
            }),
            Err(_) => Err(DialError::Timeout {
                host: host.to_owned(),
                port,
                seconds: deadline.as_secs(),
            }),
        }
    }

    /// What `host` resolves to and the policy allows, in the order to try.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DialError> {
        let found = match literal(host) {
            Some(address) => vec![address],
            None => self.look_up(host).await?,
        };
        let mut refused = None;
        let mut allowed = Vec::with_capacity(found.len().min(MAX_ADDRESSES));
        for address in found {
            if self.policy.allows(address) {
                allowed.push(address);
            } else {
                refused = Some(address);
            }
        }
        match (allowed.is_empty(), refused) {
            (true, Some(address)) => Err(DialError::Forbidden {
                host: host.to_owned(),
                address,
            }),
            (true, None) => Err(DialError::Resolve {
                host: host.to_owned(),
                reason: "the name has no address".to_owned(),
            }),
            (false, _) => Ok(interleave(allowed)),
        }
    }

    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, DialError> {
        let start = Instant::now();
        self.names.look_up(host).await.map_err(|error| match error {
            LookupError::Timeout => DialError::ResolveTimeout {
                host: host.to_owned(),
                seconds: start.elapsed().as_secs(),
            },
            LookupError::Failed(reason) => DialError::Resolve {
                host: host.to_owned(),
                reason,
            },
        })
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    bare.parse().ok()
}

/// Alternates the address families, IPv6 first (RFC 8305, section 4), so that one dead family costs one head start.
fn interleave(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let mut mixed = Vec::with_capacity(v6.len() + v4.len());
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    loop {
        let before = mixed.len();
        mixed.extend(v6.next());
        mixed.extend(v4.next());
        if mixed.len() == before {
            mixed.truncate(MAX_ADDRESSES);
            return mixed;
        }
    }
}

/// Tries the addresses one after the other, each with a head start, and takes the first that answers.
async fn race(addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut attempts = FuturesUnordered::new();
    let mut waiting = addresses.iter();
    let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(TcpStream::connect(SocketAddr::new(*address, port)));
        } else if attempts.is_empty() {
            return Err(last_error);
        }
        let more_to_try = waiting.len() > 0;
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => last_error = error,
            },
            () = sleep(STAGGER), if more_to_try => {}
        }
        // Nothing left to start: wait for those under way without the timer.
        while waiting.len() == 0 {
            match attempts.next().await {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last_error = error,
                None => return Err(last_error),
            }
        }
    }
}

#[cfg(test)]
mod tests;
