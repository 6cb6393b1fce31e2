//! From settings and destinations to the table, without asking anybody.

use std::net::SocketAddr;

use crate::ruleset::{Chain, ChainKind, Hook, Rule, Ruleset, Set, Statement, table_comment};
use crate::settings::{Destinations, Family, Mode, Network, Settings};
use crate::{INTERCEPTED_MARK, OWN_MARK, PROOF_ADDRESSES};

/// Before connection tracking (-200), and so before kube-proxy's translation of addresses: a packet that is taken here
/// is known to neither.
const RAW: i32 = -300;

/// Where destinations are translated, in nat chains of OUTPUT; equal priorities are asked in the order they were made, and
/// kube-proxy's chains of the host's namespace are not in a pod's.
const DSTNAT: i32 = -100;

/// A port at which nobody listens transparently. The kernel looks for an existing connection first and for a listener
/// then: with this port it finds existing connections only.
const NOBODY: u16 = 1;

/// What the kernel can do; everything until it has said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Rules for IPv6. Not on a kernel without it.
    pub ipv6: bool,
    /// The expression `socket` (nft_socket). Without it existing connections are found in another way.
    pub socket: bool,
    /// Packets pass our chains while they are still in a bridge (net.bridge.bridge-nf-call-iptables). A socket that is
    /// assigned to a packet there is lost again, so that what comes over a bridge must be left to the gateways.
    pub bridge_filter: bool,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            ipv6: true,
            socket: true,
            bridge_filter: false,
        }
    }
}

impl Features {
    /// What to try next when the kernel does not know something of the rules: other rules for existing connections first,
    /// then no IPv6; `None` when there is nothing left.
    pub(crate) fn poorer(self, node: bool) -> Option<Self> {
        if node && self.socket {
            return Some(Self {
                socket: false,
                ..self
            });
        }
        self.ipv6.then_some(Self {
            ipv6: false,
            socket: true,
            ..self
        })
    }

    fn families(self) -> &'static [Family] {
        if self.ipv6 { &Family::ALL } else { &[Family::V4] }
    }
}

/// The table for these settings and destinations, kept by `owner`. Destinations of a family that the kernel does not have
/// are left out.
pub fn plan(settings: &Settings, owner: &str, destinations: &Destinations, features: Features) -> Ruleset {
    let families = features.families();
    let mut sets: Vec<Set> = families
        .iter()
        .map(|family| Set::destinations(*family, destinations))
        .collect();
    let chains = match &settings.mode {
        Mode::Sidecar { proxy_uid, networks } => {
            if !networks.is_empty() {
                sets.extend(families.iter().map(|family| Set::networks(*family, networks)));
            }
            vec![sidecar(settings.port, *proxy_uid, networks, families)]
        }
        Mode::Node => vec![node_prerouting(settings.port, features), node_output(features)],
    };
    Ruleset {
        comment: table_comment(&settings.mode.to_string(), owner),
        sets,
        chains,
    }
    .sorted()
}

/// Connections that a pod's containers make.
fn sidecar(port: u16, proxy_uid: Option<u32>, networks: &[Network], families: &[Family]) -> Chain {
    let mut rules = Vec::new();
    for to in proof_addresses(families) {
        rules.push(rule(
            [Statement::Destination(to), Statement::Redirect(port)],
            "proof that redirection works",
        ));
    }
    rules.push(rule(
        [Statement::Mark(OWN_MARK), Statement::Return],
        "the proxy's own connections, by their mark",
    ));
    if let Some(uid) = proxy_uid {
        rules.push(rule(
            [Statement::User(uid), Statement::Return],
            "the proxy's own connections, by its user",
        ));
    }
    for family in families {
        rules.push(rule(
            [Statement::DestinationIn(*family), Statement::Redirect(port)],
            "destinations, to the proxy in this pod",
        ));
    }
    if !networks.is_empty() {
        rules.push(rule(
            [Statement::OnLoopback, Statement::Return],
            "containers of this pod among themselves",
        ));
    }
    for family in families.iter().filter(|_| !networks.is_empty()) {
        rules.push(rule(
            [
                Statement::Tcp,
                Statement::NetworkIn(*family),
                Statement::Redirect(port),
            ],
            "whole networks, to the proxy in this pod",
        ));
    }
    chain("output", ChainKind::Nat, Hook::Output, DSTNAT, rules)
}

/// Connections that come from a node's pods. Those of other namespaces of the host, and its own, never pass here.
fn node_prerouting(port: u16, features: Features) -> Chain {
    let mut rules = existing(features);
    if features.bridge_filter {
        rules.push(rule(
            [Statement::FromBridge, Statement::Return],
            "pods on a bridge, to the gateways: net.bridge.bridge-nf-call-iptables loses their sockets",
        ));
    }
    let taken = |family: Family| {
        [
            Statement::TransparentProxy(SocketAddr::new(family.loopback(), port)),
            Statement::SetMark(INTERCEPTED_MARK),
            Statement::Untrack,
            Statement::Accept,
        ]
    };
    for to in proof_addresses(features.families()) {
        rules.push(rule(
            [Statement::Destination(to)]
                .into_iter()
                .chain(taken(Family::of(to.ip()))),
            "proof that redirection works",
        ));
    }
    for family in features.families() {
        rules.push(rule(
            // Only what begins: a connection that a gateway has already would be reset by a listener that knows nothing of it.
            [Statement::DestinationIn(*family), Statement::First]
                .into_iter()
                .chain(taken(*family)),
            "destinations, to the proxy of this node; to the gateways if it does not listen",
        ));
    }
    chain("prerouting", ChainKind::Filter, Hook::Prerouting, RAW, rules)
}

/// Packets of connections that the proxy has taken, whatever the set says now: a destination that goes away cuts nobody.
fn existing(features: Features) -> Vec<Rule> {
    let comment = "connections that the proxy of this node has";
    let keep = [
        Statement::SetMark(INTERCEPTED_MARK),
        Statement::Untrack,
        Statement::Accept,
    ];
    if features.socket {
        let matched = [Statement::Tcp, Statement::TransparentSocket];
        return vec![rule(matched.into_iter().chain(keep), comment)];
    }
    let other_way = |family: &Family| {
        let nobody = SocketAddr::new(family.loopback(), NOBODY);
        let matched = [
            Statement::Is(*family),
            Statement::NotFirst,
            Statement::TransparentProxy(nobody),
        ];
        rule(matched.into_iter().chain(keep.clone()), comment)
    };
    features.families().iter().map(other_way).collect()
}

/// What the node's own network namespace sends.
fn node_output(features: Features) -> Chain {
    let untracked = [Statement::Untrack, Statement::Accept];
    let comment = "answers of the proxy of this node";
    let mut rules: Vec<Rule> = if features.socket {
        let matched = [Statement::Tcp, Statement::TransparentSocket];
        vec![rule(matched.into_iter().chain(untracked), comment)]
    } else {
        let answers = |family: &Family| {
            rule(
                [Statement::SourceIn(*family)]
                    .into_iter()
                    .chain(untracked.clone()),
                comment,
            )
        };
        features.families().iter().map(answers).collect()
    };
    for to in proof_addresses(features.families()) {
        rules.push(rule(
            [
                Statement::Destination(to),
                Statement::SetMark(INTERCEPTED_MARK),
                Statement::Untrack,
                Statement::Accept,
            ],
            "proof that redirection works, turned round to arrive as if from a pod",
        ));
    }
    chain("output", ChainKind::Route, Hook::Output, RAW, rules)
}

fn proof_addresses(families: &[Family]) -> impl Iterator<Item = SocketAddr> {
    let known = move |to: &SocketAddr| families.contains(&Family::of(to.ip()));
    PROOF_ADDRESSES.into_iter().filter(known)
}

fn chain(name: &str, kind: ChainKind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.to_owned(),
        kind,
        hook,
        priority,
        rules,
    }
}

fn rule(statements: impl IntoIterator<Item = Statement>, comment: &str) -> Rule {
    Rule {
        statements: statements.into_iter().collect(),
        comment: comment.to_owned(),
    }
}

#[cfg(test)]
mod tests;
