//! Destinations from the store, with its credentials: for gateways and nodes.

use std::sync::Arc;
use std::time::Duration;

use landbridge_destination::client::FindQuery;
use landbridge_destination::error::StoreError;
use tokio::time::{Instant, sleep};

use super::Query;
use super::source::{Asked, Asking, Binder};
use crate::failure::{Failure, Kind};
use crate::resolved::{Plan, Resolved};
use crate::stores::Stores;

/// Pause between two questions to a store that is away.
const AGAIN: Duration = Duration::from_millis(250);

/// Asks stores.
pub(super) struct StoreSource(pub(super) Stores);

impl StoreSource {
    pub(super) fn instance<'a>(&'a self, named: Option<&'a str>) -> &'a str {
        self.0.name(named)
    }

    pub(super) async fn ask(&self, query: &Query, asking: &Asking, binder: &Binder) -> Asked {
        let mut certificates = Vec::new();
        let mut at = Instant::now();
        let result = self.find(query, asking, binder, &mut certificates, &mut at).await;
        Asked {
            result,
            at,
            outdated: false,
            certificates,
        }
    }

    async fn find(
        &self,
        query: &Query,
        asking: &Asking,
        binder: &Binder,
        certificates: &mut Vec<String>,
        at: &mut Instant,
    ) -> Result<Arc<Resolved>, Failure> {
        let client = self.0.client(query.selector.instance.as_deref())?;
        let mut find = FindQuery::new(query.selector.clone());
        find.tenant.clone_from(&query.tenant);
        find.renew_token = asking.refused.is_some();
        let until = Instant::now() + asking.patience;
        let found = loop {
            *at = Instant::now();
            match client.find(&find).await {
                Ok(found) => break found,
                Err(StoreError::Unavailable { retryable: true, .. }) if *at < until => sleep(AGAIN).await,
                Err(error) => return Err(failure(&error)),
            }
        };
        certificates.extend(found.configuration.trust_store().map(str::to_owned));
        let others = found.certificates.iter().flatten();
        certificates.extend(others.map(|certificate| certificate.name.clone()));
        // Lifetimes are counted from before the call: an answer that took long must not outlive its token.
        let plan = Plan::new(&found, query.location.as_deref(), *at)?;
        binder.bind(plan, &query.selector.name)
    }
}

fn failure(error: &StoreError) -> Failure {
    let kind = match error {
        StoreError::NotFound { .. } => Kind::DestinationNotFound,
        StoreError::Timeout { .. } => Kind::StoreTimeout,
        _ => Kind::StoreUnavailable,
    };
    Failure::new(kind, error.to_string())
}
