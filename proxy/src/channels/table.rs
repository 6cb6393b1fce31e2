//! Who may open which channel. Pure: nothing is allowed that is not in the table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use landbridge_destination::channel::{Channel, ChannelKey, ChannelKind};
use landbridge_tunnel::channel::LocalSide;
use landbridge_tunnel::{ChannelName, DenyReason, Offered};

/// What a connector asks for that lets its administrator name a service without knowing its kind (seed L25644: such a
/// channel has a service, and no type).
const ANY: ChannelKind = ChannelKind::K8s;

/// The kind's word in the tunnel.
pub const fn word(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Tcp => "TCP",
        ChannelKind::Rfc => "RFC",
        ChannelKind::Hana => "HANA",
        ChannelKind::K8s => "K8S",
    }
}

/// On whose behalf a connector asks. Verified before.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Subaccount of its certificate.
    pub tenant: &'a str,
    /// Location id it serves; empty is the default location.
    pub location: &'a str,
    /// Subaccount of channels that name none.
    pub dedicated: Option<&'a str>,
}

/// Why a channel may not be opened. The words go to the connector, and say nothing of other subaccounts.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error(
        "the cluster exposes no service \"{id}\" of the kind {kind} to this subaccount{hint}; correct the service id, \
         or declare a ServiceChannel (or ServiceMapping) with it in the cluster"
    )]
    Unknown {
        /// Kind asked for.
        kind: String,
        /// Service id asked for.
        id: String,
        /// What there is instead.
        hint: String,
    },
    /// There are several, and the kind does not tell which is meant.
    #[error(
        "the cluster exposes \"{id}\" as {kinds}; name the kind that is meant in the connector's service channel"
    )]
    Ambiguous {
        /// Service id asked for.
        id: String,
        /// The kinds that there are.
        kinds: String,
    },
    /// Not for this location.
    #[error(
        "the service \"{id}\" is not exposed to {place}; add that location to the locationIds of {key} in the cluster"
    )]
    Location {
        /// Service id.
        id: String,
        /// Where the connector is.
        place: String,
        /// The resource.
        key: ChannelKey,
    },
    /// Switched off in the cluster.
    #[error("the service \"{id}\" is switched off in the cluster; set connector.enabled of {key} to true")]
    Disabled {
        /// Service id.
        id: String,
        /// The resource.
        key: ChannelKey,
    },
}

impl Refusal {
    /// The reason of the tunnel.
    pub const fn reason(&self) -> DenyReason {
        DenyReason::DeniedChannel
    }
}

/// Channels by service id.
type Ids = HashMap<String, Vec<Arc<Channel>>>;

/// All channels.
#[derive(Debug, Default)]
pub struct Table {
    /// By subaccount first; `None` are those that name none.
    tenants: HashMap<Option<String>, Ids>,
    all: Vec<Arc<Channel>>,
}

impl Table {
    /// A table of these.
    pub fn new(channels: &[Arc<Channel>]) -> Self {
        let mut table = Self {
            all: channels.to_vec(),
            ..Self::default()
        };
        for channel in channels {
            let ids = table.tenants.entry(channel.subaccount.clone()).or_default();
            ids.entry(channel.service_id.clone())
                .or_default()
                .push(Arc::clone(channel));
        }
        table
    }

    /// All channels.
    pub fn all(&self) -> &[Arc<Channel>] {
        &self.all
    }

    /// Channels that name no subaccount.
    pub fn without_tenant(&self) -> usize {
        self.tenants
            .get(&None)
            .map_or(0, |ids| ids.values().map(Vec::len).sum())
    }

    /// The channel that a connector may open under this name.
    ///
    /// # Errors
    /// Why it may not.
    pub fn admit(&self, asker: Asker<'_>, name: &ChannelName) -> Result<&Arc<Channel>, Refusal> {
        let channel = self.find(asker, name)?;
        let id = || channel.service_id.clone();
        if !is_open_at(channel, asker.location) {
            return Err(Refusal::Location {
                id: id(),
                place: place(asker.location),
                key: channel.key.clone(),
            });
        }
        if channel.connector.is_some_and(|side| !side.enabled) {
            return Err(Refusal::Disabled {
                id: id(),
                key: channel.key.clone(),
            });
        }
        Ok(channel)
    }

    fn find(&self, asker: Asker<'_>, name: &ChannelName) -> Result<&Arc<Channel>, Refusal> {
        let named: Vec<_> = self
            .of(asker)
            .filter_map(|ids| ids.get(name.id()))
            .flatten()
            .collect();
        if let Some(exact) = named.iter().find(|channel| word(channel.kind) == name.kind()) {
            return Ok(exact);
        }
        match named.as_slice() {
            [only] if name.kind() == word(ANY) => Ok(only),
            [_, _, ..] if name.kind() == word(ANY) => Err(Refusal::Ambiguous {
                id: name.id().to_owned(),
                kinds: kinds(&named),
            }),
            others => Err(Refusal::Unknown {
                kind: name.kind().to_owned(),
                id: name.id().to_owned(),
                hint: self.hint(asker, name, others),
            }),
        }
    }

    fn hint(&self, asker: Asker<'_>, name: &ChannelName, others: &[&Arc<Channel>]) -> String {
        if !others.is_empty() {
            return format!(", but one of the kind {}", kinds(others));
        }
        let mut ids = self.of(asker).flat_map(HashMap::keys);
        ids.find(|id| id.eq_ignore_ascii_case(name.id()))
            .map_or_else(String::new, |id| format!(", but \"{id}\""))
    }

    /// The channels of the asker's subaccount.
    fn of<'a>(&'a self, asker: Asker<'_>) -> impl Iterator<Item = &'a Ids> + use<'a> {
        let own = self.tenants.get(&Some(asker.tenant.to_owned()));
        let dedicated = (asker.dedicated == Some(asker.tenant)).then(|| self.tenants.get(&None));
        own.into_iter().chain(dedicated.flatten())
    }

    /// What a connector is told that it may open, in the order of the names.
    pub fn offered(&self, asker: Asker<'_>) -> Vec<Offered> {
        let channels = self.of(asker).flat_map(HashMap::values).flatten();
        let mut offered: Vec<Offered> = channels
            .filter(|channel| is_open_at(channel, asker.location))
            // What cannot be named cannot be asked for either; the definitions of the resources rule it out.
            .filter_map(|channel| {
                Some(Offered {
                    name: ChannelName::new(word(channel.kind), &channel.service_id).ok()?,
                    local: channel.connector.map(|side| LocalSide {
                        port: side.local_port,
                        connections: side.connections,
                        enabled: side.enabled,
                    }),
                })
            })
            .collect();
        offered.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        offered
    }

    /// Every channel with the locations at which somebody holds it.
    pub fn holders<'a>(
        &self,
        held: impl Iterator<Item = (Asker<'a>, &'a [ChannelName])>,
    ) -> BTreeMap<ChannelKey, Vec<String>> {
        let mut places: BTreeMap<ChannelKey, BTreeSet<&str>> = self
            .all
            .iter()
            .map(|channel| (channel.key.clone(), BTreeSet::new()))
            .collect();
        for (asker, names) in held {
            for channel in names.iter().filter_map(|name| self.admit(asker, name).ok()) {
                places
                    .entry(channel.key.clone())
                    .or_default()
                    .insert(asker.location);
            }
        }
        let owned = |places: BTreeSet<&str>| places.into_iter().map(str::to_owned).collect();
        places
            .into_iter()
            .map(|(key, places)| (key, owned(places)))
            .collect()
    }
}

/// An empty list is the default location alone (seed L32694-32697).
fn is_open_at(channel: &Channel, location: &str) -> bool {
    if channel.location_ids.is_empty() {
        return location.is_empty();
    }
    channel.location_ids.iter().any(|id| id == location)
}

fn place(location: &str) -> String {
    if location.is_empty() {
        "the default location".to_owned()
    } else {
        format!("the location \"{location}\"")
    }
}

fn kinds(channels: &[&Arc<Channel>]) -> String {
    let words: BTreeSet<_> = channels.iter().map(|channel| word(channel.kind)).collect();
    Vec::from_iter(words).join(" and ")
}

#[cfg(test)]
mod tests;
