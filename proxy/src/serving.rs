//! One accepted connection, on its way to what its route speaks. The same for every way it may have come: a port of its own
//! (gateway), or taken on its way to the destination's address (intercept).

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use landbridge_destination::route::{Route, RouteProtocol};
use landbridge_runtime::shutdown::Shutdown;
use tokio::net::TcpStream;

use crate::connection;
use crate::exchange::{RouteContext, Shared};
use crate::failure::Kind;
use crate::intercept::pass;
use crate::metrics::ProxyMetrics;
use crate::place::Place;
use crate::tcp;
use crate::workloads::Access;

/// A route that is served. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Served {
    /// The route as it is at any time.
    pub(crate) context: Arc<ArcSwap<RouteContext>>,
    /// Lets the route's connections finish, and takes no more.
    pub(crate) stop: Shutdown,
}

impl Served {
    pub(crate) fn new(route: &Arc<Route>, shared: &Arc<Shared>, metrics: &ProxyMetrics) -> Self {
        Self {
            context: Arc::new(ArcSwap::new(context(route, shared, metrics))),
            stop: Shutdown::new(),
        }
    }

    /// The route has changed in what its connections need not be closed for.
    pub(crate) fn change(&self, route: &Arc<Route>, shared: &Arc<Shared>, metrics: &ProxyMetrics) {
        let current = self.context.load();
        if current.route == *route {
            return;
        }
        let same_scope = current.route.scope == route.scope;
        self.context.store(context(route, shared, metrics));
        // Connections that last are told that their right may have ended.
        if let Some(workloads) = shared.workloads.as_ref().filter(|_| !same_scope) {
            workloads.touch();
        }
    }

    /// Serves a connection that was taken on its way to `original`, unless it turns out to be one that only gateways can
    /// serve: then it goes on to there, where the gateways are.
    pub(crate) async fn serve_or_pass(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        original: SocketAddr,
        place: Place,
    ) {
        let context = self.context.load_full();
        let resolver = &context.shared.resolver;
        // Nothing has been read yet, so it can still go to somebody else.
        if resolver.cached(&context.query).is_none()
            && let Err(failure) = resolver.resolve(&context.query).await
            && matches!(failure.kind, Kind::CarriedByGateway | Kind::GatewayUnavailable)
        {
            tracing::debug!(route = %context.route.key, %failure, "left to the gateways");
            return pass::on(stream, original, place, &context.shared.shutdown).await;
        }
        drop(context);
        self.serve(stream, peer, place).await;
    }

    /// Serves a connection of `peer` until it ends.
    pub(crate) async fn serve(self, stream: TcpStream, peer: SocketAddr, place: Place) {
        let context = self.context.load_full();
        let access = Access::new(peer.ip(), context.shared.workloads.clone());
        access.introduced(&context.route).await;
        match context.route.protocol {
            RouteProtocol::Http => connection::serve(stream, self.context, access, self.stop, place).await,
            RouteProtocol::Tcp => tcp::serve(stream, self.context, access, place).await,
        }
    }
}

fn context(route: &Arc<Route>, shared: &Arc<Shared>, metrics: &ProxyMetrics) -> Arc<RouteContext> {
    Arc::new(RouteContext {
        route: Arc::clone(route),
        metrics: metrics.route(&route.key),
        query: Arc::new(shared.resolver.query(route)),
        shared: Arc::clone(shared),
    })
}
