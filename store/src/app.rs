//! What all request handlers share.

use std::sync::Arc;

use landbridge_destination::DestinationConfig;
use landbridge_runtime::shutdown::Shutdown;

use crate::auth::{ClientRates, FailureLimiter, Issuer, RemoteClient, UserTokens, Verifier};
use crate::certificates::Certificates;
use crate::config::Limits;
use crate::fragment::Fragment;
use crate::metrics::StoreMetrics;
use crate::records::Records;
use crate::storage::Storage;
use crate::tokens::TokenEngine;
use crate::trust::TrustKeys;
use landbridge_runtime::shares::Shares;

/// The running service.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) storage: Arc<Storage>,
    pub(crate) destinations: Records<DestinationConfig>,
    pub(crate) fragments: Records<Fragment>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) trust: Arc<TrustKeys>,
    pub(crate) issuer: Issuer,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) failures: FailureLimiter,
    /// Calls of each client.
    pub(crate) rates: ClientRates,
    /// User tokens, our own and those of trusted issuers.
    pub(crate) users: Arc<UserTokens>,
    /// Calls to trusted issuers.
    pub(crate) remote: RemoteClient,
    pub(crate) tokens: TokenEngine,
    pub(crate) metrics: StoreMetrics,
    pub(crate) limits: Limits,
    /// Bodies that are being received, per subaccount.
    pub(crate) uploads: Arc<Shares<String>>,
    /// Change feeds that are open, per subaccount.
    pub(crate) feeds: Arc<Shares<String>>,
    /// Ends what has no end of its own, when the store drains.
    pub(crate) ending: Shutdown,
    /// Requests that may run at a time.
    pub(crate) permits: tokio::sync::Semaphore,
}

impl App {
    /// Counts one call of a client that has shown who it is; `false` when it has called too often.
    pub(crate) fn admits(&self, client_id: &str) -> bool {
        let admitted = self.rates.take(client_id, tokio::time::Instant::now());
        if !admitted {
            self.metrics.limited();
            tracing::debug!(client_id, "a call is refused: the client calls too often");
        }
        admitted
    }
}
