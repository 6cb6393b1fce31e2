//! Service channels: what connectors open from the company toward services of the cluster.
//!
//! [`ServiceChannels`] keeps the [`table`] that the operator tells, decides about every stream by the subaccount and the
//! location of the connector's certificate, dials the service and carries the bytes. While the operator is away the last
//! table counts.

mod metrics;
mod serve;
pub mod table;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use landbridge_destination::channel::{Channel, ChannelKey};
use landbridge_runtime::dial::Dialer;
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::shares::Shares;
use landbridge_tunnel::{ChannelHandler, ChannelName, ChannelPeer, IncomingChannel, Offered};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::stores::Stores;
use metrics::ChannelMetrics;
use table::{Asker, Table};

/// Streams at once, all channels together; each costs up to 32 KiB until it carries bulk.
const MAX_STREAMS: usize = 10_000;
/// Streams at once of one channel, so that one busy or dead service leaves room for the others.
const MAX_STREAMS_OF_ONE: usize = 4096;

/// Every channel that is offered, with the location ids whose connectors hold it.
pub type ChannelStates = Arc<BTreeMap<ChannelKey, Vec<String>>>;

/// What one connection of a connector holds.
#[derive(Debug)]
struct Held {
    tenant: String,
    location: String,
    channels: Vec<ChannelName>,
}

/// Decides about channels and carries them. Clones share everything.
#[derive(Clone)]
pub struct ServiceChannels {
    inner: Arc<Inner>,
}

struct Inner {
    table: ArcSwap<Table>,
    /// Changes with the table.
    revision: watch::Sender<u64>,
    /// By connection.
    held: Mutex<HashMap<u64, Held>>,
    /// Changes with the table and with what is held.
    states: watch::Sender<u64>,
    stores: Stores,
    dialer: Dialer,
    places: Arc<Shares<ChannelKey>>,
    metrics: ChannelMetrics,
}

impl fmt::Debug for ServiceChannels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channels = self.inner.table.load().all().len();
        formatter
            .debug_struct("ServiceChannels")
            .field("channels", &channels)
            .finish_non_exhaustive()
    }
}

impl ServiceChannels {
    /// An empty table. `dialer` reaches the services, under its own rule of addresses; `stores` know the subaccount of
    /// channels that name none: it is that of the default instance.
    pub fn new(dialer: Dialer, stores: Stores, metrics: &Metrics) -> Self {
        let figures = ChannelMetrics::default();
        metrics.register(|registry| figures.register(registry));
        let inner = Inner {
            table: ArcSwap::default(),
            revision: watch::Sender::new(0),
            held: Mutex::default(),
            states: watch::Sender::new(0),
            stores,
            dialer,
            places: Shares::new(MAX_STREAMS_OF_ONE, MAX_STREAMS),
            metrics: figures,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// From now on exactly these. Open streams that they do not allow any more are closed.
    pub fn set(&self, channels: &[Arc<Channel>]) {
        let table = Table::new(channels);
        if table.without_tenant() > 0 && self.inner.dedicated().is_none() {
            tracing::warn!(
                channels = table.without_tenant(),
                "service channels that name no subaccount are offered to nobody: the service key of the default \
                 destination service instance does not say its subaccount (tenantid); set subaccountId of the channels"
            );
        }
        self.inner
            .metrics
            .channels
            .set(i64::try_from(table.all().len()).unwrap_or(i64::MAX));
        self.inner.table.store(Arc::new(table));
        self.inner.revision.send_modify(|revision| *revision += 1);
        self.inner.states.send_modify(|revision| *revision += 1);
    }

    /// Changes whenever [`Self::states`] may have.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.states.subscribe()
    }

    /// Which channels are offered and who holds them. Worked out when it is asked for: 20 000 channels take some
    /// milliseconds, and after a restart many connectors come at once.
    pub fn states(&self) -> ChannelStates {
        let dedicated = self.inner.dedicated();
        let table = self.inner.table.load_full();
        let held = self.inner.held.lock();
        let holding = held.values().map(|held| {
            let asker = Asker {
                tenant: &held.tenant,
                location: &held.location,
                dedicated: dedicated.as_deref(),
            };
            (asker, held.channels.as_slice())
        });
        Arc::new(table.holders(holding))
    }

    /// The channels, in the order they were told.
    pub fn all(&self) -> Vec<Arc<Channel>> {
        self.inner.table.load().all().to_vec()
    }
}

impl Inner {
    /// The subaccount of channels that name none.
    fn dedicated(&self) -> Option<String> {
        let client = self.stores.client(None).ok()?;
        let tenant = client.binding().text("tenantid")?;
        (!tenant.is_empty()).then(|| tenant.to_owned())
    }
}

impl ChannelHandler for ServiceChannels {
    fn revision(&self) -> watch::Receiver<u64> {
        self.inner.revision.subscribe()
    }

    fn offered(&self, peer: &ChannelPeer) -> Vec<Offered> {
        let dedicated = self.inner.dedicated();
        self.inner.table.load().offered(asker(peer, dedicated.as_deref()))
    }

    fn held(&self, peer: &ChannelPeer, channels: Vec<ChannelName>) {
        let mut held = self.inner.held.lock();
        if channels.is_empty() {
            held.remove(&peer.session);
        } else {
            let tenant = peer.identity.tenant.clone();
            let location = peer.location.clone();
            held.insert(
                peer.session,
                Held {
                    tenant,
                    location,
                    channels,
                },
            );
        }
        drop(held);
        self.inner.states.send_modify(|revision| *revision += 1);
    }

    fn serve(self: Arc<Self>, peer: Arc<ChannelPeer>, stream: IncomingChannel) -> BoxFuture<'static, ()> {
        let inner = Arc::clone(&self.inner);
        async move { inner.serve(&peer, stream).await }.boxed()
    }
}

fn asker<'a>(peer: &'a ChannelPeer, dedicated: Option<&'a str>) -> Asker<'a> {
    Asker {
        tenant: &peer.identity.tenant,
        location: &peer.location,
        dedicated,
    }
}
