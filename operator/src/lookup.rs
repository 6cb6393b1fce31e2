//! Asking the store which destination is behind a name: what exists, and of which protocol. Never for tokens.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use landbridge_destination::{DestinationConfig, DestinationSelector, FindQuery, StoreClient, StoreError};

mod running;
mod table;

pub use running::{LookedUp, Running};
pub use table::{Table, Timing};

/// Longest time for one look-up with all its retries. The client has deadlines of its own; this is for the day when
/// one of them does not hold.
pub const DEADLINE: Duration = Duration::from_secs(45);

/// What a look-up brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It exists.
    Found {
        /// Its properties, without credentials.
        config: DestinationConfig,
        /// For the next, conditional look-up.
        etag: Option<String>,
    },
    /// It is still what the known `ETag` stands for.
    Unchanged,
    /// It does not exist; the text says what to do.
    NotFound(String),
    /// It exists, but the fragment that is to be merged over it does not; the text says what to do.
    FragmentNotFound(String),
}

/// A look-up that brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// Who knows destinations.
pub trait Lookups: Send + Sync + 'static {
    /// Looks one up; `known` is the `ETag` of the answer one has. Must have a deadline, and is dropped at [`DEADLINE`].
    fn find(
        &self,
        selector: DestinationSelector,
        known: Option<String>,
    ) -> impl Future<Output = Result<Answer, Failure>> + Send;
}

/// Look-ups at one or several destination service instances.
#[derive(Debug, Clone)]
pub struct StoreLookups {
    default: StoreClient,
    instances: HashMap<String, StoreClient>,
}

impl StoreLookups {
    /// Resources without `destinationServiceInstanceName` ask `default`, the others the instance of that name.
    pub fn new(default: StoreClient, instances: HashMap<String, StoreClient>) -> Self {
        Self { default, instances }
    }

    fn client(&self, instance: Option<&str>) -> Result<&StoreClient, Failure> {
        let Some(name) = instance else {
            return Ok(&self.default);
        };
        self.instances.get(name).ok_or_else(|| {
            let mut known: Vec<_> = self.instances.keys().map(String::as_str).collect();
            known.sort_unstable();
            Failure(unknown_instance(name, &known))
        })
    }
}

/// The failure of a look-up that took longer than [`DEADLINE`].
pub fn too_slow() -> Failure {
    let seconds = DEADLINE.as_secs();
    Failure(format!(
        "the store did not answer within {seconds} s: check that it is not overloaded"
    ))
}

/// What to say of an instance that is not configured.
pub fn unknown_instance(name: &str, known: &[&str]) -> String {
    let known = if known.is_empty() {
        "there are none".to_owned()
    } else {
        format!("known: {}", known.join(", "))
    };
    format!(
        "destinationServiceInstanceName \"{name}\" is no configured instance ({known}): correct or remove it, or configure a \
         binding of that name"
    )
}

impl Lookups for StoreLookups {
    async fn find(&self, selector: DestinationSelector, known: Option<String>) -> Result<Answer, Failure> {
        let client = self.client(selector.instance.as_deref())?;
        ask(client, selector, known).await
    }
}

/// Asks one store.
///
/// # Errors
/// Whatever hides whether the destination exists.
pub async fn ask(
    client: &StoreClient,
    selector: DestinationSelector,
    known: Option<String>,
) -> Result<Answer, Failure> {
    let mut query = FindQuery::new(selector);
    query.skip_token_retrieval = true;
    query.if_none_match = known;
    let found = client.find_if_changed(&query).await;
    // Stores answer 404 for both; what is there without the fragment tells which of them is missing.
    if let Err(StoreError::NotFound { name, .. }) = &found
        && let Some(fragment) = query.selector.fragment.take()
    {
        query.if_none_match = None;
        if client.find_if_changed(&query).await.is_ok() {
            return Ok(Answer::FragmentNotFound(format!(
                "the store has the destination \"{name}\", but no fragment \"{}\": create it there, correct fragmentRef.name, or \
                 set fragmentRef.optional",
                fragment.name
            )));
        }
    }
    match found {
        Ok(None) => Ok(Answer::Unchanged),
        Ok(Some(found)) => Ok(Answer::Found {
            config: found.configuration.without_secrets(),
            etag: found.etag,
        }),
        Err(error @ StoreError::NotFound { .. }) => Ok(Answer::NotFound(error.to_string())),
        Err(error) => Err(Failure(error.to_string())),
    }
}

#[cfg(test)]
mod tests;
