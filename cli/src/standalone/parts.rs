//! The parts of one process that must all run: when one ends, for whatever reason, the process has to end, so that
//! whoever supervises it starts it anew.

use anyhow::{Error, anyhow};
use tokio::task::{JoinHandle, JoinSet};

/// Parts that run until they are asked to stop.
#[derive(Default)]
pub(crate) struct Parts {
    watching: JoinSet<Error>,
}

impl Parts {
    /// Watches a part that only ends when asked. `name` goes into the error when it ends before.
    pub(crate) fn watch<E>(&mut self, name: &'static str, part: JoinHandle<Result<(), E>>)
    where
        E: Into<Error> + Send + 'static,
    {
        self.watching.spawn(async move {
            match part.await {
                Ok(Ok(())) => anyhow!("{name} has ended although nobody asked it to"),
                Ok(Err(error)) => error.into().context(format!("{name} has failed")),
                Err(error) => Error::new(error).context(format!("{name} has failed")),
            }
        });
    }

    /// Completes when one of the parts has ended, with the reason.
    pub(crate) async fn ended(&mut self) -> Error {
        match self.watching.join_next().await {
            Some(Ok(error)) => error,
            Some(Err(error)) => Error::new(error).context("a part has failed"),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn says_which_part_ended_and_why() {
        for (part, expected) in [
            (tokio::spawn(async { Ok(()) }), "the store has ended"),
            (
                tokio::spawn(async { Err(anyhow!("disk gone")) }),
                "the store has failed: disk gone",
            ),
            (
                tokio::spawn(async { panic!("bug") }),
                "the store has failed: task",
            ),
        ] {
            let mut parts = Parts::default();
            parts.watch(
                "the tunnel",
                tokio::spawn(std::future::pending::<Result<(), Error>>()),
            );
            parts.watch("the store", part);
            let error = format!("{:#}", parts.ended().await);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
