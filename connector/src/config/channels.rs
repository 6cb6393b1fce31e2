//! Service channels in the configuration.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use landbridge_tunnel::ChannelName;

use super::reader::Table;

/// Most tunnel connections that a channel may ask for; a connector has fewer, and those above have no effect.
const MAX_CONNECTIONS: u64 = 100;
/// Clients of one channel at the same time, unless told.
const CLIENTS: usize = 1000;
/// Bound of that.
const MAX_CLIENTS: u64 = 10_000;

/// A port of this machine that leads to a service of the cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceChannel {
    /// Which service.
    pub name: ChannelName,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Tunnel connections that its clients are spread over (seed L18029-18032); each carries many.
    pub connections: u16,
    /// Clients at the same time.
    pub max_clients: usize,
    /// Whether it is open (seed L27417-27420).
    pub enabled: bool,
}

impl ServiceChannel {
    /// Whether both cannot be open at the same time.
    pub fn collides(&self, other: &Self) -> bool {
        let (a, b) = (self.listen, other.listen);
        a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
    }
}

/// Why a local port does not fit a kind: clients of some find it by a number of two digits.
pub fn port_rule(kind: &str, port: u16) -> Option<&'static str> {
    match kind {
        // Seed L27517-27520.
        "RFC" if !matches!(port, 3300..=3399 | 4800..=4899) => {
            Some("must be 33nn for the kind RFC (48nn with SNC): clients find it by the instance number nn")
        }
        // Seed L27410-27413.
        "HANA" if !(30_115..=39_915).contains(&port) || port % 100 != 15 => Some(
            "must be 3nn15 for the kind HANA with nn from 01 to 99: clients find it by the instance number nn",
        ),
        _ => None,
    }
}

/// Reads the service channels of a table.
pub(super) fn channels(table: &mut Table<'_>) -> Vec<ServiceChannel> {
    let mut channels = Vec::new();
    table.tables("service_channels", |table| channels.extend(channel(table)));
    channels
}

fn channel(mut table: Table<'_>) -> Option<ServiceChannel> {
    let id = table.required_text(
        "service_id",
        "\"orders\", as the ServiceChannel in the cluster has it",
    );
    let kinds = [("TCP", "TCP"), ("RFC", "RFC"), ("HANA", "HANA"), ("K8S", "K8S")];
    let kind = table.choice("kind", &kinds).unwrap_or("TCP");
    let name = id.and_then(|id| match ChannelName::new(kind, &id) {
        Ok(name) => Some(name),
        Err(_) => {
            table.problem(
                "service_id",
                "must have 1 to 253 characters, no blanks and no slashes",
            );
            None
        }
    });
    let port = table.port("local_port");
    if let Some(rule) = port.and_then(|port| port_rule(kind, port)) {
        table.problem("local_port", rule);
    }
    let address = table.text("listen").map(|text| (text.parse::<IpAddr>(), text));
    let address = match address {
        None => Some(Ipv4Addr::LOCALHOST.into()),
        Some((Ok(address), _)) => Some(address),
        Some((Err(_), text)) => {
            table.problem(
                "listen",
                format!("{text:?} is no address of this machine; for example 127.0.0.1 or 0.0.0.0"),
            );
            None
        }
    };
    let connections = table.number("connections", 1..=MAX_CONNECTIONS).unwrap_or(1);
    let max_clients = table.number("max_clients", 1..=MAX_CLIENTS);
    let enabled = table.flag("enabled", true);
    let _ = table.text("description");
    table.finish();
    Some(ServiceChannel {
        name: name?,
        listen: SocketAddr::new(address?, port?),
        connections: u16::try_from(connections).unwrap_or(1),
        max_clients: max_clients
            .and_then(|clients| usize::try_from(clients).ok())
            .unwrap_or(CLIENTS),
        enabled,
    })
}
