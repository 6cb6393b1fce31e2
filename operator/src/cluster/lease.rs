//! Who writes: one replica at a time, by a Lease of the Kubernetes API. The others read and serve.
//!
//! Times: a lease counts for 10 s and is renewed every 3 s; its holder stops writing 8 s after the last renewal that
//! succeeded, the others look every second. So there are never two that write, and a dead leader is replaced within
//! 11 s, one that stops as asked within 2 s.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use landbridge_runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tokio::time::Instant;

use super::children::{MANAGED_BY, MANAGER};
use super::client::{CallError, within};
use crate::serve::Leadership;

/// How long a lease counts after its last renewal.
const DURATION: Duration = Duration::from_secs(10);

/// Pause between two renewals.
const RENEW: Duration = Duration::from_secs(3);

/// Time after the last successful renewal at which the holder stops to write.
const GIVE_UP: Duration = Duration::from_secs(8);

/// Pause between two looks at the lease of another, or after a failure.
const LOOK: Duration = Duration::from_secs(1);

/// Pause after somebody else has written the lease between this replica's reading and writing it.
const AT_ONCE: Duration = Duration::from_millis(50);

/// Deadline of one call: short enough for two tries before [`GIVE_UP`].
const CALL: Duration = Duration::from_secs(2);

/// Where the holder serves proxies.
const ADDRESS: &str = "connectivity.landbridge.dev/serve-address";

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Name of this replica, unique among all; the pod's.
    pub identity: String,
    /// Where this replica serves proxies.
    pub address: Option<SocketAddr>,
}

/// What to do about the lease that was just read.
#[derive(Debug, PartialEq)]
enum Move {
    /// Create it.
    Create,
    /// Write it with this replica as the holder.
    Take {
        /// Whether this replica held it before.
        renewal: bool,
    },
    /// Look again later.
    Wait,
}

/// What another replica's lease looked like, and since when it looks so. Clocks of machines differ, so only the own
/// one decides when it has run out.
#[derive(Debug, Clone, PartialEq)]
struct Sighting {
    resource_version: Option<String>,
    since: Instant,
}

/// Takes part in the election until `shutdown`, then gives the lease back.
pub async fn run(client: Client, config: Config, state: watch::Sender<Leadership>, shutdown: Shutdown) {
    let api: Api<Lease> = Api::namespaced(client, &config.namespace);
    let mut candidate = Candidate {
        config,
        sighting: None,
        renewed: None,
        held: None,
        failing: false,
    };
    loop {
        let pause = candidate.step(&api, &state).await;
        tokio::select! {
            () = shutdown.started() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    state.send_replace(Leadership::Following(None));
    candidate.release(&api).await;
}

struct Candidate {
    config: Config,
    sighting: Option<Sighting>,
    /// When this replica last renewed its lease.
    renewed: Option<Instant>,
    /// The lease as this replica last wrote it.
    held: Option<Lease>,
    /// Whether the last look failed.
    failing: bool,
}

impl Candidate {
    /// One look, and what follows from it. Returns the time until the next.
    async fn step(&mut self, api: &Api<Lease>, state: &watch::Sender<Leadership>) -> Duration {
        let asked = Instant::now();
        if self.gives_up_at().is_some_and(|at| at <= asked) {
            self.tell(state, None);
        }
        let give_up = self.gives_up_at().filter(|at| *at > asked);
        let look = self.look(api, asked);
        // A call that hangs must not keep this replica writing longer than its lease counts.
        let result = match give_up {
            Some(at) => tokio::time::timeout_at(at, look)
                .await
                .unwrap_or(Err(CallError::Deadline(GIVE_UP))),
            None => look.await,
        };
        self.tell(
            state,
            result.as_ref().ok().map(|lease| lease.as_ref().and_then(address)),
        );
        let pause = match &result {
            Ok(_) if self.leads() => RENEW.saturating_sub(asked.elapsed()),
            // Somebody else has written it: who leads now must be known at once.
            Err(error) if error.is_conflict() => AT_ONCE,
            _ => LOOK,
        };
        self.report(result.err());
        let left = self
            .gives_up_at()
            .map(|at| at.saturating_duration_since(Instant::now()));
        left.filter(|left| !left.is_zero())
            .map_or(pause, |left| pause.min(left))
    }

    fn gives_up_at(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + GIVE_UP)
    }

    fn leads(&self) -> bool {
        self.gives_up_at().is_some_and(|at| Instant::now() < at)
    }

    /// Tells who leads: this replica, or the one at `leader`, if something new is known of it. Whoever it was otherwise
    /// may still be; a proxy that finds it gone asks again.
    fn tell(&self, state: &watch::Sender<Leadership>, leader: Option<Option<SocketAddr>>) {
        let leading = self.leads();
        state.send_if_modified(|known| {
            let now = match (*known, leader) {
                _ if leading => Leadership::Leading,
                (_, Some(leader)) => Leadership::Following(leader),
                (Leadership::Following(leader), None) => Leadership::Following(leader),
                (Leadership::Leading, None) => Leadership::Following(None),
            };
            if (*known == Leadership::Leading) != leading {
                tracing::info!(identity = self.config.identity, leading, "leadership changed");
            }
            std::mem::replace(known, now) != now
        });
    }

    /// Logs the first failure of several in a row.
    fn report(&mut self, error: Option<CallError>) {
        let name = &self.config.name;
        match error {
            Some(error) if !std::mem::replace(&mut self.failing, true) => {
                tracing::warn!("the Lease {name} cannot be read or written, trying again: {error}");
            }
            Some(_) => {}
            None => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the Lease {name} can be read and written again");
                }
            }
        }
    }

    /// Reads the lease, takes it if that is right, and returns it as it is then.
    async fn look(&mut self, api: &Api<Lease>, asked: Instant) -> Result<Option<Lease>, CallError> {
        let known = within(CALL, api.get_opt(&self.config.name)).await?;
        self.sighting = sighting(self.sighting.take(), known.as_ref(), asked);
        let (wanted, renewal) = match self.next(known.as_ref()) {
            Move::Wait => {
                self.renewed = None;
                return Ok(known);
            }
            Move::Create => (self.lease(None), false),
            Move::Take { renewal } => (self.lease(known.as_ref()), renewal),
        };
        let post = PostParams::default();
        let written = if known.is_none() {
            within(CALL, api.create(&post, &wanted)).await
        } else {
            within(CALL, api.replace(&self.config.name, &post, &wanted)).await
        };
        match written {
            Ok(lease) => {
                self.renewed = Some(asked);
                self.held = Some(lease.clone());
                Ok(Some(lease))
            }
            // Another replica was faster; who holds it is seen at the next look.
            Err(error) if error.is_conflict() && !renewal => Ok(known),
            Err(error) => Err(error),
        }
    }

    fn next(&self, known: Option<&Lease>) -> Move {
        let Some(lease) = known else { return Move::Create };
        let spec = lease.spec.as_ref();
        let holder = spec
            .and_then(|spec| spec.holder_identity.as_deref())
            .unwrap_or_default();
        if holder == self.config.identity {
            return Move::Take { renewal: true };
        }
        let seconds = spec
            .and_then(|spec| spec.lease_duration_seconds)
            .and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds
            .map_or(DURATION, Duration::from_secs)
            .min(Duration::from_secs(60));
        let expired = self
            .sighting
            .as_ref()
            .is_some_and(|sighting| sighting.since.elapsed() >= duration);
        if holder.is_empty() || expired {
            Move::Take { renewal: false }
        } else {
            Move::Wait
        }
    }

    fn lease(&self, known: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let old = known.and_then(|lease| lease.spec.as_ref());
        let mine = old.is_some_and(|spec| spec.holder_identity.as_deref() == Some(&self.config.identity));
        let transitions = old.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let mut metadata = known.map_or_else(
            || ObjectMeta {
                name: Some(self.config.name.clone()),
                namespace: Some(self.config.namespace.clone()),
                labels: Some([(MANAGED_BY.to_owned(), MANAGER.to_owned())].into()),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata.clone(),
        );
        let annotations = metadata.annotations.get_or_insert_default();
        match self.config.address {
            Some(address) => annotations.insert(ADDRESS.to_owned(), address.to_string()),
            None => annotations.remove(ADDRESS),
        };
        Lease {
            metadata,
            spec: Some(LeaseSpec {
                holder_identity: Some(self.config.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: old
                    .filter(|_| mine)
                    .and_then(|spec| spec.acquire_time.clone())
                    .or_else(|| Some(now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(if mine {
                    transitions
                } else {
                    transitions.saturating_add(1)
                }),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Gives the lease back, so that nobody has to wait for it to run out.
    async fn release(self, api: &Api<Lease>) {
        let Some(mut lease) = self.held.filter(|_| self.renewed.is_some()) else {
            return;
        };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
        }
        let post = PostParams::default();
        if let Err(error) = within(CALL, api.replace(&self.config.name, &post, &lease)).await {
            tracing::debug!(%error, "the lease was not given back; it runs out by itself");
        }
    }
}

fn sighting(before: Option<Sighting>, lease: Option<&Lease>, now: Instant) -> Option<Sighting> {
    let resource_version = lease?.metadata.resource_version.clone();
    let since = before
        .filter(|before| before.resource_version == resource_version)
        .map_or(now, |before| before.since);
    Some(Sighting {
        resource_version,
        since,
    })
}

/// Where the holder serves; none while nobody holds it.
fn address(lease: &Lease) -> Option<SocketAddr> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    let annotations = lease
        .metadata
        .annotations
        .as_ref()
        .filter(|_| !holder.is_empty())?;
    annotations.get(ADDRESS)?.parse().ok()
}

#[cfg(test)]
mod tests;
