//! Service channels: `ServiceChannel` and `ServiceMapping` in one table, what the proxies are to offer to connectors,
//! and what became of each.
//!
//! [`Channels`] is pure and incremental: it is told what changed and plans only what that touches. [`controller`]
//! connects it with the API server.

use std::sync::Arc;

use jiff::Timestamp;
use landbridge_crds::service_channel::ChannelStatus;
use landbridge_destination::channel::{Channel, ChannelKey};

pub mod controller;
mod decide;
mod declared;
mod finalizer;
mod table;
mod target;

pub use decide::Claim;
pub use declared::{Declared, FINALIZER, SKIP_CLEANUP, Target, Unusable, Wanted};
pub use finalizer::{Finalizer, GIVE_UP, LINGER};
pub use table::Channels;
pub use target::{ServiceFacts, ServiceKey};

use crate::conditions::Event;

/// On whose behalf channels are exposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenancy {
    /// On behalf of one subaccount, which resources need not name; its id where it is known.
    Dedicated(Option<String>),
    /// On behalf of the subaccount that each resource names.
    Shared,
}

/// What holds for all channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelOptions {
    /// On whose behalf.
    pub tenancy: Tenancy,
    /// Let a `ServiceChannel` lead to any address, also of other namespaces. Whoever may write one in any namespace
    /// then reaches whatever the proxies reach. A `ServiceMapping`, which takes rights in the whole cluster, always may.
    pub any_address: bool,
    /// Let channels lead to the proxy's own machine. For demonstrations and tests.
    pub allow_loopback: bool,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self {
            tenancy: Tenancy::Dedicated(None),
            any_address: false,
            allow_loopback: false,
        }
    }
}

/// What was decided about one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedChannel {
    /// Which one.
    pub key: ChannelKey,
    /// Uid of the resource.
    pub uid: String,
    /// What the proxies are to offer.
    pub route: Option<Arc<Channel>>,
    /// Whether that is something else than before.
    pub route_changed: bool,
    /// Its status.
    pub status: ChannelStatus,
    /// What is to happen to its finalizer.
    pub finalizer: Finalizer,
    /// What is worth telling.
    pub events: Vec<Event>,
}

/// What has to be written to one resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Which one; an object of the same name and another uid is not meant.
    pub key: ChannelKey,
    /// Its uid.
    pub uid: String,
    /// Its status, where it has another.
    pub status: Option<ChannelStatus>,
    /// What is to happen to the finalizer.
    pub finalizer: Finalizer,
    /// The finalizers it has.
    pub finalizers: Vec<String>,
}

/// RFC 3339 in UTC, as conditions have it.
fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests;
