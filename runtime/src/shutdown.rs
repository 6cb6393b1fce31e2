//! Orderly stop in two steps: first every component is asked to drain (take nothing new, finish what runs), then,
//! when the deadline has passed, to drop what is left.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a task may take to fall over once it has been forced. Forced tasks only drop their sockets.
const FORCED_GRACE: Duration = Duration::from_secs(1);

/// One component's (or the process's) stop signal and the tasks that must end before it is stopped.
///
/// Clones share the signal and the tasks. A [`child`](Self::child) hears its parent's signal but can also be stopped
/// alone, and has tasks of its own.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    force: CancellationToken,
    tasks: TaskTracker,
}

/// How a [`Shutdown::drain`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Everything finished within the deadline.
    Complete,
    /// Some tasks had to be forced; so many were still running when the deadline passed.
    Forced(usize),
}

impl Shutdown {
    /// A fresh signal that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A part that stops with this one, or earlier and alone.
    pub fn child(&self) -> Self {
        Self {
            drain: self.drain.child_token(),
            force: self.force.child_token(),
            tasks: TaskTracker::new(),
        }
    }

    /// Asks everybody to drain. Returns at once.
    pub fn begin(&self) {
        self.drain.cancel();
    }

    /// Whether draining was asked.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Completes when draining is asked.
    pub async fn started(&self) {
        self.drain.cancelled().await;
    }

    /// Completes when the deadline has passed and work in flight must be dropped.
    pub async fn forced(&self) {
        self.force.cancelled().await;
    }

    /// Runs `task` on the runtime and makes [`drain`](Self::drain) wait for it.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Runs `task` until it ends or is forced; for work that does not watch the signal itself.
    pub fn spawn_until_forced<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let force = self.force.clone();
        self.tasks.spawn(async move {
            let _ = force.run_until_cancelled_owned(task).await;
        });
    }

    /// How many tracked tasks are running.
    pub fn running(&self) -> usize {
        self.tasks.len()
    }

    /// Asks for draining, waits up to `deadline` for the tasks, then forces the rest.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        self.begin();
        self.tasks.close();
        if timeout(deadline, self.tasks.wait()).await.is_ok() {
            return Drained::Complete;
        }
        let left = self.tasks.len();
        self.force.cancel();
        let _ = timeout(FORCED_GRACE, self.tasks.wait()).await;
        Drained::Forced(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_tasks_and_forces_the_stubborn() {
        let shutdown = Shutdown::new();
        let polite = shutdown.clone();
        shutdown.spawn(async move { polite.started().await });
        assert_eq!(shutdown.drain(Duration::from_secs(5)).await, Drained::Complete);

        let shutdown = Shutdown::new();
        shutdown.spawn_until_forced(std::future::pending());
        assert_eq!(shutdown.drain(Duration::from_secs(5)).await, Drained::Forced(1));
        assert_eq!(shutdown.running(), 0);
    }

    #[tokio::test]
    async fn a_child_stops_with_its_parent_but_not_the_other_way_round() {
        let parent = Shutdown::new();
        let child = parent.child();
        child.begin();
        assert!(!parent.is_draining());
        let other = parent.child();
        parent.begin();
        assert!(other.is_draining());
    }
}
