//! From a route (or a request's control headers) to a destination ready for use.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderValue;
use landbridge_destination::route::{Route, RouteKey};
use landbridge_destination::selector::DestinationSelector;

use crate::failure::Failure;
use crate::resolved::Resolved;

pub mod cache;
pub mod caching;
pub mod change;
mod entry;
pub mod gateway;
mod metrics;
mod source;
mod store;

/// What is asked for. Equal queries share an answer, so everything that affects the answer is here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// On behalf of which route, where that matters: gateways answer sidecars for routes, not for destinations.
    pub route: Option<RouteKey>,
    /// Which destination.
    pub selector: DestinationSelector,
    /// Whose, in shared mode; `None`: the store's own tenant.
    pub tenant: Option<String>,
    /// The request's location id.
    pub location: Option<String>,
}

impl Query {
    /// About how many bytes a kept query takes.
    pub fn weight(&self) -> usize {
        let selector = &self.selector;
        let fragment = selector
            .fragment
            .as_ref()
            .map_or(0, |fragment| fragment.name.len());
        let chain = selector.chain.as_ref().map_or(0, |chain| {
            let variables: usize = chain
                .variables
                .iter()
                .map(|one| one.name.len() + one.value.len())
                .sum();
            chain.name.len() + variables
        });
        let route = self.route.as_ref();
        let route = route.map_or(0, |route| route.namespace.len() + route.name.len());
        let texts = [&self.tenant, &self.location, &selector.instance];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        selector.name.len() + fragment + chain + route + texts
    }

    /// Asks for a destination without anything of a request's own.
    pub fn new(selector: DestinationSelector) -> Self {
        Self {
            route: None,
            selector,
            tenant: None,
            location: None,
        }
    }
}

/// The answer to a [`Query`], when it comes.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Arc<Resolved>, Failure>> + Send + 'a>>;

/// The answer to a renewal, when it comes.
pub type Renewing<'a> = Pin<Box<dyn Future<Output = Option<Arc<Resolved>>> + Send + 'a>>;

/// Finds destinations. Gateways and nodes ask the store; sidecars ask a gateway.
pub trait Resolver: Send + Sync + 'static {
    /// What to ask for a route, as far as requests do not say more.
    fn query(&self, route: &Route) -> Query;

    /// An answer at hand that may be used now, without waiting and without allocating.
    fn cached(&self, query: &Arc<Query>) -> Option<Arc<Resolved>>;

    /// An answer, fetched if need be. Callers with the same query share one fetch.
    fn resolve<'a>(&'a self, query: &'a Arc<Query>) -> Resolving<'a>;

    /// The target has refused `credential`, which came with an answer to `query`: a new answer with another one, if
    /// there is one to be had. However many callers ask, one answer is fetched; until then, and when that fails, the
    /// old answer stays in use, because a 401 may be about one path or scope only.
    fn renew<'a>(&'a self, query: &'a Arc<Query>, credential: &'a HeaderValue) -> Renewing<'a>;

    /// The same, for a caller that does not wait.
    fn renew_later(&self, query: &Arc<Query>, credential: &HeaderValue);
}
