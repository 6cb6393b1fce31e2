//! The proxy's side of the serve API: hears from the operator what to serve and who calls from where, keeps the last of
//! it on disk, and tells the operator what is served.
//!
//! The data path does not depend on any of this: while the operator is away, what was heard last is served on.

mod authority;
mod backoff;
mod channel_table;
mod error;
mod follow;
mod lines;
mod link;
mod metrics;
mod once;
mod report;
mod save;
mod state_file;
mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use landbridge_destination::route::RouteSnapshot;
use landbridge_runtime::dial::{AddressPolicy, Dialer};
use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::readiness::ReadyToken;
use landbridge_runtime::shutdown::Shutdown;
use landbridge_tunnel::Registry;
use tokio::sync::{mpsc, watch};

use crate::channels::ServiceChannels;
use crate::gateway::RouteStates;
use crate::resolve::change::Change;
use crate::stores::Stores;
use crate::workloads::Workloads;

pub(crate) use authority::roots;
pub use authority::{Authority, Learned};
pub(crate) use backoff::delay;
use channel_table::ChannelTable;
pub use error::ControlError;
use follow::Follower;
pub(crate) use link::{Place, read as read_file, refused};
use metrics::ControlMetrics;
pub use once::snapshot;
use report::{Connections, Reporting};
use save::Saver;
pub(crate) use state_file::write as write_file;
use table::Table;

/// Where the operator is and how it is known.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host of the serve API: a name, or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Authority of the operator's certificate.
    pub authority: Authority,
    /// Authorities that the operator has told of since.
    pub learned: Learned,
    /// File with this proxy's service-account token; read again at each connection and report.
    pub token_file: PathBuf,
    /// Where the last snapshot is kept, so that a restarted proxy serves at once; `None`: nowhere.
    pub state_file: Option<PathBuf>,
}

/// Ends of what the data path works with.
pub struct Channels {
    /// Gets what to serve.
    pub routes: watch::Sender<Arc<RouteSnapshot>>,
    /// Gets who calls from which address; none where everybody who can call is the same one (a pod's own sidecar).
    pub workloads: Option<Arc<Workloads>>,
    /// Gets what changes in stores.
    pub changes: mpsc::Sender<Change>,
    /// Names the stores; none where a gateway is asked instead.
    pub stores: Option<Stores>,
    /// Says what is served; none where nobody is sent here by a Service, so that it is nobody's business.
    pub states: Option<watch::Receiver<RouteStates>>,
    /// Where connectors are connected; none where this proxy takes no connectors.
    pub tunnels: Option<Registry>,
    /// Serves what connectors open; none where this proxy takes no connectors.
    pub service_channels: Option<ServiceChannels>,
    /// Told when there is something to serve, from disk or from the operator.
    pub ready: ReadyToken,
}

/// Follows the operator until `shutdown` begins, then tells it that this proxy is about to end (at most 1 s).
///
/// # Errors
/// The name resolver cannot be built. An operator that is away is no error.
pub async fn run(
    settings: Settings,
    channels: Channels,
    metrics: &Metrics,
    shutdown: Shutdown,
) -> Result<(), ControlError> {
    let dialer = Dialer::new(AddressPolicy::Any).map_err(ControlError::Resolver)?;
    let place = Place::new(&settings, dialer);
    let figures = ControlMetrics::new();
    metrics.register(|registry| figures.register(registry));
    let (leader, leader_heard) = watch::channel(None::<SocketAddr>);
    let learns_callers = channels.workloads.is_some();
    let workloads = channels.workloads.unwrap_or_default();
    let (dirty, saver) = Saver::new(settings.state_file.clone(), Arc::clone(&workloads));
    let connections = Connections::new(channels.tunnels, channels.service_channels.clone());
    let reporting = channels
        .states
        .map(|states| Reporting::new(place.clone(), states, connections, leader_heard, figures.clone()));
    let mut follower = Follower {
        place,
        table: Table::default(),
        channel_table: ChannelTable::default(),
        service_channels: channels.service_channels,
        routes: channels.routes,
        workloads,
        learns_callers,
        changes: channels.changes,
        stores: channels.stores,
        leader,
        dirty,
        metrics: figures,
        ready: Some(channels.ready),
        served_before: false,
    };
    if let Some(file) = settings.state_file {
        follower.restore(file).await;
    }
    let following = async {
        tokio::select! {
            () = follower.run() => {}
            () = shutdown.started() => {}
        }
        // The saver ends, after a last save, when nobody can tell it anything any more.
        drop(follower);
    };
    let reporting = async {
        if let Some(reporting) = reporting {
            reporting.run(shutdown.clone()).await;
        }
    };
    tokio::join!(following, saver.run(), reporting);
    Ok(())
}
