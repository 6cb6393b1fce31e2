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
}

impl Candidate {
    /// One look, and what follows from it. Returns the time until the next.
    async fn step(&mut self, api: &Api<Lease>, state: &watch::Sender<Leadership>) -> Duration {
        let asked = Instant::now();
        let result = self.look(api, asked).await;
        let leading = self.renewed.is_some_and(|renewed| renewed.elapsed() < GIVE_UP);
        let leader = match &result {
            Ok(lease) => lease.as_ref().and_then(address),
            // Whoever it was may still be; a proxy that finds it gone asks again.
            Err(_) => match *state.borrow() {
                Leadership::Following(leader) => leader,
                Leadership::Leading => None,
            },
        };
        let now = if leading {
            Leadership::Leading
        } else {
            Leadership::Following(leader)
        };
        state.send_if_modified(|known| {
            let changed = *known != now;
            if (*known == Leadership::Leading) != leading {
                tracing::info!(identity = self.config.identity, leading, "leadership changed");
            }
            *known = now;
            changed
        });
        match result {
            Ok(_) if leading => RENEW.saturating_sub(asked.elapsed()),
            Ok(_) => LOOK,
            Err(error) => {
                tracing::warn!(
                    "the Lease {} cannot be read or written: {error}",
                    self.config.name
                );
                LOOK
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
mod tests {
    use super::*;

    fn candidate(identity: &str) -> Candidate {
        Candidate {
            config: Config {
                namespace: "system".into(),
                name: "landbridge-operator".into(),
                identity: identity.into(),
                address: Some(([10, 0, 0, 1], 8443).into()),
            },
            sighting: None,
            renewed: None,
            held: None,
        }
    }

    fn with_version(mut lease: Lease, version: &str) -> Lease {
        lease.metadata.resource_version = Some(version.into());
        lease
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_nobody_renews_is_taken_over() {
        let (one, mut two) = (candidate("one"), candidate("two"));
        assert_eq!(two.next(None), Move::Create);
        let lease = with_version(one.lease(None), "1");
        assert_eq!(one.next(Some(&lease)), Move::Take { renewal: true });
        let look = |two: &mut Candidate, lease: &Lease| {
            two.sighting = sighting(two.sighting.take(), Some(lease), Instant::now());
            two.next(Some(lease))
        };
        assert_eq!(look(&mut two, &lease), Move::Wait);
        tokio::time::advance(DURATION - Duration::from_secs(1)).await;
        let renewed = with_version(one.lease(Some(&lease)), "2");
        assert_eq!(look(&mut two, &renewed), Move::Wait);
        tokio::time::advance(DURATION - Duration::from_secs(1)).await;
        assert_eq!(look(&mut two, &renewed), Move::Wait, "seen changed 9 s ago");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(look(&mut two, &renewed), Move::Take { renewal: false });
        let taken = two.lease(Some(&renewed));
        let spec = taken.spec.as_ref().unwrap();
        assert_eq!(spec.lease_transitions, Some(2));
        assert_eq!(address(&taken), Some(([10, 0, 0, 1], 8443).into()));
        assert_eq!(one.next(Some(&taken)), Move::Wait);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_given_back_is_taken_at_once() {
        let mut lease = candidate("one").lease(None);
        lease.spec.as_mut().unwrap().holder_identity = None;
        assert_eq!(address(&lease), None);
        assert_eq!(candidate("two").next(Some(&lease)), Move::Take { renewal: false });
    }
}
