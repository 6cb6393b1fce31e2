//! Which addresses may be dialled: the guard against calls to what only this machine should reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Instance metadata services that are not link-local: AWS and GCE over IPv6, Alibaba Cloud. They hand out the
/// machine's credentials to whoever asks.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// Which addresses may be dialled. Checked on what a name resolved to, and exactly that address is then dialled, so a
/// name cannot change its answer in between. An IPv6 address that stands for an IPv4 one (mapped, compatible, NAT64,
/// 6to4) is judged by the latter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressPolicy {
    /// Any unicast address, this machine included.
    Any,
    /// No loopback and link-local addresses, and no cloud metadata services (169.254.169.254 and those elsewhere);
    /// multicast and unspecified ones neither. This machine's other addresses, such as its pod or node address, are
    /// not known here and are allowed: what must not be called there has to listen on loopback.
    NoLocal,
    /// As [`NoLocal`](Self::NoLocal), and no range that the Internet does not route: private, shared, site-local,
    /// reserved, for protocols or for benchmarks (RFC 1918, 4193, 6598, 3879, 1112, 6890, 2544, 8215). Documentation
    /// ranges are allowed; nobody is there.
    PublicOnly,
}

impl AddressPolicy {
    /// Whether `address` may be dialled.
    pub fn allows(self, address: IpAddr) -> bool {
        let address = unwrapped(address);
        if address.is_multicast() || address.is_unspecified() {
            return false;
        }
        match self {
            Self::Any => true,
            Self::NoLocal => !is_local(address),
            Self::PublicOnly => !is_local(address) && !is_private(address),
        }
    }
}

/// The IPv4 address that an IPv6 one carries, if it does; a gateway or the kernel would send the packets there.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let ipv4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        // The unspecified and the loopback address of IPv6 itself.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        // Compatible (RFC 4291, section 2.5.5.1), mapped (2.5.5.2), NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => ipv4(high, low),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => ipv4(high, low),
        _ => address,
    }
}

fn is_local(address: IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.octets()[0] == 0 || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    local || METADATA.contains(&address)
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            // Shared (RFC 6598), protocol assignments (RFC 6890), benchmarks (RFC 2544), reserved (RFC 1112).
            [100, 64..128, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] | [240..=255, ..] => true,
            _ => v4.is_private(),
        },
        IpAddr::V6(v6) => match v6.segments() {
            // Site-local (RFC 3879), NAT64 of a network's own (RFC 8215).
            [0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => true,
            _ => v6.is_unique_local(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        use AddressPolicy::{Any, NoLocal, PublicOnly};
        for (address, any, no_local, public) in [
            ("127.0.0.1", true, false, false),
            ("::1", true, false, false),
            ("169.254.169.254", true, false, false),
            ("fe80::1", true, false, false),
            ("0.0.0.0", false, false, false),
            ("::", false, false, false),
            ("0.1.2.3", true, false, false),
            ("255.255.255.255", true, false, false),
            ("224.0.0.1", false, false, false),
            ("ff02::1", false, false, false),
            // Cloud metadata outside of the link.
            ("fd00:ec2::254", true, false, false),
            ("fd20:ce::254", true, false, false),
            ("100.100.100.200", true, false, false),
            ("::ffff:100.100.100.200", true, false, false),
            // IPv4 inside of IPv6.
            ("::ffff:127.0.0.1", true, false, false),
            ("::ffff:0.0.0.0", false, false, false),
            ("::127.0.0.1", true, false, false),
            ("::2", true, false, false),
            ("::10.1.2.3", true, true, false),
            ("64:ff9b::127.0.0.1", true, false, false),
            ("64:ff9b::169.254.169.254", true, false, false),
            ("64:ff9b::10.1.2.3", true, true, false),
            ("64:ff9b::192.0.2.1", true, true, true),
            ("64:ff9b::224.0.0.1", false, false, false),
            ("2002:7f00:1::1", true, false, false),
            ("2002:a9fe:a9fe::", true, false, false),
            ("2002:a01:203::1", true, true, false),
            ("2002:c000:201::1", true, true, true),
            // Not routed on the Internet.
            ("10.1.2.3", true, true, false),
            ("172.16.0.1", true, true, false),
            ("192.168.0.1", true, true, false),
            ("100.64.0.1", true, true, false),
            ("100.128.0.1", true, true, true),
            ("192.0.0.8", true, true, false),
            ("192.0.1.1", true, true, true),
            ("198.18.0.1", true, true, false),
            ("198.19.255.255", true, true, false),
            ("198.20.0.1", true, true, true),
            ("240.0.0.1", true, true, false),
            ("254.255.255.255", true, true, false),
            ("223.255.255.255", true, true, true),
            ("fd00::1", true, true, false),
            ("fec0::1", true, true, false),
            ("feff::1", true, true, false),
            ("64:ff9b:1::10.1.2.3", true, true, false),
            ("192.0.2.1", true, true, true),
            ("2001:db8::1", true, true, true),
        ] {
            let ip: IpAddr = address.parse().unwrap();
            assert_eq!(
                (Any.allows(ip), NoLocal.allows(ip), PublicOnly.allows(ip)),
                (any, no_local, public),
                "{address}"
            );
        }
    }
}
