//! Addresses, cables and the rules of kube-proxy.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::netns::Netns;

/// Which addresses a world has. Documentation and benchmark ranges: nobody routes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

impl Family {
    /// The node.
    pub fn node(self) -> IpAddr {
        self.address([198, 51, 100, 1], [0x51, 1])
    }

    /// Everything that is not the cluster.
    pub fn outside(self) -> IpAddr {
        self.address([198, 51, 100, 2], [0x51, 2])
    }

    /// A pod; number 1 is the node's own end of their cables.
    pub fn pod(self, number: u8) -> IpAddr {
        self.address([198, 18, 0, number], [0x18, number.into()])
    }

    /// A Service's address.
    pub fn cluster_ip(self, number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        self.address([198, 19, high, low], [0x19, number])
    }

    fn address(self, v4: [u8; 4], [net, host]: [u16; 2]) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from(v4).into(),
            Self::V6 => Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, host).into(),
        }
    }

    /// Of a single address, and of a network of pods or of the link to the outside.
    fn prefixes(self) -> (u8, u8) {
        match self {
            Self::V4 => (32, 24),
            Self::V6 => (128, 64),
        }
    }

    /// Option of ip(8), and word of nftables.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::V4 => ("-4", "ip"),
            Self::V6 => ("-6", "ip6"),
        }
    }
}

/// How pods are wired to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wiring {
    /// A cable each and a route to each, as the CNI plugin `ptp` does.
    Ptp,
    /// All on one bridge, as the plugin `bridge` does; its packets pass the packet filter too, as Kubernetes asks for.
    Bridge,
}

/// Which form the rules of Services have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KubeProxy {
    /// A rule for each Service in the table `nat`, one after the other.
    Iptables,
    /// A table of its own with one map.
    Nftables,
}

/// The node's network, and the namespaces on it.
pub struct Network {
    /// Of which addresses.
    pub family: Family,
    wiring: Wiring,
    kube_proxy: KubeProxy,
    /// The node itself.
    pub node: Netns,
    /// What is not the cluster.
    pub outside: Netns,
}

impl Network {
    /// A node with a link to the outside, and no pod yet.
    pub fn new(family: Family, wiring: Wiring, kube_proxy: KubeProxy) -> Self {
        let this = Self {
            family,
            wiring,
            kube_proxy,
            node: Netns::new("node"),
            outside: Netns::new("outside"),
        };
        this.link_outside();
        if wiring == Wiring::Bridge {
            this.add_bridge();
        }
        this
    }

    fn link_outside(&self) {
        let ((ip, _), (_, wide)) = (self.family.words(), self.family.prefixes());
        let (near, far) = (self.family.node(), self.family.outside());
        for namespace in [&self.node, &self.outside] {
            namespace.sh(SYSCTL);
        }
        self.node.sh(&format!(
            "echo 1 > /proc/sys/net/ipv4/ip_forward\n\
             echo 1 > /proc/sys/net/ipv6/conf/all/forwarding\n\
             ip link add uplink type veth peer name eth0 netns {}\n\
             ip addr add {near}/{wide} dev uplink\n\
             ip link set uplink up",
            self.outside.path()
        ));
        let pods = self.family.pod(0);
        self.outside.sh(&format!(
            "ip addr add {far}/{wide} dev eth0\n\
             ip link set eth0 up\n\
             ip {ip} route add {pods}/{wide} via {near}"
        ));
        // What a node has: a way out for what is not the cluster's.
        self.node.sh(&format!("ip {ip} route add default via {far}"));
    }

    fn add_bridge(&self) {
        let (_, wide) = self.family.prefixes();
        self.node.sh(&format!(
            "ip link add cni0 type bridge\n\
             ip addr add {}/{wide} dev cni0\n\
             ip link set cni0 up\n\
             for name in iptables ip6tables; do\n\
             if [ -e /proc/sys/net/bridge/bridge-nf-call-$name ]; then echo 1 > /proc/sys/net/bridge/bridge-nf-call-$name; fi\n\
             done",
            self.family.pod(1)
        ));
    }

    /// A new pod.
    pub fn pod(&self, name: &str, number: u8) -> Netns {
        let pod = Netns::new(name);
        pod.sh(SYSCTL);
        let ((ip, _), (single, wide)) = (self.family.words(), self.family.prefixes());
        let (own, gateway, network) = (self.family.pod(number), self.family.pod(1), self.family.pod(0));
        let nodad = match self.family {
            Family::V4 => "",
            Family::V6 => " nodad",
        };
        let cable = format!("veth{number}");
        self.node.sh(&format!(
            "ip link add {cable} type veth peer name eth0 netns {}\nip link set {cable} up",
            pod.path()
        ));
        match self.wiring {
            Wiring::Ptp => {
                self.node.sh(&format!(
                    "ip addr add {gateway}/{single} dev {cable}{nodad}\nip {ip} route add {own}/{single} dev {cable}"
                ));
                pod.sh(&format!(
                    "ip link set eth0 up\n\
                     ip addr add {own}/{single} dev eth0{nodad}\n\
                     ip {ip} route add {gateway}/{single} dev eth0\n\
                     ip {ip} route add {network}/{wide} via {gateway} src {own}\n\
                     ip {ip} route add default via {gateway} src {own}"
                ));
            }
            Wiring::Bridge => {
                self.node.sh(&format!(
                    "ip link set {cable} master cni0\nip link set {cable} type bridge_slave hairpin on"
                ));
                pod.sh(&format!(
                    "ip link set eth0 up\n\
                     ip addr add {own}/{wide} dev eth0{nodad}\n\
                     ip {ip} route add default via {gateway}"
                ));
            }
        }
        pod
    }

    /// Sets what kube-proxy knows: Services and where they are served.
    pub fn services(&self, services: &BTreeMap<SocketAddr, SocketAddr>) {
        let (_, ip) = self.family.words();
        let rules = match self.kube_proxy {
            KubeProxy::Iptables => in_a_row(ip, services),
            KubeProxy::Nftables => in_a_map(ip, services),
        };
        self.node.nft(&rules);
    }
}

/// Duplicate addresses cannot be here, and looking for them takes seconds.
const SYSCTL: &str = "for when in all default; do echo 0 > /proc/sys/net/ipv6/conf/$when/accept_dad; done";

fn in_a_row(ip: &str, services: &BTreeMap<SocketAddr, SocketAddr>) -> String {
    let (mut chains, mut rules) = (String::new(), String::new());
    for (number, (front, back)) in services.iter().enumerate() {
        let (address, port) = (front.ip(), front.port());
        chains += &format!("chain KUBE-SVC-{number} {{ meta l4proto tcp dnat to {back}; }}\n");
        rules += &format!("{ip} daddr {address} tcp dport {port} counter jump KUBE-SVC-{number}\n");
    }
    format!(
        "table {ip} nat {{}}\ndelete table {ip} nat\ntable {ip} nat {{\n{chains}chain KUBE-SERVICES {{\n{rules}}}\n\
         chain PREROUTING {{ type nat hook prerouting priority -100; jump KUBE-SERVICES; }}\n\
         chain OUTPUT {{ type nat hook output priority -100; jump KUBE-SERVICES; }}\n}}\n"
    )
}

fn in_a_map(ip: &str, services: &BTreeMap<SocketAddr, SocketAddr>) -> String {
    let (mut chains, mut elements) = (String::new(), Vec::new());
    for (number, (front, back)) in services.iter().enumerate() {
        let (address, port) = (front.ip(), front.port());
        chains += &format!("chain service-{number} {{ meta l4proto tcp dnat to {back}; }}\n");
        elements.push(format!("{address} . tcp . {port} : goto service-{number}"));
    }
    let addresses = if ip == "ip" { "ipv4_addr" } else { "ipv6_addr" };
    let elements = if elements.is_empty() {
        String::new()
    } else {
        format!("elements = {{ {} }}", elements.join(", "))
    };
    format!(
        "table {ip} kube-proxy {{}}\ndelete table {ip} kube-proxy\ntable {ip} kube-proxy {{\n{chains}\
         map service-ips {{ type {addresses} . inet_proto . inet_service : verdict; {elements} }}\n\
         chain services {{ {ip} daddr . meta l4proto . th dport vmap @service-ips; }}\n\
         chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}\n\
         chain nat-output {{ type nat hook output priority -100; jump services; }}\n}}\n"
    )
}
