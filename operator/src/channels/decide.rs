//! The decision about one channel: what connectors are offered, and the conditions.

use std::collections::BTreeSet;

use landbridge_crds::conditions::{channel_reasons, gateway_reasons, types};
use landbridge_crds::service_channel::{ChannelStatus, LocationStatus};
use landbridge_destination::channel::{Channel, ChannelKey, ChannelKind};

use super::declared::{Declared, Unusable, Wanted};
use super::target::{self, Refused, Services};
use super::{ChannelOptions, Tenancy};
use crate::conditions::{self, Event, Holds};

/// What has to be unique (seed L32709).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// What runs through it.
    pub kind: ChannelKind,
    /// On whose behalf; none for the dedicated subaccount where it is not configured.
    pub subaccount: Option<String>,
    /// Virtual host.
    pub service_id: String,
}

/// Everything a decision depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) resource: &'a Declared,
    /// Who else has the same claim, and is older.
    pub(super) winner: Option<&'a ChannelKey>,
    pub(super) services: &'a Services,
    /// Locations whose connectors hold it; none if no proxy has told.
    pub(super) held: Option<&'a BTreeSet<String>>,
    /// The status that was decided before.
    pub(super) previous: &'a ChannelStatus,
    pub(super) now: &'a str,
}

/// The decision.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) channel: Option<Channel>,
    pub(super) status: ChannelStatus,
    pub(super) events: Vec<Event>,
}

/// The claim of a resource; none for one that makes none, because it is refused whatever others do or is on its way
/// out.
pub(super) fn claim(resource: &Declared, options: &ChannelOptions) -> Option<Claim> {
    let wanted = accepted(resource, options).ok()?;
    resource.deleted.is_none().then(|| Claim {
        kind: wanted.kind,
        subaccount: subaccount(wanted, options),
        service_id: wanted.service_id.clone(),
    })
}

/// Decides.
pub(super) fn decide(facts: Facts<'_>, options: &ChannelOptions) -> Decision {
    let resource = facts.resource;
    let wanted = accepted(resource, options).and_then(|wanted| match facts.winner {
        None => Ok(wanted),
        Some(winner) => Err(duplicate(wanted, winner)),
    });
    let accepted = match &wanted {
        Ok(_) => Holds::yes(),
        Err(refused) => Holds::no(refused.reason, &refused.message),
    };
    let address = match (&wanted, &resource.wanted) {
        (_, Ok(any)) => target::resolve(resource, &any.target, facts.services, options),
        (_, Err(_)) => Err(Holds::unknown(
            gateway_reasons::INVALID,
            "see the condition Accepted",
        )),
    };
    let channel = match (&wanted, &address) {
        (Ok(wanted), Ok(address)) if resource.deleted.is_none() => {
            Some(channel(resource, wanted, address, options))
        }
        _ => None,
    };
    let references = address.err().unwrap_or_else(Holds::yes);
    let programmed = programmed(&facts, channel.is_some(), &accepted, &references);
    let reachable = reachable(&facts, channel.as_ref(), &programmed);
    let ready = Holds::all([&accepted, &references, &programmed]);
    let aspects = vec![
        accepted.named(types::ACCEPTED, gateway_reasons::ACCEPTED),
        references.named(types::RESOLVED_REFS, gateway_reasons::RESOLVED_REFS),
        programmed.named(types::PROGRAMMED, gateway_reasons::PROGRAMMED),
        ready.named(types::READY, gateway_reasons::READY),
        reachable.named(types::REACHABLE, channel_reasons::HELD),
    ];
    let (conditions, events) = conditions::merge(
        &facts.previous.conditions,
        aspects,
        &[types::READY, types::REACHABLE],
        resource.generation,
        facts.now,
    );
    let status = ChannelStatus {
        conditions,
        address: channel.as_ref().map(|channel| channel.address.clone()),
        locations: locations(&facts, channel.as_ref()),
    };
    Decision {
        channel,
        status,
        events,
    }
}

/// What the resource alone rules out.
fn accepted<'a>(resource: &'a Declared, options: &ChannelOptions) -> Result<&'a Wanted, Refused> {
    let wanted = match &resource.wanted {
        Ok(wanted) => wanted,
        Err(Unusable::Rules(message)) => {
            return Err(Refused::new(gateway_reasons::INVALID, message.clone()));
        }
        Err(Unusable::Unreadable(error)) => {
            return Err(Refused::new(
                channel_reasons::UNREADABLE,
                format!(
                    "this version cannot read the resource ({error}): correct it, or install the definitions of this \
                     version"
                ),
            ));
        }
    };
    if subaccount(wanted, options).is_none() && options.tenancy == Tenancy::Shared {
        return Err(Refused::new(
            channel_reasons::SUBACCOUNT_REQUIRED,
            "the proxies serve many subaccounts: set subaccountId to the one it is for",
        ));
    }
    target::allowed(resource, &wanted.target, options)?;
    Ok(wanted)
}

fn subaccount(wanted: &Wanted, options: &ChannelOptions) -> Option<String> {
    wanted.subaccount.clone().or_else(|| match &options.tenancy {
        Tenancy::Dedicated(subaccount) => subaccount.clone(),
        Tenancy::Shared => None,
    })
}

fn duplicate(wanted: &Wanted, winner: &ChannelKey) -> Refused {
    Refused::new(
        channel_reasons::DUPLICATE,
        format!(
            "{} has the same type, subaccount and serviceId \"{}\" and is older: change the serviceId, or delete one \
             of them",
            shown(winner),
            wanted.service_id
        ),
    )
}

/// Kind and name.
pub(super) fn shown(key: &ChannelKey) -> String {
    let kind = if key.namespace.is_some() {
        "ServiceChannel"
    } else {
        "ServiceMapping"
    };
    format!("the {kind} {key}")
}

fn channel(resource: &Declared, wanted: &Wanted, address: &str, options: &ChannelOptions) -> Channel {
    Channel {
        key: resource.key.clone(),
        kind: wanted.kind,
        service_id: wanted.service_id.clone(),
        subaccount: subaccount(wanted, options),
        tenant: wanted.tenant.clone(),
        location_ids: wanted.locations.clone(),
        address: address.to_owned(),
        connector: wanted.connector,
        generation: u64::try_from(resource.generation.unwrap_or(0)).unwrap_or(0),
    }
}

fn programmed(facts: &Facts<'_>, offered: bool, accepted: &Holds, references: &Holds) -> Holds {
    if facts.resource.deleted.is_some() {
        return Holds::no(
            channel_reasons::DELETING,
            "the resource is being deleted, and no connector is offered the channel any more",
        );
    }
    if !offered {
        if !accepted.is_no() && references.is_unknown() {
            return Holds::unknown(gateway_reasons::PENDING, references.message());
        }
        let culprit = if accepted.is_no() {
            types::ACCEPTED
        } else {
            types::RESOLVED_REFS
        };
        return Holds::no(
            gateway_reasons::NO_ROUTE,
            &format!("no connector is offered the channel, see the condition {culprit}"),
        );
    }
    match facts.held {
        Some(_) => Holds::yes(),
        None => Holds::unknown(
            gateway_reasons::PENDING,
            "no proxy has reported the channel yet: one of the mode connectivity has to run",
        ),
    }
}

fn reachable(facts: &Facts<'_>, channel: Option<&Channel>, programmed: &Holds) -> Holds {
    let (Some(channel), Some(held)) = (channel, facts.held) else {
        return Holds::unknown(gateway_reasons::PENDING, programmed.message());
    };
    if channel.connector.is_some_and(|side| !side.enabled) {
        return Holds::no(
            channel_reasons::DISABLED,
            "the connector's end is switched off: set connector.enabled to true",
        );
    }
    let missing: Vec<_> = channel
        .location_ids
        .iter()
        .filter(|id| !held.contains(*id))
        .collect();
    if missing.is_empty() {
        return Holds::yes();
    }
    let reason = if missing.len() < channel.location_ids.len() {
        channel_reasons::PARTLY_HELD
    } else {
        channel_reasons::NOT_HELD
    };
    let places: Vec<_> = missing.iter().map(|id| place(id)).collect();
    let subaccount = channel.subaccount.as_ref().map_or(String::new(), |subaccount| {
        format!(" of the subaccount {subaccount}")
    });
    Holds::no(
        reason,
        &format!(
            "no connector at {} holds the channel: connect one{subaccount} there and enable its service channel to \
             \"{}\"",
            places.join(", "),
            channel.service_id
        ),
    )
}

fn place(location: &str) -> String {
    if location.is_empty() {
        "the default location".to_owned()
    } else {
        format!("location \"{location}\"")
    }
}

fn locations(facts: &Facts<'_>, channel: Option<&Channel>) -> Vec<LocationStatus> {
    let (Some(channel), Some(held)) = (channel, facts.held) else {
        return Vec::new();
    };
    channel
        .location_ids
        .iter()
        .map(|id| LocationStatus {
            id: id.clone(),
            reachable: held.contains(id),
        })
        .collect()
}
