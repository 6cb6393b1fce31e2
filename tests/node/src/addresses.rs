//! Who has which address. All are of ranges for documentation (RFC 5737) and benchmarks (RFC 2544), which no network
//! routes; they are in network.sh too.

use std::net::Ipv4Addr;

use anyhow::{Result, bail};

/// What pods get, in parts of 256 per node.
pub(crate) const PODS: &str = "198.18.0.0/16";

/// Where pods find the name server, in the range of Services.
pub(crate) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 10);

/// The first node, at which everything is that runs once.
pub(crate) const FIRST_NODE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// The company's side of its uplink.
pub(crate) const COMPANY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// The node's side of that uplink.
pub(crate) const COMPANY_GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// Where the systems of the company listen.
pub(crate) const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 10);

/// Port of the API server at the first node.
pub(crate) const API_PORT: u16 = 6443;

/// Nodes share one network of 254 addresses, and 254 is the route that leads nowhere.
pub(crate) const MOST_NODES: u8 = 9;

/// Address of the node with this number, from 1.
pub(crate) fn node(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, number)
}

/// Range of the pods of the node with this number, from 1.
pub(crate) fn pods(number: u8) -> String {
    format!("198.18.{}.0/24", number.saturating_sub(1))
}

/// Name of a node as Kubernetes and the kernel take it: it is also that of a link (15 bytes at most).
///
/// # Errors
/// When it is neither.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let plain = name
        .bytes()
        .all(|one| one.is_ascii_lowercase() || one.is_ascii_digit());
    let begins = name.starts_with(|one: char| one.is_ascii_lowercase());
    if !plain || !begins || name.len() > 15 || ["node0", "stub0", "lo", "company0"].contains(&name) {
        bail!("{name:?} cannot be a node: use up to 15 lower-case letters and digits, such as node2");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_follow_one_another() {
        assert_eq!(node(1), FIRST_NODE);
        assert_eq!(
            (pods(1), pods(2)),
            ("198.18.0.0/24".into(), "198.18.1.0/24".into())
        );
    }

    /// The script has the same numbers.
    #[test]
    fn the_script_agrees() {
        let script = include_str!("network.sh");
        assert!(script.contains(&format!("default via {FIRST_NODE}\n")));
        assert!(script.contains("ip route add 198.51.100.0/24 via"));
    }

    #[test]
    fn names_are_checked() {
        for (name, good) in [
            ("node2", true),
            ("n", true),
            ("node0", false),
            ("", false),
            ("2node", false),
            ("Node2", false),
            ("node-with-a-long-name", false),
            ("a/b", false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name:?}");
        }
    }
}
