//! Statements as the kernel's expressions, and back.

use std::net::{IpAddr, SocketAddr};

use super::constants::*;
use super::expressions::Expression;
use crate::ruleset::{Statement, destinations_set, networks_set};
use crate::settings::Family;

/// Offsets in headers: RFC 791, RFC 8200, RFC 9293.
const IPV4_SOURCE: u32 = 12;
const IPV4_DESTINATION: u32 = 16;
const IPV6_SOURCE: u32 = 8;
const IPV6_DESTINATION: u32 = 24;
const TCP_SOURCE_PORT: u32 = 0;
const TCP_DESTINATION_PORT: u32 = 2;
const TCP_FLAGS: u32 = 13;

/// FIN, SYN, RST, ACK; and SYN alone, which begins a connection.
const FLAGS_OF_BEGIN: u8 = 0x17;
const SYN: u8 = 0x02;

/// Kinds of devices, 16 bytes, too.
const BRIDGE: [u8; 16] = *b"bridge\0\0\0\0\0\0\0\0\0\0";

/// Names of devices as the kernel keeps them: 16 bytes.
const LOOPBACK_DEVICE: [u8; 16] = *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A statement's expressions, in the order in which nft(8) writes them, so that it can read them.
pub(crate) fn lower(statement: &Statement) -> Vec<Expression> {
    match statement {
        Statement::Tcp => is_tcp(),
        Statement::Is(family) => is_family(*family),
        Statement::DestinationIn(family) => {
            let address = match family {
                Family::V4 => IPV4_DESTINATION,
                Family::V6 => IPV6_DESTINATION,
            };
            pair_in(*family, address, TCP_DESTINATION_PORT)
        }
        Statement::SourceIn(family) => {
            let address = match family {
                Family::V4 => IPV4_SOURCE,
                Family::V6 => IPV6_SOURCE,
            };
            pair_in(*family, address, TCP_SOURCE_PORT)
        }
        Statement::NetworkIn(family) => {
            let mut all = is_family(*family);
            all.push(destination_address(*family));
            all.push(Expression::Lookup {
                set: networks_set(*family).to_owned(),
            });
            all
        }
        Statement::Destination(to) => destination(*to),
        Statement::FromBridge => meta_is(NFT_META_IIFKIND, &BRIDGE),
        Statement::OnLoopback => meta_is(NFT_META_OIFNAME, &LOOPBACK_DEVICE),
        Statement::Mark(mark) => meta_is(NFT_META_MARK, &mark.to_ne_bytes()),
        Statement::User(uid) => meta_is(NFT_META_SKUID, &uid.to_ne_bytes()),
        Statement::TransparentSocket => vec![Expression::SocketTransparent, equals(&[1])],
        Statement::First => begins(true),
        Statement::NotFirst => [is_tcp(), begins(false)].concat(),
        Statement::SetMark(mark) => vec![
            constant(NFT_REG_1, &mark.to_ne_bytes()),
            Expression::SetMeta { key: NFT_META_MARK },
        ],
        Statement::Untrack => vec![Expression::Untrack],
        Statement::TransparentProxy(to) => vec![
            constant(NFT_REG_1, &octets(to.ip())),
            constant(NFT_REG_2, &to.port().to_be_bytes()),
            Expression::TransparentProxy {
                family: protocol(Family::of(to.ip())),
            },
        ],
        Statement::Redirect(port) => vec![constant(NFT_REG_1, &port.to_be_bytes()), Expression::Redirect],
        Statement::Accept => vec![Expression::Verdict(NF_ACCEPT)],
        Statement::Return => vec![Expression::Verdict(NFT_RETURN)],
        Statement::Other(name) => vec![Expression::Other(name.clone())],
    }
}

/// The statements of a rule that was read.
pub(crate) fn raise(mut rest: &[Expression]) -> Vec<Statement> {
    let mut statements = Vec::new();
    while let Some(first) = rest.first() {
        let known = candidates(rest).into_iter().find_map(|statement| {
            let tail = rest.strip_prefix(lower(&statement).as_slice())?;
            Some((statement, tail))
        });
        let (statement, tail) = match known {
            Some(known) => known,
            None => (
                Statement::Other(format!("{first:?}")),
                rest.get(1..).unwrap_or_default(),
            ),
        };
        statements.push(statement);
        rest = tail;
    }
    statements
}

/// Statements that may stand at the beginning, the longest first; their values are read from where they would be.
fn candidates(rest: &[Expression]) -> Vec<Statement> {
    let number =
        |index| value(rest, index).and_then(|value| Some(u32::from_ne_bytes(value.try_into().ok()?)));
    let port = |index| value(rest, index).and_then(|value| Some(u16::from_be_bytes(value.try_into().ok()?)));
    let address = |index| value(rest, index).and_then(to_ip);
    let mut all = Vec::new();
    if let (Some(ip), Some(port)) = (address(3), port(7)) {
        all.push(Statement::Destination(SocketAddr::new(ip, port)));
    }
    for family in Family::ALL {
        all.extend([
            Statement::DestinationIn(family),
            Statement::SourceIn(family),
            Statement::NetworkIn(family),
        ]);
    }
    if let (Some(ip), Some(port)) = (address(0), port(1)) {
        all.push(Statement::TransparentProxy(SocketAddr::new(ip, port)));
    }
    if let Some(number) = number(1) {
        all.extend([Statement::Mark(number), Statement::User(number)]);
    }
    all.extend(number(0).map(Statement::SetMark));
    all.extend(port(0).map(Statement::Redirect));
    all.extend([
        Statement::First,
        Statement::NotFirst,
        Statement::Tcp,
        Statement::Is(Family::V4),
        Statement::Is(Family::V6),
        Statement::FromBridge,
        Statement::OnLoopback,
        Statement::TransparentSocket,
        Statement::Untrack,
        Statement::Accept,
        Statement::Return,
    ]);
    all
}

fn value(rest: &[Expression], index: usize) -> Option<&[u8]> {
    match rest.get(index)? {
        Expression::Compare { value, .. } | Expression::Constant { value, .. } => Some(value),
        _ => None,
    }
}

/// An address of four or sixteen bytes.
pub(crate) fn to_ip(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::from(octets));
    }
    Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?))
}

/// An address as it is on the wire.
pub(crate) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn protocol(family: Family) -> u8 {
    match family {
        Family::V4 => NFPROTO_IPV4,
        Family::V6 => NFPROTO_IPV6,
    }
}

fn equals(value: &[u8]) -> Expression {
    Expression::Compare {
        equal: true,
        value: value.to_vec(),
    }
}

fn constant(register: u32, value: &[u8]) -> Expression {
    Expression::Constant {
        register,
        value: value.to_vec(),
    }
}

fn meta_is(key: u32, value: &[u8]) -> Vec<Expression> {
    vec![Expression::Meta { key }, equals(value)]
}

fn is_tcp() -> Vec<Expression> {
    meta_is(NFT_META_L4PROTO, &[IPPROTO_TCP])
}

fn is_family(family: Family) -> Vec<Expression> {
    meta_is(NFT_META_NFPROTO, &[protocol(family)])
}

fn address_at(family: Family, offset: u32) -> Expression {
    Expression::Payload {
        header: NFT_PAYLOAD_NETWORK_HEADER,
        offset,
        length: u32::try_from(family.address_len()).unwrap_or_default(),
        register: NFT_REG_1,
    }
}

fn destination_address(family: Family) -> Expression {
    let offset = match family {
        Family::V4 => IPV4_DESTINATION,
        Family::V6 => IPV6_DESTINATION,
    };
    address_at(family, offset)
}

fn tcp(offset: u32, length: u32, register: u32) -> Expression {
    Expression::Payload {
        header: NFT_PAYLOAD_TRANSPORT_HEADER,
        offset,
        length,
        register,
    }
}

/// Address and port side by side in registers, looked up together.
fn pair_in(family: Family, address: u32, port: u32) -> Vec<Expression> {
    let behind = match family {
        Family::V4 => NFT_REG32_01,
        Family::V6 => NFT_REG_2,
    };
    let mut all = is_family(family);
    all.extend(is_tcp());
    all.push(address_at(family, address));
    all.push(tcp(port, 2, behind));
    all.push(Expression::Lookup {
        set: destinations_set(family).to_owned(),
    });
    all
}

fn destination(to: SocketAddr) -> Vec<Expression> {
    let family = Family::of(to.ip());
    let mut all = is_family(family);
    all.push(destination_address(family));
    all.push(equals(&octets(to.ip())));
    all.extend(is_tcp());
    all.push(tcp(TCP_DESTINATION_PORT, 2, NFT_REG_1));
    all.push(equals(&to.port().to_be_bytes()));
    all
}

fn begins(equal: bool) -> Vec<Expression> {
    vec![
        tcp(TCP_FLAGS, 1, NFT_REG_1),
        Expression::Mask {
            mask: vec![FLAGS_OF_BEGIN],
        },
        Expression::Compare {
            equal,
            value: vec![SYN],
        },
    ]
}
