//! What shall be redirected, and whither.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::INTERCEPT_PORT;

mod network;

pub use network::{Network, NetworkError};
pub(crate) use network::{merged, to_address};

/// Addresses and ports of destinations, as workloads call them.
pub type Destinations = BTreeSet<SocketAddr>;

/// Most destinations in one table. Each takes some 100 bytes of kernel memory, and the whole set must fit into one
/// transaction: 65 536 of IPv6 are 2.4 MB.
pub const MAX_DESTINATIONS: usize = 65_536;

/// Most networks in one table. They are written once, by hand.
pub const MAX_NETWORKS: usize = 256;

/// How connections are redirected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// In whose network namespace.
    pub mode: Mode,
    /// The proxy's port on 127.0.0.1 and `[::1]`; never 0.
    pub port: u16,
}

/// In whose network namespace the rules work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In that of one pod: connections that its containers make.
    Sidecar {
        /// User whose connections are left alone, beside those with [`OWN_MARK`](crate::OWN_MARK): a sidecar without
        /// NET_ADMIN cannot mark its connections.
        proxy_uid: Option<u32>,
        /// Networks of which every TCP connection is redirected, destination or not.
        networks: Vec<Network>,
    },
    /// In that of a node: connections that come from its pods.
    Node,
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Port 0 is no port.
    #[error("port 0 cannot be redirected to; give a port between 1 and 65535")]
    Port,
    /// The proxy as root would let every container that runs as root pass.
    #[error(
        "the proxy's user 0 would exclude every container that runs as root from redirection; let the proxy run as a user of its own"
    )]
    Root,
    /// More destinations than a table takes.
    #[error(
        "{0} destinations are more than the {MAX_DESTINATIONS} that a table takes; the rest can only be served by gateways"
    )]
    TooManyDestinations(usize),
    /// More networks than a table takes.
    #[error("{0} networks are more than the {MAX_NETWORKS} that a table takes; name larger networks")]
    TooManyNetworks(usize),
    /// Not an address that somebody else can be at.
    #[error("{address} cannot be redirected: {reason}")]
    Destination {
        /// What was given.
        address: SocketAddr,
        /// Why not.
        reason: &'static str,
    },
}

impl Settings {
    /// For a pod.
    pub fn sidecar(proxy_uid: Option<u32>, networks: Vec<Network>) -> Self {
        Self {
            mode: Mode::Sidecar { proxy_uid, networks },
            port: INTERCEPT_PORT,
        }
    }

    /// For a node.
    pub fn node() -> Self {
        Self {
            mode: Mode::Node,
            port: INTERCEPT_PORT,
        }
    }

    /// Whether the settings can be used.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.port == 0 {
            return Err(SettingsError::Port);
        }
        if let Mode::Sidecar { proxy_uid, networks } = &self.mode {
            if *proxy_uid == Some(0) {
                return Err(SettingsError::Root);
            }
            if networks.len() > MAX_NETWORKS {
                return Err(SettingsError::TooManyNetworks(networks.len()));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sidecar { .. } => "sidecar",
            Self::Node => "node",
        })
    }
}

/// Whether an address may stand in the set of destinations.
///
/// # Errors
/// Why not: port 0, or an address that is this machine's own or nobody's.
pub fn check_destination(address: SocketAddr) -> Result<(), SettingsError> {
    let ip = canonical(address).ip();
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    let reason = if address.port() == 0 {
        "port 0 is no port"
    } else if ip.is_loopback() {
        "it is this machine itself, where the proxy listens"
    } else if ip.is_unspecified() || ip.is_multicast() || broadcast {
        "nobody can be connected to there"
    } else {
        return Ok(());
    };
    Err(SettingsError::Destination { address, reason })
}

/// Checks all, and their number.
///
/// # Errors
/// The first that cannot be in the set.
pub fn check_destinations(destinations: &Destinations) -> Result<(), SettingsError> {
    if destinations.len() > MAX_DESTINATIONS {
        return Err(SettingsError::TooManyDestinations(destinations.len()));
    }
    destinations.iter().copied().try_for_each(check_destination)
}

/// What of `wanted` a table takes, so that one wrong address costs no other its redirection; and what it does not take.
pub(crate) fn usable(wanted: &Destinations) -> (Destinations, Option<SettingsError>) {
    let mut problem = None;
    let mut usable = Destinations::new();
    for address in wanted {
        if usable.len() == MAX_DESTINATIONS {
            problem = Some(SettingsError::TooManyDestinations(wanted.len()));
            break;
        }
        match check_destination(*address) {
            Ok(()) => {
                usable.insert(canonical(*address));
            }
            Err(error) => problem = Some(error),
        }
    }
    (usable, problem)
}

/// IPv4 addresses in IPv6 clothes (RFC 4291, 2.5.5.2) as what they are on the wire; no scope, no flow label.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Reads a list of destinations: one `IP:PORT` a line, `#` begins a comment.
///
/// # Errors
/// All lines that are wrong, with their numbers.
pub fn parse_destinations(text: &str) -> Result<Destinations, Vec<String>> {
    let mut problems = Vec::new();
    let mut destinations = Destinations::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        match parse_destination(line) {
            Ok(address) => {
                destinations.insert(address);
            }
            Err(problem) => problems.push(format!("line {number}: {problem}")),
        }
    }
    if problems.is_empty() {
        Ok(destinations)
    } else {
        Err(problems)
    }
}

/// Reads one destination, `10.96.1.2:80` or `[fd00::1]:80`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_destination(text: &str) -> Result<SocketAddr, String> {
    let address = SocketAddr::from_str(text).map_err(|_| {
        format!(
            "'{text}' is no address with a port; write 10.96.1.2:80 or [fd00::1]:80, names are not looked up"
        )
    })?;
    check_destination(address).map_err(|error| error.to_string())?;
    Ok(canonical(address))
}

/// One of the two families, in the order rules are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Loopback, where the proxy listens.
    pub(crate) fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }

    /// Bytes of an address.
    pub(crate) fn address_len(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }
}

#[cfg(test)]
mod tests;
