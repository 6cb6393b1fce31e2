//! What all retrievals share: token services, the cache, the shares of the subaccounts.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use landbridge_destination::ProxyType;
use landbridge_destination::oauth::{Token, TokenRequest};
use landbridge_destination::token_cache::{CachedToken, TokenCache};
use landbridge_runtime::shares::{Share, Shares};
use secrecy::SecretString;

use super::fetch::{FetchError, Fetcher, Tls};
use super::work::Work;

#[derive(Debug)]
pub(super) struct Core {
    pub(super) fetcher: Fetcher,
    pub(super) cache: TokenCache<FetchError>,
    /// Calls of token services under way, per subaccount: they go on when nobody waits any more.
    pub(super) fetches: Arc<Shares<String>>,
}

impl Core {
    /// One call for a token, within the subaccount's share of them.
    pub(super) async fn call(
        &self,
        subaccount_id: &str,
        request: &TokenRequest,
        tls: Tls,
    ) -> Result<Token, FetchError> {
        let _share = self.admit(subaccount_id, request)?;
        self.fetcher.fetch(request, &tls).await
    }

    /// One call for a refresh token.
    pub(super) async fn refresh_token(
        &self,
        subaccount_id: &str,
        request: &TokenRequest,
        tls: Tls,
    ) -> Result<SecretString, FetchError> {
        let _share = self.admit(subaccount_id, request)?;
        self.fetcher.refresh_token(request, &tls).await
    }

    fn admit(&self, subaccount_id: &str, request: &TokenRequest) -> Result<Share<String>, FetchError> {
        if request.proxy_type == ProxyType::OnPremise {
            let reason = "the token service is reached through a connector, which this version of the store does not \
                          do; set tokenServiceURL.ProxyType to Internet if it is on the Internet";
            return Err(reason.to_owned().into());
        }
        self.fetches.take(&subaccount_id.to_owned()).ok_or_else(|| {
            let reason = "too many token services of the subaccount have not answered yet; check those that are slow \
                          and try again in a moment";
            reason.to_owned().into()
        })
    }

    /// The token of a retrieval, from the cache or by making it.
    pub(super) async fn kept(self: &Arc<Self>, work: Arc<Work>) -> Result<Arc<CachedToken>, FetchError> {
        self.cache.get(work.key(), self.again(&work)).await
    }

    /// How the cache makes a retrieval, as often as it needs to.
    pub(super) fn again(
        self: &Arc<Self>,
        work: &Arc<Work>,
    ) -> impl Fn() -> BoxFuture<'static, Result<Token, FetchError>> + Send + Sync + 'static + use<> {
        let (core, work) = (Arc::clone(self), Arc::clone(work));
        move || Arc::clone(&work).run(Arc::clone(&core))
    }
}
