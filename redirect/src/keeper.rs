//! Keeps the rules of a node as they must be: follows the destinations, repairs what somebody else has changed, and takes
//! everything away in the end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use landbridge_runtime::metrics::Metrics;
use landbridge_runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use crate::error::RedirectError;
use crate::kernel::{Claim, Outcome, apply, remove};
use crate::metrics::RedirectMetrics;
use crate::plan::Features;
use crate::settings::{Destinations, Settings, usable};

/// How often rules and routing are looked at. It takes some milliseconds with 5,000 destinations.
const LOOK: Duration = Duration::from_secs(5);

/// How often it is tried in the end to take the rules away. Without a listener they do no harm.
const LAST_TRIES: usize = 3;

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What is known about the rules.
    pub state: State,
    /// Destinations in the sets.
    pub entries: usize,
    /// Whether IPv6 is redirected, too.
    pub ipv6: bool,
    /// Whether connections of pods on a bridge are redirected; not while net.bridge.bridge-nf-call-iptables is 1 on this
    /// node.
    pub bridges: bool,
    /// What went wrong last, and what to do; `None` when all is well. Addresses that cannot be redirected are named here
    /// although the others are.
    pub problem: Option<String>,
}

/// What is known about the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not written yet.
    Starting,
    /// As they must be.
    Installed,
    /// Kept by a newer process; this one does nothing any more.
    Superseded,
    /// They could not be written or checked; tried again every 5 s.
    Failed,
    /// Taken away at the end.
    Removed,
}

/// Keeps the rules. One per process.
#[derive(Debug)]
pub struct Keeper {
    settings: Settings,
    owner: String,
    features: Features,
    metrics: RedirectMetrics,
    status: watch::Sender<Status>,
    look: Duration,
    /// Written once; from then on another owner is a newer process.
    claimed: bool,
}

impl Keeper {
    /// With a new random id, which is written into the table.
    pub fn new(settings: Settings, metrics: &Metrics) -> Self {
        let figures = RedirectMetrics::default();
        metrics.register(|registry| figures.register(registry));
        let (status, _) = watch::channel(Status {
            state: State::Starting,
            entries: 0,
            ipv6: true,
            bridges: true,
            problem: None,
        });
        Self {
            settings,
            owner: Uuid::new_v4().simple().to_string(),
            features: Features::default(),
            metrics: figures,
            status,
            look: LOOK,
            claimed: false,
        }
    }

    /// Looks at rules and routing this often, instead of every 5 s.
    pub fn looking_every(mut self, look: Duration) -> Self {
        self.look = look;
        self
    }

    /// What stands in the table's comment.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The figures.
    pub fn metrics(&self) -> RedirectMetrics {
        self.metrics.clone()
    }

    /// How it stands, now and later.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Follows `destinations`. When `shutdown` begins, nothing new is redirected, but connections that exist stay; when
    /// `drained` ends, or `shutdown` is forced, the rules are taken away.
    pub async fn run(
        mut self,
        mut destinations: watch::Receiver<Arc<Destinations>>,
        shutdown: Shutdown,
        drained: impl Future<Output = ()>,
    ) {
        self.follow(&mut destinations, &shutdown).await;
        self.drain(&shutdown, drained).await;
        self.leave().await;
    }

    async fn follow(&mut self, destinations: &mut watch::Receiver<Arc<Destinations>>, shutdown: &Shutdown) {
        let mut look = interval(self.look);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once.
        look.tick().await;
        let mut cause = Cause::News;
        let mut more = true;
        while !shutdown.is_draining() {
            let wanted = Arc::clone(&destinations.borrow_and_update());
            self.ensure(&wanted, cause).await;
            tokio::select! {
                () = shutdown.started() => return,
                changed = destinations.changed(), if more => {
                    more = changed.is_ok();
                    cause = Cause::News;
                }
                _ = look.tick() => {
                    // Both at once: what is different then is no repair.
                    let news = destinations.has_changed().unwrap_or(false);
                    cause = if news { Cause::News } else { Cause::Look };
                }
            }
        }
    }

    /// Empties the sets and keeps them empty until `drained` or forced to go on.
    async fn drain(&mut self, shutdown: &Shutdown, drained: impl Future<Output = ()>) {
        let nothing = Destinations::new();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drained = pin!(drained);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = shutdown.forced() => return,
                () = drained.as_mut() => return,
            }
            // Not in the branches above: cut short, it would go on in its thread, and could write the table once more
            // after it was taken away.
            self.ensure(&nothing, Cause::News).await;
        }
    }

    async fn ensure(&mut self, wanted: &Destinations, cause: Cause) {
        let before = self.state();
        if before == State::Superseded {
            return;
        }
        let (destinations, left_out) = usable(wanted);
        let claim = if self.claimed { Claim::Keep } else { Claim::Take };
        let applied = apply(&self.settings, &self.owner, &destinations, self.features, claim).await;
        match applied {
            Ok(Outcome::Done { changed, features }) => {
                self.claimed = true;
                if features.bridge_filter && !self.features.bridge_filter {
                    tracing::info!(
                        "net.bridge.bridge-nf-call-iptables is 1 on this node: connections of pods on a bridge go to the gateways"
                    );
                }
                self.features = features;
                self.count(changed, cause, before);
                self.installed(&destinations, left_out.map(|error| error.to_string()));
            }
            Ok(Outcome::OwnedByOther) => self.superseded(),
            Err(error) => self.failed(&error),
        }
    }

    fn count(&self, changed: bool, cause: Cause, before: State) {
        match cause {
            _ if !changed => {}
            Cause::News => {
                self.metrics.updates.inc();
            }
            Cause::Look if before == State::Installed => {
                self.metrics.repairs.inc();
                tracing::warn!(
                    "somebody has changed the redirection rules or their routing; they were written again"
                );
            }
            Cause::Look => {}
        }
    }

    fn installed(&self, destinations: &Destinations, problem: Option<String>) {
        self.metrics.installed.set(1);
        let entries = destinations.len();
        self.metrics
            .entries
            .set(i64::try_from(entries).unwrap_or(i64::MAX));
        if let Some(problem) = problem.as_ref().filter(|new| self.is_news(new)) {
            tracing::warn!(%problem, "some destinations are not redirected; gateways serve them");
        }
        self.publish(Status {
            state: State::Installed,
            entries,
            ipv6: self.features.ipv6,
            bridges: !self.features.bridge_filter,
            problem,
        });
    }

    fn superseded(&self) {
        tracing::info!("a newer process keeps the redirection rules now");
        self.metrics.installed.set(0);
        self.publish(Status {
            state: State::Superseded,
            entries: 0,
            ipv6: self.features.ipv6,
            bridges: !self.features.bridge_filter,
            problem: None,
        });
    }

    fn failed(&self, error: &RedirectError) {
        self.metrics.failures.inc();
        self.metrics.installed.set(0);
        let problem = error.to_string();
        if self.is_news(&problem) {
            tracing::error!(%problem, "connections are not redirected; gateways serve them");
        }
        let entries = self.status.borrow().entries;
        self.publish(Status {
            state: State::Failed,
            entries,
            ipv6: self.features.ipv6,
            bridges: !self.features.bridge_filter,
            problem: Some(problem),
        });
    }

    async fn leave(&self) {
        if self.state() == State::Superseded {
            return;
        }
        for _ in 0..LAST_TRIES {
            match remove(Some(&self.owner)).await {
                Ok(Outcome::Done { .. }) => {
                    self.metrics.installed.set(0);
                    self.metrics.entries.set(0);
                    self.publish(Status {
                        state: State::Removed,
                        entries: 0,
                        ipv6: self.features.ipv6,
                        bridges: !self.features.bridge_filter,
                        problem: None,
                    });
                    return;
                }
                Ok(Outcome::OwnedByOther) => return self.superseded(),
                Err(error) => self.failed(&error),
            }
        }
    }

    fn state(&self) -> State {
        self.status.borrow().state
    }

    fn is_news(&self, problem: &str) -> bool {
        self.status.borrow().problem.as_deref() != Some(problem)
    }

    fn publish(&self, status: Status) {
        self.status.send_if_modified(|now| {
            let changed = *now != status;
            *now = status;
            changed
        });
    }
}

/// Why the rules are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The destinations have changed.
    News,
    /// It is time.
    Look,
}
