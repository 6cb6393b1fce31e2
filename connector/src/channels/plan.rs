//! Which ports are open. Pure: the configuration of this side decides, the cluster only offers.

use std::net::{Ipv4Addr, SocketAddr};

use landbridge_tunnel::ChannelName;
use landbridge_tunnel::channel::Offered;

use super::means;
use crate::config::{ServiceChannel, port_rule};

/// Clients at the same time of a channel that is not configured here.
const OFFERED_CLIENTS: usize = 1000;

/// Ports of the system are never opened because the cluster says so.
const FIRST_PORT: u16 = 1024;

/// A port that should be open.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Wanted {
    /// Which service it leads to.
    pub name: ChannelName,
    /// Where.
    pub listen: SocketAddr,
    /// Clients at the same time.
    pub max_clients: usize,
}

/// What an administrator should know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Note {
    /// The cluster wants a port open, and this side does not allow it.
    NotAccepted {
        /// Channel.
        name: ChannelName,
        /// Port.
        port: u16,
    },
    /// The cluster wants a port open that it must not choose.
    BadPort {
        /// Channel.
        name: ChannelName,
        /// Port.
        port: u16,
        /// Why not.
        why: String,
    },
    /// A channel is configured that the cluster does not expose.
    NotOffered(ChannelName),
    /// A channel is configured that is switched off in the cluster.
    SwitchedOff(ChannelName),
}

impl Note {
    /// Writes it to the log.
    pub(super) fn log(&self, tunnel: &str) {
        match self {
            Self::NotAccepted { name, port } => tracing::info!(
                tunnel,
                service = %name,
                "the cluster offers a service channel on local port {port}; it stays closed: to open it, add \
                 [[service_channels]] with service_id = {:?}, kind = {:?} and local_port = {port}, or set \
                 accept_offered_channels = true for the tunnel",
                name.id(),
                name.kind()
            ),
            Self::BadPort { name, port, why } => tracing::warn!(
                tunnel,
                service = %name,
                "the cluster offers a service channel on local port {port}, which {why}; it stays closed: configure it \
                 in [[service_channels]] with another local_port"
            ),
            Self::NotOffered(name) => tracing::warn!(
                tunnel,
                service = %name,
                "the cluster exposes no such service to this connector and its location; clients are refused until it \
                 does: correct service_id and kind, or declare a ServiceChannel in the cluster"
            ),
            Self::SwitchedOff(name) => tracing::warn!(
                tunnel,
                service = %name,
                "the service channel is switched off in the cluster; clients are refused until connector.enabled is \
                 true there"
            ),
        }
    }
}

/// Which ports should be open, and what is worth telling. `offered` is `None` before the cluster was heard.
pub fn plan(
    own: &[ServiceChannel],
    accept_offered: bool,
    offered: Option<&[Offered]>,
) -> (Vec<Wanted>, Vec<Note>) {
    let (mut wanted, mut notes) = (Vec::new(), Vec::new());
    for channel in own.iter().filter(|channel| channel.enabled) {
        wanted.push(Wanted {
            name: channel.name.clone(),
            listen: channel.listen,
            max_clients: channel.max_clients,
        });
        let Some(offered) = offered else { continue };
        let mut meant = offered.iter().filter(|one| means(&channel.name, one)).peekable();
        if meant.peek().is_none() {
            notes.push(Note::NotOffered(channel.name.clone()));
        } else if meant.all(|one| one.local.is_some_and(|local| !local.enabled)) {
            notes.push(Note::SwitchedOff(channel.name.clone()));
        }
    }
    for one in offered.unwrap_or_default() {
        let Some(local) = one.local.filter(|local| local.enabled) else {
            continue;
        };
        // What is configured here counts, also when it is switched off.
        if own.iter().any(|channel| means(&channel.name, one)) {
            continue;
        }
        let (name, port) = (one.name.clone(), local.port);
        if !accept_offered {
            notes.push(Note::NotAccepted { name, port });
            continue;
        }
        match objection(&name, port, &wanted) {
            Some(why) => notes.push(Note::BadPort { name, port, why }),
            None => wanted.push(Wanted {
                name,
                listen: (Ipv4Addr::LOCALHOST, port).into(),
                max_clients: OFFERED_CLIENTS,
            }),
        }
    }
    (wanted, notes)
}

fn objection(name: &ChannelName, port: u16, taken: &[Wanted]) -> Option<String> {
    if port < FIRST_PORT {
        return Some(format!("is below {FIRST_PORT}"));
    }
    if let Some(rule) = port_rule(name.kind(), port) {
        return Some(rule.to_owned());
    }
    let other = taken.iter().find(|other| other.listen.port() == port)?;
    Some(format!("the service channel {} has already", other.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use landbridge_tunnel::channel::LocalSide;

    fn name(kind: &str, id: &str) -> ChannelName {
        ChannelName::new(kind, id).unwrap()
    }

    fn own(kind: &str, id: &str, port: u16, enabled: bool) -> ServiceChannel {
        ServiceChannel {
            name: name(kind, id),
            listen: (Ipv4Addr::LOCALHOST, port).into(),
            connections: 1,
            max_clients: 7,
            enabled,
        }
    }

    fn offered(kind: &str, id: &str, local: Option<(u16, bool)>) -> Offered {
        Offered {
            name: name(kind, id),
            local: local.map(|(port, enabled)| LocalSide {
                port,
                connections: 1,
                enabled,
            }),
        }
    }

    fn open(wanted: &[Wanted]) -> Vec<(&str, u16, usize)> {
        wanted
            .iter()
            .map(|one| (one.name.id(), one.listen.port(), one.max_clients))
            .collect()
    }

    #[test]
    fn what_is_configured_is_open_whether_or_not_the_cluster_was_heard() {
        let own = [
            own("TCP", "web", 8080, true),
            own("TCP", "off", 8081, false),
            own("K8S", "db", 8082, true),
        ];
        let (wanted, notes) = plan(&own, false, None);
        assert_eq!(open(&wanted), [("web", 8080, 7), ("db", 8082, 7)]);
        assert!(notes.is_empty());
        let (same, notes) = plan(&own, false, Some(&[]));
        assert_eq!(same, wanted);
        assert_eq!(
            notes,
            [
                Note::NotOffered(name("TCP", "web")),
                Note::NotOffered(name("K8S", "db"))
            ]
        );
        // K8S stands for any kind.
        let table = [
            offered("HANA", "db", None),
            offered("TCP", "web", Some((9, false))),
            offered("RFC", "web", None),
        ];
        let (same, notes) = plan(&own, false, Some(&table));
        assert_eq!(same, wanted);
        assert_eq!(notes, [Note::SwitchedOff(name("TCP", "web"))]);
    }

    #[test]
    fn what_is_only_offered_is_opened_only_where_that_is_allowed() {
        let own = [own("TCP", "web", 8080, true), own("TCP", "off", 8081, false)];
        let table = [
            offered("TCP", "web", Some((9000, true))),
            offered("TCP", "off", Some((9001, true))),
            offered("TCP", "new", Some((9002, true))),
            offered("TCP", "asleep", Some((9003, false))),
            offered("TCP", "silent", None),
            offered("TCP", "system", Some((443, true))),
            offered("HANA", "hana", Some((30_015, true))),
            offered("HANA", "good", Some((30_115, true))),
            offered("TCP", "taken", Some((8080, true))),
            offered("TCP", "twice", Some((9002, true))),
        ];
        let (wanted, notes) = plan(&own, false, Some(&table));
        assert_eq!(open(&wanted), [("web", 8080, 7)]);
        assert_eq!(notes.len(), 6, "{notes:?}");
        assert!(notes.iter().all(|note| matches!(note, Note::NotAccepted { .. })));

        let (wanted, notes) = plan(&own, true, Some(&table));
        assert_eq!(
            open(&wanted),
            [("web", 8080, 7), ("new", 9002, 1000), ("good", 30_115, 1000)]
        );
        assert!(wanted.iter().all(|one| one.listen.ip().is_loopback()));
        let why: Vec<_> = notes
            .iter()
            .map(|note| match note {
                Note::BadPort { name, why, .. } => (name.id(), why.as_str()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            why.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            ["system", "hana", "taken", "twice"]
        );
        assert!(
            why[0].1.contains("below 1024") && why[1].1.contains("3nn15") && why[2].1.contains("\"web\"")
        );
    }
}
