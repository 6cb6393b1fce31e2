//! Where destinations come from: the store, or a gateway that asks the store for us.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::Query;
use super::gateway::GatewaySource;
use super::store::StoreSource;
use crate::connect::Connector;
use crate::failure::{Failure, Kind};
use crate::pool::Pool;
use crate::resolved::{Plan, Resolved};

/// Who is asked.
pub(super) enum Source {
    Store(StoreSource),
    Gateway(Box<GatewaySource>),
}

/// How it is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Asking {
    /// The credential that the target has refused: another one is wanted.
    pub(super) refused: Option<HeaderValue>,
    /// How long a source that is away is waited for.
    pub(super) patience: Duration,
    /// An answer that is older than this will not do.
    pub(super) since: Option<Instant>,
}

/// What came of it.
pub(super) struct Asked {
    pub(super) result: Result<Arc<Resolved>, Failure>,
    /// When the store was asked at the earliest.
    pub(super) at: Instant,
    /// It is older than it should be: the best there is.
    pub(super) outdated: bool,
    /// Certificates of the store that the destination depends on, whether or not that led to an answer.
    pub(super) certificates: Vec<String>,
}

impl Source {
    pub(super) async fn ask(&self, query: &Query, asking: &Asking, binder: &Binder) -> Asked {
        match self {
            Self::Store(store) => store.ask(query, asking, binder).await,
            Self::Gateway(gateway) => gateway.ask(query, asking, binder).await,
        }
    }

    /// Which instance of the destination service the query is for, where that is known.
    pub(super) fn instance<'a>(&'a self, query: &'a Query) -> Option<&'a str> {
        let named = query.selector.instance.as_deref();
        match self {
            Self::Store(store) => Some(store.instance(named)),
            Self::Gateway(_) => named,
        }
    }
}

/// Binds what was found to connections.
pub(super) struct Binder {
    pub(super) pool: Arc<Pool>,
    pub(super) connector: Connector,
}

impl Binder {
    /// # Errors
    /// The destination's trust store cannot be used.
    pub(super) fn bind(&self, plan: Plan, name: &str) -> Result<Arc<Resolved>, Failure> {
        let tls = match self.pool.tls_of(&plan.key) {
            Some(tls) => Some(tls),
            None => self.connector.tls_for(&plan.key).map_err(|error| {
                let message =
                    format!("destination '{name}' cannot be used: its trust store is unusable: {error}");
                Failure::new(Kind::DestinationUnusable, message)
            })?,
        };
        let upstream = self.pool.upstream(plan.key.clone(), tls);
        Ok(Arc::new(plan.bind(upstream)))
    }
}
