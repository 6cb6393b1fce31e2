//! Calls whose answer has no end: only their head is waited for.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use landbridge_runtime::http_client::BodyStream;

use super::call::{self, Answer, failure, from_call_error};
use super::{StoreClient, query};
use crate::error::StoreError;

/// Longest refusal that is read for its reason.
const MAX_REFUSAL: usize = 16 << 10;

/// How long the text of a refusal may take.
const REFUSAL: Duration = Duration::from_secs(2);

impl StoreClient {
    /// Address of a path below the store's own.
    pub(crate) fn address(&self, path: &str) -> String {
        query::address(&self.inner.binding, path)
    }

    /// Sends a request with our token, once more with a fresh one after a 401; the answer whatever it is.
    pub(crate) async fn open(&self, request: Request<Bytes>) -> Result<Response<BodyStream>, StoreError> {
        let mut fresh_token = false;
        loop {
            let token = self.token().await?;
            let answer = self
                .inner
                .http
                .open(call::authorized(&request, &token.token)?, self.inner.limits.read)
                .await
                .map_err(|error| from_call_error(&error, &self.store_name()))?;
            if answer.status() != StatusCode::UNAUTHORIZED || fresh_token {
                return Ok(answer);
            }
            fresh_token = true;
            self.tokens.invalidate(self.inner.token_key, &token).await;
        }
    }

    /// What an answer that is no success means, with the store's own words.
    pub(crate) async fn refusal(&self, answer: Response<BodyStream>) -> StoreError {
        let (head, body) = answer.into_parts();
        let body = body.rest(MAX_REFUSAL, REFUSAL).await;
        let answer = Answer::from(Response::from_parts(head, body));
        failure(&answer, &self.store_name(), "", None)
    }
}
