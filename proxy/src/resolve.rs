//! From a route (or a request's control headers) to a destination ready for use.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderValue;
use landbridge_destination::selector::DestinationSelector;

use crate::failure::Failure;
use crate::resolved::Resolved;

pub mod cache;
pub mod store;

/// What is asked for. Equal queries share an answer, so everything that affects the answer is here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// Which destination.
    pub selector: DestinationSelector,
    /// Whose, in shared mode; `None`: the store's own tenant.
    pub tenant: Option<String>,
    /// The request's location id.
    pub location: Option<String>,
}

impl Query {
    /// Asks for a destination without anything of a request's own.
    pub fn new(selector: DestinationSelector) -> Self {
        Self {
            selector,
            tenant: None,
            location: None,
        }
    }
}

/// The answer to a [`Query`], when it comes.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Arc<Resolved>, Failure>> + Send + 'a>>;

/// Finds destinations. Gateways and nodes ask the store; sidecars will ask a gateway.
pub trait Resolver: Send + Sync + 'static {
    /// An answer at hand that may be used now, without waiting and without allocating.
    fn cached(&self, query: &Arc<Query>) -> Option<Arc<Resolved>>;

    /// An answer, fetched if need be. Callers with the same query share one fetch.
    fn resolve<'a>(&'a self, query: &'a Arc<Query>) -> Resolving<'a>;

    /// The target has refused `credential`, which came with an answer to `query`. It is not handed out again.
    /// However many callers say so, one new answer is fetched.
    fn reject(&self, query: &Arc<Query>, credential: &HeaderValue);
}
