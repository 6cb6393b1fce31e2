//! Takes connections of workloads to destinations out of their way: rules of the kernel's packet filter that lead them to
//! the proxy beside the workload, in the network namespace of a pod (sidecar) or of a node.
//!
//! What is not taken goes on as before, to the gateways: the rules name the destinations and nothing else.

pub mod error;
pub mod keeper;
pub mod kernel;
pub mod metrics;
mod netlink;
pub mod plan;
pub mod proof;
pub mod ruleset;
pub mod settings;

pub use error::RedirectError;
pub use keeper::{Keeper, State, Status};
pub use settings::{Destinations, Family, MAX_DESTINATIONS, Mode, Network, Settings};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where redirected connections arrive, on loopback.
pub const INTERCEPT_PORT: u16 = 20411;

/// `SO_MARK` of connections that a proxy makes itself, which are never redirected. Exact value; no bits that kube-proxy
/// (0x4000, 0x8000) uses.
pub const OWN_MARK: u32 = 0x1b1;

/// Mark of packets that are on their way to the proxy of a node (policy routing).
pub const INTERCEPTED_MARK: u32 = 0x1b2;

/// Routing table that delivers packets with [`INTERCEPTED_MARK`] locally.
pub const ROUTING_TABLE: u32 = 20411;

/// Priority of the routing rule: before those of the network plugins (AWS from 512, the main table 32766), and only for
/// packets with our mark.
pub const ROUTING_RULE_PRIORITY: u32 = 90;

/// Addresses to which nobody can connect (TEST-NET-1, RFC 5737; documentation prefix, RFC 3849): what answers there proves
/// that redirection works.
pub const PROOF_ADDRESSES: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 20413),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)), 20413),
];

/// Commands that do to policy routing what a node's rules need, as ip(8) takes them: for people who want to see it.
pub fn routing_commands() -> Vec<String> {
    Family::ALL
        .into_iter()
        .flat_map(netlink::routing::as_commands)
        .collect()
}
