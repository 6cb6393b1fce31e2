//! Policy routing of a node: packets with our mark are delivered here, whatever address they are for.

use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use super::socket::NetlinkSocket;
use crate::settings::Family;
use crate::{INTERCEPTED_MARK, PROOF_ADDRESSES, ROUTING_RULE_PRIORITY, ROUTING_TABLE};

/// The loopback device's number, the same in every network namespace.
const LOOPBACK_INDEX: u32 = 1;

/// Equal rules that are removed at most.
const MAX_EQUAL: usize = 16;

/// Whether packets with our mark are delivered here: asked of the kernel as `ip route get ADDRESS mark MARK` does, so that
/// rule, table and what stands before them are all in the answer.
pub(crate) fn works(socket: &NetlinkSocket, family: Family) -> Result<bool, Errno> {
    let to = PROOF_ADDRESSES
        .into_iter()
        .find(|to| Family::of(to.ip()) == family);
    let to = to.map_or(family.loopback(), |to| to.ip());
    let mut message = route(family);
    message.header = RouteHeader {
        address_family: address_family(family),
        destination_prefix_length: if to.is_ipv4() { 32 } else { 128 },
        // IPv4 says the table only if asked for it.
        flags: RouteFlags::LookupTable,
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Destination(RouteAddress::from(to)),
        RouteAttribute::Mark(INTERCEPTED_MARK),
    ];
    let request = RouteNetlinkMessage::GetRoute(message);
    match call(socket, request, NLM_F_REQUEST | NLM_F_ACK) {
        Ok(answers) => Ok(answers.iter().any(leads_here)),
        // No route at all.
        Err(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::INVAL | Errno::ACCESS | Errno::SRCH) => Ok(false),
        Err(error) => Err(error),
    }
}

fn leads_here(answer: &RouteNetlinkMessage) -> bool {
    let RouteNetlinkMessage::NewRoute(route) = answer else {
        return false;
    };
    let table = |attribute: &RouteAttribute| *attribute == RouteAttribute::Table(ROUTING_TABLE);
    route.header.kind == RouteType::Local && route.attributes.iter().any(table)
}

/// Adds rule and route; those that are there stay.
pub(crate) fn add(socket: &NetlinkSocket, family: Family) -> Result<(), Errno> {
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let route = RouteNetlinkMessage::NewRoute(route(family));
    let rule = RouteNetlinkMessage::NewRule(rule(family));
    for request in [route, rule] {
        match call(socket, request, flags) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes rule and route, if there.
pub(crate) fn remove(socket: &NetlinkSocket, family: Family) -> Result<(), Errno> {
    let flags = NLM_F_REQUEST | NLM_F_ACK;
    // The rule first: a rule without its table would change nothing, a table without its rule neither.
    let rule = RouteNetlinkMessage::DelRule(rule(family));
    let mut route = route(family);
    // Whatever somebody else has put there.
    route.header.kind = RouteType::Unspec;
    route.header.scope = RouteScope::NoWhere;
    route.header.protocol = RouteProtocol::Unspec;
    route.attributes = vec![RouteAttribute::Table(ROUTING_TABLE)];
    let route = RouteNetlinkMessage::DelRoute(route);
    for request in [rule, route] {
        for _ in 0..MAX_EQUAL {
            match call(socket, request.clone(), flags) {
                Ok(_) => {}
                Err(Errno::NOENT | Errno::SRCH | Errno::AFNOSUPPORT | Errno::OPNOTSUPP) => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// `local default dev lo table TABLE`.
fn route(family: Family) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: address_family(family),
        table: RouteHeader::RT_TABLE_UNSPEC,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Host,
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Table(ROUTING_TABLE),
        RouteAttribute::Oif(LOOPBACK_INDEX),
    ];
    message
}

/// `fwmark MARK lookup TABLE priority PRIORITY`.
fn rule(family: Family) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header = RuleHeader {
        family: address_family(family),
        action: RuleAction::ToTable,
        ..RuleHeader::default()
    };
    message.attributes = vec![
        RuleAttribute::Priority(ROUTING_RULE_PRIORITY),
        RuleAttribute::FwMark(INTERCEPTED_MARK),
        RuleAttribute::Table(ROUTING_TABLE),
    ];
    message
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn call(
    socket: &NetlinkSocket,
    request: RouteNetlinkMessage,
    flags: u16,
) -> Result<Vec<RouteNetlinkMessage>, Errno> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = 1;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let answers = socket.ask(&bytes, 1)?;
    let inner = answers.iter().filter_map(|answer| {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer.whole).ok()?;
        match message.payload {
            NetlinkPayload::InnerMessage(inner) => Some(inner),
            _ => None,
        }
    });
    Ok(inner.collect())
}

/// How the same is told to ip(8), for `plan`.
pub(crate) fn as_commands(family: Family) -> [String; 2] {
    let (flag, all) = match family {
        Family::V4 => ("-4", "0.0.0.0/0"),
        Family::V6 => ("-6", "::/0"),
    };
    [
        format!(
            "ip {flag} rule add fwmark {INTERCEPTED_MARK:#x} lookup {ROUTING_TABLE} priority {ROUTING_RULE_PRIORITY}"
        ),
        format!("ip {flag} route add local {all} dev lo table {ROUTING_TABLE}"),
    ]
}

/// Addresses of a family that the proof connects to are in [`PROOF_ADDRESSES`]; checked when this is compiled.
const _: () = {
    assert!(matches!(PROOF_ADDRESSES[0].ip(), IpAddr::V4(_)));
    assert!(matches!(PROOF_ADDRESSES[1].ip(), IpAddr::V6(_)));
};
