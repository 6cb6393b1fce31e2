//! The store around the token engine: where it finds other destinations, users and keys.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use landbridge_destination::DestinationConfig;
use secrecy::SecretString;
use serde_json::Value;

use crate::auth::UserTokens;
use crate::auth::jwks::{Jwks, JwtError};
use crate::certificates::Certificates;
use crate::db::Place;
use crate::records::Records;
use crate::tokens::{FetchError, Identity, KnownUser, SigningKey, Surroundings, UserKeys};
use crate::trust::TrustKeys;

/// The rest of the running store.
#[derive(Debug)]
pub(crate) struct Around {
    pub(crate) destinations: Records<DestinationConfig>,
    pub(crate) jwks: Arc<Jwks>,
    pub(crate) users: Arc<UserTokens>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) trust: Arc<TrustKeys>,
}

fn refused(error: &JwtError) -> FetchError {
    format!("the user token is refused: {error}").into()
}

impl Surroundings for Around {
    fn destination<'a>(
        &'a self,
        place: &'a Place,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<DestinationConfig>, FetchError>> {
        Box::pin(async move {
            let found = self.destinations.get(place, name).await.map_err(|error| {
                tracing::error!(%error, "an assertion provider cannot be read");
                FetchError::from("the store cannot reach its data at the moment; try again".to_owned())
            })?;
            Ok(found.map(|record| record.value.clone()))
        })
    }

    fn user<'a>(
        &'a self,
        token: &'a str,
        subaccount_id: &'a str,
    ) -> BoxFuture<'a, Result<KnownUser, FetchError>> {
        Box::pin(async move {
            let user = self.users.verify(token, subaccount_id).await;
            let user = user.map_err(|error| FetchError::from(error.to_string()))?;
            Ok(KnownUser {
                claims: Value::Object(user.claims.clone()),
                subdomain: user.subdomain.clone(),
            })
        })
    }

    fn claims<'a>(&'a self, keys: UserKeys<'a>, token: &'a str) -> BoxFuture<'a, Result<Value, FetchError>> {
        Box::pin(async move {
            let source = match keys {
                UserKeys::Inline(text) => {
                    let text: String = text.split_ascii_whitespace().collect();
                    let json = STANDARD.decode(text).map_err(|_| {
                        let reason = "x_user_token.jwks is no base64; encode the JSON of the key set";
                        FetchError::from(reason.to_owned())
                    })?;
                    self.jwks.inline(&json)
                }
                UserKeys::Uri(address) => self.jwks.uri(address),
            };
            let source = source.map_err(|error| refused(&error))?;
            let claims = self.jwks.verify(&source, token).await;
            Ok(Value::Object(claims.map_err(|error| refused(&error))?))
        })
    }

    fn signing_key<'a>(
        &'a self,
        subaccount_id: &'a str,
    ) -> BoxFuture<'a, Result<Arc<SigningKey>, FetchError>> {
        Box::pin(async move {
            let key = self.trust.active(subaccount_id).await;
            key.map_err(|error| FetchError::from(error.to_string()))
        })
    }

    fn identity<'a>(
        &'a self,
        place: &'a Place,
        name: &'a str,
        password: Option<SecretString>,
    ) -> BoxFuture<'a, Result<Arc<Identity>, FetchError>> {
        Box::pin(async move {
            let identity = self.certificates.identity(place, name, password).await;
            identity.map_err(|error| FetchError::from(error.to_string()))
        })
    }
}
