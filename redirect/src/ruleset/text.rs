//! The notation of nft(8): what `plan` and `show` print, and what `nft -f` reads.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use super::{
    Chain, ChainKind, Elements, Hook, Rule, Ruleset, Set, Statement, TABLE, destinations_set, networks_set,
};
use crate::settings::Family;

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {TABLE} {{\n\tcomment {}", quoted(&self.comment))?;
        for set in &self.sets {
            write!(f, "\n{set}")?;
        }
        for chain in &self.chains {
            write!(f, "\n{chain}")?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match self.family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        };
        writeln!(f, "\tset {} {{", self.name)?;
        let elements: Vec<String> = match &self.elements {
            Elements::Destinations(all) => {
                writeln!(f, "\t\ttype {address} . inet_service")?;
                all.iter()
                    .map(|to| format!("{} . {}", to.ip(), to.port()))
                    .collect()
            }
            Elements::Networks(_) => {
                writeln!(f, "\t\ttype {address}\n\t\tflags interval")?;
                self.ranges()
            }
        };
        if !elements.is_empty() {
            writeln!(f, "\t\telements = {{ {} }}", elements.join(",\n\t\t\t     "))?;
        }
        writeln!(f, "\t}}")
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Route => "route",
            ChainKind::Nat => "nat",
            ChainKind::Other(kind) => kind,
        };
        let hook = match self.hook {
            Hook::Prerouting => "prerouting".to_owned(),
            Hook::Output => "output".to_owned(),
            Hook::Other(number) => number.to_string(),
        };
        writeln!(f, "\tchain {} {{", self.name)?;
        writeln!(
            f,
            "\t\ttype {kind} hook {hook} priority {}; policy accept;",
            self.priority
        )?;
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for statement in &self.statements {
            write!(f, "{statement} ")?;
        }
        write!(f, "comment {}", quoted(&self.comment))
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("meta l4proto tcp"),
            Self::Is(Family::V4) => f.write_str("meta nfproto ipv4"),
            Self::Is(Family::V6) => f.write_str("meta nfproto ipv6"),
            Self::DestinationIn(family) => {
                let set = destinations_set(*family);
                write!(f, "{} daddr . tcp dport @{set}", protocol(*family))
            }
            Self::SourceIn(family) => {
                let set = destinations_set(*family);
                write!(f, "{} saddr . tcp sport @{set}", protocol(*family))
            }
            Self::NetworkIn(family) => write!(f, "{} daddr @{}", protocol(*family), networks_set(*family)),
            Self::Destination(to) => {
                let family = protocol(Family::of(to.ip()));
                write!(f, "{family} daddr {} tcp dport {}", to.ip(), to.port())
            }
            Self::FromBridge => f.write_str("meta iifkind \"bridge\""),
            Self::OnLoopback => f.write_str("oifname \"lo\""),
            Self::Mark(mark) => write!(f, "meta mark {mark:#010x}"),
            Self::User(uid) => write!(f, "meta skuid {uid}"),
            Self::TransparentSocket => f.write_str("socket transparent 1"),
            Self::First => f.write_str("tcp flags & (fin | syn | rst | ack) == syn"),
            Self::NotFirst => f.write_str("tcp flags & (fin | syn | rst | ack) != syn"),
            Self::SetMark(mark) => write!(f, "meta mark set {mark:#010x}"),
            Self::Untrack => f.write_str("notrack"),
            Self::TransparentProxy(to) => {
                let family = protocol(Family::of(to.ip()));
                write!(f, "tproxy {family} to {}", bracketed(*to))
            }
            Self::Redirect(port) => write!(f, "redirect to :{port}"),
            Self::Accept => f.write_str("accept"),
            Self::Return => f.write_str("return"),
            Self::Other(what) => write!(f, "<{what}>"),
        }
    }
}

fn protocol(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn bracketed(to: SocketAddr) -> String {
    match to.ip() {
        IpAddr::V4(ip) => format!("{ip}:{}", to.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", to.port()),
    }
}

/// A string of nft. It has no escapes, so what would end the string, or a line, becomes a space: comments are read back
/// from the kernel, where anybody may have written them.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        let plain = c != '"' && c != '\\' && !c.is_control();
        let _ = quoted.write_char(if plain { c } else { ' ' });
    }
    quoted.push('"');
    quoted
}
