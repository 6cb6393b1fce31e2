//! What all request handlers share.

use std::sync::Arc;

use crate::auth::{FailureLimiter, Issuer, Verifier};
use crate::config::Limits;
use crate::metrics::StoreMetrics;
use crate::records::Records;
use crate::shares::Shares;
use crate::storage::Storage;
use crate::tokens::TokenEngine;

/// The running service.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) storage: Arc<Storage>,
    pub(crate) records: Records,
    pub(crate) issuer: Issuer,
    pub(crate) verifier: Verifier,
    pub(crate) failures: FailureLimiter,
    pub(crate) tokens: TokenEngine,
    pub(crate) metrics: StoreMetrics,
    pub(crate) limits: Limits,
    /// Bodies that are being received, per subaccount.
    pub(crate) uploads: Arc<Shares<String>>,
    /// Requests that may run at a time.
    pub(crate) permits: tokio::sync::Semaphore,
}
