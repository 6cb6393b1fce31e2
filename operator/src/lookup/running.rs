//! Look-ups that run, with and without a cluster.

use std::collections::HashMap;
use std::sync::Arc;

use landbridge_destination::DestinationSelector;
use tokio::task::{self, JoinError, JoinSet};

use super::{Answer, DEADLINE, Failure, Lookups, too_slow};

/// What was asked for, and what it brought.
pub type LookedUp = (DestinationSelector, Result<Answer, Failure>);

/// Look-ups as tasks. Every one that is started comes back, also one that panics or takes too long.
#[derive(Debug, Default)]
pub struct Running {
    tasks: JoinSet<LookedUp>,
    /// What each task asks for: one that panics cannot say it any more.
    asked: HashMap<task::Id, DestinationSelector>,
}

impl Running {
    /// Asks for `selector`; `known` is the `ETag` of the answer one has.
    pub fn start(
        &mut self,
        lookups: Arc<impl Lookups>,
        selector: DestinationSelector,
        known: Option<String>,
    ) {
        let asked = selector.clone();
        let task = self.tasks.spawn(async move {
            let call = lookups.find(selector.clone(), known);
            let result = tokio::time::timeout(DEADLINE, call)
                .await
                .unwrap_or_else(|_| Err(too_slow()));
            (selector, result)
        });
        self.asked.insert(task.id(), asked);
    }

    /// The next one that ends; none while nothing runs. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<LookedUp> {
        let done = self.tasks.join_next_with_id().await?;
        self.ended(done)
    }

    /// One that has ended already.
    pub fn try_next(&mut self) -> Option<LookedUp> {
        let done = self.tasks.try_join_next_with_id()?;
        self.ended(done)
    }

    /// One that panicked counts as a failure, so that its place is free again and it is asked anew.
    fn ended(&mut self, done: Result<(task::Id, LookedUp), JoinError>) -> Option<LookedUp> {
        match done {
            Ok((id, done)) => {
                self.asked.remove(&id);
                Some(done)
            }
            Err(error) => {
                let selector = self.asked.remove(&error.id())?;
                tracing::error!(destination = selector.name, "a look-up ended early: {error}");
                let failure = Failure(
                    "the look-up ended early by a mistake in this program, and is tried again: report what the log says"
                        .to_owned(),
                );
                Some((selector, Err(failure)))
            }
        }
    }
}
